"""What facilities, authorities, AE titles, logins and places may be called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.errors import BadValue
from sebago.registry import names

hostile = st.text(max_size=90) | st.text("CARY&1.2^|~\\@:[] \n\x00", max_size=40)


@pytest.mark.parametrize("code", ["CARY", "A", "MGMC-2", "X_9", "0123456789ABCDEF"])
def test_a_facility_code_is_short_and_in_capitals(code):
    assert names.facility_code(code) == code


@pytest.mark.parametrize("code", ["", "cary", "CARY ", "A" * 17, "CÅRY", "A/B", "A\n", "٣"])
def test_any_other_facility_code_is_refused(code):
    with pytest.raises(BadValue):
        names.facility_code(code)


@pytest.mark.parametrize(
    ("text", "namespace", "oid"),
    [
        ("CARY", "CARY", ""),
        (" Cary MRN ", "Cary MRN", ""),
        ("CARY&2.16.840.1.113883.19.5&ISO", "CARY", "2.16.840.1.113883.19.5"),
        ("CARY& 1.2.3 & ISO", "CARY", "1.2.3"),
    ],
)
def test_an_authority_is_a_namespace_with_or_without_an_oid(text, namespace, oid):
    parsed = names.authority(text)
    assert parsed == names.Authority(namespace, oid)
    assert names.authority(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "&1.2.3&ISO",
        "CARY&1.2.3",
        "CARY&1.2.3&DNS",
        "CARY&1.2.3&iso",
        "CARY&&ISO",
        "CARY&3.2&ISO",
        "CARY&1.02&ISO",
        "CARY&1..2&ISO",
        "CARY&1&ISO",
        "CARY&" + "1.2" * 30 + "&ISO",
        "CARY&1.2.3&ISO&more",
        "CA^RY",
        "CA|RY",
        "CA~RY",
        "CA\\RY",
        "CA\nRY",
        "N" * 65,
        "Ñandú",
    ],
)
def test_any_other_authority_is_refused(text):
    with pytest.raises(BadValue):
        names.authority(text)


@pytest.mark.parametrize(
    ("text", "title"), [("CT1", "CT1"), (" CT 1 ", "CT 1"), ("A" * 16, "A" * 16), ("@", "@")]
)
def test_an_ae_title_has_one_to_sixteen_characters_and_blanks_around_it_do_not_count(text, title):
    assert names.ae_title(text) == title


@pytest.mark.parametrize("text", ["", "   ", "A" * 17, "A\\B", "A\tB", "A\x7f", "É"])
def test_any_other_ae_title_is_refused(text):
    with pytest.raises(BadValue):
        names.ae_title(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("CT1", names.Place("CT1")),
        ("CT1@10.0.0.7:104", names.Place("CT1", "10.0.0.7", 104)),
        ("CT1@pacs.cary.example:11112", names.Place("CT1", "pacs.cary.example", 11112)),
        ("CT1@[::1]:104", names.Place("CT1", "::1", 104)),
    ],
)
def test_a_place_is_a_title_with_or_without_an_address(text, place):
    assert names.place(text) == place
    assert names.place(str(place)) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@10.0.0.7:104",
        "CT1@",
        "CT1@10.0.0.7",
        "CT1@:104",
        "CT1@h:0",
        "CT1@h:65536",
        "CT1@h:1e3",
        "CT1@h:٣",
        "CT1@a b:104",
        "CT1@-h:104",
        "CT1@::1:104",
        "CT1@h:104:105",
    ],
)
def test_any_other_place_is_refused(text):
    with pytest.raises(BadValue):
        names.place(text)


def test_logins_are_compared_without_regard_to_case():
    assert names.login("Ann.Pelletier@cary.example") == "ann.pelletier@cary.example"


@pytest.mark.parametrize("text", ["", ".ann", "a b", "a" * 65, "änn", "ann\n", "../x"])
def test_any_other_login_is_refused(text):
    with pytest.raises(BadValue):
        names.login(text)


@given(text=hostile)
def test_whatever_is_given_is_either_of_the_form_or_refused_with_what_to_do(text):
    for parse in (
        names.facility_code,
        names.facility_name,
        names.authority,
        names.ae_title,
        names.place,
        names.login,
    ):
        try:
            value = str(parse(text))
        except BadValue as error:
            value = error.do
        assert value
        assert value.isprintable()
        assert not re.search(r"[\r\n\x00]", value)
