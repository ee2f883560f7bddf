"""C-FIND: all levels of all models, what is asked for comes back, and only what may be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sebago.dimse.command import STATUS
from sebago.dimse.dial import Rejected
from tests.dimse.live import Raw, cancel, find
from tests.samples import small
from tests.scp.site import (
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    PATIENT_FIND,
    RETIRED_FIND,
    STUDY_FIND,
    Site,
    identifier,
    open_site,
)

PENDING, WARNING, DONE = 0xFF00, 0xFF01, 0


def told(matches, tag: int) -> list[str]:
    return sorted(match[(tag,)] for match in matches)


@pytest.mark.parametrize("syntax", [IMPLICIT_VR_LE, EXPLICIT_VR_LE])
@pytest.mark.parametrize(
    ("model", "level", "keys", "tag", "found"),
    [
        (STUDY_FIND, "STUDY", {}, 0x0020000D, ["1.2.3.1", "1.2.3.2"]),
        (STUDY_FIND, "SERIES", {"StudyInstanceUID": "1.2.3.1"}, 0x0020000E,
         ["1.2.3.1.1", "1.2.3.1.2"]),
        (STUDY_FIND, "IMAGE",
         {"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.2"}, 0x00080018,
         ["1.2.3.1.2.1", "1.2.3.1.2.2", "1.2.3.1.2.3"]),
        (PATIENT_FIND, "PATIENT", {"PatientID": ""}, 0x00100020, ["0042", "0050"]),
        (PATIENT_FIND, "STUDY", {"PatientID": "0042"}, 0x0020000D, ["1.2.3.1"]),
        (PATIENT_FIND, "SERIES", {"PatientID": "0042", "StudyInstanceUID": "1.2.3.1"}, 0x0020000E,
         ["1.2.3.1.1", "1.2.3.1.2"]),
        (RETIRED_FIND, "PATIENT", {"PatientID": ""}, 0x00100020, ["0042", "0050"]),
        (RETIRED_FIND, "STUDY", {"PatientID": "0050"}, 0x0020000D, ["1.2.3.2"]),
    ],
)  # fmt: skip
def test_every_level_of_every_model_is_answered(
    asked: Site, syntax, model, level, keys: Any, tag, found
):
    unique = {0x0020000D: "StudyInstanceUID", 0x0020000E: "SeriesInstanceUID",
              0x00080018: "SOPInstanceUID", 0x00100020: "PatientID"}[tag]  # fmt: skip
    wanted: dict[str, Any] = {unique: "", **keys}
    matches, statuses = asked.find(level, model=model, syntax=syntax, **wanted)
    assert told(matches, tag) == found
    assert statuses == [PENDING] * len(found) + [DONE]


def test_every_key_comes_back_and_what_says_where_it_is(asked: Site):
    keys: dict[str, Any] = {
        "PatientName": "", "PatientID": "", "IssuerOfPatientID": "", "StudyInstanceUID": "1.2.3.1",
        "ModalitiesInStudy": "", "NumberOfStudyRelatedInstances": "", "NumberOfStudyRelatedSeries": "",
        "AccessionNumber": "", "EthnicGroup": "", "PatientAge": "", "SpecificCharacterSet": "",
    }  # fmt: skip
    ((match,), _) = asked.find("STUDY", **keys)
    assert match == {
        (0x00080050,): "A-1",
        (0x00080052,): "STUDY",
        (0x00080054,): "SEBAGO",
        (0x00080056,): "ONLINE",
        (0x00080061,): "CT\\SR",
        (0x00100010,): "Pelletier^Ann",
        (0x00100020,): "0042",
        (0x00100021,): "NORTH",
        (0x00101010,): "",
        (0x00102160,): "",
        (0x0020000D,): "1.2.3.1",
        (0x00201206,): "2",
        (0x00201208,): "6",
    }


def test_text_beyond_ascii_is_found_and_says_its_character_set(asked: Site):
    with asked.call([STUDY_FIND]) as peer:
        answers = list(
            peer.find(
                STUDY_FIND,
                identifier("STUDY", PatientName="yamada*", StudyDescription="", AccessionNumber=""),
            )
        )
    data = answers[0][1]
    assert data is not None
    assert b"ISO_IR 192" in data
    assert "山田^太郎".encode() in data
    assert "ΚΕΦΑΛΗ".encode() in data
    (match,), _ = asked.find("STUDY", PatientName="*山田*", StudyInstanceUID="")
    assert match[(0x0020000D,)] == "1.2.3.2"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"PatientName": "PELLETIER^ANN"}, ["1.2.3.1"]),
        ({"PatientName": "Pell*"}, ["1.2.3.1"]),
        ({"PatientName": "*"}, ["1.2.3.1", "1.2.3.2"]),
        ({"StudyDate": "20260101-"}, ["1.2.3.1"]),
        ({"StudyDate": "20240105"}, ["1.2.3.2"]),
        ({"StudyDate": "-20251231"}, ["1.2.3.2"]),
        ({"AccessionNumber": "A-?"}, ["1.2.3.1", "1.2.3.2"]),
        ({"ModalitiesInStudy": "SR"}, ["1.2.3.1"]),
        ({"StudyInstanceUID": "1.2.3.1\\1.2.3.2\\1.2.3.9"}, ["1.2.3.1", "1.2.3.2"]),
        ({"PatientID": "0099"}, []),
    ],
)
def test_keys_match_as_the_standard_has_it(asked: Site, keys, found):
    matches, statuses = asked.find("STUDY", **({"StudyInstanceUID": ""} | keys))
    assert told(matches, 0x0020000D) == found
    assert statuses[-1] == DONE


def test_a_key_that_was_not_matched_on_is_said_by_ff01(asked: Site):
    matches, statuses = asked.find("STUDY", StudyInstanceUID="1.2.3.1", EthnicGroup="X")
    assert statuses == [WARNING, DONE]
    assert matches[0][(0x00102160,)] == ""


@pytest.mark.parametrize(
    ("model", "level", "keys"),
    [
        (STUDY_FIND, "SERIES", {}),
        (STUDY_FIND, "SERIES", {"StudyInstanceUID": "1.2.3.1\\1.2.3.2"}),
        (STUDY_FIND, "IMAGE", {"StudyInstanceUID": "1.2.3.1"}),
        (STUDY_FIND, "IMAGE", {"SeriesInstanceUID": "1.2.3.1.1"}),
        (STUDY_FIND, "PATIENT", {}),
        (STUDY_FIND, "", {}),
        (STUDY_FIND, "STUDIES", {}),
        (PATIENT_FIND, "STUDY", {}),
        (PATIENT_FIND, "STUDY", {"PatientID": "00*"}),
        (RETIRED_FIND, "SERIES", {"PatientID": "0042", "StudyInstanceUID": "1.2.3.1"}),
    ],
)
def test_a_unique_key_above_the_level_that_is_not_one_value_is_a900(
    asked: Site, model, level, keys
):
    assert asked.find(level, model=model, **keys) == ([], [0xA900])


@pytest.mark.parametrize("level", ["SERIES", "IMAGE"])
def test_relational_queries_that_were_negotiated_need_no_keys_above(asked: Site, level):
    matches, statuses = asked.find(
        level, relational=True, Modality="SR", StudyInstanceUID="", PatientID=""
    )
    assert statuses[-1] == DONE
    assert len(matches) == (1 if level == "SERIES" else 3)
    assert {match[(0x0020000D,)] for match in matches} == {"1.2.3.1"}
    assert {match[(0x00100020,)] for match in matches} == {"0042"}


def test_extended_negotiation_is_answered_with_what_is_done(asked: Site):
    offered = {STUDY_FIND: b"\x01\x01\x01\x01", "1.2.840.10008.1.1": b"\x01"}
    with asked.call(extended=offered) as peer:
        assert peer.reply.extended == {STUDY_FIND: b"\x01\x00\x00\x00"}


def test_a_lenient_door_answers_without_keys_above(tmp_path: Path):
    with open_site(tmp_path, lenient_hierarchy=True) as site:
        site.give(small())
        matches, statuses = site.find("SERIES", SeriesInstanceUID="")
        assert (len(matches), statuses) == (1, [PENDING, DONE])


def test_too_many_matches_are_a700_and_not_a_silent_part(tmp_path: Path):
    with open_site(tmp_path, matches_max=3) as site:
        for number in range(4):
            site.give(small(study=f"1.2.3.{number}", instance=f"1.2.3.{number}.1.1"))
        assert site.find("STUDY", StudyInstanceUID="") == ([], [0xA700])
        matches, statuses = site.find("STUDY", StudyInstanceUID="1.2.3.1\\1.2.3.2\\1.2.3.3")
        assert (len(matches), statuses[-1]) == (3, DONE)


def test_a_facility_finds_what_it_sent_and_nothing_of_another(asked: Site):
    matches, _ = asked.find("STUDY", as_="SOUTH1", StudyInstanceUID="", PatientName="",
                            NumberOfStudyRelatedInstances="")  # fmt: skip
    assert {match[(0x0020000D,)]: match[(0x00201208,)] for match in matches} == {
        "1.2.3.1": "1",
        "1.2.3.3": "1",
    }
    assert asked.find("STUDY", as_="NORTH1", PatientName="Ouellette*") == ([], [DONE])
    assert asked.find("STUDY", as_="NORTH1", StudyInstanceUID="1.2.3.3") == ([], [DONE])


def test_the_zone_and_group_lengths_that_some_send_along_are_no_keys(asked: Site):
    matches, statuses = asked.find(
        "STUDY", StudyInstanceUID="1.2.3.1", TimezoneOffsetFromUTC="-0500"
    )
    assert statuses == [PENDING, DONE]
    assert (0x00080201,) not in matches[0]
    with asked.call([STUDY_FIND]) as peer:
        with_length = b"\x08\x00\x00\x00\x04\x00\x00\x00\x0c\x00\x00\x00" + identifier(
            "STUDY", StudyInstanceUID="1.2.3.1"
        )
        answers = list(peer.find(STUDY_FIND, with_length))
    assert [status for status, _ in answers] == [PENDING, DONE]


def test_a_cancel_ends_a_query_with_fe00_and_the_association_lives(asked: Site):
    query = find(identifier("STUDY", StudyInstanceUID=""))
    with Raw(asked.port) as peer:
        peer.associate(calling_ae_title="NORTH1")
        peer.send(query + cancel())
        assert told_by(peer) == ["status-FE00"]
        peer.send(query + cancel(message_id=6))  # of another query: nothing to this one
        assert told_by(peer) == ["status-FF00", "status-FF00", "status-0000"]
        peer.send(query)
        assert told_by(peer)[-1] == "status-0000"


def told_by(peer: Raw) -> list[str]:
    """The statuses of one query, to its end."""
    said: list[str] = []
    while not said or said[-1].startswith("status-FF"):
        elements, _ = peer.message()
        said.append(f"status-{int.from_bytes(elements[STATUS], 'little'):04X}")
    return said


@pytest.mark.parametrize(
    "data",
    [b"\x08\x00", b"not a data set at all", b"\x08\x00\x52\x00\xff\xff\xff\x7fSTUDY "],
)
def test_an_identifier_that_is_none_is_refused_and_the_association_lives(asked: Site, data):
    with asked.call([STUDY_FIND]) as peer:
        (status, _), *more = peer.find(STUDY_FIND, data)
        assert more == []
        assert status in (0xA900, 0xC000)
        answers = list(peer.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="1.2.3.1")))
        assert len(answers) == 2


@pytest.mark.parametrize("key", [{"StudyDate": "yesterday"}, {"StudyDate": "2024-13-45"}])
def test_a_value_that_cannot_be_matched_is_refused_or_finds_nothing(asked: Site, key):
    matches, statuses = asked.find("STUDY", StudyInstanceUID="", **key)
    assert matches == []
    assert statuses[-1] in (DONE, 0xA900, 0xC000)


def test_unknown_callers_are_told_that_they_are_and_for_good(asked: Site):
    with pytest.raises(Rejected) as refused:
        asked.call(as_="NOBODY")
    assert refused.value.rejection == (1, 1, 3)  # permanent, by the user, calling AE title


def test_who_calls_us_by_another_name_is_let_in_unless_names_are_checked(
    asked: Site, tmp_path: Path
):
    asked.call(called="OTHER").release()
    with open_site(tmp_path, check_called_ae=True) as strict:
        strict.call().release()
        with pytest.raises(Rejected):
            strict.call(called="OTHER")


def test_an_open_bench_takes_anybody_in_as_its_facility(tmp_path: Path):
    with open_site(tmp_path, open_facility="SOUTH") as site:
        site.give(small(), facility="SOUTH")
        site.give(small(study="1.2.3.9", instance="1.2.3.9.1"), facility="NORTH")
        matches, _ = site.find("STUDY", as_="ANYBODY", StudyInstanceUID="")
        assert told(matches, 0x0020000D) == ["1.2.3.1"]
