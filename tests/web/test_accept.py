"""What clients accept, as they really write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.web.dicomweb.accept import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    MULTIPART,
    OCTETS,
    Offer,
    choose,
    media_type_of,
    parse_accept,
    ranked,
    split_quoted,
)

INSTANCES = (Offer(MULTIPART, DICOM), Offer(DICOM), Offer("application/zip"))
SEARCHES = (Offer(DICOM_JSON), Offer("application/json"), Offer(MULTIPART, DICOM_XML))


def chosen(header, offers=INSTANCES):
    found = choose(parse_accept([header] if isinstance(header, str) else header), offers)
    return None if found is None else (found[0].media_type, found[1].transfer_syntax)


@pytest.mark.parametrize(
    "header",
    [
        'multipart/related; type="application/dicom"; transfer-syntax=*',
        "multipart/related; type=application/dicom; transfer-syntax=*",
        'multipart/related;transfer-syntax=*;type="application/dicom"',
        'MULTIPART/Related ; TYPE = "Application/DICOM" ; Transfer-Syntax="*"',
        'multipart/related; type="application/dicom; transfer-syntax=*"',
        'text/html, multipart/related; type="application/dicom"; transfer-syntax=*;q=0.4',
    ],
)
def test_a_type_may_be_quoted_or_bare_and_its_parameters_in_any_order(header):
    assert chosen(header) == (MULTIPART, "*")


def test_several_headers_count_as_one():
    assert chosen(["image/png", 'multipart/related; type="application/dicom"']) == (MULTIPART, None)


def test_without_a_header_the_default_is_given_without_a_transfer_syntax():
    assert chosen([]) == (MULTIPART, None)


def test_stars_match_and_give_the_default():
    assert chosen("*/*") == (MULTIPART, None)
    assert chosen("application/*") == (DICOM, None)
    assert chosen("*") == (MULTIPART, None)


def test_the_higher_q_wins_and_the_order_in_the_header_decides_between_equals():
    assert chosen('application/zip;q=0.2, multipart/related; type="application/dicom";q=0.9') == (
        MULTIPART,
        None,
    )
    assert chosen("application/zip, application/dicom") == ("application/zip", None)


def test_q_of_zero_takes_an_offer_away_though_a_star_is_there():
    header = 'multipart/related; type="application/dicom"; q=0, */*'
    assert chosen(header) == (DICOM, None)


def test_what_nothing_matches_is_not_acceptable():
    assert chosen("image/png") is None
    assert chosen('multipart/related; type="image/jpeg"') is None
    assert chosen(";;;,,,=") is not None  # nothing readable is as good as no header


def test_the_list_of_a_common_viewer_is_read_in_its_order():
    header = (
        "multipart/related; type=application/octet-stream; transfer-syntax=*, "
        "multipart/related; type=image/jls; transfer-syntax=1.2.840.10008.1.2.4.80, "
        "*/*;q=0.1"
    )
    offers = (Offer(MULTIPART, OCTETS), Offer(MULTIPART, "image/jls"))
    found = [(o.part, r.transfer_syntax) for o, r in ranked(parse_accept([header]), offers)]
    assert found == [(OCTETS, "*"), ("image/jls", "1.2.840.10008.1.2.4.80")]


def test_the_same_offer_comes_once_for_each_transfer_syntax_that_is_accepted():
    header = (
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50,'
        'multipart/related; type="application/dicom"; transfer-syntax=*;q=0.5'
    )
    found = [r.transfer_syntax for _, r in ranked(parse_accept([header]), INSTANCES)]
    assert found == ["1.2.840.10008.1.2.4.50", "*"]


def test_a_search_is_json_unless_only_xml_is_accepted():
    assert chosen("application/dicom+json", SEARCHES) == (DICOM_JSON, None)
    assert chosen("application/json", SEARCHES) == ("application/json", None)
    assert chosen('multipart/related; type="application/dicom+xml"', SEARCHES) == (MULTIPART, None)


def test_a_semicolon_or_comma_in_quotes_does_not_split():
    assert list(split_quoted('a;"b;c";d', ";")) == ["a", '"b;c"', "d"]
    assert list(split_quoted('a,"b\\",c",d', ",")) == ["a", '"b\\",c"', "d"]
    assert media_type_of('multipart/related; boundary="a;b, c\\"d"') == (
        MULTIPART,
        {"boundary": 'a;b, c"d'},
    )


@given(st.lists(st.text(max_size=200), max_size=5))
def test_any_text_is_read_without_an_error(values):
    ranges = parse_accept(values)
    assert all(0 <= r.q <= 1 for r in ranges)
    choose(ranges, INSTANCES)


@given(st.text(alphabet='*/;=,"\\ qtype.0123456789', max_size=300))
def test_text_made_of_what_headers_are_made_of_is_read_without_an_error(value):
    choose(parse_accept([value]), SEARCHES)
