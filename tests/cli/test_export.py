"""`sebago export`: a study as files, byte for byte where that is asked for."""

from __future__ import annotations

import json

import pydicom
import pytest

from sebago.dicom.part10 import parse_part10
from tests.cli.archive import files, opened, spoil
from tests.samples import body, part10, small


@pytest.fixture
def two(sebago):
    return opened(sebago, "CARY", "MGMC")


def put(two, folder, facility, *made):
    folder.mkdir(exist_ok=True)
    for number, data_set in enumerate(made):
        (folder / f"{number}").write_bytes(part10(data_set))
    return json.loads(two("import", str(folder), "--facility", facility, "--json").stdout)


def data_sets(folder):
    """Data-set bytes of every file, by its path below the folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found[str(path.relative_to(folder))] = content[parse_part10(content).dataset_offset :]
    return found


def test_as_received_gives_the_very_bytes_and_else_explicit_little_endian(two, tmp_path):
    made = small(implicit=True)
    put(two, tmp_path / "in", "CARY", made)
    told = two.json("export", str(tmp_path / "out"), "--study", "1.2.3.1", "--as-received")
    assert (told["files"], told["failed"]) == (1, [])
    name = "1.2.3.1/1.2.3.1.1/1.2.3.1.1.1.dcm"
    assert data_sets(tmp_path / "out") == {name: body(made)}
    assert told["bytes"] == (tmp_path / "out" / name).stat().st_size
    assert (tmp_path / "out" / name).read_bytes()[:128] == bytes(128)
    two.ok("export", str(tmp_path / "plain"), "--study", "1.2.3.1")
    read = pydicom.dcmread(tmp_path / "plain" / name)
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert read == pydicom.dcmread(tmp_path / "in" / "0")


def test_what_two_facilities_sent_alike_is_written_once_and_what_differs_beside_it(two, tmp_path):
    same, theirs = small(), small(instance="1.2.3.1.1.2")
    put(two, tmp_path / "a", "CARY", same, theirs)
    other = small(instance="1.2.3.1.1.2", SeriesDescription="OTHER")
    put(two, tmp_path / "b", "MGMC", same, other)
    two.ok("export", str(tmp_path / "out"), "--study", "1.2.3.1", "--as-received")
    series = "1.2.3.1/1.2.3.1.1"
    assert data_sets(tmp_path / "out") == {
        f"{series}/1.2.3.1.1.1.dcm": body(same),
        f"{series}/1.2.3.1.1.2.dcm": body(theirs),
        f"{series}/1.2.3.1.1.2.MGMC.dcm": body(other),
    }
    two.ok(
        "export", str(tmp_path / "one"), "--study", "1.2.3.1", "--as-received",
        "--facility", "MGMC",
    )  # fmt: skip
    assert data_sets(tmp_path / "one") == {
        f"{series}/1.2.3.1.1.1.dcm": body(same),
        f"{series}/1.2.3.1.1.2.dcm": body(other),
    }


def test_earlier_versions_are_written_where_they_are_asked_for(two, tmp_path):
    first, second = small(), small(SeriesDescription="CORRECTED")
    put(two, tmp_path / "a", "CARY", first)
    assert put(two, tmp_path / "a", "CARY", second)["versions"] == 1
    two.ok("export", str(tmp_path / "out"), "--study", "1.2.3.1", "--as-received")
    assert list(data_sets(tmp_path / "out").values()) == [body(second)]
    arguments = ("--study", "1.2.3.1", "--as-received", "--all-versions")
    two.ok("export", str(tmp_path / "all"), *arguments)
    series = "1.2.3.1/1.2.3.1.1"
    assert data_sets(tmp_path / "all") == {
        f"{series}/1.2.3.1.1.1.dcm": body(second),
        f"{series}/1.2.3.1.1.1.v1.dcm": body(first),
    }


@pytest.mark.parametrize(
    "uid", ["../../x", "..", "/etc/passwd", "1.2/../../3", "a b", "x-y_z", "9" * 90]
)
def test_a_uid_never_becomes_a_path_unless_it_is_one_of_digits_and_dots(two, tmp_path, uid):
    with pydicom.config.disable_value_validation():
        made = small(study=uid, series=uid, instance=uid)
        told = put(two, tmp_path / "in", "CARY", made)
    if told["refused"]:
        assert told["refusals"][0]["code"] == "missing-identifier"
        return
    out = tmp_path / "deep" / "out"
    two.ok("export", str(out), "--study", told["studies"][0], "--as-received")
    (written,) = [path for path in tmp_path.rglob("*.dcm") if path.is_file()]
    assert written.is_relative_to(out)
    assert len(written.relative_to(out).parts) == 3
    assert ".." not in written.relative_to(out).parts


@pytest.mark.parametrize("more", [[], ["--facility", "MGMC"], ["--facility", "NOBODY"]])
def test_a_study_that_is_not_there_is_an_error(two, tmp_path, more):
    files(tmp_path / "in", 1)
    two.ok("import", str(tmp_path / "in"), "--facility", "CARY")
    study = "1.2.3.1" if more else "1.2.3.2"
    done = two("export", str(tmp_path / "out"), "--study", study, *more)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 3
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(two, tmp_path):
    put(two, tmp_path / "in", "CARY", small())
    (tmp_path / "out").write_text("a file")
    done = two("export", str(tmp_path / "out"), "--study", "1.2.3.1")
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_an_instance_that_is_damaged_is_named_and_the_others_are_written(two, tmp_path):
    put(two, tmp_path / "in", "CARY", small(), small(instance="1.2.3.1.1.2", number=2))
    spoil(two, "1.2.3.1.1.1")
    done = two("export", str(tmp_path / "out"), "--study", "1.2.3.1", "--as-received")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert "1.2.3.1.1.1" in line
    assert list(data_sets(tmp_path / "out")) == ["1.2.3.1/1.2.3.1.1/1.2.3.1.1.2.dcm"]


def test_a_segment_that_is_gone_is_named_for_each_instance(two, tmp_path):
    put(two, tmp_path / "in", "CARY", small())
    for path in (two.folder / "data" / "journal").rglob("*.[os]*"):
        path.unlink()
    done = two("export", str(tmp_path / "out"), "--study", "1.2.3.1", "--as-received")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "1.2.3.1.1.1" in done.stderr
