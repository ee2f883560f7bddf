"""Appending: alone in somebody's transaction, or many threads' events in one commit.

A ledger commit is one sync of the database's log. Where many threads record at once they share
it: each puts its events in the queue; while nobody writes, whoever comes next writes for all that
wait, in one transaction, and wakes them. No thread of its own, no hand-over where one thread is
alone, and the order in the queue is the order of sequence numbers. The waiting is on a condition,
not on the writer's lock: a plain lock lets new writers overtake those whose events are long done
(8 threads on a busy disk: p99 of 130 ms, and of 13 to 24 ms as it is).

An event is durable when `Ledger.append` returns. If it cannot be written, everyone who waited for
that transaction gets `IndexAway`, and whatever was to be recorded must not happen.

Measured on 2 cores, SQLite: 0.37 ms an event alone, of which 0.15 ms are the sync and 0.1 ms the
statements; four threads share a commit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from sebago.errors import IndexAway
from sebago.index.events import EventRow, append_events, last_seq, read_events
from sebago.ledger.event import TEXT_CHARS_MAX, Event, Recorded, decode_body, encode_body


def now_us() -> int:
    """UTC in microseconds, by this machine's clock."""
    return time.time_ns() // 1000


def append(conn: Connection, event: Event, *, at_us: int | None = None) -> int:
    """Append one event in the caller's transaction on the ledger; returns its sequence number.

    For facts whose projection changes in the same transaction. Durable when that commits.
    """
    return append_events(conn, [_row(event, now_us() if at_us is None else at_us)])


def replay(conn: Connection, *, after: int = 0, kinds: Sequence[str] = ()) -> Iterator[Recorded]:
    """Events in their order, past sequence number `after`; of `kinds`, where any are named."""
    for seq, row in read_events(conn, after=after, kinds=kinds):
        yield Recorded(
            seq, row.at_us, row.kind, row.actor, row.facility, row.subject, decode_body(row.body)
        )


def last(conn: Connection) -> int:
    """The sequence number of the last event; 0 in an empty ledger."""
    return last_seq(conn)


class LedgerHome(Protocol):
    """Where a ledger is written: `sebago.index.engine.Index`."""

    def write_ledger(self) -> AbstractContextManager[Connection]:
        """A transaction; what it wrote is on the disk when the block has ended."""


class Ticket:
    """Events on their way into the ledger, and what became of them."""

    __slots__ = ("done", "error", "first_seq", "rows")

    def __init__(self, rows: list[EventRow]) -> None:
        self.rows = rows
        self.first_seq = 0
        self.error: Exception | None = None
        self.done = False


class Ledger:
    """One process's way of appending events; made after a fork, shared by its threads."""

    def __init__(self, index: LedgerHome, *, clock_us: Callable[[], int] = now_us) -> None:
        self._index = index
        self._clock_us = clock_us
        self._moved = threading.Condition(threading.Lock())
        self._queue: list[Ticket] = []
        self._writing = False

    def append(self, events: Sequence[Event]) -> int:
        """Append events together; durable on return. Returns the first one's sequence number.

        Raises:
            IndexAway: the ledger could not be written: what was to be recorded must not happen.
            ValueError: a body is too long, or no JSON.
        """
        ticket = self.submit(events)
        self.wait(ticket)
        return ticket.first_seq

    def submit(self, events: Sequence[Event]) -> Ticket:
        """Put events in the queue. Nothing is written before somebody waits."""
        at_us = self._clock_us()
        ticket = Ticket([_row(event, at_us) for event in events])
        with self._moved:
            self._queue.append(ticket)
        return ticket

    def wait(self, ticket: Ticket) -> None:
        """Return when a ticket's events are durable; any number of threads may wait for one.

        Raises:
            IndexAway: they are not, and will not be.
        """
        if not ticket.done and self._is_my_turn(ticket):
            self._write()
        if ticket.error is not None:
            raise IndexAway(
                "the ledger cannot be written, and nothing is shown unrecorded",
                do="look at the database and its disk; everything goes on by itself afterwards",
            ) from ticket.error

    def _is_my_turn(self, ticket: Ticket) -> bool:
        """Wait until the ticket is done (False), or nobody writes: then the caller does (True)."""
        with self._moved:
            while not ticket.done:
                if not self._writing:
                    self._writing = True
                    return True
                self._moved.wait()
        return False

    def _write(self) -> None:
        with self._moved:
            batch, self._queue = self._queue, []
        # Until the commit has returned it has failed, whatever is raised on the way.
        error: Exception | None = IndexAway("the ledger's transaction did not end")
        seq = 0
        try:
            with self._index.write_ledger() as conn:
                seq = append_events(conn, [row for ticket in batch for row in ticket.rows])
            error = None
        except (SQLAlchemyError, OSError, IndexAway) as failed:
            error = failed
        finally:
            with self._moved:
                self._writing = False
                for ticket in batch:
                    ticket.first_seq = seq
                    ticket.error = error
                    seq += len(ticket.rows)
                    ticket.rows = []
                    ticket.done = True
                self._moved.notify_all()


def _row(event: Event, at_us: int) -> EventRow:
    return EventRow(
        at_us,
        event.kind,
        _plain(event.actor),
        _plain(event.facility),
        _plain(event.subject),
        encode_body(event.body),
    )


def _plain(text: str) -> str:
    """Text that any database and terminal takes: hostile characters are spelled out.

    What arrives in a URL or from a peer may hold NUL or lone surrogates; one such event must not
    fail the transaction of all that wait with it.
    """
    if not (text.isascii() and text.isprintable()):
        text = text.encode("unicode_escape").decode("ascii")
    return text[:TEXT_CHARS_MAX]
