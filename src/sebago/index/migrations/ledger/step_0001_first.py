"""The ledger as first released."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

SCHEMA = "ledger"


def text() -> TypeEngine[str]:
    """Text compared byte by byte, as `tables.text_type` was at this step."""
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def named(name: str) -> sa.Column[str]:
    """A text column, "" where nothing is known."""
    return sa.Column(name, text(), server_default="", nullable=False)


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "event",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        named("kind"),
        named("actor"),
        named("facility"),
        named("subject"),
        named("body"),
        sa.PrimaryKeyConstraint("seq", name="pk_event"),
        schema=SCHEMA,
    )
    op.create_index("ix_event_kind", "event", ["kind", "seq"], schema=SCHEMA)
    op.create_table(
        "projection",
        sa.Column("name", text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_projection"),
        schema=SCHEMA,
    )
    op.create_table(
        "facility",
        sa.Column("code", text(), nullable=False),
        named("name"),
        named("authority_namespace"),
        named("authority_oid"),
        sa.Column("added_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("code", name="pk_facility"),
        schema=SCHEMA,
    )
    op.create_table(
        "peer",
        sa.Column("ae_title", text(), nullable=False),
        named("facility"),
        named("host"),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("ae_title", name="pk_peer"),
        schema=SCHEMA,
    )
    op.create_table(
        "user_account",
        sa.Column("login", text(), nullable=False),
        named("password_hash"),
        named("role"),
        named("facility"),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("added_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("login", name="pk_user_account"),
        schema=SCHEMA,
    )
    op.create_table(
        "token",
        sa.Column("token_id", text(), nullable=False),
        named("secret_sha256"),
        named("role"),
        named("facility"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name="pk_token"),
        sa.UniqueConstraint("secret_sha256", name="uq_token"),
        schema=SCHEMA,
    )
