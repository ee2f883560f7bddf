"""Range headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.web.dicomweb.ranges import byte_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("bytes=0-9", (0, 10)),
        ("bytes=10-", (10, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=100-", (100, 100)),
        ("bytes=-0", (100, 100)),
        ("bytes=9-3", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
    ],
)
def test_one_range_is_taken_and_anything_else_means_all(header, expected):
    assert byte_range(header, 100) == expected


@given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9]*-[0-9]*"), st.integers(0, 1000))
def test_a_range_never_leaves_the_bytes_that_are_there(header, size):
    found = byte_range(header, size)
    assert found is None or 0 <= found[0] <= found[1] <= size
