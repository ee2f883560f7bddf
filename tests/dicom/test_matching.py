"""What query keys mean."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dicom.matching import (
    LIKE_ESCAPE,
    VALUE_CHARACTERS_MAX,
    VALUES_MAX,
    AnyOf,
    Exact,
    Like,
    OneOf,
    Range,
    Universal,
    combined,
    fold,
    fold_name,
    matcher,
    matches,
    name_matcher,
    parse_range,
)
from sebago.errors import BadRequest

# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "stored", "found"),
    [
        ("SMITH^JOHN", "SMITH^JOHN^^^", True),
        ("SMITH^JOHN^^", "Smith^John", True),
        ("smith^john", "SMITH ^JOHN ", True),
        ("SMITH", "SMITH^JOHN", False),
        ("SMITH*", "SMITH^JOHN", True),
        ("SMITH^*", "SMITH", True),
        ("SMITH^*", "SMITH^JOHN^Q", True),
        ("SMITH^*", "SMITHERS^JOHN", False),
        ("SMITH^^*", "SMITH^^Q", True),
        ("SMITH^^*", "SMITH^JOHN", False),
        ("SMITH*^J*", "SMITHERS^JOHN", True),
        ("SMITH^J?HN", "SMITH^JOHN", True),
        ("SMITH^J?HN", "SMITH^JHN", False),
        ("*", "", True),
        ("", "", True),
        ("^", "SMITH", True),
        ("*^*", "", True),
        ("A*", "", False),
        ("muller^jorg", "Müller^Jörg", True),
        ("MÜLLER*", "Muller^Jorg", True),
        ("Sørensen", "SORENSEN", True),
        ("Straße", "STRASSE", True),
        ("山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("やまだ*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("YAMADA*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("Yamada*=山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("Yamada*=鈴木*", "Yamada^Tarou=山田^太郎=やまだ^たろう", False),
        ("=山田^太郎", "Yamada^Tarou=山田^太郎", True),
        ("==やまだ^たろう", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ^タロウ", True),
        ("だ?", "だた", True),
        ("だ", "た", False),
        ("홍^길?", "Hong^Gildong=洪^吉洞=홍^길동", True),
        ("100%*", "100% SURE", True),
        ("100%*", "1000", False),
        ("A_B*", "AXBC", False),
    ],
)
def test_a_name_key_finds_the_names_it_should(key, stored, found):
    assert matches(name_matcher(key), stored) is found


def test_an_empty_value_key_finds_only_absent_names_where_it_was_negotiated():
    key = name_matcher('""', empty_values=True)
    assert matches(key, "")
    assert not matches(key, "SMITH")
    assert not matches(name_matcher('""'), "")


# --- other text ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "vr", "stored", "found"),
    [
        ("MRN-1", "LO", "MRN-1", True),
        ("mrn-1", "LO", "MRN-1", False),
        ("MRN*", "LO", "MRN-1", True),
        ("MRN?1", "LO", "MRN-1", True),
        ("A!B*", "LO", "A!BC", True),
        ("A!*", "LO", "A%", False),
        ("1\\2", "LO", "2", True),
        ("1*\\2", "LO", "17", True),
        ("1*\\*", "LO", "", True),
        ("CT", "CS", "CT", True),
        ("CT,MR", "CS", "MR", True),
        ("CT\\MR", "CS", "US", False),
        ("C?", "CS", "CT", True),
        ("1.2.3", "UI", "1.2.3", True),
        ("1.2.*", "UI", "1.2.3", False),
        ("*", "UI", "", True),
        ("1.2.3,1.2.4\\1.2.5", "UI", "1.2.5", True),
        ("1.2.3\\", "UI", "1.2.3", True),
        ("7", "IS", "7", True),
        ("07", "IS", "7", True),
        ("1.0", "IS", "1", True),
        ("7\\8", "IS", "8", True),
        ("*", "IS", "", True),
        ("45?", "AS", "45?", True),
    ],
)
def test_a_text_key_finds_what_it_should(key, vr, stored, found):
    assert matches(matcher(key, vr), stored) is found


def test_a_key_for_a_folded_column_is_folded():
    key = matcher("chest*", "LO", folded=True)
    assert key == Like("chest%", folded=True)
    assert matches(key, "CHEST PA")
    assert matcher("Thorax à face", "LO", folded=True) == Exact("thorax a face", folded=True)


def test_the_text_before_the_first_wildcard_can_be_asked_of_an_index():
    for key, prefix in (("100%_!*X", "100%_!"), ("A?B", "A"), ("*A", "")):
        found = matcher(key, "LO")
        assert isinstance(found, Like)
        assert found.prefix == prefix


def test_keys_become_the_smallest_matcher_that_does():
    assert matcher("", "LO") == Universal()
    assert matcher("**", "DA") == Universal()
    assert matcher("A\\B\\A", "UI") == OneOf(("A", "B"))
    assert matcher("20240102", "DA") == Exact("20240102")
    assert matcher('""', "LO", empty_values=True) == Exact("")
    assert matcher("20240102\\20240104-", "DA") == AnyOf(
        (Exact("20240102"), Range("20240104", None))
    )


def test_too_many_values_and_too_long_ones_are_refused():
    long = "A" * (VALUE_CHARACTERS_MAX + 1)
    for ask in (
        lambda: matcher("1.2\\" * (VALUES_MAX + 1), "UI"),
        lambda: matcher(long + "*", "LO"),
        lambda: name_matcher(long),
    ):
        with pytest.raises(BadRequest):
            ask()
    assert isinstance(matcher("1.2\\" * 900 + "1.3", "UI"), OneOf)


# --- dates and times ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "vr", "bounds"),
    [
        ("20240102-20240203", "DA", Range("20240102", "20240203")),
        ("20240102-", "DA", Range("20240102", None)),
        ("-20240203", "DA", Range(None, "20240203")),
        ("20240102 - 20240203", "DA", Range("20240102", "20240203")),
        ("2024.01.02-2024.02.03", "DA", Range("20240102", "20240203")),
        ("2024-01-02-2024-02-03", "DA", Range("20240102", "20240203")),
        ("2024-01-02", "DA", Range("20240102", "20240102")),
        ("10-12", "TM", Range("10", "125960.999999")),
        ("103000-", "TM", Range("1030", None)),
        ("-1030", "TM", Range(None, "103060.999999")),
        ("10:30:05", "TM", Range("103005", "103005.999999")),
        ("103005.50", "TM", Range("103005.5", "103005.500000")),
        ("20240102-20240203", "DT", Range("20240102", "20240203~")),
        ("20240102103000-0500", "DT", Range("20240102103000", "20240102103000~")),
        ("20240102103000-0500-20240103-0500", "DT", Range("20240102103000", "20240103~")),
    ],
)
def test_ranges_are_read(key, vr, bounds):
    assert parse_range(key, vr) == bounds


@pytest.mark.parametrize(
    ("key", "vr"),
    [
        ("-", "DA"),
        ("yesterday", "DA"),
        ("20241301", "DA"),
        ("20240203-20240102", "DA"),
        ("20240102-20240103-20240104", "DA"),
        ("25", "TM"),
        ("noon-", "TM"),
        ("now", "DT"),
        ("1.5", "IS"),
        ("seven", "IS"),
    ],
)
def test_a_date_time_or_number_that_is_none_is_a_bad_request(key, vr):
    with pytest.raises(BadRequest):
        matcher(key, vr)


@pytest.mark.parametrize(
    ("key", "stored", "found"),
    [
        ("1030", "1030", True),
        ("1030", "103059.9", True),
        ("1030", "103100", False),
        ("103000", "1030", True),
        ("103000", "103000.25", True),
        ("103000-104500", "1030", True),
        ("103000-104500", "104500.5", True),
        ("103000-104500", "104501", False),
        ("-10", "105960", True),
        ("0000", "000000", True),
        ("00-", "", False),
    ],
)
def test_partial_times_mean_their_whole_minute_or_hour(key, stored, found):
    assert matches(matcher(key, "TM"), stored) is found


def test_a_date_and_a_time_range_of_one_form_can_be_taken_as_one():
    dates, times = matcher("20060705-20060707", "DA"), matcher("1000-1800", "TM")
    span = combined(dates, times)
    assert span is not None
    assert matches(span, "20060706" + "0300")
    assert matches(span, "20060705" + "100000")
    assert not matches(span, "20060705" + "0959")
    assert not matches(span, "20060707" + "180101")
    assert combined(dates, matcher("1000-", "TM")) is None
    assert combined(matcher("20060705", "DA"), times) is None
    assert combined(Universal(), times) is None
    assert combined(matcher("20060705-", "DA"), matcher("10-", "TM")) == Range("2006070510", None)


# --- for all texts ------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=20)
keys = st.text(st.sampled_from("abAB*?^= %_!\\,-.019éßがﾞ"), max_size=15)


@given(text=texts)
def test_folding_twice_changes_nothing_and_case_does_not_count(text):
    folded = fold(text)
    assert fold(folded) == folded
    assert "\0" not in folded
    if text.isascii():
        assert fold(text.upper()) == folded


@given(text=st.text(st.sampled_from("abcXYZ^ .'-éÄñ"), min_size=1, max_size=20))
def test_every_name_is_found_by_itself_and_by_its_beginning(text):
    name = text.lstrip(" ").rstrip(" ^")
    assert matches(name_matcher(name), text)
    for end in range(len(name)):
        beginning = name[:end].rstrip(" ^")
        assert matches(name_matcher(beginning + "*"), text)


@given(
    key=keys,
    vr=st.sampled_from(["LO", "CS", "UI", "DA", "TM", "DT", "IS", "LT", "AS"]),
    stored=texts,
)
def test_any_key_is_a_matcher_or_a_bad_request(key, vr, stored):
    try:
        asked = matcher(key, vr)
    except BadRequest:
        assert vr in ("DA", "TM", "DT", "IS")
    else:
        assert matches(asked, stored) in (True, False)


@given(key=keys, stored=texts)
def test_any_name_key_is_a_matcher(key, stored):
    assert matches(name_matcher(key), stored) in (True, False)


@given(key=keys.filter(lambda key: "*" in key or "?" in key), stored=keys)
def test_a_pattern_means_in_sql_what_it_means_here(key, stored):
    asked = matcher(key.replace("\\", ""), "LO")
    if not isinstance(asked, Like) or not stored:
        return
    with sqlite3.connect(":memory:") as connection:
        connection.execute("PRAGMA case_sensitive_like = ON")
        (found,) = connection.execute(
            "SELECT ? LIKE ? ESCAPE ?", (stored, asked.pattern, LIKE_ESCAPE)
        ).fetchone()
    connection.close()
    assert bool(found) == matches(asked, stored)
    assert not found or stored.startswith(asked.prefix)


def test_the_groups_of_a_name_are_folded_one_by_one():
    assert fold_name("Yamada^Tarou=山田^太郎") == ("yamada^tarou", "山田^太郎", "")
    assert fold_name("") == ("", "", "")
    assert fold_name("A=B=C=D") == ("a", "b", "c")
