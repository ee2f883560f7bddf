"""`sebago reindex`: what was deleted is made again, every table as it was."""

from __future__ import annotations

import sqlite3

import pytest

from tests.cli.archive import files, opened, rows, spoil

CONTENT = (
    "study",
    "series join study using (custody_id)",
    "instance join series using (series_id) join study using (custody_id)",
    "journal_segment",
    "finding",
)
"""Every table, named by what holds it; chunks are made when somebody asks for them."""


IDS = {"custody_id", "series_id", "instance_id", "finding_id", "chunk_id"}


@pytest.fixture
def filled(sebago, tmp_path):
    opened(sebago, "CARY", "MGMC")
    sebago.ok("import", str(files(tmp_path / "in", 5)), "--facility", "CARY")
    sebago.ok("import", str(files(tmp_path / "in", 2)), "--facility", "MGMC")
    again = files(tmp_path / "again", 2, SeriesDescription="CORRECTED", BodyPartExamined="HEAD")
    sebago.ok("import", str(again), "--facility", "CARY")
    sebago.ok("import", str(files(tmp_path / "in", 5)), "--facility", "CARY")
    other = files(tmp_path / "other", 2, study="1.2.3.2", series="1.2.3.2.1", patient_id="0099")
    sebago.ok("import", str(other), "--facility", "MGMC")
    return sebago


def content(sebago) -> dict[str, list[str]]:
    """Every row of every table without its ids, which mean nothing."""
    connection = sqlite3.connect(sebago.folder / "data" / "index.db")
    try:
        found = {}
        for tables in CONTENT:
            cursor = connection.execute(f"select * from {tables}")
            names = [column[0] for column in cursor.description]
            found[tables] = sorted(
                repr([(n, v) for n, v in zip(names, row, strict=True) if n not in IDS])
                for row in cursor
            )
        return found
    finally:
        connection.close()


def test_a_deleted_index_is_made_again_every_table_as_it_was(filled):
    before = content(filled)
    assert [len(before[tables]) for tables in CONTENT] == [3, 3, 14, 5, 2]
    for path in (filled.folder / "data").glob("index.db*"):
        path.unlink()
    told = filled.json("reindex")
    assert (told["damage"], told["unreadable"]) == ([], [])
    assert content(filled) == before
    assert filled.json("reindex")["instances"] == 0
    assert filled.json("verify", "--deep")["findings"] == []


def test_the_ledger_is_not_touched(filled):
    before = (filled.folder / "data" / "ledger.db").read_bytes()
    for path in (filled.folder / "data").glob("index.db*"):
        path.unlink()
    filled.ok("reindex")
    assert (filled.folder / "data" / "ledger.db").read_bytes() == before
    assert {row["code"] for row in filled.json("status")["facilities"]} == {"CARY", "MGMC"}


def test_what_is_damaged_is_named_and_everything_else_comes_back(filled):
    spoil(filled, "1.2.3.2.1.2")
    for path in (filled.folder / "data").glob("index.db*"):
        path.unlink()
    done = filled.process("reindex")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("not indexed: ")
    kept = rows(filled, "select sop_instance_uid from instance where facility = 'MGMC'")
    assert ("1.2.3.2.1.2",) not in kept
    assert len(kept) == 6
