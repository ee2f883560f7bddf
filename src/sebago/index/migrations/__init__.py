"""Schema changes, run when the database is opened.

Two histories, since the two halves live apart: `index/` for the index, which may be deleted and
starts again from nothing, and `ledger/` for the ledger, which is kept for ever. Each file is one
step, `step_NNNN_what.py`, with one function `upgrade` of Alembic operations; its revision is NNNN.
`python -m sebago.index.migrations.draft` prints a first draft of the next one. There is no way
down: going back is restoring a backup. Each half is upgraded in one transaction, so a
kill at any point leaves the old schema. Changes go expand first, contract in a later release, since
processes of the release before may still be running.

Alembic is imported only when there is something to do: an up-to-date database opens without it.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Column, Connection, MetaData, Table, Text, insert, inspect, select, update

from sebago.errors import NewerDatabase
from sebago.index.tables import LEDGER_SCHEMA

Half = Literal["index", "ledger"]

VERSION_TABLE: Final = "schema_version"
_LOCK_KEY: Final = 0x5EBA60


def revisions(half: Half) -> list[str]:
    """The steps that this program knows, oldest first."""
    return sorted(_steps(half))


def lock(connection: Connection) -> None:
    """On PostgreSQL, let one opener at a time migrate; held until the transaction ends."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")


def upgrade(connection: Connection, half: Half) -> None:
    """Bring one half of the database to this program's schema, inside the caller's transaction.

    Raises:
        NewerDatabase: its version is none that this program knows.
    """
    known = revisions(half)
    version = current(connection, half)
    if version is not None and version not in known:
        raise NewerDatabase(
            f"the {half} is at schema {version}, this program knows up to {known[-1]}",
            do="run the newer release, or restore a backup made before the upgrade",
        )
    missing = known[known.index(version) + 1 :] if version is not None else known
    if missing:
        _run(connection, half, missing)


def current(connection: Connection, half: Half) -> str | None:
    """The step that the database is at, None before the first."""
    table = _version_table(half)
    if not inspect(connection).has_table(table.name, schema=table.schema):
        return None
    return connection.execute(select(table.c.revision)).scalar_one_or_none()


def _steps(half: Half) -> dict[str, str]:
    """Module names by revision."""
    folder = Path(__file__).parent / half
    return {path.stem.split("_")[1]: path.stem for path in folder.glob("step_*.py")}


def _version_table(half: Half) -> Table:
    schema = LEDGER_SCHEMA if half == "ledger" else None
    return Table(VERSION_TABLE, MetaData(), Column("revision", Text, nullable=False), schema=schema)


def _run(connection: Connection, half: Half, missing: list[str]) -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    steps = _steps(half)
    table = _version_table(half)
    if current(connection, half) is None:
        table.create(connection, checkfirst=True)
    context = MigrationContext.configure(connection, opts={"transactional_ddl": True})
    with Operations.context(context):
        for revision in missing:
            importlib.import_module(f"{__name__}.{half}.{steps[revision]}").upgrade()
    if connection.execute(update(table).values(revision=missing[-1])).rowcount == 0:
        connection.execute(insert(table).values(revision=missing[-1]))
