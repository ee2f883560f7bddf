"""QIDO-RS over HTTP: spellings, paging, refusals, forms."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sebago.errors import BadRequest
from sebago.retrieve import Level
from sebago.web.dicomweb.native_xml import from_xml
from sebago.web.dicomweb.query import attribute_path, parse_query_string, parse_search
from tests.web.made import data_set, uid_in
from tests.web.world import open_world, rows, values

STUDY = "2.25.100"
SERIES = "2.25.100.1"


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    with open_world(tmp_path_factory.mktemp("searched")) as world:
        world.keep(*(data_set(STUDY, SERIES, number=n, patient_id="P1") for n in range(1, 4)))
        for n in range(5):
            world.keep(data_set(f"2.25.200.{n}", f"2.25.200.{n}.1", patient_id=f"Q{n}"))
        yield world


@pytest.mark.parametrize(
    "query",
    [
        "PatientID=P1",
        "00100020=P1",
        "PatientID=P*",
        "patient_name_is_absent=",
        "StudyInstanceUID=2.25.100",
        "0020000d=2.25.100",
        "StudyInstanceUID=2.25.100,2.25.300",
        "StudyInstanceUID=2.25.100%5C2.25.300",
        "StudyInstanceUID=2.25.100&StudyInstanceUID=2.25.300",
    ],
)
def test_an_attribute_is_named_by_keyword_or_tag_and_uids_may_be_listed(searched, query):
    if query == "patient_name_is_absent=":
        assert searched.get(f"/dicomweb/studies?{query}").status_code == 400
        return
    found = rows(searched.get(f"/dicomweb/studies?{query}"))
    assert [values(row, "0020000D") for row in found] == [[STUDY]]


def test_hundreds_of_uids_in_a_query_longer_than_8_kb_are_taken(searched):
    uids = ",".join(["2.25.100"] + [f"2.25.{n:030d}" for n in range(1, 300)])
    assert len(uids) > 8192
    assert len(rows(searched.get(f"/dicomweb/studies?StudyInstanceUID={uids}"))) == 1


def test_counts_come_without_asking_as_numbers(searched):
    (row,) = rows(searched.get(f"/dicomweb/studies?StudyInstanceUID={STUDY}"))
    assert values(row, "00201206") == [1]
    assert values(row, "00201208") == [3]
    assert row["00201208"]["vr"] == "IS"


def test_every_level_says_where_it_is_retrieved(searched):
    base = str(searched.client.base_url)
    root = f"{base}/dicomweb/studies/{STUDY}".replace("//dicomweb", "/dicomweb")
    (study,) = rows(searched.get(f"/dicomweb/studies?StudyInstanceUID={STUDY}"))
    (series,) = rows(searched.get(f"/dicomweb/studies/{STUDY}/series"))
    instances = rows(searched.get(f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances"))
    assert values(study, "00081190") == [root]
    assert values(series, "00081190") == [f"{root}/series/{SERIES}"]
    uids = [values(row, "00080018")[0] for row in instances]
    assert len(uids) == 3
    assert [values(row, "00081190")[0] for row in instances] == [
        f"{root}/series/{SERIES}/instances/{uid}" for uid in uids
    ]
    for url in (values(instances[0], "00081190")[0], values(study, "00081190")[0]):
        assert searched.get(url).status_code == 200


def test_behind_a_proxy_addresses_are_those_that_the_client_knows(searched):
    found = rows(
        searched.get(
            f"/dicomweb/studies?StudyInstanceUID={STUDY}",
            headers={"x-forwarded-proto": "https", "x-forwarded-host": "images.example:8443"},
        )
    )
    assert values(found[0], "00081190") == [f"https://images.example:8443/dicomweb/studies/{STUDY}"]
    forged = rows(
        searched.get(
            f"/dicomweb/studies?StudyInstanceUID={STUDY}",
            headers={"x-forwarded-host": 'a"/<script>', "x-forwarded-proto": "javascript"},
        )
    )
    assert values(forged[0], "00081190")[0].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "path",
    [
        "/studies?PatientID=NOBODY",
        "/studies?offset=1000",
        "/studies/2.25.31337/series",
        "/instances?SOPInstanceUID=2.25.31337",
    ],
)
def test_no_match_is_204_without_a_body(searched, path):
    answer = searched.get("/dicomweb" + path)
    assert answer.status_code == 204
    assert answer.content == b""


def test_a_limit_below_what_matches_says_how_many_remain(searched):
    answer = searched.get("/dicomweb/studies?limit=2")
    assert len(rows(answer)) == 2
    assert answer.headers["warning"].startswith("299 ")
    assert "There are 4 additional results" in answer.headers["warning"]


def test_pages_neither_repeat_nor_skip(searched):
    seen = []
    for offset in range(0, 7, 2):
        answer = searched.get(f"/dicomweb/studies?limit=2&offset={offset}")
        if answer.status_code == 200:
            seen += [values(row, "0020000D")[0] for row in rows(answer)]
    assert len(seen) == len(set(seen)) == 6


def test_fuzzy_matching_is_answered_with_the_standards_warning(searched):
    answer = searched.get("/dicomweb/studies?PatientID=P1&fuzzymatching=true")
    assert "Only literal matching has been performed" in answer.headers["warning"]
    assert "warning" not in searched.get("/dicomweb/studies?PatientID=P1").headers


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1.5",
        "limit=%D9%A1",
        "offset=-1",
        "offset=x",
        "NoSuchAttribute=1",
        "0010002=1",
        "includefield=NoSuchAttribute",
        "fuzzymatching=maybe",
        "PatientID=%00",
        "PatientID=a%0D%0AX: y",
        "PatientID=%FF%FE",
        "a.b.c.d.e.f.g.h.i.j=1",
        "=1",
        "%3Cscript%3E=1",
    ],
)
def test_what_makes_no_sense_is_a_bad_request(searched, query):
    answer = searched.get(f"/dicomweb/studies?{query}")
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad-request"
    assert "<" not in answer.json()["detail"]


def test_a_huge_limit_or_offset_is_taken_as_very_large(searched):
    huge = "9" * 400
    assert len(rows(searched.get(f"/dicomweb/studies?limit={huge}"))) == 6
    assert searched.get(f"/dicomweb/studies?offset={huge}").status_code == 204


def test_the_form_is_xml_if_only_that_is_accepted(searched):
    answer = searched.get(
        "/dicomweb/studies?PatientID=P1",
        accept='multipart/related; type="application/dicom+xml"',
    )
    assert answer.headers["content-type"].startswith(
        'multipart/related; type="application/dicom+xml"; boundary='
    )
    start = answer.content.index(b"<?xml")
    end = answer.content.index(b"</NativeDicomModel>") + len(b"</NativeDicomModel>")
    (row,) = from_xml(answer.content[start:end])
    assert values(row, "0020000D") == [STUDY]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/dicom+json", 200),
        ("application/json", 200),
        ("*/*", 200),
        ("application/*", 200),
        ("text/html, application/dicom+json;q=0.1", 200),
        ("image/png", 406),
    ],
)
def test_the_accepted_form_is_given_or_406(searched, accept, status):
    assert searched.get("/dicomweb/studies?PatientID=P1", accept=accept).status_code == status


def test_accept_in_the_query_equals_the_header(searched):
    for spelt in ("application/dicom%2Bjson", "application/dicom+json"):
        answer = searched.get(f"/dicomweb/studies?PatientID=P1&accept={spelt}", accept="image/png")
        assert len(rows(answer)) == 1


def test_a_query_that_names_another_study_than_the_path_is_a_bad_request(searched):
    path = f"/dicomweb/studies/{STUDY}/series?StudyInstanceUID=2.25.1"
    assert searched.get(path).status_code == 400


def test_a_path_whose_uid_cannot_be_one_is_not_found(searched):
    for uid in ("..%2f..%2fetc", "abc", "1" * 65, "1%00", "%252e%252e"):
        assert searched.get(f"/dicomweb/studies/{uid}/series").status_code == 404


def test_a_sender_sees_its_own_facilitys_and_another_facilitys_sender_does_not(searched):
    query = f"/dicomweb/studies?StudyInstanceUID={STUDY}"
    assert len(rows(searched.get(query, as_="sender@NORTH"))) == 1
    assert searched.get(query, as_="sender@SOUTH").status_code == 204
    assert len(rows(searched.get(query, as_="clinician@SOUTH"))) == 1
    denied = searched.get(query, as_="admin")
    assert denied.status_code == 403
    assert denied.json()["reason"] == "role-may-not"


def test_a_purpose_other_than_treatment_shows_a_clinician_no_other_facilitys(searched):
    query = f"/dicomweb/studies?StudyInstanceUID={STUDY}"
    paid = {"x-purpose-of-use": "HPAYMT"}
    assert searched.get(query, as_="clinician@SOUTH", headers=paid).status_code == 204
    unknown = searched.get(query, as_="clinician@SOUTH", headers={"x-purpose-of-use": "FUN"})
    assert unknown.status_code == 403
    assert unknown.json()["reason"] == "purpose-unknown"


def test_head_is_answered_without_a_body(searched):
    answer = searched.client.head(
        "/dicomweb/studies?PatientID=P1", headers=searched.auth("clinician@NORTH")
    )
    assert answer.status_code == 200
    assert answer.content == b""


# --- the query string by itself


def test_paths_through_sequences_are_read_in_keywords_and_tags():
    assert attribute_path("RequestAttributesSequence.RequestedProcedureID") == (
        0x00400275,
        0x00401001,
    )
    assert attribute_path("00400275.00401001") == (0x00400275, 0x00401001)
    assert attribute_path("00091001") == (0x00091001,)


def test_include_fields_may_be_repeated_and_listed_and_all():
    query = parse_search(
        b"includefield=StudyDescription,00081030&includefield=Modality", Level.STUDY, {}
    ).query
    assert query.include == frozenset({(0x00081030,), (0x00080060,)})
    assert parse_search(b"includefield=all", Level.STUDY, {}).query.include == "all"


def test_an_empty_value_never_undoes_a_filter():
    query = parse_search(b"PatientID=1&PatientID=", Level.STUDY, {}).query
    assert query.keys == {(0x00100020,): "1"}


def test_a_comma_in_a_name_is_part_of_the_name_and_in_codes_an_or():
    query = parse_search(b"PatientName=DOE,J&ModalitiesInStudy=CT,MR", Level.STUDY, {}).query
    assert query.keys == {(0x00100010,): "DOE,J", (0x00080061,): "CT\\MR"}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200) | st.from_regex(rb"[A-Za-z0-9.=&%,+\\*?-]{0,100}"))
def test_any_query_string_is_read_or_refused(query_string):
    with contextlib.suppress(BadRequest):
        parse_search(query_string, Level.SERIES, {(0x0020000D,): "1.2"})


def test_a_query_of_too_many_parameters_is_refused():
    with pytest.raises(BadRequest):
        parse_query_string(b"&".join([b"a=1"] * 5000))


def test_a_number_of_instances_is_written_as_one_json_array(searched):
    uids = {uid_in(data_set()) for _ in range(3)}
    assert len(uids) == 3
    assert len(rows(searched.get(f"/dicomweb/instances?StudyInstanceUID={STUDY}"))) == 3
