"""The scanner of multipart bodies, against every way in which clients and networks cut them."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sebago.errors import BadRequest
from sebago.web.dicomweb.multipart import (
    HEAD_BYTES_MAX,
    PREAMBLE_BYTES_MAX,
    MultipartScanner,
    PartBegins,
    boundary_of,
    closing,
    new_boundary,
    part_head,
)

BOUNDARY = "AaB03x"

# Bytes out of which delimiters, and what only looks like one, are likely to come.
tricky = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"-", b"--", b"\r\n", b"\r\n--", b"--AaB03", b"\r\n--AaB03x", b"x", b"\0"]
    )
    | st.binary(max_size=20),
    max_size=12,
).map(b"".join)


def cut(body, places):
    """The body in pieces, cut at fractions of its length."""
    at = sorted({int(place * len(body)) for place in places} | {0, len(body)})
    return [body[a:b] for a, b in itertools.pairwise(at)]


def scan(pieces, boundary=BOUNDARY):
    """(the whole parts as (headers, bytes), the bytes of one that is not whole, finished)."""
    scanner = MultipartScanner(boundary)
    parts, headers, content = [], None, b""
    for piece in pieces:
        for found in scanner.feed(piece):
            if isinstance(found, PartBegins):
                headers, content = dict(found.headers), b""
            elif isinstance(found, memoryview):
                content += found
            else:
                parts.append((headers, content))
                headers, content = None, b""
    return parts, content, scanner.finished


def compose(contents, line=b"\r\n", preamble=b"", end=b"\r\n"):
    boundary = BOUNDARY.encode()
    body = preamble
    for number, content in enumerate(contents):
        body += line if number or (preamble and not preamble.endswith(b"\n")) else b""
        body += b"--" + boundary + line + b"Content-Type: application/dicom" + line + line + content
    return body + line + b"--" + boundary + b"--" + end


def holds_delimiter(content, line):
    """Whether the content has in it what no sender may put there."""
    return line + b"--" + BOUNDARY.encode() in line + content


@settings(max_examples=300)
@given(
    contents=st.lists(tricky, min_size=1, max_size=4),
    places=st.lists(st.floats(0, 1), max_size=8),
    line=st.sampled_from([b"\r\n", b"\n"]),
    preamble=st.sampled_from([b"", b"\r\n", b"This is multipart.\r\n", b"a\nb\n"]),
    end=st.sampled_from([b"", b"\r\n", b"\r\nepilogue", b"  "]),
)
def test_every_part_comes_out_as_it_went_in_wherever_the_body_is_cut(
    contents, places, line, preamble, end
):
    contents = [c for c in contents if not holds_delimiter(c, line)]
    if not contents:
        return
    body = compose(contents, line, preamble=preamble, end=end)
    parts, rest, finished = scan(cut(body, places))
    assert [content for _, content in parts] == contents
    assert rest == b""
    assert finished


@given(contents=st.lists(tricky, min_size=1, max_size=3), line=st.sampled_from([b"\r\n", b"\n"]))
def test_a_body_that_comes_byte_by_byte_is_read_the_same(contents, line):
    contents = [c for c in contents if not holds_delimiter(c, line)]
    body = compose(contents, line) if contents else b""
    parts, _, _ = scan([body[i : i + 1] for i in range(len(body))])
    assert [content for _, content in parts] == contents


@settings(max_examples=200)
@given(
    contents=st.lists(tricky, min_size=1, max_size=3),
    length=st.floats(0, 1, exclude_max=True),
)
def test_a_body_cut_off_anywhere_never_gives_a_part_that_is_not_whole(contents, length):
    contents = [c for c in contents if not holds_delimiter(c, b"\r\n")]
    if not contents:
        return
    body = compose(contents, end=b"")
    parts, _, finished = scan([body[: int(len(body) * length)]])
    assert not finished
    assert [content for _, content in parts] == contents[: len(parts)]
    # A part is whole once its delimiter is: the closing hyphens of the last one may be missing.
    assert len(parts) < len(contents)


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_bytes_are_read_or_refused_as_a_bad_request(pieces):
    with contextlib.suppress(BadRequest):
        scan(pieces)


@given(st.lists(tricky, max_size=20))
def test_bytes_that_look_like_delimiters_are_read_or_refused_as_a_bad_request(pieces):
    with contextlib.suppress(BadRequest):
        scan([b"--AaB03x\r\n", *pieces])


def test_headers_of_a_part_are_read_with_names_in_lower_case_and_folded_lines_joined():
    body = (
        b'--AaB03x\r\nContent-Type: application/dicom;\r\n  transfer-syntax="1.2.3"\r\n'
        b"Content-Location: http://a/b\r\n\r\nx\r\n--AaB03x--"
    )
    scanner = MultipartScanner(BOUNDARY)
    begins = next(f for f in scanner.feed(body) if isinstance(f, PartBegins))
    assert begins.content_type == "application/dicom"
    assert begins.transfer_syntax == "1.2.3"
    assert begins.headers["content-location"] == "http://a/b"


def test_a_part_may_have_no_headers_or_no_content():
    body = b"--AaB03x\r\n\r\nx\r\n--AaB03x\r\nA: b\r\n\r\n--AaB03x\r\n\r\n\r\n--AaB03x--"
    parts, _, finished = scan([body])
    assert [content for _, content in parts] == [b"x", b"", b""]
    assert finished


def test_blanks_behind_a_boundary_are_no_part_of_it():
    body = b"--AaB03x  \t\r\n\r\nx\r\n--AaB03x \r\n\r\ny\r\n--AaB03x--"
    assert [content for _, content in scan([body])[0]] == [b"x", b"y"]


def test_what_goes_on_after_the_boundary_is_data():
    body = b"--AaB03x\r\n\r\nx\r\n--AaB03xy\r\nz\r\n--AaB03x--"
    assert [content for _, content in scan([body])[0]] == [b"x\r\n--AaB03xy\r\nz"]


def test_a_body_without_the_boundary_is_refused_before_it_is_read_to_its_end():
    with pytest.raises(BadRequest):
        scan([b"x" * (PREAMBLE_BYTES_MAX + 1)])


def test_a_head_without_an_end_is_refused_before_it_is_read_to_its_end():
    with pytest.raises(BadRequest):
        scan([b"--AaB03x\r\n" + b"A: " + b"b" * (HEAD_BYTES_MAX + 1)])


def test_a_head_that_is_no_header_lines_is_refused():
    with pytest.raises(BadRequest):
        scan([b"--AaB03x\r\nnonsense\r\n\r\nx"])


def test_ten_thousand_parts_are_found():
    contents = [b"%d" % n for n in range(10_000)]
    body = compose(contents)
    parts, _, finished = scan(cut(body, [i / 50 for i in range(50)]))
    assert len(parts) == 10_000
    assert finished


def test_what_we_write_is_what_we_read():
    boundary = new_boundary()
    body = (
        part_head(boundary, {"Content-Type": "a/b"}, first=True)
        + b"one"
        + part_head(boundary, {"Content-Type": "c/d"}, first=False)
        + b"two"
        + closing(boundary)
    )
    parts, _, finished = scan([body], boundary)
    assert parts == [({"content-type": "a/b"}, b"one"), ({"content-type": "c/d"}, b"two")]
    assert finished


@pytest.mark.parametrize(
    "header",
    [
        "multipart/related",
        "multipart/related; boundary=",
        "multipart/related; boundary=" + "x" * 201,
        "multipart/related; boundary=a\x00b",
    ],
)
def test_a_boundary_that_cannot_be_one_is_refused(header):
    with pytest.raises(BadRequest):
        boundary_of(header)


def test_a_quoted_boundary_is_taken_without_its_quotes():
    given = 'multipart/related; boundary="a b=c"; type="application/dicom"'
    assert boundary_of(given) == ("application/dicom", "a b=c")
