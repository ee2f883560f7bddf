"""Walking files, folders and zips: everything that is there is a candidate, and reading it is safe."""

from __future__ import annotations

import os
import struct
import threading
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.errors import Inflated
from sebago.intake.media import Unreadable, candidates, count, reading
from tests.intake.discs import MIB, content, gzipped, walk, zipped


def names(folder: Path, found) -> list[str]:
    return [candidate.label.removeprefix(f"{folder}/") for candidate in found]


def test_files_come_in_a_stable_order_whatever_the_folder_holds(tmp_path: Path):
    for name in ("B/2", "B/1", "A/1", "z", "a"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    found = walk(tmp_path)
    assert names(tmp_path, found) == ["a", "z", "A/1", "B/1", "B/2"]
    assert [content(one) for one in found] == [b"a", b"z", b"A/1", b"B/1", b"B/2"]
    assert count([tmp_path]).files == 5


def test_entries_of_a_zip_can_be_read_long_after_the_walk_has_passed_its_end(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(zipped({"1": b"one", "2": b"two", "empty/": b""}))
    found = walk(tmp_path)
    assert names(tmp_path, found) == ["a.zip!1", "a.zip!2"]
    assert [content(one) for one in found] == [b"one", b"two"]
    assert all(one.inflates for one in found)


def test_several_threads_read_one_zip_at_once(tmp_path: Path):
    entries = {f"{number:03d}": bytes([number]) * 10_000 for number in range(200)}
    (tmp_path / "a.zip").write_bytes(zipped(entries))
    found = walk(tmp_path)
    read: dict[str, bytes] = {}

    def work(mine):
        for one in mine:
            read[one.label.rpartition("!")[2]] = content(one)

    threads = [threading.Thread(target=work, args=(found[at::4],)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == entries


def test_zips_in_zips_and_gzips_in_zips_are_opened(tmp_path: Path):
    inner = zipped({"deep": b"deep inside"})
    (tmp_path / "a.zip").write_bytes(
        zipped({"in.zip": inner, "stored.zip": zipped({"x": inner}), "g.gz": gzipped(b"wrapped")})
    )
    found = walk(tmp_path)
    assert names(tmp_path, found) == ["a.zip!in.zip!deep", "a.zip!stored.zip!x!deep", "a.zip!g.gz"]
    assert [content(one) for one in found] == [b"deep inside", b"deep inside", b"wrapped"]


def test_zips_nested_too_deep_are_named_and_not_opened(tmp_path: Path):
    nested = b"bottom"
    for depth in range(5):
        nested = zipped({f"{depth}": nested})
    (tmp_path / "a.zip").write_bytes(nested)
    (found,) = walk(tmp_path)
    assert found.label.endswith("a.zip!4!3!2")
    with pytest.raises(Unreadable, match="3 deep"):
        content(found)


def test_a_gzip_is_unwrapped_and_bounded_by_who_reads(tmp_path: Path):
    (tmp_path / "a.gz").write_bytes(gzipped(b"content"))
    (found,) = walk(tmp_path)
    assert found.inflates
    assert content(found) == b"content"


@pytest.mark.parametrize("cut", [4, 30, 100, 10_000])
def test_a_zip_that_is_cut_off_is_named_with_the_reason(tmp_path: Path, cut: int):
    whole = zipped({"1": os.urandom(20_000), "2": b"two"})
    (tmp_path / "a.zip").write_bytes(whole[:cut])
    (found,) = walk(tmp_path)
    with pytest.raises(Unreadable, match="zip"):
        content(found)


def test_a_zip_inside_a_zip_that_is_broken_is_named_with_the_reason(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(zipped({"in.zip": b"PK\x03\x04 no more", "ok": b"ok"}))
    found = walk(tmp_path)
    assert names(tmp_path, found) == ["a.zip!in.zip", "a.zip!ok"]
    with pytest.raises(Unreadable, match="zip"):
        content(found[0])
    assert content(found[1]) == b"ok"


def _with_sizes(whole: bytes, size: int) -> bytes:
    """The same zip, whose directory says another uncompressed size for its first entry."""
    directory = whole.rindex(b"PK\x01\x02")
    return whole[: directory + 24] + struct.pack("<I", size) + whole[directory + 28 :]


@pytest.mark.parametrize("said", [0, 1, 4999, 5001, 4_000_000_000])
def test_an_entry_that_lies_about_its_size_is_read_whole_or_refused(tmp_path: Path, said: int):
    whole = os.urandom(5000)
    (tmp_path / "a.zip").write_bytes(_with_sizes(zipped({"1": whole}), said))
    (found,) = walk(tmp_path)
    try:
        assert content(found) == whole
    except Unreadable:
        return


def test_an_encrypted_entry_is_named_with_the_reason(tmp_path: Path):
    whole = bytearray(zipped({"1": b"secret"}))
    whole[6] |= 1
    directory = whole.rindex(b"PK\x01\x02")
    whole[directory + 8] |= 1
    (tmp_path / "a.zip").write_bytes(bytes(whole))
    (found,) = walk(tmp_path)
    with pytest.raises(Unreadable, match="encrypted"):
        content(found)


def test_a_zip_in_a_zip_stops_growing_at_the_limit(tmp_path: Path):
    bomb = zipped({"in.zip": zipped({"zeros": bytes(8 * MIB)}, stored=True)})
    (tmp_path / "a.zip").write_bytes(bomb)
    (found,) = walk(tmp_path, inflate_max=1 * MIB)
    with pytest.raises(Inflated):
        content(found)


def test_a_pipe_is_passed_over_and_never_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (found,) = walk(tmp_path)
    assert content(found) == b""


def test_links_in_a_circle_end_and_links_to_files_are_read(tmp_path: Path):
    (tmp_path / "real").write_bytes(b"real")
    (tmp_path / "around").symlink_to(tmp_path)
    (tmp_path / "file").symlink_to(tmp_path / "real")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    found = walk(tmp_path)
    assert names(tmp_path, found) == ["file", "nowhere", "real", "self"]
    assert content(found[0]) == b"real"
    with pytest.raises(Unreadable, match="No such file"):
        content(found[1])
    with pytest.raises(Unreadable, match="symbolic links"):
        content(found[3])


def test_a_folder_that_cannot_be_listed_does_not_look_like_an_empty_one(tmp_path: Path):
    if os.geteuid() == 0:
        pytest.skip("this account may read everything: permissions cannot be tested by it")
    (tmp_path / "closed").mkdir(mode=0)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "file").chmod(0)
    found = walk(tmp_path)
    assert names(tmp_path, found) == ["file", "closed"]
    for one in found:
        with pytest.raises(Unreadable, match="Permission denied"):
            content(one)


def test_a_folder_that_goes_away_during_the_walk_is_named(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1").write_bytes(b"1")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1").write_bytes(b"1")
    walking = candidates([tmp_path], inflate_max=MIB)
    assert next(walking).label.endswith("a/1")
    (tmp_path / "b" / "1").unlink()
    (tmp_path / "b").rmdir()
    (gone,) = walking
    assert gone.label.endswith("/b")
    with pytest.raises(Unreadable, match="No such file"):
        content(gone)


def test_a_name_that_is_no_text_can_be_printed(tmp_path: Path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).write_bytes(b"x")
    (found,) = walk(tmp_path)
    assert found.label.encode("utf-8").endswith(rb"\xff\xfe")


@given(st.binary(max_size=400), st.integers(0, 500), st.integers(0, 255))
def test_whatever_is_done_to_a_zip_it_is_read_or_refused(tmp_path_factory, extra, at, byte):
    whole = bytearray(zipped({"1": b"one" * 50, "in.zip": zipped({"2": b"two"}), "3": extra}))
    whole[at % len(whole)] = byte
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    path.write_bytes(bytes(whole))
    for one in walk(path):
        try:
            content(one)
        except (Unreadable, Inflated):
            continue


def test_only_what_reading_raises_is_called_unreadable():
    with pytest.raises(KeyError), reading():
        raise KeyError("a mistake of ours")
    with pytest.raises(Unreadable, match="method"), reading():
        raise NotImplementedError("That compression method is not supported")
    with pytest.raises(Unreadable), reading(), zipfile.ZipFile(BytesIO(b"")):
        pass
