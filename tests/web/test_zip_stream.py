"""ZIP files that are written while they are sent."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.web.dicomweb.zip_stream import ZipStream


def written(entries):
    stream = ZipStream()
    pieces = []
    for name, content in entries:
        pieces += [bytes(piece) for piece in stream.entry(name, content)]
    pieces += [bytes(piece) for piece in stream.end()]
    return b"".join(pieces)


@given(st.lists(st.lists(st.binary(max_size=50), max_size=3), max_size=5))
def test_what_is_written_is_read_by_zipfile(contents):
    data = written((f"{n:06d}.dcm", content) for n, content in enumerate(contents))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert [archive.read(name) for name in sorted(archive.namelist())] == [
            b"".join(content) for content in contents
        ]


def test_unzip_opens_it(tmp_path):
    unzip = shutil.which("unzip")
    if unzip is None:
        pytest.skip("unzip is not installed")
    path = tmp_path / "a.zip"
    path.write_bytes(written([("000001.dcm", [b"abc", b"def"]), ("000002.dcm", [b""])]))
    subprocess.run([unzip, "-t", path], check=True, capture_output=True)
