"""Hot statements are served by indexes on both databases: none reads a whole table."""

from __future__ import annotations

import pytest
from sqlalchemy import event, text

from sebago.index import instances, metadata, search
from sebago.index.record import KnownSeries, existing, record_batch
from sebago.index.search import Query
from sebago.index.search_keys import Level
from sebago.index.views import View
from tests.databases import DIALECTS, an_index
from tests.index.made import new, uid

CUSTODY = View("F3")
EXCHANGE = View("F3", exchange=True)


@pytest.fixture(scope="module", params=DIALECTS)
def large(request, tmp_path_factory):
    """An index of some size, for all tests of this module."""
    known = KnownSeries()
    items = [
        new(
            facility=f"F{number % 7}",
            study_instance_uid=uid(number),
            series_instance_uid=uid(number, 1),
            sop_instance_uid=uid(number, 1, 1),
            patient_id=f"P{number}",
            patient_name=f"NAME{number:05}^JOHN",
            accession_number=f"A{number}",
            study_date=f"2024{number % 12 + 1:02}{number % 28 + 1:02}",
            modality="CT" if number % 3 else "MR",
        )
        for number in range(1, 1501)
    ]
    with an_index(request.param, tmp_path_factory.mktemp("large")) as index:
        with index.write() as connection:
            record_batch(connection, known, items)
            if request.param == "postgresql":
                connection.exec_driver_sql("ANALYZE")
        yield index


@pytest.fixture
def dialect(large):
    return large.dialect


@pytest.fixture
def plans(large, dialect):
    """Runs a question and gives the plans of its statements."""

    def plans(question):
        statements = []

        def note(_connection, _cursor, statement, parameters, _context, _many):
            statements.append((statement, parameters))

        with large.read() as connection:
            event.listen(large._engine, "before_cursor_execute", note)
            try:
                question(connection)
            finally:
                event.remove(large._engine, "before_cursor_execute", note)
            explain = "EXPLAIN QUERY PLAN " if dialect == "sqlite" else "EXPLAIN "
            if dialect == "postgresql":
                # A table of this size is read at once whatever there is: what could be used?
                connection.execute(text("SET LOCAL enable_seqscan = off"))
            found = []
            for statement, parameters in statements:
                if statement.lstrip().startswith("SELECT"):
                    rows = connection.exec_driver_sql(explain + statement, parameters)
                    found.append("\n".join(str(row[-1]) for row in rows))
        assert found
        return found

    return plans


def reads_it_all(plan, dialect):
    if dialect == "postgresql":
        return "Seq Scan" in plan
    tables = ("study", "series", "instance", "metadata_chunk", "other_", "shown")
    return any(
        line.startswith(tuple(f"SCAN {table}" for table in tables)) for line in plan.splitlines()
    )


def studies(view, **more):
    def question(connection):
        keys = {tuple(path): value for path, value in more["keys"].items()}
        search.studies(connection, view, Query(Level.STUDY, keys, limit=20))

    return question


QUESTIONS = {
    "patient id": {(0x00100020,): "P77"},
    "name prefix": {(0x00100010,): "NAME0007*"},
    "accession number": {(0x00080050,): "A77"},
    "study UID": {(0x0020000D,): uid(77)},
    "study UIDs": {(0x0020000D,): "\\".join(uid(number) for number in range(300))},
    "day and modality": {(0x00080020,): "20240105", (0x00080061,): "CT"},
    "days": {(0x00080020,): "20240105-20240107"},
}


@pytest.mark.parametrize("view", [CUSTODY, EXCHANGE], ids=["custody", "exchange"])
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_study_search_reads_no_whole_table(plans, dialect, name, view):
    for plan in plans(studies(view, keys=QUESTIONS[name])):
        assert not reads_it_all(plan, dialect), plan


@pytest.mark.parametrize(
    ("name", "index_name"),
    [
        ("patient id", "ix_study_patient_id"),
        ("name prefix", "ix_study_patient_name"),
        ("accession number", "ix_study_accession_number"),
        ("study UID", "sqlite_autoindex_study_1"),
        ("days", "ix_study_newest_of_facility"),
    ],
)
def test_a_key_that_tells_most_comes_first_and_not_the_facility(plans, dialect, name, index_name):
    if dialect == "postgresql":
        pytest.skip("PostgreSQL: plans by its own statistics")
    plan = plans(studies(CUSTODY, keys=QUESTIONS[name]))[0]
    assert f"INDEX {index_name} (" in plan, plan


@pytest.mark.parametrize("view", [CUSTODY, EXCHANGE], ids=["custody", "exchange"])
def test_series_instances_and_bytes_of_a_study_are_found_by_index(plans, dialect, view):
    keys: dict[tuple[int, ...], str] = {(0x0020000D,): uid(77)}
    in_series = keys | {(0x0020000E,): uid(77, 1)}

    def question(connection):
        search.all_series(connection, view, Query(Level.SERIES, keys))
        search.instances(connection, view, Query(Level.INSTANCE, in_series))
        instances.held(connection, view, uid(77))
        instances.held(connection, view, uid(77), uid(77, 1), uid(77, 1, 1))
        list(metadata.chunks(connection, 77))
        metadata.without_chunk(connection, 77)
        metadata.fingerprint(connection, [77, 78])

    for plan in plans(question):
        assert not reads_it_all(plan, dialect), plan


def test_whether_an_instance_is_there_is_one_look_at_an_index(large, dialect):
    explain = "EXPLAIN QUERY PLAN " if dialect == "sqlite" else "EXPLAIN "
    statement = (
        "SELECT digest FROM instance "
        "WHERE sop_instance_uid = 'x' AND facility = 'F3' AND current = 1"
    )
    with large.read() as connection:
        assert (
            existing(connection, "F0", uid(77, 1, 1)) == new(sop_instance_uid=uid(77, 1, 1)).digest
        )
        plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement))
    assert "uq_instance" in plan or "sqlite_autoindex_instance" in plan, plan
    assert not reads_it_all(plan, dialect), plan
