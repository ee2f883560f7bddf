"""The statements of `record`, as text for the driver's cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    bindparam,
    case,
    delete,
    literal_column,
    select,
    update,
)

from sebago.index.statements import compiled, insert_into
from sebago.index.study_values import SERIES_COLUMNS, STUDY_COLUMNS
from sebago.index.tables import instance, journal_segment, metadata_chunk, series, study

INSTANCE_COLUMNS: Final = (
    "series_id",
    "facility",
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "instance_number",
    "rows",
    "columns",
    "number_of_frames",
    "bits_allocated",
    "content_date",
    "content_time",
    "attributes",
    "digest",
    "writer",
    "segment",
    "data_offset",
    "data_length",
    "received_us",
)


@dataclass(frozen=True, slots=True)
class RecordSql:
    """SQL text by what it does; the order of each one's values stands beside its construction."""

    insert_study: str
    find_study: str
    other_patients: str
    insert_series: str
    find_series: str
    insert_instance: str
    insert_version: str
    same_content: str
    lock_current: str
    last_version: str
    retire: str
    move_instance: str
    count_series: str
    delete_chunk: str
    mark: str
    existing: str


_STUDY_KEY: Final = ("study_instance_uid", "facility", "assigning_authority", "patient_id")
_SERIES_KEY: Final = ("custody_id", "series_instance_uid")


@cache
def record_sql(dialect: str) -> RecordSql:
    """Every statement of recording, compiled for one database."""
    one: ColumnElement[int] = literal_column("1")

    def inserted(table: Any, names: Sequence[str], taken: Sequence[str], **more: Any) -> str:  # noqa: ANN401
        statement = (
            insert_into(table, dialect)
            .values({name: bindparam(name) for name in names} | more)
            .on_conflict_do_nothing(index_elements=list(taken))
        )
        ready: ClauseElement = statement
        if dialect != "sqlite":  # SQLite's driver tells the new row's id by itself
            ready = statement.returning(table.primary_key.columns[0])
        return compiled(ready, dialect, names)

    this_instance = (
        instance.c.sop_instance_uid == bindparam("sop_instance_uid"),
        instance.c.facility == bindparam("facility"),
    )
    instance_key = ("sop_instance_uid", "facility", "current")
    current = instance.c.current == one
    lock = (
        select(instance.c.instance_id, instance.c.series_id)
        .where(*this_instance, current)
        .with_for_update()
    )
    marked = insert_into(journal_segment, dialect).values(
        {name: bindparam(name) for name in ("writer", "segment", "indexed_bytes")}
    )
    later = marked.excluded.indexed_bytes
    marked = marked.on_conflict_do_update(
        index_elements=["writer", "segment"],
        set_={
            "indexed_bytes": case(
                (later > journal_segment.c.indexed_bytes, later),
                else_=journal_segment.c.indexed_bytes,
            )
        },
    )
    return RecordSql(
        insert_study=inserted(
            study, (*_STUDY_KEY, *STUDY_COLUMNS, "first_received_us"), _STUDY_KEY
        ),
        find_study=compiled(
            select(study.c.custody_id, *(study.c[name] for name in STUDY_COLUMNS)).where(
                *(study.c[name] == bindparam(name) for name in _STUDY_KEY)
            ),
            dialect,
            _STUDY_KEY,
        ),
        other_patients=compiled(
            select(one)
            .select_from(study)
            .where(
                study.c.study_instance_uid == bindparam("study_instance_uid"),
                study.c.facility == bindparam("facility"),
                study.c.custody_id != bindparam("custody_id"),
            ),
            dialect,
            ("study_instance_uid", "facility", "custody_id"),
        ),
        insert_series=inserted(series, (*_SERIES_KEY, *SERIES_COLUMNS, "changed_us"), _SERIES_KEY),
        find_series=compiled(
            select(series.c.series_id, *(series.c[name] for name in SERIES_COLUMNS)).where(
                *(series.c[name] == bindparam(name) for name in _SERIES_KEY)
            ),
            dialect,
            _SERIES_KEY,
        ),
        insert_instance=inserted(instance, INSTANCE_COLUMNS, instance_key, current=one),
        insert_version=inserted(
            instance, (*INSTANCE_COLUMNS, "version"), instance_key, current=one
        ),
        same_content=compiled(
            select(instance.c.instance_id)
            .where(*this_instance, instance.c.digest == bindparam("digest"))
            .order_by(instance.c.version.desc()),
            dialect,
            ("sop_instance_uid", "facility", "digest"),
        ),
        lock_current=compiled(lock, dialect, ("sop_instance_uid", "facility")),
        last_version=compiled(
            select(instance.c.version).where(*this_instance).order_by(instance.c.version.desc()),
            dialect,
            ("sop_instance_uid", "facility"),
        ),
        retire=compiled(
            update(instance)
            .where(instance.c.instance_id == bindparam("id_"))
            .values(current=literal_column("NULL")),
            dialect,
            ("id_",),
        ),
        move_instance=compiled(
            update(instance)
            .where(instance.c.instance_id == bindparam("id_"))
            .values(series_id=bindparam("new_series_id")),
            dialect,
            ("new_series_id", "id_"),
        ),
        count_series=compiled(
            update(series)
            .where(series.c.series_id == bindparam("id_"))
            .values(
                instance_count=series.c.instance_count + bindparam("more"),
                changed_us=case(
                    (series.c.changed_us < bindparam("at_us"), bindparam("set_us")),
                    else_=series.c.changed_us,
                ),
            ),
            dialect,
            ("more", "at_us", "set_us", "id_"),
        ),
        delete_chunk=compiled(
            delete(metadata_chunk).where(metadata_chunk.c.chunk_id == bindparam("id_")),
            dialect,
            ("id_",),
        ),
        mark=compiled(marked, dialect, ("writer", "segment", "indexed_bytes")),
        existing=compiled(
            select(instance.c.digest).where(*this_instance, current),
            dialect,
            ("sop_instance_uid", "facility"),
        ),
    )
