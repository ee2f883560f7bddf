"""Opening the index and the ledger, and taking turns to write.

Two homes, one code:

- SQLite, the default: `index.db` is the main database (WAL, synchronous NORMAL: it is derived, and
  a power cut costs at most what the journal replays), `ledger.db` is attached to it as `ledger`
  (WAL, synchronous FULL: an event that was written is on the disk).
- PostgreSQL: the schemas `sebago_index` (first in the search path) and `ledger` of one database.

Turns. SQLite lets one connection write at a time and makes the others poll with growing sleeps.
Instead each process keeps one connection for writing the index and one for writing the ledger;
whoever wants to write waits in line for a lock between threads, then for one between processes
(flock on `index.lock`, `ledger.lock`), and then finds the database free. The transaction is begun
deferred, not immediate: an immediate one would lock the attached file too, and the ledger's syncs
would then hold up intake. Nobody else writes during a turn, so the snapshot that its first
statement takes cannot go stale before its first write. A transaction therefore writes one half,
index or ledger, and may read both.

A connection must not cross a fork: open an Index in the child. An Index that finds itself in
another process refuses to work; `dispose` there lets go of it without touching the parent's files.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import make_url

from sebago.errors import IndexAway, OperatorsFault
from sebago.index.tables import LEDGER_SCHEMA

T = TypeVar("T")

INDEX_SCHEMA: Final = "sebago_index"

BUSY_TIMEOUT_S: Final = 15.0
"""How long SQLite waits for a lock that a stranger holds: a shell, a backup."""

CACHE_KIB: Final = 1024
"""Page cache of each connection and file; the operating system's cache does the rest."""

CHECKPOINT_PAGES: Final = 4000
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024

POOL_KEPT: Final = 4
POOL_MORE: Final = 12
POOL_TIMEOUT_S: Final = 30.0

_AFTER_COMMIT: Final = "sebago.after_commit"


def after_commit(connection: Connection, call: Callable[[], None]) -> None:
    """Have `call` run once the transaction that `write` or `write_ledger` began is committed."""
    connection.info.setdefault(_AFTER_COMMIT, []).append(call)


class Index:
    """The index and the ledger of one data folder, for one process. Safe for its threads."""

    def __init__(self, engine: Engine, turns: tuple[_Turn, _Turn] | None) -> None:
        self._engine = engine
        self._turns = turns
        self._pid = os.getpid()
        self._glancing: deque[Connection] = deque()

    @classmethod
    def open(cls, data_dir: Path, database_url: str = "") -> Index:
        """Open, creating and migrating what is not there or older than this program.

        Args:
            data_dir: folder of `index.db` and `ledger.db` (created if absent); unused on
                PostgreSQL.
            database_url: empty for SQLite, or `postgresql+psycopg://...`.

        Raises:
            NewerDatabase: the database was written by a newer program.
            IndexAway: the database does not answer.
            OperatorsFault: the URL names no database that Sebago knows.
        """
        index = _open_postgresql(database_url) if database_url else _open_sqlite(data_dir)
        try:
            index._migrate()
        except BaseException:
            index.dispose()
            raise
        return index

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection in a read-only snapshot: all its answers are of one moment.

        Raises:
            IndexAway: the database does not answer.
        """
        self._check_process()
        with _translated():
            connection = self._engine.connect()
            try:
                if self._turns is None:
                    connection = connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                with _noticing_loss(connection, self._engine), connection.begin():
                    yield connection
            finally:
                connection.close()

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """A connection outside any transaction, for one statement on the driver's own cursor.

        For questions that every received instance asks, `record.existing`: a tenth of the cost of
        `read`, which checks a connection out of the pool, begins and ends a transaction.

        Raises:
            IndexAway: the database does not answer.
        """
        self._check_process()
        with _translated():
            try:
                connection = self._glancing.pop()
            except IndexError:
                connection = self._engine.connect()
                if self._turns is None:  # SQLite's driver begins nothing by itself
                    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                with _noticing_loss(connection, self._engine):
                    yield connection
            except BaseException:
                connection.close()
                raise
            if len(self._glancing) < POOL_KEPT:
                self._glancing.append(connection)
            else:
                connection.close()

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction that writes the index, committed when the block ends well.

        On SQLite it waits for its turn among all threads and processes. Not to be nested.

        Raises:
            IndexAway: the database does not answer, or chose this transaction to break a deadlock.
        """
        self._check_process()
        return self._turns[0].take() if self._turns else self._write_pooled()

    def write_ledger(self) -> AbstractContextManager[Connection]:
        """A transaction that writes the ledger; it may read the index. As `write` otherwise.

        What it wrote is on the disk when the block has ended.
        """
        self._check_process()
        return self._turns[1].take() if self._turns else self._write_pooled()

    @contextmanager
    def _write_pooled(self) -> Iterator[Connection]:
        with _translated():
            connection = self._engine.connect()
            try:
                with _noticing_loss(connection, self._engine):
                    yield from _transaction(connection)
            finally:
                connection.close()

    def transact(self, work: Callable[[Connection], T], *, attempts: int = 3) -> T:
        """Do `work` in a `write` transaction, again from the start if it lost a deadlock."""
        while True:
            attempts -= 1
            try:
                with self.write() as connection:
                    return work(connection)
            except IndexAway as away:
                if attempts <= 0 or not _lost_a_deadlock(away.__cause__):
                    raise

    def dispose(self) -> None:
        """Close every connection; in a forked child let go of the parent's without closing."""
        mine = os.getpid() == self._pid
        while self._glancing:
            connection = self._glancing.pop()
            if mine:
                connection.close()
            else:
                connection.detach()
        for turn in self._turns or ():
            turn.close(mine=mine)
        self._engine.dispose(close=mine)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("an Index does not cross a fork: open one in this process")

    def _migrate(self) -> None:
        from sebago.index import migrations

        if self._turns is None:
            with self.write() as connection:
                migrations.lock(connection)
                connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {INDEX_SCHEMA}")
                connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {LEDGER_SCHEMA}")
                migrations.upgrade(connection, "index")
                migrations.upgrade(connection, "ledger")
        else:
            with self.write() as connection:
                migrations.upgrade(connection, "index")
            with self.write_ledger() as connection:
                migrations.upgrade(connection, "ledger")


