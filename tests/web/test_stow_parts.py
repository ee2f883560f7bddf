"""Parts of store requests on their way to intake, into real spools of a journal."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sebago.errors import Mismatch, NotDicom, TooLarge, Truncated, UnsupportedMediaType
from sebago.journal import Journal
from sebago.web.dicomweb.stow_parts import HEAD_BYTES, PartReader
from tests.web.made import BOUNDARY, CT, EXPLICIT, IMPLICIT, body, data_set, element, part10, uid_in

MIB = 1 << 20


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    journal = Journal.open(
        tmp_path_factory.mktemp("journal"),
        segment_bytes=4 * MIB,
        reserve_bytes=0,
        queue_bytes_max=64 * MIB,
        inline_bytes_max=1 * MIB,
        then=lambda batch: None,
    )
    yield journal
    journal.close()


def read(journal, pieces, *, boundary=BOUNDARY, whole=True, bytes_max=8 * MIB, study=""):
    """([(transfer syntax, data set)], [(number, error)], whole) of a body."""
    reader = PartReader(
        boundary, journal.spool, instance_bytes_max=bytes_max, study_instance_uid=study
    )
    waiting = deque(pieces)
    while waiting:
        reader.feed(waiting, parts_max=64, bytes_max=16 * MIB)
    complete = reader.end(whole=whole)
    found = []
    for item in reader.take():
        content = item.incoming.finish()
        data = bytes(content if isinstance(content, memoryview) else content.view())
        found.append((item.declared.transfer_syntax_uid, data))
        del content
        item.incoming.abandon()
    return found, [(r.number, type(r.error)) for r in reader.refused], complete


def cut(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    sizes=st.lists(st.integers(0, 3 * HEAD_BYTES), min_size=1, max_size=4),
    size=st.sampled_from([1, 7, 1000, HEAD_BYTES - 1, HEAD_BYTES, 65536, 1 << 20]),
    meta=st.sampled_from([0, 100, HEAD_BYTES - 700, HEAD_BYTES, 40_000]),
)
def test_every_data_set_arrives_byte_for_byte_however_the_body_is_cut(journal, sizes, size, meta):
    if size == 1:
        sizes, meta = sizes[:1], min(meta, 100)
    sets = [data_set(number=n, pixels=b"ab" * (s // 2)) for n, s in enumerate(sizes)]
    private = element(0x00020102, "OB", b"\0" * meta) if meta else b""
    sent = body([part10(data, more=private) for data in sets])
    found, refused, complete = read(journal, cut(sent, size))
    assert found == [(EXPLICIT, data) for data in sets]
    assert refused == []
    assert complete


@pytest.mark.parametrize("preamble", [b"", b"\0" * 128, b"MZ" + b"x" * 126])
def test_a_preamble_may_be_missing_or_hold_anything_and_is_not_kept(journal, preamble):
    data = data_set()
    found, refused, _ = read(journal, [body([part10(data, preamble=preamble)])])
    assert found == [(EXPLICIT, data)]
    assert refused == []


def test_a_part_without_file_meta_information_has_the_transfer_syntax_of_its_content_type(journal):
    data = data_set()
    said = f"application/dicom; transfer-syntax={EXPLICIT}".encode()
    found, _, _ = read(journal, [body([data], content_type=said)])
    assert found == [(EXPLICIT, data)]


def test_the_file_meta_information_wins_over_the_content_type(journal):
    data = data_set()
    said = f"application/dicom; transfer-syntax={IMPLICIT}".encode()
    found, _, _ = read(journal, [body([part10(data)], content_type=said)])
    assert found == [(EXPLICIT, data)]


def test_a_body_of_a_single_file_is_one_part(journal):
    data = data_set()
    found, refused, complete = read(journal, cut(part10(data), 100), boundary=None)
    assert found == [(EXPLICIT, data)]
    assert refused == []
    assert complete


def test_what_is_no_dicom_is_refused_and_the_others_arrive(journal):
    data = data_set()
    found, refused, complete = read(journal, [body([b"nonsense" * 10, part10(data), b""])])
    assert found == [(EXPLICIT, data)]
    assert refused == [(0, NotDicom), (2, NotDicom)]
    assert complete


def test_a_part_of_another_media_type_is_refused_and_dropped(journal):
    found, refused, _ = read(journal, [body([part10(data_set())], content_type=b"image/jpeg")])
    assert found == []
    assert refused == [(0, UnsupportedMediaType)]


@pytest.mark.parametrize("whole", [True, False])
def test_a_part_that_is_cut_off_is_refused_and_the_ones_before_it_arrive(journal, whole):
    first, second = data_set(), data_set()
    sent = body([part10(first), part10(second)])
    cut_off = sent[: len(sent) - len(BOUNDARY) - 30]
    found, refused, complete = read(journal, [cut_off], whole=whole)
    assert found == [(EXPLICIT, first)]
    assert refused == [(1, Truncated)]
    assert not complete


def test_a_single_file_that_is_cut_off_is_refused(journal):
    data = part10(data_set())
    found, refused, complete = read(journal, [data[:-5]], boundary=None, whole=False)
    assert (found, refused, complete) == ([], [(0, Truncated)], False)


def test_a_part_longer_than_an_instance_may_be_is_refused_while_it_comes_in(journal):
    long = part10(data_set(pixels=b"\0" * 100_000))
    small = data_set()
    found, refused, _ = read(journal, cut(body([long, part10(small)]), 5000), bytes_max=50_000)
    assert found == [(EXPLICIT, small)]
    assert refused == [(0, TooLarge)]


def test_an_instance_of_another_study_than_the_addresss_is_refused_and_the_others_arrive(journal):
    other, mine = data_set(study="2.25.9"), data_set(study="2.25.10", pixels=b"xy" * 100_000)
    sent = body([part10(other), part10(mine)])
    found, refused, _ = read(journal, cut(sent, 3000), study="2.25.10")
    assert found == [(EXPLICIT, mine)]
    assert refused == [(0, Mismatch)]


def test_a_refused_part_is_named_by_its_file_meta_information(journal):
    other = data_set(study="2.25.9")
    reader = PartReader(
        BOUNDARY, journal.spool, instance_bytes_max=MIB, study_instance_uid="2.25.10"
    )
    reader.feed(deque([body([part10(other)])]), parts_max=64, bytes_max=MIB)
    reader.end(whole=True)
    assert reader.refused[0].sop_class_uid == CT
    assert reader.refused[0].sop_instance_uid == uid_in(other)


def test_reading_stops_when_enough_parts_have_arrived_and_goes_on_later(journal):
    files = [part10(data_set()) for _ in range(10)]
    pieces = deque(cut(body(files), 1000))
    reader = PartReader(BOUNDARY, journal.spool, instance_bytes_max=MIB)
    reader.feed(pieces, parts_max=3, bytes_max=16 * MIB)
    assert 3 <= len(reader.arrived) < 10
    assert pieces
    count = 0
    while pieces or reader.arrived:
        for item in reader.take():
            item.incoming.abandon()
            count += 1
        reader.feed(pieces, parts_max=3, bytes_max=16 * MIB)
    assert reader.end(whole=True)
    assert count == 10


def test_what_was_not_taken_is_given_back(journal):
    reader = PartReader(BOUNDARY, journal.spool, instance_bytes_max=MIB)
    sent = body([part10(data_set()), part10(data_set())])
    reader.feed(deque([sent[:-60]]), parts_max=64, bytes_max=MIB)
    reader.abandon()
    assert reader.arrived == []
