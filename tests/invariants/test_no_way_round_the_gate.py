"""Every route and every DIMSE service, walked: what the gate does not permit is not given."""

from __future__ import annotations

from pathlib import Path

import pytest

from sebago.dimse import Buffered
from sebago.dimse.dial import Rejected
from sebago.scp.contexts import SERVICES
from sebago.scp.query import FIND_MODELS, GET_MODELS, MOVE_MODELS
from tests.samples import part10, small
from tests.scp.peers import destination
from tests.scp.site import CT, EXPLICIT_VR_LE, IMPLICIT_VR_LE, Site, identifier, open_site
from tests.web.world import open_world

CANARY = "Zzcanary"
SECRET = "CANARY-77"
STUDY, SERIES, INSTANCE = "1.2.42.1", "1.2.42.1.1", "1.2.42.1.1.1"
KEYS = {
    "PATIENT": {"PatientID": SECRET},
    "STUDY": {"PatientID": SECRET, "StudyInstanceUID": STUDY},
    "SERIES": {"PatientID": SECRET, "StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES},
    "IMAGE": {
        "PatientID": SECRET,
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "SOPInstanceUID": INSTANCE,
    },
}


def canary():
    return small(
        study=STUDY,
        series=SERIES,
        instance=INSTANCE,
        patient_name=f"{CANARY}^Ann",
        patient_id=SECRET,
        pixels=CANARY.encode() * 64,
    )


# --- HTTP ---------------------------------------------------------------------------------------


def routes(app) -> list[tuple[str, str]]:
    """Every method and path, with what there is to be seen in it."""
    found = []
    for route in app.routes:
        path = route.path
        for name, value in (
            ("{study}", STUDY), ("{series}", SERIES), ("{instance}", INSTANCE), ("{frames}", "1"),
            ("{bulk:path}", "7FE00010"),
        ):  # fmt: skip
            path = path.replace(name, value)
        assert "{" not in path, f"{route.path}: say here what stands in for its parameters"
        found += [(method, path) for method in route.methods]
    return found


def test_every_route_gives_to_those_who_may_and_to_nobody_else(tmp_path: Path):
    with open_world(tmp_path) as world:
        assert world.stow([part10(canary())]).status_code == 200
        walked = routes(world.app)
        given: set[str] = set()
        for method, path in walked:
            if path in ("/healthz", "/readyz"):
                continue
            query = f"?studyUID={STUDY}&seriesUID={SERIES}&objectUID={INSTANCE}&requestType=WADO"
            query += f"&PatientID={SECRET}&includefield=all"
            for address in (path, path + query):
                for who in (None, "operator", "admin", "privacy", "reviewer", "sender@SOUTH"):
                    headers = world.auth(who) if who else {}
                    answer = world.client.request(method, address, headers=headers)
                    said = answer.content + repr(answer.headers).encode()
                    assert CANARY.encode() not in said, (method, address, who)
                    assert answer.status_code < 500, (method, address, who)
                    if who is None:
                        assert answer.status_code == 401, (method, address)
                answer = world.client.request(
                    method, address, headers=world.auth("clinician@SOUTH")
                )
                if CANARY.encode() in answer.content:
                    given.add(path)
        # The walk means something: those who may are given it, by search, metadata and bytes.
        assert {"/dicomweb/studies", f"/dicomweb/studies/{STUDY}/metadata"} <= given
        assert len(given) >= 6


# --- DIMSE --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory):
    with open_site(tmp_path_factory.mktemp("guarded")) as site:
        site.give(canary())
        yield site


def test_nobody_unknown_is_let_in_for_any_service(guarded: Site):
    for uid in sorted({*SERVICES, CT}):
        for title in ("NOBODY", "north1", " ", "NORTH1X", "SEBAGO"):
            with pytest.raises(Rejected):
                guarded.call(contexts=[(uid, [IMPLICIT_VR_LE])], as_=title)


@pytest.mark.parametrize("model", sorted(FIND_MODELS))
def test_no_query_finds_what_another_facility_holds(guarded: Site, model: str):
    for level in FIND_MODELS[model].levels:
        for asker, count in (("NORTH1", 1), ("SOUTH1", 0)):
            matches, statuses = guarded.find(
                level.value, model=model, as_=asker, relational=True, PatientName="",
                **KEYS[level.value],
            )  # fmt: skip
            assert (len(matches), statuses[-1]) == (count, 0), (level, asker)


@pytest.mark.parametrize("model", sorted(MOVE_MODELS))
def test_nothing_of_another_facility_moves_and_nothing_moves_to_another(guarded: Site, model: str):
    with (
        destination(guarded, "OURS") as ours,
        destination(guarded, "THEIRS", facility="SOUTH") as theirs,
    ):
        for level in MOVE_MODELS[model].levels:
            for asker in ("NORTH1", "SOUTH1"):
                for to in ("OURS", "THEIRS"):
                    with guarded.call([model], as_=asker) as peer:
                        list(peer.move(model, to, identifier(level.value, **KEYS[level.value])))
        assert theirs.uids == []
        assert ours.uids == [INSTANCE] * len(MOVE_MODELS[model].levels)  # NORTH's own, to its own


@pytest.mark.parametrize("model", sorted(GET_MODELS))
def test_no_get_gives_what_another_facility_holds(guarded: Site, model: str):
    for level in GET_MODELS[model].levels:
        for asker, count in (("NORTH1", 1), ("SOUTH1", 0)):
            received: list[str] = []

            def stored(command, sink, received=received) -> int:
                received.append(command.sop_instance_uid)
                return 0

            with guarded.call(
                as_=asker,
                contexts=[(model, [IMPLICIT_VR_LE]), (CT, [EXPLICIT_VR_LE])],
                roles={CT: (False, True)},
            ) as peer:
                keys = identifier(level.value, **KEYS[level.value])
                list(peer.get(model, keys, receive=lambda _: Buffered(1 << 20), stored=stored))
            assert len(received) == count, (level, asker)


def test_every_service_is_one_that_is_walked_here():
    walked = {"1.2.840.10008.1.1", *FIND_MODELS, *MOVE_MODELS, *GET_MODELS}
    assert walked == SERVICES
