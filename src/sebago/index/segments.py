"""How far the journal is indexed, and which of its segments are still needed."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from sebago.index.tables import instance, journal_segment


def watermarks(connection: Connection) -> dict[tuple[str, int], int]:
    """(writer, segment) to the bytes that are indexed: where replay begins."""
    return {
        (writer, segment): indexed_bytes
        for writer, segment, indexed_bytes in connection.execute(
            select(
                journal_segment.c.writer,
                journal_segment.c.segment,
                journal_segment.c.indexed_bytes,
            )
        )
    }


def forget(connection: Connection, writer: str, segment: int) -> None:
    """Drop the watermark of a segment that is no longer in the journal."""
    connection.execute(
        delete(journal_segment).where(
            journal_segment.c.writer == writer, journal_segment.c.segment == segment
        )
    )


def is_needed(connection: Connection, writer: str, segment: int) -> bool:
    """Whether an instance, of any version, still lies in a segment. Reads every row in the worst case."""
    statement = (
        select(instance.c.instance_id)
        .where(instance.c.writer == writer, instance.c.segment == segment)
        .limit(1)
    )
    return connection.execute(statement).first() is not None
