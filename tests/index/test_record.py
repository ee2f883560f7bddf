"""What becomes of instances that are put into the index."""

from __future__ import annotations

import multiprocessing
import struct
import threading
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from sebago.index import findings
from sebago.index.engine import Index
from sebago.index.record import KnownSeries, existing, record_batch
from sebago.index.tables import instance, journal_segment, metadata_chunk, series, study
from tests.index.made import MadePlace, item, new, slices, uid


@pytest.fixture
def known():
    return KnownSeries()


def record(index, items, known=None):
    with index.write() as connection:
        return record_batch(connection, known or KnownSeries(), items)


def outcomes(recorded):
    return [one.outcome for one in recorded]


def rows(index, statement):
    with index.read() as connection:
        return [tuple(row) for row in connection.execute(statement)]


def counts(index):
    return rows(
        index,
        select(series.c.series_instance_uid, series.c.instance_count).order_by(
            series.c.series_instance_uid
        ),
    )


def test_an_instance_is_stored_with_what_it_says(index, known):
    (recorded,) = record(index, [new()], known)
    assert recorded.outcome == "stored"
    assert rows(
        index,
        select(
            instance.c.instance_id,
            instance.c.sop_instance_uid,
            instance.c.rows,
            instance.c.data_offset,
            instance.c.data_length,
            instance.c.version,
            instance.c.current,
        ),
    ) == [(recorded.instance_id, uid(1, 1, 1), 512, 64, 1000, 1, 1)]
    assert rows(
        index, select(study.c.patient_name, study.c.patient_name_folded, study.c.first_received_us)
    ) == [("SMITH^JOHN", "smith^john", 1_000_000)]
    assert counts(index) == [(uid(1, 1), 1)]


def test_a_series_is_counted_as_it_comes(index, known):
    items = slices(7)
    assert outcomes(record(index, items[:3], known)) == ["stored"] * 3
    for one in items[3:]:
        assert outcomes(record(index, [one], known)) == ["stored"]
    assert counts(index) == [(uid(1, 1), 7)]


def test_the_same_content_again_is_already_there(index, known):
    first = record(index, [new()], known)
    again = record(index, [new(), new()], known)
    assert outcomes(again) == ["already", "already"]
    assert {one.instance_id for one in again} == {first[0].instance_id}
    assert counts(index) == [(uid(1, 1), 1)]


def test_the_same_content_twice_in_one_batch_is_one_instance(index, known):
    assert outcomes(record(index, [new(), *slices(3), new()], known)) == [
        "stored",
        "already",
        "stored",
        "stored",
        "already",
    ]
    assert counts(index) == [(uid(1, 1), 3)]


def test_another_content_becomes_the_current_version_and_earlier_ones_stay(index, known):
    record(index, [new("first")], known)
    (second,) = record(index, [new("second", received_us=5)], known)
    (third,) = record(index, [new("third", received_us=9)], known)
    assert (second.outcome, third.outcome) == ("version", "version")
    assert rows(
        index, select(instance.c.version, instance.c.current).order_by(instance.c.version)
    ) == [(1, None), (2, None), (3, 1)]
    assert counts(index) == [(uid(1, 1), 1)]
    with index.read() as connection:
        assert existing(connection, "CARY", uid(1, 1, 1)) == new("third").digest


def test_an_earlier_version_again_is_already_there_and_does_not_come_back(index, known):
    (first,) = record(index, [new("first")], known)
    record(index, [new("second")], known)
    (again,) = record(index, [new("first")], known)
    assert (again.outcome, again.instance_id) == ("already", first.instance_id)
    with index.read() as connection:
        assert existing(connection, "CARY", uid(1, 1, 1)) == new("second").digest


def test_versions_within_one_batch_come_in_order(index, known):
    batch = [new("a"), new("b"), new("a"), new("c")]
    assert outcomes(record(index, batch, known)) == ["stored", "version", "already", "version"]
    with index.read() as connection:
        assert existing(connection, "CARY", uid(1, 1, 1)) == new("c").digest


def test_a_version_in_another_series_moves_the_counts(index, known):
    record(index, slices(2), known)
    moved = new("moved", series_instance_uid=uid(1, 2), sop_instance_uid=uid(1, 1, 2))
    assert outcomes(record(index, [moved], known)) == ["version"]
    assert counts(index) == [(uid(1, 1), 1), (uid(1, 2), 1)]


