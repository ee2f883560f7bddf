"""Print a draft of the next step: what the declared tables have and the migrated ones lack.

For whoever changes the schema: `python -m sebago.index.migrations.draft [index|ledger]`. It migrates
an empty SQLite database, compares, and prints Alembic operations to be read, corrected and kept.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations.ops import UpgradeOps
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from sebago.index.engine import Index
from sebago.index.migrations import VERSION_TABLE, Half
from sebago.index.tables import INDEX, LEDGER, LEDGER_SCHEMA


def metadata(half: Half) -> MetaData:
    """The declared tables of one half."""
    if half == "index":
        return INDEX
    # The ledger's tables are declared where the ledger's statements are.
    if importlib.util.find_spec("sebago.index.ledger_tables") is not None:
        importlib.import_module("sebago.index.ledger_tables")
    return LEDGER


def differences(connection: Connection, half: Half) -> UpgradeOps:
    """The operations that would bring the database to the declared schema."""
    schema = LEDGER_SCHEMA if half == "ledger" else None

    def ours(name: str | None, kind: str, _parents: object) -> bool:
        return name == schema if kind == "schema" else name != VERSION_TABLE

    context = MigrationContext.configure(
        connection,
        opts={"include_schemas": True, "include_name": ours, "compare_type": True},
    )
    operations = produce_migrations(context, metadata(half)).upgrade_ops
    if operations is None:
        raise RuntimeError("Alembic compared nothing")
    return operations


def main(half: Half) -> None:
    """Print the draft."""
    with tempfile.TemporaryDirectory() as folder:
        index = Index.open(Path(folder))
        with index.read() as connection:
            sys.stdout.write(render_python_code(differences(connection, half)) + "\n")
        index.dispose()


if __name__ == "__main__":
    main("ledger" if "ledger" in sys.argv[1:] else "index")
