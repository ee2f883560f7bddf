"""`sebago verify`: one line for each thing that is not as it should be, and silence otherwise."""

from __future__ import annotations

import sqlite3

import pytest

from tests.cli.archive import files, in_journal, opened, rows, spoil


@pytest.fixture
def filled(sebago, tmp_path):
    opened(sebago, "CARY")
    sebago.ok("import", str(files(tmp_path / "in", 5)), "--facility", "CARY")
    return sebago


@pytest.mark.parametrize("deep", [[], ["--deep"]])
def test_an_archive_in_order_has_no_findings(filled, deep):
    told = filled.json("verify", *deep)
    assert (told["instances"], told["findings"], told["deep"]) == (5, [], bool(deep))
    assert told["bytes"] > 0
    done = filled("verify", *deep)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Verified 5 images" in done.stdout
    assert "no findings" in done.stdout


@pytest.mark.parametrize("at", [0, None, -1])
def test_one_flipped_bit_is_found_and_is_one_line(filled, at):
    length = in_journal(filled, "1.2.3.1.1.3")[2]
    spoil(filled, "1.2.3.1.1.3", length - 1 if at == -1 else at)
    done = filled("verify", "--deep")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("damaged: CARY 1.2.3.1.1.3 ")
    assert "1 finding." in done.stdout
    told = filled("verify", "--deep", "--json")
    assert told.returncode == 1


def test_a_bit_in_a_records_header_is_found_without_reading_every_byte(filled):
    spoil(filled, "1.2.3.1.1.3", -20)
    done = filled("verify")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("damaged: CARY 1.2.3.1.1.3 ")


def test_a_segment_that_is_gone_is_found_for_each_instance_in_it(filled):
    in_journal(filled, "1.2.3.1.1.3")[0].unlink()
    done = filled("verify")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 5
    assert all(line.startswith("damaged: CARY 1.2.3.1.1.") for line in done.stderr.splitlines())


def test_an_earlier_version_is_looked_after_too(filled, tmp_path):
    folder = files(tmp_path / "again", 1, SeriesDescription="CORRECTED")
    filled.ok("import", str(folder), "--facility", "CARY")
    ((first,),) = rows(filled, "select max(instance_id) - 5 from instance")
    assert filled.json("verify", "--deep")["instances"] == 6
    ((writer, segment, offset),) = rows(
        filled, f"select writer, segment, data_offset from instance where instance_id = {first}"
    )
    (path,) = (filled.folder / "data" / "journal" / str(writer)).glob(f"{segment:010d}.*")
    with path.open("r+b") as file:
        file.seek(int(str(offset)) + 9)
        file.write(b"\xee")
    done = filled("verify", "--deep")
    (line,) = done.stderr.splitlines()
    assert "version 1" in line


def test_a_row_that_the_index_lost_is_missed_by_the_journal(filled):
    with sqlite3.connect(filled.folder / "data" / "index.db") as conn:
        conn.execute("delete from instance where sop_instance_uid = '1.2.3.1.1.3'")
    conn.close()
    done = filled("verify", "--deep")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("not indexed: journal record ")
    assert "reindex" in line
