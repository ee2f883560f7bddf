"""The Native DICOM Model in XML, both ways."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.errors import BadRequest, SebagoError, TooDeep
from sebago.web.dicomweb.native_xml import DEPTH_MAX, from_xml, to_xml

text = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1
)
leaves = st.one_of(
    st.fixed_dictionaries({"vr": st.just("LO")}),
    st.fixed_dictionaries({"vr": st.just("LO"), "Value": st.lists(text, min_size=1, max_size=3)}),
    st.fixed_dictionaries(
        {"vr": st.just("US"), "Value": st.lists(st.integers(0, 65535), min_size=1, max_size=3)}
    ),
    st.fixed_dictionaries(
        {
            "vr": st.just("PN"),
            "Value": st.lists(
                st.fixed_dictionaries({"Alphabetic": st.sampled_from(["A", "A^B", "A^^C^D^E"])}),
                min_size=1,
                max_size=2,
            ),
        }
    ),
    st.fixed_dictionaries({"vr": st.just("OB"), "InlineBinary": st.just("AAECAw==")}),
    st.fixed_dictionaries({"vr": st.just("OW"), "BulkDataURI": st.just('http://a/b?c&d="e"')}),
)
tags = st.integers(0x00080000, 0x7FFFFFFF).map(lambda tag: f"{tag:08X}")
data_sets = st.recursive(
    st.dictionaries(tags, leaves, max_size=4),
    lambda inner: st.dictionaries(
        tags,
        st.fixed_dictionaries(
            {"vr": st.just("SQ"), "Value": st.lists(inner, min_size=1, max_size=2)}
        ),
        max_size=2,
    ),
    max_leaves=8,
)


@given(data_sets)
def test_what_is_written_is_read_back(data_set):
    assert from_xml(to_xml(data_set)) == [data_set]


def test_characters_that_xml_cannot_hold_are_replaced():
    written = to_xml({"00100020": {"vr": "LO", "Value": ["a\x00\x1bb"]}})
    assert from_xml(written)[0]["00100020"]["Value"] == ["a\ufffd\ufffdb"]


def test_nesting_is_written_without_recursion():
    data_set: dict = {}
    for _ in range(5000):
        data_set = {"00400275": {"vr": "SQ", "Value": [data_set]}}
    assert to_xml(data_set).count(b"<Item") == 5000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_with_a_doctype_is_refused_in_any_encoding(encoding):
    bomb = '<!DOCTYPE x [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><x>&c;</x>'
    with pytest.raises(BadRequest):
        from_xml(bomb.encode(encoding))


def test_a_document_that_nests_too_deep_is_refused():
    with pytest.raises(TooDeep):
        from_xml(b"<a>" * (DEPTH_MAX + 1))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no xml",
        b"<a/>",
        b"<NativeDicomModel>",
        b'<NativeDicomModel><DicomAttribute tag="1" vr="LO"/></NativeDicomModel>',
        b'<NativeDicomModel><DicomAttribute tag="00100010" vr="?"/></NativeDicomModel>',
        b'<?xml version="1.0" encoding="nonsense"?><NativeDicomModel/>',
    ],
)
def test_what_is_no_model_is_refused(document):
    with pytest.raises(BadRequest):
        from_xml(document)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(document):
    with_root = b"<NativeDicomModel>" + document + b"</NativeDicomModel>"
    with contextlib.suppress(SebagoError):
        json.dumps(from_xml(with_root))


def test_several_models_in_one_document_are_several_data_sets():
    one = to_xml({"00100020": {"vr": "LO", "Value": ["1"]}}).partition(b"?>")[2]
    assert len(from_xml(b"<models>" + one + one + b"</models>")) == 2
