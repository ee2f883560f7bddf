"""The running program: doors, start and stop, what is registered while it runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bench.instances import fresh_study, small_templates
from bench.load import VERIFICATION, Association, LoadFailed, StoreTarget, store_load, store_some
from tests.whole.parts import DICOM_JSON, http
from tests.whole.server import Server

FACILITY = "SERVE"
CALLING = "SERVESCU"
TAKES_EFFECT_S = 5.0


@pytest.fixture(scope="module")
def served(archive: Server) -> Iterator[Server]:
    archive.add_facility(FACILITY, peers=[CALLING])
    archive.start()
    yield archive
    archive.close()


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def echoes(server: Server, calling: str) -> bool:
    """Whether a caller is let in and answered."""
    try:
        association = Association(
            server.dimse, server.ae_title, calling, [(1, VERIFICATION, ["1.2.840.10008.1.2"])]
        )
    except LoadFailed:
        return False
    status = association.echo(1)
    association.release()
    return status == 0


def search_status(server: Server, headers: dict[str, str]) -> int:
    """Status of a query for studies."""
    return http(f"{server.dicomweb}/studies?limit=1", headers, accept=DICOM_JSON).status


def test_it_is_alive_and_ready_when_it_says_so(served: Server) -> None:
    assert http(f"{served.url}/healthz", {}).status == 200
    assert http(f"{served.url}/readyz", {}).status == 200
    assert echoes(served, CALLING)


def test_nothing_of_patients_is_given_without_a_token(served: Server) -> None:
    assert search_status(served, {}) == 401
    assert search_status(served, {"Authorization": "Bearer sbg_0_0"}) == 401
    assert http(f"{served.url}/metrics", {}).status in (401, 403)


def test_a_peer_registered_while_it_runs_is_let_in(served: Server) -> None:
    assert not echoes(served, "LATECOMER")
    served.add_peer(FACILITY, "LATECOMER")
    assert within(TAKES_EFFECT_S, lambda: echoes(served, "LATECOMER"))


def test_a_revoked_token_opens_nothing(served: Server) -> None:
    token = served.token(FACILITY, "clinician")
    headers = {"Authorization": f"Bearer {token}"}
    assert within(TAKES_EFFECT_S, lambda: search_status(served, headers) in (200, 204))
    token_id = token.split("_")[1]
    served.command("token", "revoke", token_id)
    assert within(TAKES_EFFECT_S, lambda: search_status(served, headers) == 401)


def test_what_is_acknowledged_is_found_at_once(served: Server) -> None:
    headers = served.headers(FACILITY)
    target = StoreTarget(served.dimse, served.ae_title, CALLING)
    for _ in range(10):
        study = fresh_study()
        store_load(target, small_templates(2), 1, 1, study=study)
        answer = http(
            f"{served.dicomweb}/studies?StudyInstanceUID={study.uid}", headers, accept=DICOM_JSON
        )
        assert answer.status == 200


def test_sigterm_under_load_ends_it_in_order_and_loses_nothing(served: Server) -> None:
    target = StoreTarget(served.dimse, served.ae_title, CALLING)
    study = fresh_study()
    acknowledged: list[int] = []

    def load() -> None:
        number = 1
        while True:
            try:
                run, _, _ = store_some(
                    target, small_templates(2), 5, study=study, first_number=number
                )
            except (OSError, LoadFailed):
                return
            acknowledged.append(run.instances)
            number += 5

    loading = threading.Thread(target=load)
    loading.start()
    assert within(20, lambda: sum(acknowledged) >= 20)
    began = time.monotonic()
    assert served.stop(grace_s=20) == 0
    assert time.monotonic() - began <= 15
    loading.join(timeout=60)
    assert not loading.is_alive()
    served.start()
    answer = http(
        f"{served.dicomweb}/studies/{study.uid}/instances?limit=100000",
        served.headers(FACILITY),
        accept=DICOM_JSON,
    )
    items = answer.json()
    assert isinstance(items, list)
    assert len(items) >= sum(acknowledged)