class _Turn:
    """The right to write one SQLite file: one thread of one process at a time."""

    def __init__(self, engine: Engine, lock_path: Path) -> None:
        self._engine = engine
        self._line = threading.Lock()
        self._holder = 0
        self._connection: Connection | None = None
        self._lock_fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)

    @contextmanager
    def take(self) -> Iterator[Connection]:
        me = threading.get_ident()
        if self._holder == me:
            raise RuntimeError("a write transaction is open in this thread already")
        with self._line:
            self._holder = me
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX)
            try:
                with _translated():
                    if self._connection is None:
                        self._connection = self._engine.connect()
                    try:
                        yield from _plain_transaction(self._connection)
                    except BaseException:
                        self._drop_if_unusable()
                        raise
            finally:
                fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
                self._holder = 0

    def _drop_if_unusable(self) -> None:
        """A connection that could not even roll back is given up; the next turn opens another."""
        connection = self._connection
        if connection is None:
            return
        driver = connection.connection.driver_connection if not connection.invalidated else None
        if driver is None or driver.in_transaction:
            self._connection = None
            connection.invalidate()
            connection.close()

    def close(self, *, mine: bool) -> None:
        if self._connection is not None:
            if mine:
                self._connection.close()
            else:
                self._connection.detach()
            self._connection = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _transaction(connection: Connection) -> Iterator[Connection]:
    calls: list[Callable[[], None]] = []
    connection.info[_AFTER_COMMIT] = calls
    with connection.begin():
        yield connection
    for call in calls:
        call()


def _plain_transaction(connection: Connection) -> Iterator[Connection]:
    """As `_transaction`, on SQLite: begun and ended on the driver itself.

    What every received instance goes through runs on the driver's cursor; SQLAlchemy's own begin and
    commit cost as much again as the statements. Where a rarer statement was run by SQLAlchemy it has
    joined this transaction (`begin` below), and ends it.
    """
    driver: Any = connection.connection.driver_connection
    calls: list[Callable[[], None]] = []
    connection.info[_AFTER_COMMIT] = calls
    driver.execute("BEGIN")
    try:
        yield connection
        if connection.in_transaction():
            connection.commit()
        else:
            driver.commit()
    except BaseException:
        if connection.in_transaction():
            connection.rollback()
        if driver.in_transaction:
            driver.rollback()
        raise
    for call in calls:
        call()


