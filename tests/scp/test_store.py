"""C-STORE and C-ECHO: what is taken, in whatever form, and what each refusal is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from sebago.dicom.uids import TRANSFER_SYNTAXES
from sebago.dimse.associate import UserIdentity
from tests.samples import body, small
from tests.scp.site import CT, EXPLICIT_VR_LE, IMPLICIT_VR_LE, VERIFICATION, Site, open_site

PRIVATE = "1.2.840.113619.4.27"
FUTURE = "1.2.840.10008.5.1.4.1.1.999.7"


def store(
    site: Site, data: bytes, *, sop_class=CT, uid="1.2.3.1.1.1", syntax=EXPLICIT_VR_LE, **more
):
    with site.call(contexts=[(sop_class, [syntax])], **more) as peer:
        return peer.store(sop_class, uid, syntax, data)


def test_an_echo_is_answered_for_those_who_are_known(asked: Site):
    with asked.call([VERIFICATION]) as peer:
        assert peer.echo() == 0


def test_what_is_acknowledged_is_findable_by_its_sender_alone_and_comes_back(site: Site):
    data = body(small())
    assert store(site, data) == 0
    (held,) = site.archive.locate(site.asker(), "1.2.3.1")
    assert bytes(site.archive.open(held)) == data
    assert held.facility == "NORTH"
    assert site.find("STUDY", as_="SOUTH1", StudyInstanceUID="1.2.3.1") == ([], [0])


def test_the_same_again_is_a_success_and_other_content_a_new_version(site: Site):
    data, other = body(small()), body(small(SeriesDescription="CORRECTED"))
    assert store(site, data) == store(site, data) == store(site, other) == 0
    versions = site.archive.versions("NORTH", "1.2.3.1.1.1")
    assert [bytes(site.archive.open(one)) for one in versions] == [other, data]


def test_two_facilities_that_send_the_same_study_keep_two(site: Site):
    ours, theirs = body(small()), body(small(SeriesDescription="THEIRS"))
    assert store(site, ours) == store(site, theirs, as_="SOUTH1") == 0
    for facility, data in (("NORTH", ours), ("SOUTH", theirs)):
        (held,) = site.archive.locate(site.asker(facility), "1.2.3.1")
        assert bytes(site.archive.open(held)) == data


@pytest.mark.parametrize(
    ("data", "named", "status"),
    [
        (body(small()), {"uid": "1.2.3.4"}, 0xA900),
        (body(small(SOPClassUID="1.2.840.10008.5.1.4.1.1.4")), {}, 0xA900),
        (body(small())[:-1], {}, 0xC000),
        (body(small())[:100], {}, 0xC000),
        (b"", {}, 0xC000),
        (b"GET / HTTP/1.1\r\n\r\n", {}, 0xC000),
        (body(small(StudyInstanceUID="")), {}, 0xC000),
        (body(small(implicit=True)), {}, 0xC000),
    ],
)
def test_what_is_not_kept_is_answered_with_the_reason_and_the_next_one_is_taken(
    site: Site, data, named, status
):
    with site.call(contexts=[(CT, [EXPLICIT_VR_LE])]) as peer:
        answered = peer.store(CT, named.get("uid", "1.2.3.1.1.1"), EXPLICIT_VR_LE, data)
        if status == 0xC000 and answered == 0:  # implicit data in an explicit context can be read
            assert data == body(small(implicit=True))
            return
        assert answered == status
        good = body(small(instance="1.2.3.1.1.2"))
        assert peer.store(CT, "1.2.3.1.1.2", EXPLICIT_VR_LE, good) == 0
    assert len(site.archive.locate(site.asker(), "1.2.3.1")) == 1


def test_a_full_disk_is_a700_and_queries_go_on(tmp_path: Path):
    with open_site(tmp_path) as site:
        site.give(small())
    with open_site(tmp_path, again=True, reserve_bytes=1 << 60) as full:
        assert store(full, body(small(instance="1.2.3.1.1.2")), uid="1.2.3.1.1.2") == 0xA700
        assert len(full.find("STUDY", StudyInstanceUID="1.2.3.1")[0]) == 1
        assert store(full, body(small())) == 0  # it is there already: no room is needed
    with open_site(tmp_path, again=True) as site:
        assert store(site, body(small(instance="1.2.3.1.1.2")), uid="1.2.3.1.1.2") == 0


@pytest.mark.parametrize("sop_class", [PRIVATE, FUTURE, "1.2.840.10008.5.1.4.34.7"])
def test_private_and_future_storage_classes_are_taken(site: Site, sop_class):
    assert store(site, body(small(SOPClassUID=sop_class)), sop_class=sop_class) == 0


def test_classes_that_are_not_stored_are_refused_context_by_context(asked: Site):
    offered = [
        ("1.2.840.10008.1.3.10", [EXPLICIT_VR_LE]),
        ("1.2.840.10008.5.1.1.9", [EXPLICIT_VR_LE]),
        (CT, [EXPLICIT_VR_LE]),
        ("1.2.840.10008.5.1.4.1.2.2.1", ["1.2.840.10008.1.2.4.90"]),
    ]
    with asked.call(contexts=offered) as peer:
        assert [one.abstract_syntax for one in peer.contexts.values()] == [CT]
        assert [result.result for result in peer.reply.contexts] == [3, 3, 0, 4]


@pytest.mark.parametrize("syntax", sorted(TRANSFER_SYNTAXES))
def test_every_transfer_syntax_of_the_standard_is_taken_alone(asked: Site, syntax):
    with asked.call(contexts=[(CT, [syntax])]) as peer:
        assert peer.storable(CT) == (syntax,)


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([IMPLICIT_VR_LE, EXPLICIT_VR_LE], EXPLICIT_VR_LE),
        ([EXPLICIT_VR_LE, "1.2.840.10008.1.2.4.90"], EXPLICIT_VR_LE),
        (["1.2.840.10008.1.2.4.90", EXPLICIT_VR_LE], "1.2.840.10008.1.2.4.90"),
        (["1.2.840.10008.1.2.4.999", IMPLICIT_VR_LE], "1.2.840.10008.1.2.4.999"),
        (["1.2.840.10008.1.2.2", IMPLICIT_VR_LE], IMPLICIT_VR_LE),
        (["1.2.840.10008.1.2.2"], "1.2.840.10008.1.2.2"),
        (["1.2.840.10008.1.2.1.99", IMPLICIT_VR_LE], "1.2.840.10008.1.2.1.99"),
    ],
)
def test_of_several_transfer_syntaxes_the_one_that_spares_a_conversion_is_taken(
    asked: Site, offered, taken
):
    with asked.call(contexts=[(CT, offered)]) as peer:
        assert peer.storable(CT) == (taken,)


def test_128_contexts_of_one_class_are_all_answered(asked: Site):
    offered = [(CT, [EXPLICIT_VR_LE])] * 64 + [(CT, [IMPLICIT_VR_LE])] * 64
    with asked.call(contexts=offered) as peer:
        assert len(peer.contexts) == 128


def test_roles_are_answered_as_proposed_for_storage_and_scu_only_for_services(asked: Site):
    find = "1.2.840.10008.5.1.4.1.2.2.1"
    offered = {CT: (True, True), PRIVATE: (False, True), find: (True, True)}
    contexts = [(uid, [IMPLICIT_VR_LE]) for uid in offered]
    with asked.call(contexts=contexts, roles=offered) as peer:
        assert peer.reply.roles == {CT: (True, True), PRIVATE: (False, True), find: (True, False)}


def test_a_user_identity_changes_nobodys_facility(site: Site):
    identity = UserIdentity(2, False, b"admin", b"secret")
    assert store(site, body(small()), user_identity=identity) == 0
    assert site.archive.custodians("1.2.3.1") == {"NORTH"}


def test_an_object_of_many_pdus_is_taken_whole(site: Site):
    data = body(small(pixels=bytes(range(256)) * 12_000))
    assert store(site, data) == 0
    (held,) = site.archive.locate(site.asker(), "1.2.3.1")
    assert bytes(site.archive.open(held)) == data


def test_commands_that_are_none_of_ours_are_answered_and_not_hung_on(tmp_path: Path):
    with open_site(tmp_path) as site, site.call([VERIFICATION]) as peer:
        status, _ = peer.action(VERIFICATION, "1.2.3", 1, None)
        assert status == 0x0211  # unrecognized operation
        status, _ = peer.event_report(VERIFICATION, "1.2.3", 1, None)
        assert status == 0x0211
        assert peer.echo() == 0