def test_a_version_makes_the_chunk_of_the_old_one_out_of_date(index, known):
    (recorded,) = record(index, [new("first")], known)
    with index.write() as connection:
        series_id = connection.execute(select(series.c.series_id)).scalar_one()
        connection.execute(
            metadata_chunk.insert().values(
                chunk_id=5,
                series_id=series_id,
                instance_count=1,
                instance_ids=struct.pack("<q", recorded.instance_id),
                body=b"",
            )
        )
    record(index, [new("second")], known)
    assert rows(index, select(metadata_chunk.c.chunk_id)) == []


def test_a_version_is_a_finding(index, known):
    record(index, [new("a"), new("b"), new("c")], known)
    with index.read() as connection:
        (found,) = findings.latest(connection)
    assert (found.kind, found.facility, found.subject) == (
        findings.OTHER_CONTENT,
        "CARY",
        uid(1, 1, 1),
    )
    assert found.times == 2


def test_the_same_instance_of_two_facilities_is_two(index, known):
    assert outcomes(record(index, [new(), new(facility="YORK")], known)) == ["stored", "stored"]
    assert len(counts(index)) == 2


def test_the_same_study_under_two_patients_of_a_facility_is_two_and_a_finding(index, known):
    record(index, [new(), new(patient_id="P2", sop_instance_uid=uid(1, 1, 2))], known)
    assert sorted(rows(index, select(study.c.study_instance_uid, study.c.patient_id))) == [
        (uid(1), "P1"),
        (uid(1), "P2"),
    ]
    with index.read() as connection:
        (found,) = findings.latest(connection, kind=findings.STUDY_OF_TWO_PATIENTS)
    assert found.subject == uid(1)


def test_the_same_patient_id_of_two_authorities_is_two(index, known):
    record(index, [new(), new(authority="OTHER", sop_instance_uid=uid(1, 1, 2))], known)
    assert len(counts(index)) == 2


def test_the_first_value_stands_and_empty_columns_are_filled(index, known):
    bare: dict[str, Any] = {
        "study_description": "",
        "accession_number": "",
        "body_part_examined": "",
        "series_number": "",
    }
    record(index, [new(patient_name="", **bare)], known)
    others = slices(4)[1:]
    record(index, [new(sop_instance_uid=uid(1, 1, 8), study_date="19990101", **bare)], known)
    record(index, others[:1], known)
    record(index, [new(sop_instance_uid=uid(1, 1, 9), study_description="Other")], known)
    assert rows(
        index,
        select(
            study.c.patient_name,
            study.c.patient_name_folded,
            study.c.study_date,
            study.c.study_description,
            study.c.study_description_folded,
            study.c.accession_number,
        ),
    ) == [("SMITH^JOHN", "smith^john", "20240301", "CT Chest", "ct chest", "A1")]
    assert rows(index, select(series.c.body_part_examined, series.c.series_number)) == [
        ("CHEST", 1)
    ]


def test_the_first_of_a_batch_fills_first_also_across_series(index, known):
    record(index, [new(study_description="")], known)
    record(
        index,
        [
            new(sop_instance_uid=uid(1, 9, 1), series_instance_uid=uid(1, 9), study_description=""),
            new(sop_instance_uid=uid(1, 1, 2), study_description="first"),
            new(
                sop_instance_uid=uid(1, 9, 2),
                series_instance_uid=uid(1, 9),
                study_description="second",
            ),
        ],
        known,
    )
    assert rows(index, select(study.c.study_description)) == [("first",)]


def test_series_columns_come_out_of_its_attributes(index, known):
    request = item({0x00400009: "SPS8", 0x00401001: "RP7"})
    first = new(performed_procedure_step_start_date="20240302", request_attributes=request)
    record(index, [first], known)
    assert rows(
        index,
        select(
            series.c.performed_procedure_step_start_date,
            series.c.requested_procedure_ids,
            series.c.scheduled_procedure_step_ids,
        ),
    ) == [("20240302", "\\RP7\\", "\\SPS8\\")]


def test_the_watermark_moves_with_the_rows_and_never_back(index, known):
    record(
        index,
        [
            new(place=MadePlace(segment=1, end=500)),
            new("x", sop_instance_uid=uid(1, 1, 2), place=MadePlace(segment=1, end=900)),
            new("y", sop_instance_uid=uid(1, 1, 3), place=MadePlace(segment=2, end=100)),
        ],
        known,
    )
    record(index, [new(place=MadePlace(segment=1, end=500))], known)
    assert rows(
        index,
        select(journal_segment).order_by(journal_segment.c.segment),
    ) == [("w1", 1, 900), ("w1", 2, 100)]


