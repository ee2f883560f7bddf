"""Who sees what: custody is one's own, the exchange is everybody's with each study once."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from sebago.errors import Damaged, Denied, NotFound, TooMany
from sebago.gate import Asker, Role
from sebago.retrieve import Level, Query
from tests.samples import body, small
from tests.scp.site import Site, open_site

STUDY_UID = (0x0020000D,)


def studies(site: Site, asker: Asker, **query) -> dict[str, int]:
    """Study Instance UID to its number of instances."""
    rows = site.archive.search(asker, Query(Level.STUDY, **query)).rows
    return {row["0020000D"]["Value"][0]: row["00201208"]["Value"][0] for row in rows}


@pytest.fixture
def shared(here: Site) -> Site:
    """One study of which both facilities hold a part, an image of it both, and one study each."""
    here.give(small(), small(instance="1.2.3.1.1.2", number=2))
    here.give(
        small(patient_id="S-7"),
        small(patient_id="S-7", series="1.2.3.1.2", instance="1.2.3.1.2.1"),
        facility="SOUTH",
    )
    here.give(small(study="1.2.3.8", instance="1.2.3.8.1", patient_name="Roy^Paul"))
    here.give(
        small(study="1.2.3.9", instance="1.2.3.9.1", patient_name="Cyr^Luc"), facility="SOUTH"
    )
    return here


def test_custody_shows_what_ones_own_facility_sent(shared: Site):
    assert studies(shared, shared.asker("NORTH")) == {"1.2.3.1": 2, "1.2.3.8": 1}
    assert studies(shared, shared.asker("SOUTH")) == {"1.2.3.1": 2, "1.2.3.9": 1}


def test_the_exchange_shows_a_study_of_two_facilities_once_and_whole(shared: Site):
    for facility in ("NORTH", "SOUTH"):
        clinician = shared.asker(facility, Role.CLINICIAN)
        assert studies(shared, clinician) == {"1.2.3.1": 3, "1.2.3.8": 1, "1.2.3.9": 1}
        held = shared.archive.locate(clinician, "1.2.3.1")
        assert [one.sop_instance_uid for one in held] == [
            "1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.2.1",
        ]  # fmt: skip
        assert held[0].facility == facility  # what both hold is one's own


def test_what_only_another_facility_holds_is_not_there_in_custody(shared: Site):
    with pytest.raises(NotFound) as theirs:
        shared.archive.locate(shared.asker("NORTH"), "1.2.3.9")
    with pytest.raises(NotFound) as nobodys:
        shared.archive.locate(shared.asker("NORTH"), "1.2.3.77")
    assert str(theirs.value) == str(nobodys.value)
    with pytest.raises(NotFound):
        shared.archive.locate(shared.asker("NORTH"), "1.2.3.1", None, "1.2.3.1.2.1")
    with pytest.raises(NotFound):
        shared.archive.find_instance(shared.asker("NORTH"), "1.2.3.1.2.1")
    with pytest.raises(NotFound):
        shared.archive.metadata(shared.asker("NORTH"), "1.2.3.9", base_url="x", gzip=False)


@pytest.mark.parametrize("purpose", ["HRESCH", "HPAYMT", "HOPERAT"])
def test_for_other_purposes_than_treatment_a_clinician_sees_custody(shared: Site, purpose: str):
    asker = Asker("user:ann", Role.CLINICIAN, "NORTH", purpose)
    assert studies(shared, asker) == {"1.2.3.1": 2, "1.2.3.8": 1}
    with pytest.raises(NotFound):
        shared.archive.locate(asker, "1.2.3.9")


@pytest.mark.parametrize(
    "asker",
    [Asker("token:1", role, "NORTH") for role in Role if role not in (Role.SENDER, Role.CLINICIAN)]
    + [Asker("token:1", Role.SENDER, ""), Asker("token:1", Role.CLINICIAN, "NORTH", "CURIOUS")],
    ids=lambda asker: f"{asker.role}-{asker.facility}-{asker.purpose}",
)
def test_nobody_else_gets_anything_by_any_way_out(shared: Site, asker: Asker):
    archive = shared.archive
    for way_out in (
        lambda: archive.search(asker, Query(Level.STUDY)),
        lambda: archive.locate(asker, "1.2.3.1"),
        lambda: archive.find_instance(asker, "1.2.3.1.1.1"),
        lambda: archive.studies_of(asker, series=["1.2.3.1.1"], instances=[]),
        lambda: archive.metadata(asker, "1.2.3.1", base_url="x", gzip=False),
    ):
        with pytest.raises(Denied):
            way_out()


def test_each_answer_yes_and_no_is_in_the_ledger_with_what_it_was_about(shared: Site):
    def events() -> list[tuple[str, str, str]]:
        with shared.index.read() as conn:
            rows = conn.execute(
                text("select kind, subject, body from ledger.event where actor = 'token:x'")
            )
            return [(row[0], row[1], str(row[2])) for row in rows]

    sender = Asker("token:x", Role.SENDER, "NORTH")
    shared.archive.locate(sender, "1.2.3.1")
    ((permitted, subject, _),) = events()
    assert subject == "1.2.3.1"
    with pytest.raises(NotFound):
        shared.archive.locate(sender, "1.2.3.9")
    denied, subject, body = events()[-1]
    assert (denied != permitted, subject) == (True, "1.2.3.9")
    assert "not-own-facility" in body
    with pytest.raises(Denied):
        shared.archive.locate(Asker("token:x", Role.OPERATOR, "NORTH"), "1.2.3.1")
    assert "role-may-not" in events()[-1][2]


def test_two_patients_under_one_study_uid_are_never_mixed(here: Site):
    here.give(small(), small(patient_id="0099", patient_name="Other^One", instance="1.2.3.1.1.2"))
    rows = here.archive.search(here.asker(), Query(Level.STUDY, {STUDY_UID: "1.2.3.1"})).rows
    assert sorted(row["00100020"]["Value"][0] for row in rows) == ["0042", "0099"]
    (held,) = here.archive.locate(here.asker(), "1.2.3.1", patient_id="0099")
    assert held.sop_instance_uid == "1.2.3.1.1.2"


def test_versions_are_all_there_and_the_latest_is_shown(here: Site):
    made = [small(SeriesDescription=text) for text in ("ONE", "TWO", "THREE")]
    here.give(*made)
    (held,) = here.archive.locate(here.asker(), "1.2.3.1")
    assert bytes(here.archive.open(held)) == body(made[2])
    versions = here.archive.versions("NORTH", "1.2.3.1.1.1")
    assert [one.version for one in versions] == [3, 2, 1]
    assert [here.archive.read(one) for one in versions] == [body(one) for one in made[::-1]]


def test_what_is_open_is_the_very_bytes_and_cannot_be_written(here: Site):
    here.give(small())
    (held,) = here.archive.locate(here.asker(), "1.2.3.1")
    view = here.archive.open(held)
    assert view.readonly
    assert here.archive.part10_header(held)[128:132] == b"DICM"


def test_a_record_that_is_gone_is_damage_not_another_ones_bytes(here: Site):
    here.give(small())
    (held,) = here.archive.locate(here.asker(), "1.2.3.1")
    (segment,) = (here.folder / "journal" / held.writer).glob(f"{held.segment:010d}.*")
    with segment.open("r+b") as file:
        file.seek(held.data_offset - 100)
        file.write(bytes(80))
    with pytest.raises(Damaged):
        here.archive.read(held)


def test_more_than_may_be_listed_is_an_error_unless_a_limit_is_named(tmp_path):
    with open_site(tmp_path, matches_max=2) as site:
        for number in range(4):
            site.give(small(study=f"1.2.3.{number}", instance=f"1.2.3.{number}.1"))
        with pytest.raises(TooMany):
            site.archive.search(site.asker(), Query(Level.STUDY))
        answer = site.archive.search(site.asker(), Query(Level.STUDY, limit=2))
        assert (len(answer.rows), answer.remaining) == (2, 2)
        rest = site.archive.search(site.asker(), Query(Level.STUDY, limit=2, offset=2))
        assert (len(rest.rows), rest.remaining) == (2, 0)
        uids = [row["0020000D"]["Value"][0] for row in answer.rows + rest.rows]
        assert sorted(uids) == [f"1.2.3.{number}" for number in range(4)]


def test_counts_agree_at_all_levels_and_with_what_is_given(shared: Site):
    for asker in (shared.asker(), shared.asker("SOUTH", Role.CLINICIAN)):
        for uid, count in studies(shared, asker).items():
            at: dict[tuple[int, ...], str] = {STUDY_UID: uid}
            images = shared.archive.search(asker, Query(Level.INSTANCE, at)).rows
            series = shared.archive.search(asker, Query(Level.SERIES, at)).rows
            assert len(images) == count
            assert sum(row["00201209"]["Value"][0] for row in series) == count
            assert len(shared.archive.locate(asker, uid)) == count
