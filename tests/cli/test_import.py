"""`sebago import`: what it says of what it took, and of what it did not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.archive import files, opened, rows
from tests.intake.discs import dicomdir, image, zipped
from tests.samples import part10, small

SAID = {
    "stored": int,
    "already": int,
    "refused": int,
    "skipped": int,
    "bytes": int,
    "seconds": float,
    "studies": list,
    "refusals": list,
}


@pytest.fixture
def cary(sebago):
    return opened(sebago)


def test_the_summary_says_what_is_kept_and_again_that_it_is_there(cary, tmp_path):
    folder = files(tmp_path / "in")
    (folder / "README.TXT").write_text("not an image")
    first = cary("import", str(folder), "--facility", "CARY")
    assert first.returncode == 0, first.stderr
    lines = {line[:17].strip(): line.split() for line in first.stdout.splitlines()}
    assert lines["stored"][1] == "3"
    assert lines["skipped"][1] == "1"
    assert "README.TXT" in first.stdout
    assert "CT HEAD" in first.stdout
    assert "Imported 3 images of 1 exams" in first.stdout
    assert "Reading      4 files" in first.stderr
    assert "Pelletier" not in first.stdout + first.stderr  # names are for terminals alone
    again = cary("import", str(folder), "--facility", "CARY")
    assert again.returncode == 0
    assert "already there          3" in again.stdout
    assert "Imported 0 images" in again.stdout


def test_json_is_one_object_of_the_agreed_members(cary, tmp_path):
    folder = files(tmp_path / "in", 2)
    (folder / "cut").write_bytes(image(9)[:-5])
    (folder / "note.txt").write_bytes(b"hello")
    done = cary("import", str(folder), "--facility", "CARY", "--json")
    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert {name: type(told[name]) for name in SAID} == SAID
    assert (told["stored"], told["already"], told["refused"], told["skipped"]) == (2, 0, 1, 1)
    assert told["studies"] == ["1.2.3.1"]
    (refusal,) = told["refusals"]
    assert set(refusal) == {"path", "code", "detail"}
    assert refusal["path"] == f"{folder}/cut"
    assert refusal["code"] == "truncated"
    assert told["bytes"] > 1000


def test_each_refusal_is_one_line_that_names_the_file_and_the_reason(cary, tmp_path):
    folder = files(tmp_path / "in", 1)
    (folder / "no-study").write_bytes(part10(small(StudyInstanceUID="")))
    (folder / "cut.zip").write_bytes(zipped({"a": image()})[:100])
    done = cary("import", str(folder), "--facility", "CARY")
    assert done.returncode == 1
    refused = [line for line in done.stderr.splitlines() if line.startswith("refused: ")]
    assert [line.split()[-1] for line in sorted(refused)] == [
        "[unreadable]",
        "[missing-identifier]",
    ]
    assert "1" in done.stdout


def test_a_disc_says_what_its_directory_names_and_what_is_not_there(cary, tmp_path):
    disc = tmp_path / "disc"
    files(disc / "IMG", 2)
    (disc / "DICOMDIR").write_bytes(dicomdir([("IMG", "001"), ("IMG", "002"), ("IMG", "003")]))
    done = cary("import", str(disc), "--facility", "CARY")
    assert done.returncode == 0
    assert "Reading      DICOMDIR names 3 images, 3 files found" in done.stderr
    assert f"absent: {disc}/IMG/003: DICOMDIR names it" in done.stderr
    assert cary.json("import", str(disc), "--facility", "CARY")["absent"] == [f"{disc}/IMG/003"]


def test_an_unknown_facility_is_an_error_in_three_parts_and_takes_nothing(cary, tmp_path):
    done = cary("import", str(files(tmp_path / "in")), "--facility", "CARRY")
    assert done.returncode == 1
    assert done.stdout == ""
    what, why, do = done.stderr.splitlines()
    assert what == "error: facility 'CARRY' is not registered [unknown-facility]"
    assert why.startswith("  why: ")
    assert do.startswith("  do:  did you mean CARY?")
    assert cary.json("status")["instances"] == 0


@pytest.mark.parametrize("arguments", [[], ["--facility", "CARY"], ["nowhere", "--facility", "X"]])
def test_what_is_not_a_call_is_usage(cary, arguments):
    done = cary("import", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_a_full_disk_says_so_and_what_to_do(cary, tmp_path):
    cary.environment["SEBAGO_JOURNAL_RESERVE_BYTES"] = str(1 << 60)
    folder = files(tmp_path / "in")
    done = cary("import", str(folder), "--facility", "CARY")
    assert done.returncode == 1
    assert "stored                 0" in done.stdout
    assert "[disk-full]" in done.stderr
    assert "  do:  free space" in done.stderr
    del cary.environment["SEBAGO_JOURNAL_RESERVE_BYTES"]
    cary.environment["SEBAGO_JOURNAL_RESERVE_BYTES"] = "0"
    assert cary.json("import", str(folder), "--facility", "CARY")["stored"] == 3


def test_names_and_descriptions_cannot_steer_the_terminal(cary, tmp_path):
    folder = files(tmp_path / "in", 1, StudyDescription="CT \x1b[2J HEAD")
    (folder / "\x1b]0;owned\x07").write_bytes(b"no image")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).symlink_to("nowhere")
    done = cary("import", str(folder), "--facility", "CARY", "-v")
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert r"\xff: No such file or directory [unreadable]" in done.stderr
    cary("import", str(folder), "--facility", "CARY", "--json").stdout.encode("utf-8")


def interrupted(cary, folder, signals):
    """Import in a process of its own and interrupt it once something has been kept."""
    running = subprocess.Popen(
        [sys.executable, "-m", "sebago.cli", "import", str(folder), "--facility", "CARY"],
        env=cary.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not rows(cary, "select 1 from instance limit 1"):
        assert running.poll() is None
        time.sleep(0.01)
    for _ in range(signals):
        running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    return subprocess.CompletedProcess(running.args, running.returncode, out, err)


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(cary, tmp_path, signals):
    folder = tmp_path / "in"
    folder.mkdir()
    template = part10(small(instance="1.2.3.1.1.1000000"))
    for number in range(1, 1501):
        (folder / f"{number:04d}").write_bytes(template.replace(b"1000000", b"%07d" % number))
    done = interrupted(cary, folder, signals)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    if signals == 1:
        assert "interrupted: run the same command again to go on" in done.stderr
        kept = next(line for line in done.stdout.splitlines() if line.startswith("  stored"))
        assert rows(cary, "select count(*) from instance") == [
            (int(kept.split()[1].replace(",", "")),)
        ]
    ((count,),) = rows(cary, "select count(*) from instance")
    assert 0 < int(str(count)) < 1500
    told = cary.json("import", str(folder), "--facility", "CARY")
    assert told["stored"] + told["already"] == 1500
    assert rows(cary, "select count(*) from instance") == [(1500,)]