def _open_sqlite(data_dir: Path) -> Index:
    data_dir.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        f"sqlite+pysqlite:///{data_dir / 'index.db'}",
        connect_args={
            # The driver begins nothing by itself; `begin` below does.
            "isolation_level": None,
            "check_same_thread": False,
            "timeout": BUSY_TIMEOUT_S,
        },
        pool_size=POOL_KEPT,
        max_overflow=POOL_MORE,
        pool_timeout=POOL_TIMEOUT_S,
    )
    ledger_path = str(data_dir / "ledger.db")

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("ATTACH DATABASE ? AS ledger", (ledger_path,))
        for schema, synchronous in (("main", "NORMAL"), (LEDGER_SCHEMA, "FULL")):
            connection.execute(f"PRAGMA {schema}.journal_mode=WAL").close()
            connection.execute(f"PRAGMA {schema}.synchronous={synchronous}").close()
            connection.execute(f"PRAGMA {schema}.cache_size=-{CACHE_KIB}").close()
            connection.execute(f"PRAGMA {schema}.journal_size_limit={WAL_BYTES_KEPT}").close()
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}").close()
        connection.execute("PRAGMA temp_store=MEMORY").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:  # else it joins the one of `_plain_transaction`
            driver.execute("BEGIN")

    return Index(
        engine,
        (_Turn(engine, data_dir / "index.lock"), _Turn(engine, data_dir / "ledger.lock")),
    )


def _open_postgresql(database_url: str) -> Index:
    try:
        url = make_url(database_url)
    except exc.ArgumentError as error:
        raise OperatorsFault(
            "database_url is not a database URL",
            do="give postgresql+psycopg://user@host/name, or leave it empty for SQLite",
        ) from error
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise OperatorsFault(
            f"database_url names {url.drivername}, which Sebago does not know",
            do="give postgresql+psycopg://user@host/name, or leave it empty for SQLite",
        )
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={
            "connect_timeout": 5,
            "options": f"-c search_path={INDEX_SCHEMA}",
            "application_name": "sebago",
        },
        isolation_level="READ COMMITTED",
        pool_size=POOL_KEPT,
        max_overflow=POOL_MORE,
        pool_timeout=POOL_TIMEOUT_S,
    )
    return Index(engine, None)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what the drivers say of a lost or unusable database into IndexAway."""
    try:
        yield
    except (exc.DBAPIError, exc.TimeoutError, sqlite3.Error, psycopg.Error) as error:
        if not _is_away(error):
            raise
        raise IndexAway(
            f"the index database does not answer ({_driver_error(error).__class__.__name__})",
            do="see that the database runs and that its disk has room, then try again",
        ) from error


@contextmanager
def _noticing_loss(connection: Connection, engine: Engine) -> Iterator[None]:
    """Drop a connection that the server closed under a statement run on the driver's own cursor.

    SQLAlchemy notices a loss only in the statements that it runs itself.
    """
    try:
        yield
    except psycopg.Error:
        driver: Any = None if connection.invalidated else connection.connection.driver_connection
        if driver is not None and driver.closed:
            connection.invalidate()
            engine.dispose()
        raise


def _driver_error(error: BaseException) -> BaseException:
    orig = error.orig if isinstance(error, exc.DBAPIError) else None
    return orig if orig is not None else error


# SQLITE_ERROR is a mistake in a statement, _CONSTRAINT and _MISMATCH one in the data: ours to see.
_SQLITE_OURS: Final = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_TOOBIG,
    }
)


def _is_away(error: BaseException) -> bool:
    driver = _driver_error(error)
    if isinstance(driver, sqlite3.Error):
        code = getattr(driver, "sqlite_errorcode", None)
        return code is not None and code & 0xFF not in _SQLITE_OURS
    if isinstance(driver, psycopg.Error):
        return isinstance(driver, psycopg.OperationalError | psycopg.InterfaceError)
    return isinstance(error, exc.TimeoutError) or (
        isinstance(error, exc.DBAPIError) and error.connection_invalidated
    )


def _lost_a_deadlock(error: BaseException | None) -> bool:
    return error is not None and isinstance(
        _driver_error(error),
        psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure,
    )
