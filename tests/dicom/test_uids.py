"""Which UIDs are kept, and how their data sets are laid out."""

from __future__ import annotations

import pytest
from pydicom import uid as pydicom_uid
from pydicom._uid_dict import UID_dictionary

from sebago.dicom import uids

REGISTERED = {uid: entry for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}


def test_every_registered_transfer_syntax_is_known():
    assert not set(REGISTERED) - set(uids.TRANSFER_SYNTAXES)


@pytest.mark.parametrize("uid", sorted(REGISTERED))
def test_layout_agrees_with_pydicom_for_registered_syntaxes(uid):
    theirs = pydicom_uid.UID(uid)
    ours = uids.transfer_syntax(uid)
    assert ours.uid == uid
    # pydicom counts every syntax but the first as explicit, Papyrus 3 too.
    assert ours.explicit != (theirs.is_implicit_VR or uid == uids.PAPYRUS_IMPLICIT_VR_LE)
    assert ours.little_endian == theirs.is_little_endian
    if not uid.startswith(("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")):
        assert ours.deflated == theirs.is_deflated


def test_the_deflated_image_frame_syntax_is_encapsulated_and_not_deflated_as_a_whole():
    syntax = uids.transfer_syntax("1.2.840.10008.1.2.8.1")
    assert syntax.encapsulated
    assert not syntax.deflated
    assert syntax.codec == "deflate-frame"


def test_the_jpip_deflate_syntaxes_are_deflated_as_a_whole_and_hold_no_fragments():
    for uid in ("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"):
        syntax = uids.transfer_syntax(uid)
        assert syntax.deflated
        assert not syntax.encapsulated


def test_an_unknown_syntax_is_taken_for_encapsulated_explicit_little_endian():
    syntax = uids.transfer_syntax("1.3.6.1.4.1.99999.1")
    assert syntax.explicit
    assert syntax.little_endian
    assert syntax.encapsulated
    assert syntax.codec == "unknown"


def test_the_ge_private_syntax_is_implicit_with_big_endian_pixels():
    syntax = uids.transfer_syntax(uids.GE_PRIVATE_IMPLICIT_VR)
    assert not syntax.explicit
    assert syntax.little_endian
    assert syntax.big_endian_pixels


def test_every_published_composite_storage_class_is_a_storage_class():
    for uid, entry in UID_dictionary.items():
        if entry[1] == "SOP Class" and uid.startswith("1.2.840.10008.5.1.4.1.1."):
            assert uids.is_storage_class(uid), entry[0]


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.5.1.4.1.1.99999.7",
        "1.2.840.10008.5.1.4.34.7",
        "1.3.12.2.1107.5.9.1",
        "1.2.840.113619.4.26",
    ],
)
def test_new_and_private_storage_classes_are_taken(uid):
    assert uids.is_storage_class(uid)


@pytest.mark.parametrize(
    "uid",
    [
        uids.VERIFICATION,
        uids.MEDIA_STORAGE_DIRECTORY,
        "1.2.840.10008.5.1.4.1.2.2.1",
        "1.2.840.10008.1.20.1",
        "1.2.840.10008.5.1.4.31",
        "1.2.840.10008.5.1.4.39.1",
        "",
        "../../etc/passwd",
    ],
)
def test_services_directories_and_nonsense_are_not_storage_classes(uid):
    assert not uids.is_storage_class(uid)


@pytest.mark.parametrize("uid", ["1", "1.2.003", "1..2", "9" * 64])
def test_odd_uids_of_working_archives_are_sane(uid):
    assert uids.uid_is_sane(uid)


@pytest.mark.parametrize(
    "uid", ["", "9" * 65, "1.2\n", "1.2 ", "1/2", "1.2a", "\u0661.\u0662", "1.2\0"]
)
def test_what_does_not_fit_a_path_is_not_sane(uid):
    assert not uids.uid_is_sane(uid)


def test_the_archive_names_itself_within_the_limits_of_the_standard():
    assert pydicom_uid.UID(uids.IMPLEMENTATION_CLASS_UID).is_valid
    assert len(uids.IMPLEMENTATION_VERSION_NAME) <= 16