def test_a_batch_that_is_rolled_back_leaves_no_ids_behind(index, known):
    def fail():
        with index.write() as connection:
            record_batch(connection, known, [new()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    record(index, [new("other", patient_id="P9")])
    assert outcomes(record(index, [new()], known)) == ["version"]
    assert sorted(
        rows(index, select(study.c.patient_id, series.c.instance_count).join(series))
    ) == [
        ("P1", 1),
        ("P9", 0),
    ]


def test_a_remembered_series_that_was_deleted_is_made_again(index, known):
    record(index, slices(2), known)
    with index.write() as connection:
        for table in (instance, series, study):
            connection.execute(delete(table))
    assert outcomes(record(index, slices(3), known)) == ["stored"] * 3
    assert counts(index) == [(uid(1, 1), 3)]
    assert rows(index, select(func.count()).select_from(instance.join(series).join(study))) == [
        (3,)
    ]


def test_hostile_values_are_bounded_and_do_not_fail_the_batch(index, known):
    hostile = new(
        patient_id="x" * 60_000,
        patient_name=b"\0\xff\xed\xa0\x80" + b"\xc3\xa9" * 30_000,
        accession_number="\U0001f600" * 9000,
        study_instance_uid="9" * 128,
        sop_instance_uid="1" * 128,
        instance_number=10**30,
        number_of_frames=2**40,
        series_number=-(10**25),
        study_description=b"\0\0\0",
        institution_name="\udc80",
        request_attributes=b"\xfe\xff\x00\xe0\xff\xff\xff\xff nothing of the kind",
        authority="a" * 9999,
    )
    assert outcomes(record(index, [hostile, hostile], known)) == ["stored", "already"]
    with index.read() as connection:
        assert existing(connection, "CARY", "1" * 128) == hostile.digest


def test_two_long_patient_ids_that_begin_alike_stay_two(index, known):
    record(
        index,
        [
            new(patient_id="x" * 400 + "1"),
            new(patient_id="x" * 400 + "2", sop_instance_uid=uid(1, 1, 2)),
        ],
        known,
    )
    assert len(counts(index)) == 2


def test_an_instance_that_is_not_there_has_no_digest(index):
    with index.read() as connection:
        assert existing(connection, "CARY", uid(1)) is None


def _send(index, known, batches, tally):
    for batch in batches:
        recorded = index.transact(
            lambda connection, batch=batch: record_batch(connection, known, batch)
        )
        tally.update(outcomes(recorded))


def _send_from_a_process(folder, url, threads, batches, results):
    index = Index.open(folder, url)
    known = KnownSeries()
    tally: Counter[str] = Counter()
    workers = [
        threading.Thread(target=_send, args=(index, known, batches, tally)) for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    index.dispose()
    results.put(dict(tally))


def _race(tmp_path, url, batches):
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    processes = [
        spawn.Process(target=_send_from_a_process, args=(tmp_path, url, 4, batches, results))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    total = sum((Counter(results.get(timeout=120)) for _ in processes), Counter())
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return total


def test_a_thousand_identical_sends_at_once_leave_one_row(index, url, tmp_path):
    assert _race(tmp_path, url, [[new()]] * 125) == {"stored": 1, "already": 999}
    assert rows(index, select(func.count()).select_from(instance)) == [(1,)]
    assert counts(index) == [(uid(1, 1), 1)]


def test_batches_that_overlap_at_once_store_each_instance_once(index, url, tmp_path):
    items = slices(20) + slices(20, series=2)
    batches = [items[at : at + 10] for at in range(0, 40, 5)]
    batches += [list(reversed(batch)) for batch in batches]
    total = _race(tmp_path, url, batches)
    assert total["stored"] == 40
    assert total["version"] == 0
    assert counts(index) == [(uid(1, 1), 20), (uid(1, 2), 20)]


def test_versions_that_race_are_numbered_without_gaps_and_one_is_current(index, url, tmp_path):
    batches = [[new(f"content {number}")] for number in range(10)]
    total = _race(tmp_path, url, batches)
    assert total == {"stored": 1, "version": 9, "already": 70}
    versions = rows(index, select(instance.c.version, instance.c.current))
    assert sorted(version for version, _ in versions) == list(range(1, 11))
    assert [version for version, current in versions if current] == [10]
    assert counts(index) == [(uid(1, 1), 1)]
