"""What operations.md says of backing up and restoring, done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

BACKUP = Path(__file__).parents[2] / "deploy" / "backup.sh"


@pytest.fixture(autouse=True)
def needs() -> None:
    for program in ("rsync", "sqlite3"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def environment(data: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEBAGO_")}
    small = {"SEBAGO_JOURNAL_SEGMENT_BYTES": "1048576", "SEBAGO_JOURNAL_RESERVE_BYTES": "0"}
    return {**kept, **small, "SEBAGO_DATA": str(data)}


def sebago(data: Path, *words: str | Path, status: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "sebago.cli", *words, "--json"],
        env=environment(data),
        cwd=data.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def back_up(data: Path, to: Path) -> None:
    subprocess.run([BACKUP, to], env=environment(data), check=True, timeout=120)


def files(folder: Path, first: int, count: int) -> Path:
    folder.mkdir()
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    for number in range(first, first + count):
        dataset.SOPInstanceUID = f"2.25.5.{number}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(folder / f"{number}.dcm")
    return folder


def test_a_restored_backup_holds_every_image_and_its_facility(tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    sebago(data, "facility", "add", "CARY", "--name", "Cary", "--authority", "CARY")
    sebago(data, "import", files(tmp_path / "first", 0, 40), "--facility", "CARY")
    back_up(data, copy)
    sebago(data, "import", files(tmp_path / "second", 40, 20), "--facility", "CARY")
    back_up(data, copy)

    assert sebago(copy, "reindex")["instances"] == 60
    verified = sebago(copy, "verify", "--deep")
    assert (verified["instances"], verified["findings"]) == (60, [])
    again = sebago(copy, "import", tmp_path / "first", "--facility", "CARY")
    assert (again["stored"], again["already"]) == (0, 40)


def test_a_segment_that_was_sealed_between_two_backups_stands_in_the_copy_once(tmp_path):
    data, copy = tmp_path / "data", tmp_path / "copy"
    sebago(data, "facility", "add", "CARY", "--name", "Cary", "--authority", "CARY")
    sebago(data, "import", files(tmp_path / "first", 0, 4), "--facility", "CARY")
    sealed = next(data.glob("journal/*/*.seg"))
    (copy / "journal" / sealed.parent.name).mkdir(parents=True)
    before = copy / "journal" / sealed.parent.name / f"{sealed.stem}.open"
    shutil.copy(sealed, before)

    back_up(data, copy)

    assert not before.exists()
    assert before.with_suffix(".seg").read_bytes() == sealed.read_bytes()
