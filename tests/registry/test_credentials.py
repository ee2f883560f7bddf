"""Tokens and passwords: what is made, what is kept, what matches."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.errors import BadValue
from sebago.registry import credentials


def test_a_token_names_itself_and_only_a_digest_of_its_secret_is_kept():
    token = credentials.make_token()
    token_id, secret = credentials.split_token(token.text)
    assert token_id == token.token_id
    assert secret not in (token.secret_sha256, token_id)
    assert credentials.secret_matches(secret, token.secret_sha256)
    assert not credentials.secret_matches(secret[:-1] + "x", token.secret_sha256)
    assert not credentials.secret_matches("", token.secret_sha256)


def test_no_two_tokens_are_alike():
    texts = {credentials.make_token().text for _ in range(200)}
    assert len(texts) == 200
    assert all(len(text) <= credentials.TOKEN_CHARS_MAX for text in texts)


@given(text=st.text(max_size=200) | st.from_regex(r"sbg_[^_]*_.*"))
def test_whatever_arrives_as_a_token_is_split_or_is_none(text):
    token_id, secret = credentials.split_token(text)
    assert (token_id, secret) == ("", "") or text == f"sbg_{token_id}_{secret}"


def test_a_password_is_known_again_by_its_argon2id_hash():
    kept = credentials.hash_password("correct horse")
    assert kept.startswith("$argon2id$")
    assert credentials.password_matches("correct horse", kept)
    assert not credentials.password_matches("correct horsf", kept)


def test_a_password_typed_in_another_composition_is_the_same():
    kept = credentials.hash_password("caf\u00e9")
    assert credentials.password_matches("cafe\u0301", kept)


def test_an_overlong_password_is_refused_without_hashing_it():
    kept = credentials.NOBODYS_PASSWORD_HASH
    started = time.perf_counter()
    for _ in range(1000):
        assert not credentials.password_matches("x" * 1_048_576, kept)
    assert time.perf_counter() - started < 1
    assert not credentials.password_matches("é" * 600, kept)
    for bad in ("", "x" * 1025):
        with pytest.raises(BadValue):
            credentials.hash_password(bad)


def test_the_hash_that_unknown_logins_are_compared_with_costs_as_much_as_a_real_one():
    assert credentials.hash_is_current(credentials.NOBODYS_PASSWORD_HASH)
    assert not credentials.password_matches("anything", credentials.NOBODYS_PASSWORD_HASH)


def test_a_hash_that_is_none_matches_nothing():
    assert not credentials.password_matches("x", "")
    assert not credentials.password_matches("x", "$argon2id$v=19$broken")
