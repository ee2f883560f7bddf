"""Loading what lies around: images are kept, everything else is skipped, what is lost is said."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sebago.index.engine import Index
from sebago.intake import Intake
from sebago.intake.load import Loaded, Tried, load
from tests.intake.conftest import LIMITS, NORTH
from tests.intake.discs import MIB, dicomdir, gzipped, image, zipped
from tests.samples import body, part10, small

HL7 = b"MSH|^~\\&|RIS|NORTH|SEBAGO|EX|20260302101112||ORU^R01|1|P|2.5\rPID|1||0042^^^NORTH||PELLETIER^ANN\r"


@pytest.fixture
def take(intake: Intake):
    def loading(*paths: Path, inflate_max: int = 16 * MIB, **more) -> Loaded:
        return load(intake, NORTH, paths, inflate_max=inflate_max, **more)

    return loading


def put(folder: Path, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def told(loaded: Loaded) -> dict[str, str]:
    """What was refused, by the end of its path."""
    return {tried.label.rpartition("/")[2]: tried.code for tried in loaded.refused}


def test_images_are_kept_however_they_are_wrapped(take, tmp_path: Path):
    no_meta = body(small(instance="1.2.3.1.1.4", number=4))
    implicit = body(small(instance="1.2.3.1.1.5", number=5, implicit=True))
    folder = put(
        tmp_path / "disc",
        plain=image(1),
        gz=gzipped(image(2)),
        zip=zipped({"a": image(3), "in.zip": zipped({"b": image(6), "c.gz": gzipped(image(7))})}),
        no_meta=no_meta,
        implicit=implicit,
        no_preamble=image(8)[128:],
    )
    loaded = take(folder)
    assert loaded.refused == []
    assert loaded.skipped == []
    assert (loaded.stored, loaded.already) == (8, 0)
    assert list(loaded.studies) == ["1.2.3.1"]
    again = take(folder)
    assert (again.stored, again.already, again.versions) == (0, 8, 0)
    assert again.already_bytes == loaded.stored_bytes


def test_other_content_under_the_same_uid_is_counted_as_a_version(take, tmp_path: Path):
    take(put(tmp_path / "a", one=image(1)))
    loaded = take(put(tmp_path / "b", one=image(1, SeriesDescription="CORRECTED")))
    assert (loaded.stored, loaded.versions) == (1, 1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        HL7,
        b"\xef\xbb\xbf" + HL7,
        b"\xff\xfe" + HL7.decode().encode("utf-16-le"),
        HL7.decode().encode("utf-16-le"),
        b"\x0b" + HL7 + b"\x1c\r",
        b"REL DATE 2026-03-02: a text whose fifth and sixth letter are a VR " * 20,
        b"Run SH.EXE " * 500,
        b"%PDF-1.7\n" + bytes(range(256)) * 10,
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(5000),
        b"\x89PNG\r\n\x1a\n" + bytes(5000),
        b"II*\x00" + bytes(5000),
        b"MZ\x90\x00" + bytes(5000),
        b"\x7fELF\x02\x01\x01" + bytes(5000),
        b"<?xml version='1.0'?><a/>" * 100,
        b"[autorun]\r\nopen=viewer.exe\r\n",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000),
        b"\x4c\x00\x00\x00\x01\x14\x02\x00" + bytes(200_000),
        b"\x08\x00" * 4000,
        b"\x08\x00\x08\x00\x02\x00\x00\x00zz\x01\x00\x01\x00" + bytes(400),
        bytes(5000),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_dicom_is_skipped_and_never_refused(take, tmp_path: Path, content: bytes):
    loaded = take(put(tmp_path / "disc", some=content, image=image()))
    assert loaded.refused == []
    assert [label.rpartition("/")[2] for label in loaded.skipped] == ["some"]
    assert loaded.stored == 1


@pytest.mark.parametrize("cut", [132, 140, 200, 300, 500, -1])
def test_a_file_that_is_cut_off_anywhere_is_refused_and_never_skipped(
    take, tmp_path: Path, cut: int
):
    loaded = take(put(tmp_path / "disc", one=image()[:cut]))
    assert (loaded.stored, loaded.skipped) == (0, [])
    assert len(loaded.refused) == 1


def test_a_data_set_without_meta_information_that_is_cut_off_is_refused(take, tmp_path: Path):
    loaded = take(put(tmp_path / "disc", one=body(small())[:-7]))
    assert told(loaded) == {"one": "truncated"}
    assert "copy it again" in loaded.refused[0].detail


def test_what_is_broken_is_said_and_the_others_are_kept(take, tmp_path: Path):
    whole = zipped({"1": image(1), "2": image(2)})
    at = whole.index(b"1.2.840") if b"1.2.840" in whole else 100
    spoiled = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
    folder = put(
        tmp_path / "disc",
        cut_zip=whole[: len(whole) // 2],
        spoiled_zip=spoiled,
        cut_gzip=gzipped(image(3))[:-20],
        good=image(4),
    )
    loaded = take(folder)
    codes = told(loaded)
    assert codes["cut_zip"] == "unreadable"
    assert codes["cut_gzip"] == "unreadable"
    assert any(name.startswith("spoiled_zip!") for name in codes)
    assert loaded.stored >= 1


def test_a_directory_of_media_and_what_has_no_identifiers_are_told_apart(take, tmp_path: Path):
    folder = put(
        tmp_path / "disc",
        DICOMDIR=dicomdir([("A",)]),
        no_study=part10(small(StudyInstanceUID="")),
    )
    loaded = take(folder)
    assert told(loaded) == {"no_study": "missing-identifier"}
    assert [label.rpartition("/")[2] for label in loaded.skipped] == ["DICOMDIR"]


def test_a_bomb_stops_at_the_limit_and_takes_nobody_along(take, tmp_path: Path):
    bomb = part10(small(pixels=bytes(6 * MIB)))
    folder = put(
        tmp_path / "disc",
        gz=gzipped(bomb),
        zip=zipped({"bomb": bomb, "image": image(2)}),
        text=gzipped(bytes(50 * MIB)),
    )
    loaded = take(folder, inflate_max=2 * MIB)
    assert told(loaded) == {"gz": "inflates-too-far", "zip!bomb": "inflates-too-far"}
    assert loaded.stored == 1
    assert len(loaded.skipped) == 1


def test_a_zip_of_many_images_is_loaded_by_all_threads_to_its_last_entry(take, tmp_path: Path):
    entries = {f"{number:04d}": image(number) for number in range(1, 151)}
    loaded = take(put(tmp_path / "disc", zip=zipped(entries)))
    assert (loaded.stored, loaded.refused, loaded.skipped) == (150, [], [])


def test_it_stops_when_told_keeps_what_was_done_and_goes_on_when_repeated(take, tmp_path: Path):
    folder = put(tmp_path / "disc", **{f"{number:03d}": image(number) for number in range(60)})
    stop = threading.Event()
    seen: list[Tried] = []

    def one(tried: Tried) -> None:
        seen.append(tried)
        if len(seen) == 10:
            stop.set()

    first = take(folder, progress=one, stop=stop)
    assert first.interrupted
    assert first.stored == len(seen) < 60
    second = take(folder)
    assert not second.interrupted
    assert (second.stored, second.already) == (60 - first.stored, first.stored)


def test_a_full_disk_ends_it_with_the_sum_of_what_is_kept(index: Index, tmp_path: Path):
    full = Intake(index, tmp_path / "journal", replace(LIMITS, reserve_bytes=1 << 60))
    try:
        loaded = load(full, NORTH, [put(tmp_path / "disc", one=image())], inflate_max=MIB)
    finally:
        full.close()
    assert loaded.stopped_by is not None
    assert loaded.stopped_by.code == "disk-full"
    assert loaded.stopped_by.do
    assert not loaded.interrupted
    assert (loaded.stored, loaded.refused) == (0, [])
