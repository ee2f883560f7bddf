"""Events are appended in order, in one commit for all that wait, and never without durability."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sebago.errors import IndexAway
from sebago.ledger import Event, Ledger, append, last, replay
from tests.databases import an_index


def note(number: int, **body: object) -> Event:
    return Event("test.noted", "local:test", "CARY", str(number), body)


def test_an_event_is_read_back_as_it_was_appended(ledger_index):
    with ledger_index.write_ledger() as conn:
        seq = append(
            conn, Event("test.noted", "user:ann", "CARY", "1.2.3", {"a": [1, "ü"]}), at_us=7
        )
    with ledger_index.read() as conn:
        (recorded,) = replay(conn)
    assert (recorded.seq, seq) == (1, 1)
    assert recorded.at_us == 7
    assert (recorded.kind, recorded.actor) == ("test.noted", "user:ann")
    assert (recorded.facility, recorded.subject) == ("CARY", "1.2.3")
    assert recorded.body == {"a": [1, "ü"]}


def test_numbers_have_no_gaps_also_after_a_transaction_that_failed(ledger_index):
    ledger = Ledger(ledger_index)
    assert ledger.append([note(1), note(2)]) == 1

    def fail() -> None:
        with ledger_index.write_ledger() as conn:
            append(conn, note(99))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ledger.append([note(3)]) == 3
    with ledger_index.read() as conn:
        assert last(conn) == 3
        assert [event.subject for event in replay(conn)] == ["1", "2", "3"]


def test_replay_starts_after_a_number_and_keeps_to_the_kinds_named(ledger_index):
    ledger = Ledger(ledger_index)
    ledger.append([Event(f"test.{n % 2}", "local:test", "", str(n)) for n in range(2500)])
    with ledger_index.read() as conn:
        odd = [event.subject for event in replay(conn, after=1001, kinds=["test.1"])]
        everything = [event.seq for event in replay(conn)]
    assert odd == [str(n) for n in range(1001, 2500, 2)]
    assert everything == list(range(1, 2501))


def test_many_threads_share_commits_and_none_is_lost_or_doubled(ledger_index):
    ledger = Ledger(ledger_index)
    barrier = threading.Barrier(8)

    def work(thread: int) -> list[int]:
        barrier.wait()
        return [ledger.append([note(thread * 100 + n)]) for n in range(25)]

    with ThreadPoolExecutor(8) as pool:
        numbers = [seq for seqs in pool.map(work, range(8)) for seq in seqs]
    assert sorted(numbers) == list(range(1, 201))
    with ledger_index.read() as conn:
        by_seq = {event.seq: event.subject for event in replay(conn)}
    subjects = {str(t * 100 + n) for t in range(8) for n in range(25)}
    assert set(by_seq.values()) == subjects
    for thread in range(8):
        own = [seq for seq, subject in sorted(by_seq.items()) if int(subject) // 100 == thread]
        assert [int(by_seq[seq]) % 100 for seq in own] == list(range(25))


def test_a_reader_never_sees_a_smaller_number_after_a_larger_one(ledger_index):
    ledgers = [Ledger(ledger_index), Ledger(ledger_index)]  # as two processes would have
    done = threading.Event()
    seen: list[list[int]] = []

    def watch() -> None:
        while not done.is_set():
            with ledger_index.read() as conn:
                seen.append([event.seq for event in replay(conn)])

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: ledgers[n % 2].append([note(n)]), range(60)))
    done.set()
    watcher.join()
    for numbers in seen:
        assert numbers == list(range(1, len(numbers) + 1))


def test_hostile_characters_in_a_subject_are_spelled_out_and_fail_nobody(ledger_index):
    ledger = Ledger(ledger_index)
    hostile = "1.2\x00\r\n\x1b[31m\ud800ü"
    ledger.append([Event("test.noted", hostile, hostile, hostile, {"q": hostile}), note(1)])
    with ledger_index.read() as conn:
        first, second = replay(conn)
    assert first.subject == r"1.2\x00\r\n\x1b[31m\ud800\xfc"
    assert first.body == {"q": hostile}
    assert second.subject == "1"


class ClosedIndex:
    """A database that is away."""

    def write_ledger(self):
        raise IndexAway("away")


class BrokenIndex:
    """A database whose transaction ends in a mistake of ours."""

    def write_ledger(self):
        raise ZeroDivisionError


def test_a_ledger_that_cannot_be_written_says_so_to_everyone_who_waits():
    ledger = Ledger(ClosedIndex())
    tickets = [ledger.submit([note(n)]) for n in range(3)]
    for ticket in tickets:
        with pytest.raises(IndexAway, match="nothing is shown unrecorded"):
            ledger.wait(ticket)


def test_a_mistake_while_writing_is_never_taken_for_a_recorded_event():
    ledger = Ledger(BrokenIndex())
    first, second = ledger.submit([note(1)]), ledger.submit([note(2)])
    with pytest.raises(ZeroDivisionError):
        ledger.wait(first)
    with pytest.raises(IndexAway):
        ledger.wait(second)


def test_appending_and_the_registrys_look_read_one_row_each_not_a_table(tmp_path):
    with an_index("sqlite", tmp_path) as index, index.read() as conn:
        for statement in (
            "SELECT coalesce(max(seq), 0) FROM ledger.event",
            "SELECT seq FROM ledger.projection WHERE name = 'registry'",
        ):
            plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").all()
            assert [row[3].split()[0] for row in plan] == ["SEARCH"], plan
