"""`sebago status`: numbers that agree with what was taken in."""

from __future__ import annotations

from tests.cli.archive import files, opened, rows

MEMBERS = {
    "version", "studies", "series", "instances", "received_bytes", "stored_bytes",
    "journal_bytes", "journal_segments", "not_indexed_bytes", "unsettled_studies", "free_bytes",
    "findings", "copies_missing", "facilities",
}  # fmt: skip


def test_an_empty_archive_has_nothing(sebago):
    told = sebago.json("status")
    assert set(told) >= MEMBERS
    assert (told["studies"], told["instances"], told["facilities"]) == (0, 0, [])
    assert told["not_indexed_bytes"] == 0
    assert told["free_bytes"] > 0


def test_counts_are_by_facility_and_say_when_the_last_one_came(sebago, tmp_path):
    opened(sebago, "CARY", "MGMC", "EMMC")
    sebago.ok("import", str(files(tmp_path / "in", 3)), "--facility", "CARY")
    sebago.ok("import", str(files(tmp_path / "fewer", 2)), "--facility", "MGMC")
    told = sebago.json("status")
    assert (told["studies"], told["series"], told["instances"]) == (2, 2, 5)
    ((received,),) = rows(sebago, "select sum(data_length) from instance")
    assert told["received_bytes"] == received
    by_code = {one["code"]: one for one in told["facilities"]}
    assert by_code["CARY"]["instances"] == 3
    assert by_code["MGMC"]["instances"] == 2
    assert by_code["EMMC"] == {
        "code": "EMMC", "studies": 0, "instances": 0, "received_bytes": 0, "last_received": None,
    }  # fmt: skip
    assert by_code["CARY"]["last_received"].endswith("+00:00")
    assert told["not_indexed_bytes"] == 0
    assert told["journal_bytes"] > 0
    text = sebago.ok("status")
    assert "exams 2 · images 5" in text
    assert "nothing yet" in text
    assert "0042" not in text
    assert "Pelletier" not in text


def test_what_a_crash_left_out_of_the_index_is_counted(sebago, tmp_path):
    opened(sebago, "CARY")
    sebago.ok("import", str(files(tmp_path / "in", 3)), "--facility", "CARY")
    for path in (sebago.folder / "data").glob("index.db*"):
        path.unlink()
    assert sebago.json("status")["not_indexed_bytes"] > 0
    sebago.ok("reindex")
    assert sebago.json("status")["not_indexed_bytes"] == 0
