"""Statements on the ledger's events: append, read in order, how far a projection is made."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, text, update

from sebago.index.ledger_tables import event, projection

_APPENDING = 0x5EBA61
"""Advisory lock of whoever appends to this database's ledger; a number of our own."""


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as its columns; `body` is JSON text, `at_us` UTC in microseconds."""

    at_us: int
    kind: str
    actor: str
    facility: str
    subject: str
    body: str


_append = insert(event)
_last = select(func.coalesce(func.max(event.c.seq), 0))
_columns = (
    event.c.seq,
    event.c.at_us,
    event.c.kind,
    event.c.actor,
    event.c.facility,
    event.c.subject,
    event.c.body,
)


def lock_ledger(conn: Connection) -> None:
    """Let nobody else append until this transaction ends: what is checked now stays true.

    SQLite has one writer anyway; on PostgreSQL an advisory lock, so readers wait for nothing.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _APPENDING})


def append_events(conn: Connection, rows: Sequence[EventRow]) -> int:
    """Append events in their order; returns the sequence number of the first.

    Numbers are given without gaps in the order of commits: SQLite has one writer, PostgreSQL gets
    a lock for the transaction, so a reader that has seen number n never sees a smaller one later.
    """
    lock_ledger(conn)
    first: int = conn.execute(_last).scalar_one() + 1
    conn.execute(
        _append,
        [
            {
                "seq": first + place,
                "at_us": row.at_us,
                "kind": row.kind,
                "actor": row.actor,
                "facility": row.facility,
                "subject": row.subject,
                "body": row.body,
            }
            for place, row in enumerate(rows)
        ],
    )
    return first


def last_seq(conn: Connection) -> int:
    """The number of the last event; 0 where there is none."""
    seq: int = conn.execute(_last).scalar_one()
    return seq


def read_events(
    conn: Connection, *, after: int = 0, kinds: Collection[str] = (), rows_max: int = 1000
) -> Iterator[tuple[int, EventRow]]:
    """Events past `after` in order, of `kinds` where any are named; read `rows_max` at a time."""
    while True:
        statement = select(*_columns).where(event.c.seq > after).order_by(event.c.seq)
        if kinds:
            statement = statement.where(event.c.kind.in_(sorted(kinds)))
        found = conn.execute(statement.limit(rows_max)).all()
        for row in found:
            yield row[0], EventRow(*row[1:])
        if len(found) < rows_max:
            return
        after = found[-1][0]


def projected_seq(conn: Connection, name: str) -> int:
    """The last event that changed a projection; 0 where none ever did."""
    seq = conn.execute(select(projection.c.seq).where(projection.c.name == name)).scalar()
    return seq or 0


def set_projected_seq(conn: Connection, name: str, seq: int) -> None:
    """Say that a projection is made up to event `seq`."""
    done = conn.execute(update(projection).where(projection.c.name == name).values(seq=seq))
    if done.rowcount == 0:
        conn.execute(insert(projection).values(name=name, seq=seq))
