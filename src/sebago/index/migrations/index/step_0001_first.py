"""The index as first released."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine


def text() -> TypeEngine[str]:
    """Text compared byte by byte, as `tables.text_type` was at this step."""
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def key() -> TypeEngine[int]:
    """A row id, as `tables.key_type` was at this step."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


# SQLite plans by what ANALYZE found, and without it takes one facility's studies for ten rows. It
# is told instead what a large archive looks like, so that plans are the same from the first study
# on: rows, then rows that agree in the first column of the index, the first two, and so on.
STATISTICS = {
    ("study", "sqlite_autoindex_study_1"): "2000000 2 1 1 1",
    ("study", "ix_study_patient_id"): "2000000 4",
    ("study", "ix_study_patient_name"): "2000000 4",
    ("study", "ix_study_patient_name_ideographic"): "2000000 4",
    ("study", "ix_study_patient_name_phonetic"): "2000000 4",
    ("study", "ix_study_accession_number"): "2000000 2",
    ("study", "ix_study_newest"): "2000000 5000 3 1",
    ("study", "ix_study_newest_of_facility"): "2000000 200000 500 2 1",
    ("study", "ix_study_arrival_of_facility"): "2000000 200000 1",
    ("series", "sqlite_autoindex_series_1"): "8000000 4 1",
    ("series", "ix_series_uid"): "8000000 2",
    ("instance", "sqlite_autoindex_instance_1"): "80000000 2 1 1",
    ("instance", "ix_instance_series"): "80000000 40",
    ("metadata_chunk", "ix_metadata_chunk_series"): "200000 2",
}


def upgrade() -> None:
    """Make every table."""
    make_tables()
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ANALYZE main")
        statistics = sa.table("sqlite_stat1", sa.column("tbl"), sa.column("idx"), sa.column("stat"))
        op.execute(statistics.delete())
        op.bulk_insert(
            statistics,
            [{"tbl": t, "idx": i, "stat": stat} for (t, i), stat in STATISTICS.items()],
        )
        op.execute("ANALYZE sqlite_schema")


