"""The ledger's tables: the events, and the registry as a projection of them.

`event` is the one table that is neither a projection nor work in hand: until it is sealed into
segments it is the fact itself. Its rows are appended, never updated and never deleted.
`facility`, `peer`, `user_account` and `token` are projections of events: they may be emptied and
are made again by `sebago.registry.rebuild`. `projection` says up to which event each one is made.

Conventions are those of `sebago.index.tables`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, UniqueConstraint

from sebago.index.tables import LEDGER, key_type, micros, text, text_type

event = Table(
    "event",
    LEDGER,
    # 1, 2, 3, ... in the order of commits, without a gap: a missing number is a missing event.
    Column("seq", key_type(), primary_key=True, autoincrement=False),
    micros("at_us"),
    text("kind"),
    text("actor"),
    text("facility"),
    text("subject"),
    text("body"),  # JSON, as sebago.ledger.event.encode_body wrote it
)
Index("ix_event_kind", event.c.kind, event.c.seq)

projection = Table(
    "projection",
    LEDGER,
    Column("name", text_type(), primary_key=True),
    Column("seq", BigInteger, nullable=False),  # of the last event that changed it
)

facility = Table(
    "facility",
    LEDGER,
    Column("code", text_type(), primary_key=True),
    text("name"),
    text("authority_namespace"),
    text("authority_oid"),
    micros("added_us"),
)

peer = Table(
    "peer",
    LEDGER,
    Column("ae_title", text_type(), primary_key=True),  # a title belongs to one facility
    text("facility"),
    text("host"),  # "": it calls us, and cannot be called
    Column("port", Integer, nullable=False),
)

user_account = Table(
    "user_account",
    LEDGER,
    Column("login", text_type(), primary_key=True),
    text("password_hash"),  # argon2id with its parameters
    text("role"),
    text("facility"),
    Column("disabled", Boolean, nullable=False),
    micros("added_us"),
)

token = Table(
    "token",
    LEDGER,
    Column("token_id", text_type(), primary_key=True),
    text("secret_sha256"),  # hexadecimal; the secret itself is kept nowhere
    text("role"),
    text("facility"),
    micros("created_us"),
    micros("expires_us"),
    micros("revoked_us", nullable=True),
    UniqueConstraint("secret_sha256"),
)
