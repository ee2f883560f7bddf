"""C-MOVE and C-GET: all of what may be seen, in a form that the receiver takes, counted right."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from sebago.dicom.identifier import read_keys
from sebago.dimse import Admission, Buffered
from sebago.dimse.command import Progress
from sebago.dimse.scu import Requestor
from tests.peers import free_port
from tests.samples import body, small
from tests.scp.peers import destination
from tests.scp.site import (
    CT,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    PATIENT_GET,
    PATIENT_MOVE,
    STUDY_GET,
    STUDY_MOVE,
    Site,
    identifier,
    open_site,
)

SR = "1.2.840.10008.5.1.4.1.1.88.11"
RLE = "1.2.840.10008.1.2.5"
FAILED = (0x00080058,)


def study(count: int = 4, **more: object) -> list[Dataset]:
    """Images of one series, handed over in another order than the one in which they are looked at."""
    made = [
        small(instance=f"1.2.3.1.1.{number}", number=number, **more)  # type: ignore[arg-type]
        for number in range(1, count + 1)
    ]
    return made[::-1]


def rle(**more: object) -> Dataset:
    """An image whose pixel data are compressed."""
    from pydicom.pixels.encoders.base import RLELosslessEncoder

    made = small(**more)  # type: ignore[arg-type]
    frame = np.arange(256, dtype="<u2").reshape(16, 16)
    encoded = RLELosslessEncoder.encode(
        frame, rows=16, columns=16, samples_per_pixel=1, number_of_frames=1, bits_allocated=16,
        bits_stored=16, photometric_interpretation="MONOCHROME2", pixel_representation=0,
    )  # fmt: skip
    made.add_new(0x7FE00010, "OB", encapsulate([encoded]))
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = RLELossless
    return made


def move(
    site: Site,
    to: str,
    level: str = "STUDY",
    *,
    model: str = STUDY_MOVE,
    as_: str = "NORTH1",
    **keys,
) -> list[Progress]:
    with site.call([model], as_=as_) as peer:
        return list(peer.move(model, to, identifier(level, **keys)))


def counts(progress: Progress) -> tuple[int, int, int, int]:
    """Status, completed, failed, warning."""
    return progress.status, progress.completed, progress.failed, progress.warning


def failed_uids(progress: Progress) -> list[str]:
    assert progress.identifier is not None
    return read_keys(progress.identifier, IMPLICIT_VR_LE)[FAILED].split("\\")


# --- C-MOVE -------------------------------------------------------------------------------------


def test_a_study_moves_byte_for_byte_in_the_order_in_which_it_is_looked_at(site: Site):
    made = study()
    site.give(*made)
    with destination(site) as received:
        *pending, final = move(site, "DEST", StudyInstanceUID="1.2.3.1")
    assert counts(final) == (0, 4, 0, 0)
    assert received.uids == [f"1.2.3.1.1.{number}" for number in (1, 2, 3, 4)]
    assert received.data == {one.SOPInstanceUID: body(one) for one in made}
    assert pending, "at least one pending response"
    assert pending[0].status == 0xFF00
    assert pending[0].remaining + pending[0].completed == 4
    (request,) = received.desk.requests
    assert request.called_ae_title == "DEST"
    assert request.calling_ae_title == "SEBAGO"
    assert {command.move_originator for command in received.desk.commands} == {("NORTH1", 1)}


@pytest.mark.parametrize(
    ("model", "level", "keys", "uids"),
    [
        (STUDY_MOVE, "STUDY", {"StudyInstanceUID": "1.2.3.1\\1.2.3.2"}, ["1", "2", "3", "9"]),
        (STUDY_MOVE, "STUDY", {"StudyInstanceUID": "1.2.3.1\\1.2.3.1"}, ["1", "2", "3"]),
        (STUDY_MOVE, "SERIES", {"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.1"},
         ["1", "2"]),
        (STUDY_MOVE, "SERIES", {"SeriesInstanceUID": "1.2.3.1.1\\1.2.3.1.2"}, ["1", "2", "3"]),
        (STUDY_MOVE, "IMAGE", {"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.1",
                               "SOPInstanceUID": "1.2.3.1.1.2\\1.2.3.1.1.7"}, ["2"]),
        (STUDY_MOVE, "IMAGE", {"SOPInstanceUID": "1.2.3.1.2.3\\1.2.3.2.1.9"}, ["3", "9"]),
        (PATIENT_MOVE, "PATIENT", {"PatientID": "0042"}, ["1", "2", "3"]),
        (PATIENT_MOVE, "STUDY", {"PatientID": "0042", "StudyInstanceUID": "1.2.3.1"},
         ["1", "2", "3"]),
        (PATIENT_MOVE, "STUDY", {"PatientID": "0099", "StudyInstanceUID": "1.2.3.1"}, []),
        (STUDY_MOVE, "STUDY", {"StudyInstanceUID": "1.2.3.77"}, []),
    ],
)  # fmt: skip
def test_patients_studies_series_and_lists_of_images_move(site: Site, model, level, keys, uids):
    site.give(
        small(instance="1.2.3.1.1.1"),
        small(instance="1.2.3.1.1.2", number=2),
        small(series="1.2.3.1.2", instance="1.2.3.1.2.3", SeriesNumber=3),
        small(study="1.2.3.2", series="1.2.3.2.1", instance="1.2.3.2.1.9", patient_id="0050"),
    )
    with destination(site) as received:
        final = move(site, "DEST", level, model=model, **keys)[-1]
    assert sorted(uid.rpartition(".")[2] for uid in received.uids) == uids
    assert counts(final) == (0, len(uids), 0, 0)


@pytest.mark.parametrize(
    ("level", "keys"),
    [
        ("STUDY", {}),
        ("SERIES", {"StudyInstanceUID": "1.2.3.1"}),
        ("IMAGE", {"StudyInstanceUID": "1.2.3.1"}),
        ("PATIENT", {"PatientID": "0042"}),
        ("", {"StudyInstanceUID": "1.2.3.1"}),
    ],
)
def test_what_does_not_fit_the_model_is_a900(asked: Site, level, keys):
    (final,) = move(asked, "NORTH1", level, **keys)
    assert final.status == 0xA900


def test_destinations_that_are_unknown_or_anothers_or_nowhere_are_a801(site: Site):
    site.give(*study())
    with destination(site, "THEIRS", facility="SOUTH") as received:
        for to in ("NOBODY", "THEIRS", "NORTH1", ""):
            (final,) = move(site, to, StudyInstanceUID="1.2.3.1")
            assert final.status == 0xA801, to
        assert received.uids == []


def test_another_facilitys_study_does_not_move(site: Site):
    site.give(*study(), facility="SOUTH")
    with destination(site) as received:
        (final,) = move(site, "DEST", StudyInstanceUID="1.2.3.1")
        assert counts(final) == (0, 0, 0, 0)
    assert received.uids == []


def test_what_both_facilities_hold_moves_as_ones_own(site: Site):
    ours, theirs = small(SeriesDescription="OURS"), small(SeriesDescription="THEIRS")
    site.give(theirs, small(instance="1.2.3.1.1.2"), facility="SOUTH")
    site.give(ours)
    with destination(site) as received:
        final = move(site, "DEST", StudyInstanceUID="1.2.3.1")[-1]
    assert counts(final) == (0, 1, 0, 0)
    assert received.data == {"1.2.3.1.1.1": body(ours)}


def test_a_destination_that_is_down_is_a702_with_the_list_of_what_failed(site: Site):
    site.give(*study())
    site.registrar.set_peer("NORTH", f"DOWN@127.0.0.1:{free_port()}")
    final = move(site, "DOWN", StudyInstanceUID="1.2.3.1")[-1]
    assert counts(final) == (0xA702, 0, 4, 0)
    assert failed_uids(final) == [f"1.2.3.1.1.{number}" for number in (1, 2, 3, 4)]


def test_what_a_destination_refuses_is_b000_with_the_list_of_it(site: Site):
    site.give(*study())
    with destination(site, status=lambda uid: 0xA700 if uid.endswith(".2") else 0) as received:
        final = move(site, "DEST", StudyInstanceUID="1.2.3.1")[-1]
    assert counts(final) == (0xB000, 3, 1, 0)
    assert failed_uids(final) == ["1.2.3.1.1.2"]
    assert len(received.uids) == 3


def test_a_warning_of_the_destination_is_counted_as_one(site: Site):
    site.give(*study())
    with destination(site, status=lambda uid: 0xB000 if uid.endswith(".2") else 0):
        final = move(site, "DEST", StudyInstanceUID="1.2.3.1")[-1]
    assert counts(final) == (0xB000, 3, 0, 1)


def test_a_destination_that_goes_away_halfway_is_counted_to_the_last_instance(site: Site):
    site.give(*study(6))

    def leave(count: int) -> None:
        if count == 3:
            raise ConnectionError("gone")

    with destination(site, after=leave, status=lambda uid: 0) as received:
        received.desk.on_sink = lambda association, command: (
            association.interrupt(hard=True) if len(received.uids) == 3 else None
        )
        final = move(site, "DEST", StudyInstanceUID="1.2.3.1")[-1]
    assert final.status == 0xB000
    assert final.completed + final.failed == 6
    assert final.failed == len(failed_uids(final)) >= 3


@pytest.mark.parametrize("only", [IMPLICIT_VR_LE, EXPLICIT_VR_LE])
def test_what_is_compressed_goes_decoded_to_who_takes_nothing_else(site: Site, only: str):
    site.give(rle(), small(instance="1.2.3.1.1.2", number=2))
    with destination(site, takes=lambda syntax: syntax == only) as received:
        final = move(site, "DEST", StudyInstanceUID="1.2.3.1")[-1]
    assert counts(final) == (0, 2, 0, 0)
    assert received.syntaxes == [only, only]
    plain = body(
        small(implicit=only == IMPLICIT_VR_LE, pixels=np.arange(256, dtype="<u2").tobytes())
    )
    assert received.data["1.2.3.1.1.1"] == plain
    assert received.data["1.2.3.1.1.2"] == body(
        small(implicit=only == IMPLICIT_VR_LE, instance="1.2.3.1.1.2", number=2)
    )


def test_what_is_compressed_goes_as_it_is_to_who_takes_it(site: Site):
    made = rle()
    site.give(made)
    with destination(site) as received:
        final = move(site, "DEST", StudyInstanceUID="1.2.3.1")[-1]
    assert counts(final) == (0, 1, 0, 0)
    assert received.syntaxes == [RLE]
    assert received.data == {"1.2.3.1.1.1": body(made)}


def test_a_class_that_the_destination_does_not_take_is_counted_as_failed(site: Site):
    site.give(small(), small(instance="1.2.3.1.1.2", number=2, SOPClassUID=SR))
    with destination(site) as received:
        admit = received.desk.on_admit
        assert admit is not None

        def without_reports(request, address):
            reports = {one.id: 3 for one in request.contexts if one.abstract_syntax == SR}
            return Admission({**admit(request, address).contexts, **reports})

        received.desk.on_admit = without_reports
        final = move(site, "DEST", StudyInstanceUID="1.2.3.1")[-1]
    assert counts(final) == (0xB000, 1, 1, 0)
    assert failed_uids(final) == ["1.2.3.1.1.2"]


def test_more_classes_than_one_proposal_holds_go_in_several(site: Site):
    many = [
        small(instance=f"1.2.3.1.1.{number}", number=number, SOPClassUID=f"1.2.99.{number}")
        for number in range(1, 101)
    ]
    site.give(*many)
    with destination(site, takes=lambda syntax: syntax == IMPLICIT_VR_LE) as received:
        final = move(site, "DEST", StudyInstanceUID="1.2.3.1")[-1]
    assert counts(final) == (0, 100, 0, 0)
    assert len(received.desk.requests) > 1
    assert received.uids == [f"1.2.3.1.1.{number}" for number in range(1, 101)]


def test_a_cancelled_move_ends_fe00_and_says_what_is_left(site: Site):
    site.give(*study(8))
    go_on = threading.Event()

    def wait(count: int) -> None:
        if count == 2:
            go_on.wait(20)

    with destination(site, after=wait) as received, site.call([STUDY_MOVE]) as peer:
        moving = peer.move(STUDY_MOVE, "DEST", identifier("STUDY", StudyInstanceUID="1.2.3.1"))
        assert next(moving).status == 0xFF00
        context = peer.context_of(STUDY_MOVE)
        while len(received.uids) < 2:
            threading.Event().wait(0.01)
        peer.cancel(context, 1)
        threading.Event().wait(0.7)  # past the time between two looks
        go_on.set()
        *_, final = moving
    assert final.status == 0xFE00
    assert final.remaining == 8 - final.completed > 0
    assert received.uids == [f"1.2.3.1.1.{number}" for number in range(1, final.completed + 1)]


def test_counts_of_find_and_move_agree_in_each_view(site: Site):
    site.give(*study(5))
    site.give(*study(3), small(series="1.2.3.1.2", instance="1.2.3.1.2.1"), facility="SOUTH")
    site.give(small(SeriesDescription="CORRECTED"))
    for facility, expected in (("NORTH", 5), ("SOUTH", 4)):
        (match,), _ = site.find(
            "STUDY",
            as_=f"{facility}1",
            StudyInstanceUID="1.2.3.1",
            NumberOfStudyRelatedInstances="",
        )
        assert match[(0x00201208,)] == str(expected)
        with destination(site, f"DEST{facility}", facility=facility) as received:
            final = move(site, f"DEST{facility}", as_=f"{facility}1", StudyInstanceUID="1.2.3.1")[
                -1
            ]
        assert counts(final) == (0, expected, 0, 0)
        assert len(received.uids) == len(set(received.uids)) == expected


def test_an_instance_that_is_damaged_is_counted_as_failed_and_the_others_move(site: Site):
    site.give(*study(3))
    (held,) = site.archive.locate(site.asker(), "1.2.3.1", None, "1.2.3.1.1.2")
    (segment,) = (site.folder / "journal" / held.writer).glob(f"{held.segment:010d}.*")
    with segment.open("r+b") as file:
        file.seek(held.data_offset - 128)  # its record's header
        file.write(bytes(128))
    with destination(site) as received:
        final = move(site, "DEST", StudyInstanceUID="1.2.3.1")[-1]
    assert counts(final) == (0xB000, 2, 1, 0)
    assert failed_uids(final) == ["1.2.3.1.1.2"]
    assert received.uids == ["1.2.3.1.1.1", "1.2.3.1.1.3"]


# --- C-GET --------------------------------------------------------------------------------------


@contextlib.contextmanager
def getter(
    site: Site, storage: list[tuple[str, list[str]]], model: str = STUDY_GET, as_: str = "NORTH1"
) -> Iterator[Requestor]:
    classes = {sop_class for sop_class, _ in storage}
    with site.call(
        as_=as_,
        contexts=[(model, [IMPLICIT_VR_LE]), *storage],
        roles=dict.fromkeys(classes, (False, True)),
    ) as peer:
        yield peer


def get(peer: Requestor, level: str, *, model: str = STUDY_GET, status: int = 0, **keys: str):
    received: dict[str, bytes] = {}

    def stored(command, sink) -> int:
        received[command.sop_instance_uid] = bytes(sink.data)
        return status

    responses = list(
        peer.get(
            model,
            identifier(level, **keys),
            receive=lambda command: Buffered(1 << 20),
            stored=stored,
        )
    )
    return responses[-1], received


def test_a_study_comes_back_on_the_same_association_byte_for_byte(site: Site):
    made = study()
    site.give(*made)
    with getter(site, [(CT, [EXPLICIT_VR_LE])]) as peer:
        final, received = get(peer, "STUDY", StudyInstanceUID="1.2.3.1")
        assert counts(final) == (0, 4, 0, 0)
        assert list(received) == [f"1.2.3.1.1.{number}" for number in (1, 2, 3, 4)]
        assert received == {one.SOPInstanceUID: body(one) for one in made}
        final, received = get(peer, "IMAGE", SOPInstanceUID="1.2.3.1.1.2")
        assert list(received) == ["1.2.3.1.1.2"]


def test_get_of_a_patient_gives_no_other_facilitys(site: Site):
    site.give(*study(2))
    site.give(small(study="1.2.3.5", instance="1.2.3.5.1"), facility="SOUTH")
    with getter(site, [(CT, [EXPLICIT_VR_LE])], PATIENT_GET) as peer:
        final, received = get(peer, "PATIENT", model=PATIENT_GET, PatientID="0042")
    assert sorted(received) == ["1.2.3.1.1.1", "1.2.3.1.1.2"]
    assert counts(final) == (0, 2, 0, 0)


def test_what_has_no_context_with_the_scp_role_is_counted_as_failed_not_dropped(site: Site):
    site.give(small(), small(instance="1.2.3.1.1.2", number=2, SOPClassUID=SR))
    with getter(site, [(CT, [EXPLICIT_VR_LE])]) as peer:
        final, received = get(peer, "STUDY", StudyInstanceUID="1.2.3.1")
    assert counts(final) == (0xB000, 1, 1, 0)
    assert failed_uids(final) == ["1.2.3.1.1.2"]
    assert list(received) == ["1.2.3.1.1.1"]
    with site.call(contexts=[(STUDY_GET, [IMPLICIT_VR_LE]), (CT, [EXPLICIT_VR_LE])]) as peer:
        final, received = get(peer, "STUDY", StudyInstanceUID="1.2.3.1")
    assert counts(final) == (0xA702, 0, 2, 0)
    assert received == {}


def test_get_decodes_what_the_peer_takes_in_no_other_form(site: Site):
    site.give(rle())
    with getter(site, [(CT, [IMPLICIT_VR_LE])]) as peer:
        final, received = get(peer, "STUDY", StudyInstanceUID="1.2.3.1")
    assert counts(final) == (0, 1, 0, 0)
    assert received["1.2.3.1.1.1"].endswith(np.arange(256, dtype="<u2").tobytes())


def test_what_the_getter_refuses_is_counted(site: Site):
    site.give(*study(2))
    with getter(site, [(CT, [EXPLICIT_VR_LE])]) as peer:
        final, _ = get(peer, "STUDY", status=0xA700, StudyInstanceUID="1.2.3.1")
    assert counts(final) == (0xA702, 0, 2, 0)


# --- what is recorded ---------------------------------------------------------------------------


def test_every_query_and_retrieval_is_in_the_ledger_before_anything_goes(tmp_path: Path):
    from sqlalchemy import text

    with open_site(tmp_path) as site:
        site.give(*study(2))
        site.find("STUDY", StudyInstanceUID="1.2.3.1")
        site.find("STUDY", as_="SOUTH1", StudyInstanceUID="1.2.3.1")
        with destination(site):
            move(site, "DEST", StudyInstanceUID="1.2.3.1")
        with destination(site, "THEIRS", facility="SOUTH"):
            move(site, "THEIRS", as_="SOUTH1", StudyInstanceUID="1.2.3.1")
        with site.index.read() as conn:
            events = conn.execute(
                text("select kind, actor, body from ledger.event order by seq")
            ).all()
    north = [kind for kind, actor, _ in events if actor == "ae:NORTH1@NORTH"]
    south = [kind for kind, actor, _ in events if actor == "ae:SOUTH1@SOUTH"]
    assert len(north) == len(south) == 2
    assert north[0] == south[0]  # a search that finds nothing is permitted all the same
    assert north[1] != south[1]  # a retrieval of what is not theirs is denied