def make_tables() -> None:
    """As `tables` declared them at this step."""
    op.create_table(
        "finding",
        sa.Column("finding_id", key(), autoincrement=True, nullable=False),
        sa.Column("kind", text(), server_default="", nullable=False),
        sa.Column("facility", text(), server_default="", nullable=False),
        sa.Column("subject", text(), server_default="", nullable=False),
        sa.Column("detail", text(), server_default="", nullable=False),
        sa.Column("first_us", sa.BigInteger(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("finding_id", name="pk_finding"),
        sa.UniqueConstraint("kind", "facility", "subject", name="uq_finding"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "journal_segment",
        sa.Column("writer", text(), nullable=False),
        sa.Column("segment", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("indexed_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("writer", "segment", name="pk_journal_segment"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "study",
        sa.Column("custody_id", key(), autoincrement=True, nullable=False),
        sa.Column("study_instance_uid", text(), server_default="", nullable=False),
        sa.Column("facility", text(), server_default="", nullable=False),
        sa.Column("assigning_authority", text(), server_default="", nullable=False),
        sa.Column("patient_id", text(), server_default="", nullable=False),
        sa.Column("issuer_of_patient_id", text(), server_default="", nullable=False),
        sa.Column("patient_name", text(), server_default="", nullable=False),
        sa.Column("patient_birth_date", text(), server_default="", nullable=False),
        sa.Column("patient_sex", text(), server_default="", nullable=False),
        sa.Column("study_date", text(), server_default="", nullable=False),
        sa.Column("study_time", text(), server_default="", nullable=False),
        sa.Column("accession_number", text(), server_default="", nullable=False),
        sa.Column("study_id", text(), server_default="", nullable=False),
        sa.Column("study_description", text(), server_default="", nullable=False),
        sa.Column("referring_physician_name", text(), server_default="", nullable=False),
        sa.Column("patient_name_folded", text(), server_default="", nullable=False),
        sa.Column("patient_name_ideographic_folded", text(), server_default="", nullable=False),
        sa.Column("patient_name_phonetic_folded", text(), server_default="", nullable=False),
        sa.Column("study_description_folded", text(), server_default="", nullable=False),
        sa.Column("referring_physician_name_folded", text(), server_default="", nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.Column("first_received_us", sa.BigInteger(), nullable=False),
        sa.Column("settled_us", sa.BigInteger(), nullable=True),
        sa.Column("lease_until_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("custody_id", name="pk_study"),
        sa.UniqueConstraint(
            "study_instance_uid", "facility", "assigning_authority", "patient_id", name="uq_study"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_study_accession_number", "study", ["accession_number"])
    op.create_index("ix_study_arrival_of_facility", "study", ["facility", "custody_id"])
    op.create_index("ix_study_newest", "study", ["study_date", "study_time", "custody_id"])
    op.create_index(
        "ix_study_newest_of_facility",
        "study",
        ["facility", "study_date", "study_time", "custody_id"],
    )
    op.create_index("ix_study_patient_id", "study", ["patient_id"])
    op.create_index("ix_study_patient_name", "study", ["patient_name_folded"])
    op.create_index(
        "ix_study_patient_name_ideographic", "study", ["patient_name_ideographic_folded"]
    )
    op.create_index("ix_study_patient_name_phonetic", "study", ["patient_name_phonetic_folded"])
    op.create_table(
        "series",
        sa.Column("series_id", key(), autoincrement=True, nullable=False),
        sa.Column("custody_id", key(), nullable=False),
        sa.Column("series_instance_uid", text(), server_default="", nullable=False),
        sa.Column("modality", text(), server_default="", nullable=False),
        sa.Column("series_number", sa.BigInteger(), nullable=True),
        sa.Column("series_description", text(), server_default="", nullable=False),
        sa.Column("body_part_examined", text(), server_default="", nullable=False),
        sa.Column("performed_procedure_step_start_date", text(), server_default="", nullable=False),
        sa.Column("performed_procedure_step_start_time", text(), server_default="", nullable=False),
        sa.Column("institution_name", text(), server_default="", nullable=False),
        sa.Column("station_name", text(), server_default="", nullable=False),
        sa.Column("series_description_folded", text(), server_default="", nullable=False),
        sa.Column("institution_name_folded", text(), server_default="", nullable=False),
        sa.Column("station_name_folded", text(), server_default="", nullable=False),
        sa.Column("requested_procedure_ids", text(), server_default="", nullable=False),
        sa.Column("scheduled_procedure_step_ids", text(), server_default="", nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.Column("instance_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("changed_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["custody_id"],
            ["study.custody_id"],
            name="fk_series_study",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("series_id", name="pk_series"),
        sa.UniqueConstraint("custody_id", "series_instance_uid", name="uq_series"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_series_uid", "series", ["series_instance_uid"])
    op.create_table(
        "instance",
        sa.Column("instance_id", key(), autoincrement=True, nullable=False),
        sa.Column("series_id", key(), nullable=False),
        sa.Column("facility", text(), server_default="", nullable=False),
        sa.Column("sop_instance_uid", text(), server_default="", nullable=False),
        sa.Column("sop_class_uid", text(), server_default="", nullable=False),
        sa.Column("transfer_syntax_uid", text(), server_default="", nullable=False),
        sa.Column("instance_number", sa.BigInteger(), nullable=True),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("columns", sa.Integer(), nullable=True),
        sa.Column("number_of_frames", sa.Integer(), nullable=True),
        sa.Column("bits_allocated", sa.Integer(), nullable=True),
        sa.Column("content_date", text(), server_default="", nullable=False),
        sa.Column("content_time", text(), server_default="", nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("writer", text(), server_default="", nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("data_offset", sa.BigInteger(), nullable=False),
        sa.Column("data_length", sa.BigInteger(), nullable=False),
        sa.Column("received_us", sa.BigInteger(), nullable=False),
        sa.Column("current", sa.SmallInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(
            ["series_id"],
            ["series.series_id"],
            name="fk_instance_series",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("instance_id", name="pk_instance"),
        sa.UniqueConstraint("sop_instance_uid", "facility", "current", name="uq_instance"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_instance_series", "instance", ["series_id"])
    op.create_table(
        "metadata_chunk",
        sa.Column("chunk_id", key(), autoincrement=True, nullable=False),
        sa.Column("series_id", key(), nullable=False),
        sa.Column("instance_count", sa.Integer(), nullable=False),
        sa.Column("instance_ids", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["series_id"],
            ["series.series_id"],
            name="fk_metadata_chunk_series",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("chunk_id", name="pk_metadata_chunk"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_metadata_chunk_series", "metadata_chunk", ["series_id"])
