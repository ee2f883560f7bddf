"""An event's body is one JSON text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.ledger.event import BODY_BYTES_MAX, decode_body, encode_body

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(body=st.dictionaries(st.text(), json_values, max_size=6))
def test_a_body_is_read_back_as_it_was_and_is_ascii_for_every_database(body):
    text = encode_body(body)
    assert decode_body(text) == body
    assert text.isascii()
    assert "\x00" not in text


def test_equal_bodies_give_equal_bytes_whatever_their_order():
    assert encode_body({"b": 1, "a": [True, None]}) == encode_body({"a": [True, None], "b": 1})
    assert encode_body({"b": 1, "a": 2}) == '{"a":2,"b":1}'


def test_a_body_longer_than_the_limit_is_refused():
    with pytest.raises(ValueError, match="longer than"):
        encode_body({"a": "x" * BODY_BYTES_MAX})


def test_what_is_not_json_is_refused():
    with pytest.raises(ValueError, match="Out of range"):
        encode_body({"a": float("nan")})
