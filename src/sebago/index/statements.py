"""Statements of the hot paths: built with SQLAlchemy, compiled once, run on the driver's cursor.

A SQLAlchemy Core execute costs 60 to 150 us here, the driver's own 6 to 20 us, and an instance that
is stored takes four. So these statements are still written with Core, once for both databases, and
compiled to the text that the driver takes; the transaction around them stays SQLAlchemy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from sqlalchemy import ClauseElement, Connection, Table
from sqlalchemy.dialects.postgresql import Insert as PostgresqlInsert
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect

Insert = SqliteInsert | PostgresqlInsert

_DIALECTS: Final[dict[str, Dialect]] = {
    "sqlite": SQLiteDialect_pysqlite(paramstyle="qmark"),
    "postgresql": PGDialect_psycopg(paramstyle="format"),  # type: ignore[no-untyped-call]
}


class Cursor(Protocol):
    """What the hot paths use of a sqlite3 and a psycopg cursor."""

    rowcount: int

    @property
    def lastrowid(self) -> int | None: ...

    def execute(self, sql: Any, parameters: Any = ..., /) -> Any: ...  # noqa: ANN401

    def fetchone(self) -> Any: ...  # noqa: ANN401

    def fetchall(self) -> list[Any]: ...

    def close(self) -> None: ...


def cursor(connection: Connection) -> Any:  # noqa: ANN401  (a Cursor; psycopg's has more)
    """The driver's own cursor, in the transaction of `connection`."""
    driver: Any = connection.connection.driver_connection
    return driver.cursor()


def insert_into(table: Table, dialect: str) -> Insert:
    """An INSERT that knows ON CONFLICT, of either database."""
    return sqlite_insert(table) if dialect == "sqlite" else postgresql_insert(table)


def compiled(statement: ClauseElement, dialect: str, names: Sequence[str]) -> str:
    """The SQL text of `statement`, its placeholders taking a tuple in the order of `names`."""
    ready: Any = statement.compile(dialect=_DIALECTS[dialect])
    order = tuple(ready.positiontup or ())
    if order != tuple(names):
        raise RuntimeError(f"the statement takes {order}, not {tuple(names)}: {ready}")
    return str(ready)
