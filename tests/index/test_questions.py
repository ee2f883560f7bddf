"""Questions about custodies, versions, chunks and the journal's segments."""

from __future__ import annotations

import pytest

from sebago.index import instances, metadata, segments, studies
from sebago.index.record import KnownSeries, record_batch
from sebago.index.views import View
from tests.index.made import MadePlace, new, slices, uid

CARY = View("CARY")
STATE = View("CARY", exchange=True)


@pytest.fixture
def store(index):
    known = KnownSeries()

    def store(*items):
        with index.write() as connection:
            return [one.instance_id for one in record_batch(connection, known, items)]

    return store


@pytest.fixture
def ask(index):
    def ask(question, *args, **more):
        with index.read() as connection:
            return question(connection, *args, **more)

    return ask


def add(index, series_id, ids, body=b"lines"):
    with index.write() as connection:
        return metadata.add_chunk(connection, series_id, ids, body)


def test_custodians_are_those_that_hold_an_instance(store, ask):
    store(*slices(1), *slices(1, facility="YORK"), *slices(1, study=2, facility="BATH"))
    assert ask(studies.custodians, uid(1)) == {"CARY", "YORK"}
    assert ask(studies.custodians, uid(9)) == frozenset()
    assert [one.facility for one in ask(studies.custodies, STATE, uid(1))] == ["CARY", "YORK"]
    assert [one.facility for one in ask(studies.custodies, CARY, uid(1))] == ["CARY"]
    assert ask(studies.custodies, CARY, uid(2)) == []


def test_totals_are_told_by_facility(store, ask):
    store(*slices(3), *slices(2, study=2), *slices(1, facility="YORK", received_us=77))
    cary, york = ask(studies.totals)
    assert (cary.facility, cary.studies, cary.series, cary.instances) == ("CARY", 2, 2, 5)
    assert (york.instances, york.received_bytes, york.last_received_us) == (1, 1000, 77)


def test_what_is_held_is_told_down_to_one_instance(store, ask):
    store(*slices(2), *slices(2, series=2))
    assert len(ask(instances.held, CARY, uid(1))) == 4
    assert len(ask(instances.held, CARY, uid(1), uid(1, 2))) == 2
    (one,) = ask(instances.held, CARY, uid(1), uid(1, 2), uid(1, 2, 1))
    assert (one.series_number, one.instance_number, one.data_length) == (2, 1, 1000)
    assert one.digest == slices(1, series=2)[0].digest
    assert ask(instances.held, CARY, uid(1), uid(1, 1), uid(1, 2, 1)) == []
    assert ask(instances.held, View("YORK"), uid(1)) == []


def test_every_version_stays_to_be_had(store, ask):
    store(new("a"), new("b"))
    store(new("c"))
    found = ask(instances.versions, "CARY", uid(1, 1, 1))
    assert [one.version for one in found] == [3, 2, 1]
    assert [one.digest for one in found] == [new(text).digest for text in "cba"]
    assert len(ask(instances.held, CARY, uid(1))) == 1


def test_every_row_is_walked_page_by_page(store, ask):
    ids = store(*slices(5))
    first = ask(instances.every, limit=3)
    rest = ask(instances.every, after_id=first[-1].instance_id, limit=3)
    assert [one.instance_id for one in first + rest] == ids


def test_watermarks_say_where_replay_begins(index, store, ask):
    store(new(place=MadePlace(segment=1, end=10)))
    store(new("b", place=MadePlace(writer="w2", segment=3, end=20)))
    assert ask(segments.watermarks) == {("w1", 1): 10, ("w2", 3): 20}
    assert ask(segments.is_needed, "w1", 1)
    assert not ask(segments.is_needed, "w1", 2)
    with index.write() as connection:
        segments.forget(connection, "w1", 1)
    assert ask(segments.watermarks) == {("w2", 3): 20}


def test_chunks_hold_what_they_were_made_of_until_a_version_comes(index, store, ask):
    ids = store(*slices(4))
    (series_id,) = {one.series_id for one in ask(instances.held, CARY, uid(1))}
    assert ask(metadata.without_chunk, series_id) == ids
    assert ask(metadata.arrived, after_id=ids[0]) == [(one, series_id) for one in ids[1:]]
    assert ask(metadata.last_id) == ids[-1]
    assert add(index, series_id, ids[:3], b"three")
    assert add(index, series_id, ids[3:], b"one")
    assert ask(metadata.without_chunk, series_id) == []

    def read(connection):
        return [(one.instance_ids, one.body) for one in metadata.chunks(connection, series_id)]

    assert ask(read) == [(tuple(ids[:3]), b"three"), (tuple(ids[3:]), b"one")]
    (newer,) = store(new("newer"))
    assert ask(read) == [(tuple(ids[3:]), b"one")]
    assert ask(metadata.without_chunk, series_id) == [*ids[1:3], newer]


def test_a_chunk_made_of_what_is_no_longer_current_is_not_kept(index, store, ask):
    ids = store(*slices(2))
    store(new("newer"))
    (series_id,) = {one.series_id for one in ask(instances.held, CARY, uid(1))}
    assert not add(index, series_id, ids)
    assert not add(index, series_id, [ids[1], 999])
    assert add(index, series_id, ids[1:])
    assert not add(index, series_id, ids[1:])


def test_a_read_goes_on_with_other_questions_after_chunks(index, store):
    ids = store(*slices(2))
    with index.read() as connection:
        series_id = instances.held(connection, CARY, uid(1))[0].series_id
    add(index, series_id, ids)
    with index.read() as connection:
        assert len(list(metadata.chunks(connection, series_id))) == 1
        assert metadata.without_chunk(connection, series_id) == []


def test_a_fingerprint_changes_when_anything_comes(store, ask):
    store(*slices(2))
    (series_id,) = {one.series_id for one in ask(instances.held, CARY, uid(1))}
    seen = [ask(metadata.fingerprint, [series_id])]
    store(slices(3)[2])
    seen.append(ask(metadata.fingerprint, [series_id]))
    store(new("newer"))
    seen.append(ask(metadata.fingerprint, [series_id]))
    store(new("newer"))
    assert ask(metadata.fingerprint, [series_id]) == seen[-1]
    assert len(set(seen)) == 3
