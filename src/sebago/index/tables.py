"""What the index's tables are, and the conventions that all tables keep.

The index is a projection of packs and journal: it may be deleted and is then made again from
them. Rows therefore name facilities by code, journal places by writer and segment, and nothing
here is the only copy of anything. `study.lease_until_us` alone is work in hand: losing it costs a
piece of work done twice.

Conventions:
- A table of the index has no schema (`main` on SQLite, the search path's `sebago_index` on
  PostgreSQL); a table of the ledger is declared on `LEDGER`, whose schema is `ledger` on both.
- Text is `TEXT`, compared byte by byte on both databases (collation "C" on PostgreSQL), so that
  prefix ranges and orders agree. Absent text is "", never NULL; PostgreSQL keeps no NUL character.
- `..._us` is UTC in microseconds since 1970. Ids are never used again after a row is deleted.
- `..._folded` is what `sebago.dicom.matching.fold` makes of the column beside it.
- Indexes are named by hand: `ix_<table>_<what for>`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

NAMING: Final = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}

INDEX: Final = MetaData(naming_convention=NAMING)
"""Tables of the index: derived, may be deleted."""

LEDGER_SCHEMA: Final = "ledger"
LEDGER: Final = MetaData(schema=LEDGER_SCHEMA, naming_convention=NAMING)
"""Tables of the ledger: events, and the projections of them. Declared in `ledger_tables`."""


def text_type() -> TypeEngine[str]:
    """Text that both databases compare byte by byte."""
    return Text().with_variant(Text(collation="C"), "postgresql")


def key_type() -> TypeEngine[int]:
    """A row id: 64 bits on PostgreSQL, the rowid on SQLite."""
    return BigInteger().with_variant(Integer, "sqlite")


def text(name: str) -> Column[str]:
    """A text column, "" where nothing is known."""
    return Column(name, text_type(), nullable=False, server_default="")


def attributes() -> Column[bytes]:
    """A DICOM JSON object (PS3.18 F.2, UTF-8); empty where there is none."""
    return Column("attributes", LargeBinary, nullable=False)


def key(name: str) -> Column[int]:
    """A primary key given out by the database."""
    return Column(name, key_type(), primary_key=True, autoincrement=True)


def micros(name: str, *, nullable: bool = False) -> Column[int]:
    """A moment: UTC, microseconds since 1970."""
    return Column(name, BigInteger, nullable=nullable)


def to(target: str, name: str | None = None) -> Column[int]:
    """A reference to another row, checked when the transaction ends."""
    return Column(
        name or target.split(".")[-1],
        key_type(),
        ForeignKey(target, deferrable=True, initially="DEFERRED"),
        nullable=False,
    )


# One facility's custody of one study of one patient. The same UID from another facility, or under
# another patient, is another row: two patients are never merged by a UID.
study = Table(
    "study",
    INDEX,
    key("custody_id"),
    text("study_instance_uid"),
    text("facility"),
    text("assigning_authority"),
    text("patient_id"),
    text("issuer_of_patient_id"),
    text("patient_name"),
    text("patient_birth_date"),
    text("patient_sex"),
    text("study_date"),
    text("study_time"),
    text("accession_number"),
    text("study_id"),
    text("study_description"),
    text("referring_physician_name"),
    text("patient_name_folded"),  # alphabetic component group
    text("patient_name_ideographic_folded"),
    text("patient_name_phonetic_folded"),
    text("study_description_folded"),
    text("referring_physician_name_folded"),
    attributes(),  # what else a study-level answer may return
    micros("first_received_us"),
    micros("settled_us", nullable=True),
    micros("lease_until_us", nullable=True),
    UniqueConstraint("study_instance_uid", "facility", "assigning_authority", "patient_id"),
    Index("ix_study_patient_id", "patient_id"),
    Index("ix_study_patient_name", "patient_name_folded"),
    Index("ix_study_patient_name_ideographic", "patient_name_ideographic_folded"),
    Index("ix_study_patient_name_phonetic", "patient_name_phonetic_folded"),
    Index("ix_study_accession_number", "accession_number"),
    Index("ix_study_newest", "study_date", "study_time", "custody_id"),
    Index("ix_study_newest_of_facility", "facility", "study_date", "study_time", "custody_id"),
    Index("ix_study_arrival_of_facility", "facility", "custody_id"),
    sqlite_autoincrement=True,
)

series = Table(
    "series",
    INDEX,
    key("series_id"),
    to("study.custody_id"),
    text("series_instance_uid"),
    text("modality"),
    Column("series_number", BigInteger, nullable=True),
    text("series_description"),
    text("body_part_examined"),
    text("performed_procedure_step_start_date"),
    text("performed_procedure_step_start_time"),
    text("institution_name"),
    text("station_name"),
    text("series_description_folded"),
    text("institution_name_folded"),
    text("station_name_folded"),
    text("requested_procedure_ids"),  # each between backslashes: \\A\\B\\
    text("scheduled_procedure_step_ids"),
    attributes(),  # what else a series-level answer may return
    Column("instance_count", Integer, nullable=False, server_default="0"),  # current versions only
    micros("changed_us"),
    UniqueConstraint("custody_id", "series_instance_uid"),
    Index("ix_series_uid", "series_instance_uid"),
    sqlite_autoincrement=True,
)

# One version of one instance in one facility's custody. `current` is 1 in the version that is
# shown and NULL in earlier ones, so that the unique constraint holds the current one alone and
# still finds them all.
instance = Table(
    "instance",
    INDEX,
    key("instance_id"),
    to("series.series_id"),
    text("facility"),
    text("sop_instance_uid"),
    text("sop_class_uid"),
    text("transfer_syntax_uid"),
    Column("instance_number", BigInteger, nullable=True),
    Column("rows", Integer, nullable=True),
    Column("columns", Integer, nullable=True),
    Column("number_of_frames", Integer, nullable=True),
    Column("bits_allocated", Integer, nullable=True),
    text("content_date"),
    text("content_time"),
    attributes(),  # what else an instance-level answer may return
    Column("digest", LargeBinary, nullable=False),  # BLAKE3-256 of the data set as received
    text("writer"),
    Column("segment", BigInteger, nullable=False),
    Column("data_offset", BigInteger, nullable=False),
    Column("data_length", BigInteger, nullable=False),
    micros("received_us"),
    Column("current", SmallInteger, nullable=True),
    Column("version", Integer, nullable=False, server_default="1"),
    UniqueConstraint("sop_instance_uid", "facility", "current"),
    Index("ix_instance_series", "series_id"),
    sqlite_autoincrement=True,
)

# How far each journal segment is in the index: everything below `indexed_bytes` is.
journal_segment = Table(
    "journal_segment",
    INDEX,
    Column("writer", text_type(), primary_key=True),
    Column("segment", BigInteger, primary_key=True, autoincrement=False),
    Column("indexed_bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# DICOM JSON of some instances of one series, ready to be sent: a zstd frame of one object a line.
metadata_chunk = Table(
    "metadata_chunk",
    INDEX,
    key("chunk_id"),
    to("series.series_id"),
    Column("instance_count", Integer, nullable=False),
    Column("instance_ids", LargeBinary, nullable=False),  # of each line: little-endian int64
    Column("body", LargeBinary, nullable=False),
    Index("ix_metadata_chunk_series", "series_id"),
    sqlite_autoincrement=True,
)

# What somebody should look at: the same UID under two patients, another content under one UID.
finding = Table(
    "finding",
    INDEX,
    key("finding_id"),
    text("kind"),
    text("facility"),
    text("subject"),  # the UID it is about
    text("detail"),
    micros("first_us"),
    micros("last_us"),
    Column("times", Integer, nullable=False, server_default="1"),
    UniqueConstraint("kind", "facility", "subject"),
    sqlite_autoincrement=True,
)
