"""Ready DICOM JSON of a series, in chunks: made once, sent many times.

A chunk is a zstd frame of the DICOM JSON objects of some instances of one series, one a line.
Chunks are made of instances that have none, behind the intake; an instance that gets a new version
takes its chunk with it (`record`), and the others of that chunk are then without one again. So what
is in a chunk is always current, and a reader takes chunks as they are and makes the rest itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from sebago.index.tables import instance, metadata_chunk, series


@dataclass(frozen=True, slots=True)
class Chunk:
    """JSON lines of some current instances of a series."""

    chunk_id: int
    instance_ids: tuple[int, ...]  # of each line
    body: bytes  # a zstd frame


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Changes whenever the answer about a set of series does: what an ETag is made of."""

    instance_count: int
    changed_us: int
    last_instance_id: int


def chunks(connection: Connection, series_id: int) -> Iterator[Chunk]:
    """The chunks of a series, the oldest first, read as they are asked for."""
    statement = (
        select(metadata_chunk.c.chunk_id, metadata_chunk.c.instance_ids, metadata_chunk.c.body)
        .where(metadata_chunk.c.series_id == series_id)
        .order_by(metadata_chunk.c.chunk_id)
    )
    with connection.execute(statement, execution_options={"yield_per": 8}) as rows:
        for chunk_id, instance_ids, body in rows:
            yield Chunk(chunk_id, _unpacked(instance_ids), body)


def chunks_holding(connection: Connection, series_id: int, instance_id: int) -> list[int]:
    """Ids of a series' chunks that have a line of this instance."""
    return [
        chunk_id
        for chunk_id, held in _held(connection, series_id)
        if instance_id in _unpacked(held)
    ]


def _held(connection: Connection, series_id: int) -> list[tuple[int, bytes]]:
    statement = (
        select(metadata_chunk.c.chunk_id, metadata_chunk.c.instance_ids)
        .where(metadata_chunk.c.series_id == series_id)
        .order_by(metadata_chunk.c.chunk_id)
    )
    return [(row[0], row[1]) for row in connection.execute(statement)]


def _current(connection: Connection, series_id: int) -> list[int]:
    statement = (
        select(instance.c.instance_id)
        .where(instance.c.series_id == series_id, instance.c.current == 1)
        .order_by(instance.c.instance_id)
    )
    return list(connection.execute(statement).scalars())


def without_chunk(connection: Connection, series_id: int, *, limit: int = 10_000) -> list[int]:
    """Ids of the current instances of a series that no chunk holds, in the order of arrival."""
    in_chunks = {one for _, held in _held(connection, series_id) for one in _unpacked(held)}
    missing = [one for one in _current(connection, series_id) if one not in in_chunks]
    return missing[:limit]


def arrived(connection: Connection, *, after_id: int, limit: int = 20_000) -> list[tuple[int, int]]:
    """(instance id, series id) of what was recorded past an id, in the order of arrival.

    On PostgreSQL a row may turn up behind a later one that committed first, and so be missed; whoever
    asks for its series first then makes its JSON.
    """
    statement = (
        select(instance.c.instance_id, instance.c.series_id)
        .where(instance.c.instance_id > after_id)
        .order_by(instance.c.instance_id)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in connection.execute(statement)]


def last_id(connection: Connection) -> int:
    """The id of the instance that was recorded last; 0 in an empty index."""
    return int(connection.execute(select(func.max(instance.c.instance_id))).scalar() or 0)


def add_chunk(
    connection: Connection, series_id: int, instance_ids: Sequence[int], body: bytes
) -> bool:
    """Keep a chunk made of these instances; False, and nothing kept, if one is no longer fit.

    One that has got a newer version, or a chunk, since it was read is not fit. Instances do not
    know their chunk: marking 256 rows would hold up whoever waits to record one.
    """
    if not set(instance_ids) <= set(without_chunk(connection, series_id, limit=2**31)):
        return False
    connection.execute(
        insert(metadata_chunk).values(
            series_id=series_id,
            instance_count=len(instance_ids),
            instance_ids=struct.pack(f"<{len(instance_ids)}q", *instance_ids),
            body=body,
        )
    )
    return True


def fingerprint(connection: Connection, series_ids: Sequence[int]) -> Fingerprint:
    """What the series' answers depend on, in one row."""
    counted = connection.execute(
        select(
            func.coalesce(func.sum(series.c.instance_count), 0),
            func.coalesce(func.max(series.c.changed_us), 0),
        ).where(series.c.series_id.in_(list(series_ids)))
    ).one()
    last = connection.execute(
        select(func.coalesce(func.max(instance.c.instance_id), 0)).where(
            instance.c.series_id.in_(list(series_ids))
        )
    ).scalar_one()
    return Fingerprint(int(counted[0]), int(counted[1]), int(last))


def _unpacked(instance_ids: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(instance_ids) // 8}q", instance_ids)
