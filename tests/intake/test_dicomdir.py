"""A disc's directory: what it names in vain is said, and it is believed in nothing else."""

from __future__ import annotations

from pathlib import Path

import pydicom.data
from hypothesis import given
from hypothesis import strategies as st

from sebago.errors import SebagoError
from sebago.intake.dicomdir import file_ids, named
from tests.intake.discs import dicomdir


def test_files_that_it_names_and_that_are_not_there_are_said(tmp_path: Path):
    (tmp_path / "IMG").mkdir()
    (tmp_path / "IMG" / "0001").write_bytes(b"")
    (tmp_path / "DICOMDIR").write_bytes(dicomdir([("IMG", "0001"), ("IMG", "0002"), ("X",)]))
    found = named([tmp_path])
    assert (found.directories, found.files) == (1, 3)
    assert found.absent == (f"{tmp_path}/IMG/0002", f"{tmp_path}/X")


def test_names_are_compared_as_discs_spell_them(tmp_path: Path):
    (tmp_path / "img").mkdir()
    for name in ("0001;1", "im.", "Mixed"):
        (tmp_path / "img" / name).write_bytes(b"")
    files = [("IMG", "0001"), ("IMG", "IM"), ("IMG", "MIXED"), ("IMG", "MIXED")]
    (tmp_path / "dicomdir").write_bytes(dicomdir(files))
    found = named([tmp_path])
    assert (found.files, found.absent) == (3, ())


def test_a_directory_that_points_outside_opens_nothing(tmp_path: Path):
    (tmp_path / "disc").mkdir()
    (tmp_path / "outside").write_bytes(b"")
    (tmp_path / "disc" / "DICOMDIR").write_bytes(dicomdir([("..", "outside"), ("", "etc")]))
    found = named([tmp_path / "disc"])
    assert found.absent == (f"{tmp_path}/disc/../outside", f"{tmp_path}/disc//etc")


def test_one_that_cannot_be_read_names_nothing(tmp_path: Path):
    (tmp_path / "DICOMDIR").write_bytes(b"")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "DICOMDIR").write_bytes(dicomdir([("A",)])[:-4])
    assert named([tmp_path]).directories == 0
    assert named([tmp_path / "nowhere"]).directories == 0


def test_the_file_ids_of_a_real_one_are_read():
    path = pydicom.data.get_testdata_file("DICOMDIR", download=False)
    assert isinstance(path, str)
    ids = list(file_ids(Path(path)))
    assert len(ids) == 31
    assert ("77654033", "CR1", "6154") in ids


@given(st.integers(0, 2000), st.binary(max_size=8))
def test_whatever_is_in_it_it_is_read_or_refused(tmp_path_factory, at, change):
    whole = bytearray(dicomdir([("IMG", "0001"), ("IMG", "0002")]))
    at %= len(whole)
    whole[at : at + len(change)] = change
    path = tmp_path_factory.getbasetemp() / "changed-dicomdir"
    path.write_bytes(bytes(whole))
    try:
        for file_id in file_ids(path):
            assert all(isinstance(part, str) for part in file_id)
    except (SebagoError, ValueError):
        return
