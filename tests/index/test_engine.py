"""Opening, turns and the schema."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from sebago.errors import IndexAway, NewerDatabase, OperatorsFault
from sebago.index import migrations
from sebago.index.engine import Index, after_commit
from sebago.index.migrations.draft import differences
from sebago.index.record import KnownSeries, existing, record_batch
from sebago.index.statements import cursor
from tests.index.made import new, uid


def put(connection, kind="test", times=1):
    connection.execute(
        text("INSERT INTO finding (kind, first_us, last_us, times) VALUES (:kind, 0, 0, :times)"),
        {"kind": kind, "times": times},
    )


def count(connection):
    return connection.execute(text("SELECT count(*) FROM finding")).scalar_one()


def test_the_migrated_index_is_the_declared_one(index):
    with index.read() as connection:
        assert [str(op.to_diff_tuple()) for op in differences(connection, "index").ops] == []


def test_an_index_that_is_there_opens_again_with_its_rows(index, url, tmp_path):
    with index.write() as connection:
        put(connection)
    again = Index.open(tmp_path, url)
    with again.read() as connection:
        assert count(connection) == 1
    again.dispose()


@pytest.mark.parametrize("half", ["index", "ledger"])
def test_a_database_of_a_newer_program_is_refused(index, dialect, tmp_path, half):
    prefix = "ledger." if half == "ledger" else ""
    turn = index.write_ledger if half == "ledger" else index.write
    with turn() as connection:
        if not migrations.revisions(half):
            pytest.skip("the ledger has no step yet")
        connection.execute(text(f"UPDATE {prefix}schema_version SET revision = '9999'"))
    with pytest.raises(NewerDatabase, match="9999"):
        index._migrate()


def test_a_transaction_that_fails_leaves_nothing(index):
    called = []

    def fail():
        with index.write() as connection:
            after_commit(connection, lambda: called.append(1))
            put(connection)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with index.read() as connection:
        assert count(connection) == 0
    assert called == []


def test_what_waits_for_the_commit_runs_once_after_it(index):
    called = []
    with index.write() as connection:
        after_commit(connection, lambda: called.append(1))
        assert called == []
    with index.write():
        pass
    assert called == [1]


def test_a_reader_sees_one_moment_while_others_write(index):
    with index.read() as reader:
        assert count(reader) == 0
        with index.write() as connection:
            put(connection)
        assert count(reader) == 0
    with index.read() as reader:
        assert count(reader) == 1


def test_a_glance_sees_what_is_committed_and_nothing_else(index):
    item = new()
    with index.glance() as connection:
        assert existing(connection, "CARY", uid(1, 1, 1)) is None
    with index.write() as writer:
        record_batch(writer, KnownSeries(), [item])
        with index.glance() as connection:
            assert existing(connection, "CARY", uid(1, 1, 1)) is None
    for _ in range(3):
        with index.glance() as one, index.glance() as two:
            assert existing(one, "CARY", uid(1, 1, 1)) == item.digest
            assert existing(two, "CARY", uid(1, 1, 1)) == item.digest


def test_a_ledger_turn_does_not_wait_for_an_index_turn(index):
    done = threading.Event()

    def write_ledger():
        with index.write_ledger() as connection:
            connection.execute(text("CREATE TABLE ledger.test_mark (n INTEGER)"))
        done.set()

    with index.write() as connection:
        put(connection)
        thread = threading.Thread(target=write_ledger)
        thread.start()
        assert done.wait(10)
    thread.join()


def test_a_write_inside_a_write_is_refused_and_not_waited_for_ever(index, dialect):
    if dialect == "postgresql":
        pytest.skip("PostgreSQL: two connections, no turn")
    with index.write(), pytest.raises(RuntimeError), index.write():
        pass


def _add_many(folder: Path, url: str, times: int) -> None:
    index = Index.open(folder, url)
    threads = [threading.Thread(target=_add, args=(index, times)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    index.dispose()


def _add(index, times):
    for _ in range(times):
        with index.write() as connection:
            connection.execute(text("UPDATE finding SET times = times + 1"))


def test_turns_of_threads_and_processes_lose_no_update(index, url, tmp_path):
    with index.write() as connection:
        put(connection, times=0)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_add_many, args=(tmp_path, url, 25)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    with index.read() as connection:
        assert connection.execute(text("SELECT times FROM finding")).scalar_one() == 200


def test_an_index_does_not_cross_a_fork(index):
    with index.read() as connection:
        assert count(connection) == 0
    child = os.fork()
    if child == 0:
        try:
            index.read().__enter__()
        except RuntimeError:
            index.dispose()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    with index.write() as connection:
        put(connection)


def test_a_url_of_another_database_is_refused(tmp_path):
    with pytest.raises(OperatorsFault):
        Index.open(tmp_path, "mysql://nobody@nowhere/x")
    with pytest.raises(OperatorsFault):
        Index.open(tmp_path, "not a url")


def test_a_database_that_does_not_answer_is_an_index_that_is_away(tmp_path):
    with pytest.raises(IndexAway):
        Index.open(tmp_path, "postgresql+psycopg://nobody@127.0.0.1:1/x")


def test_a_file_that_is_no_database_is_an_index_that_is_away(tmp_path):
    (tmp_path / "index.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(IndexAway):
        Index.open(tmp_path)


def test_a_lost_connection_is_away_once_and_then_back(index, dialect):
    if dialect == "sqlite":
        pytest.skip("SQLite: no connection to lose")
    with index.read() as connection:
        assert count(connection) == 0
    for use in (index.read, index.write):
        with pytest.raises(IndexAway), use() as connection:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        with use() as connection:
            assert count(connection) == 0
    with pytest.raises(IndexAway), index.glance() as connection:
        cursor(connection).execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with index.glance() as connection:
        assert existing(connection, "CARY", "1.2") is None


def test_sqlite_files_keep_their_promises_about_syncing(index, dialect):
    if dialect == "postgresql":
        pytest.skip("PostgreSQL: one setting of the server")
    with index.write() as connection:
        modes = {
            schema: connection.exec_driver_sql(f"PRAGMA {schema}.synchronous").scalar_one()
            for schema in ("main", "ledger")
        }
        journals = {
            schema: connection.exec_driver_sql(f"PRAGMA {schema}.journal_mode").scalar_one()
            for schema in ("main", "ledger")
        }
    assert modes == {"main": 1, "ledger": 2}
    assert journals == {"main": "wal", "ledger": "wal"}
