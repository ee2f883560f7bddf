"""What every request passes: token, problem details, headers, logs, metrics."""

from __future__ import annotations

import json

import pytest
import structlog

from sebago.errors import IndexAway
from tests.web.made import data_set

OPEN = ("/healthz", "/readyz")


def all_paths(world):
    paths = []
    for route in world.app.routes:
        path = route.path
        for name in ("study", "series", "instance"):
            path = path.replace(f"{{{name}}}", "2.25.1")
        path = path.replace("{frames}", "1").replace("{bulk:path}", "7FE00010")
        assert "{" not in path
        paths += [(method, path) for method in route.methods if method != "HEAD"]
    return paths


def test_every_route_but_the_open_ones_wants_a_token(shared_world):
    paths = all_paths(shared_world)
    assert len(paths) > 8
    for method, path in paths:
        answer = shared_world.client.request(method, path)
        if path in OPEN:
            assert answer.status_code == 200
            continue
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer")
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem["code"] == "not-signed-in"
        assert problem["status"] == 401
        assert problem["do"]
        assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Basic YTpi",
        "Bearer sbg_0_0",
        "Bearer " + "x" * 10_000,
        "Bearer sbg_\xe9_x".encode("latin-1"),
    ],
)
def test_a_token_that_is_none_is_refused(shared_world, given):
    answer = shared_world.client.get("/dicomweb/studies", headers={"authorization": given})
    assert answer.status_code == 401


def test_a_path_that_no_route_knows_wants_a_token_too_and_is_then_not_found(shared_world):
    assert shared_world.client.get("/nothing").status_code == 401
    answer = shared_world.get("/nothing")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not-found"


def test_a_method_that_a_path_does_not_take_is_said_so(shared_world):
    answer = shared_world.client.delete(
        "/dicomweb/studies/2.25.1", headers=shared_world.auth("clinician@NORTH")
    )
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"


def test_answers_are_not_to_be_sniffed_and_carry_a_request_id(shared_world):
    answer = shared_world.get("/dicomweb/studies", headers={"x-request-id": "abc-1"})
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] == "abc-1"
    forged = shared_world.get("/dicomweb/studies", headers={"x-request-id": 'a"b c'})
    assert forged.headers["x-request-id"] != 'a"b c'


def test_a_browser_may_ask_before_it_sends_a_token(shared_world):
    answer = shared_world.client.options(
        "/dicomweb/studies",
        headers={
            "origin": "https://viewer.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization",
        },
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    found = shared_world.get("/dicomweb/studies", headers={"origin": "https://viewer.example"})
    assert found.headers["access-control-allow-origin"] == "*"
    assert "Content-Type" in found.headers["access-control-expose-headers"]


def test_headers_longer_than_a_limit_are_refused(shared_world):
    answer = shared_world.get("/dicomweb/studies", headers={"x-long": "a" * 70_000})
    assert answer.status_code == 413
    assert answer.json()["code"] == "too-large"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_a_compressed_body_is_not_taken(shared_world, coding):
    answer = shared_world.stow([], raw=b"\x1f\x8b", content_encoding=coding)
    assert answer.status_code == 415


def test_ready_is_said_only_when_every_check_passes(world):
    def broken():
        raise IndexAway("gone")

    assert world.client.get("/readyz").status_code == 200
    world.ready["index"] = broken
    answer = world.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["failed"] == ["index"]
    assert answer.headers["retry-after"]
    assert world.client.get("/healthz").status_code == 200


def test_metrics_are_for_those_who_run_the_archive_and_name_routes_not_paths(shared_world):
    shared_world.get("/dicomweb/studies/2.25.99887766/series")
    assert shared_world.get("/metrics", as_="clinician@NORTH").status_code == 403
    answer = shared_world.get("/metrics", as_="operator")
    assert answer.status_code == 200
    assert 'route="/dicomweb/studies/{study}/series"' in answer.text
    assert "99887766" not in answer.text
    assert shared_world.get("/metrics", as_="admin").status_code == 200


def test_an_access_line_names_the_route_and_nothing_of_the_query(shared_world):
    with structlog.testing.capture_logs() as lines:
        shared_world.get("/dicomweb/studies?PatientName=Doe*&StudyInstanceUID=2.25.424242")
    line = next(line for line in lines if line["event"] == "request")
    assert line["route"] == "/dicomweb/studies"
    assert line["status"] == 204
    assert line["actor"].startswith("token:")
    assert "Doe" not in json.dumps(lines)
    assert "424242" not in json.dumps(lines)


def test_problems_and_logs_hold_nothing_of_a_patient(world):
    world.keep(data_set(patient_name="Secretname^X", patient_id="SECRETID"))
    with structlog.testing.capture_logs() as lines:
        answers = [
            world.get("/dicomweb/studies?PatientName=Secretname&limit=x"),
            world.get("/dicomweb/studies?Secretname=SECRETID&limit=-1"),
            world.get("/dicomweb/studies/SECRETID"),
        ]
    for answer in answers:
        assert answer.status_code in (400, 404)
        assert "SECRETID" not in answer.text
    assert "SECRETID" not in json.dumps(lines)
    assert "Secretname^" not in json.dumps(lines)


def test_the_documentation_is_served_and_names_every_resource(shared_world):
    document = shared_world.get("/openapi.json").json()
    assert "/dicomweb/studies/{study}/series" in document["paths"]
    page = shared_world.get("/docs")
    assert page.status_code == 200
    assert "/dicomweb/studies/{study}/series" in page.text
    assert "http://" not in page.text
    errors = shared_world.get("/docs/errors")
    assert 'id="not-signed-in"' in errors.text
