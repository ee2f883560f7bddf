"""Requests that no honest client sends: an answer, never a 5xx, never data to nobody."""

from __future__ import annotations

import contextlib
import itertools
import socket

import httpx
import pytest

from tests.web.made import BOUNDARY, STOW, body, data_set, fresh_uid, part10

SECRET = "Verysecret^Name"

SEGMENTS = [
    "..",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%00",
    "%0d%0aSet-Cookie:%20a=b",
    "%c0%ae%c0%ae",
    "%zz",
    "%",
    "1" * 65,
    "1" * 5000,
    "*",
    "1.2%5c1.3",
    "'%20OR%201=1--",
    "%3Cscript%3E",
    "\u202e\u0661",
    "%F0%9F%92%A9",
    "-1",
]

QUERIES = [
    "a=%00",
    "%0d%0a=1",
    "limit=-1",
    "limit=99999999999999999999999",
    "offset=99999999999999999999999",
    "limit=1&limit=2",
    "includefield=" + "all," * 2000,
    "PatientName=" + "*" * 3000,
    "PatientName=" + "?" * 3000,
    "PatientName=%25_%5c'\"",
    "StudyDate=99999999-00000000",
    "StudyDate=20240101-20240102-20240103",
    "StudyTime=-",
    "StudyInstanceUID=" + ",".join(["1.2.3"] * 1500),
    "StudyInstanceUID=*",
    "00400275.00400275.00400275=1",
    "00020010=1",
    "FFFEE000=1",
    "PixelData=1",
    "accept=*/*;q=NaN",
    "accept=" + "a/b," * 1000,
    "accept=%00",
    "window=NaN,inf&viewport=1,1,1,1,1,1&quality=1e9",
    "viewport=99999999,99999999",
    "&&&=&=&",
    "%FF",
]

HEADERS = [
    {"accept": "/"},
    {"accept": '"'},
    {"accept": ";" * 5000},
    {"accept": "multipart/related; type=" + "a" * 20_000},
    {"range": "bytes=" + "0-1," * 1000},
    {"range": "bytes=99999999999999999999-1"},
    {"if-none-match": "*" * 5000},
    {"accept-encoding": "gzip;q=" + "9" * 500},
    {"x-purpose-of-use": "a" * 5000},
    {"x-forwarded-host": "a" * 5000},
    {"x-forwarded-host": "evil.example/@x"},
    {"host": "evil example"},
    {"content-length": "0"},
    {"expect": "nonsense"},
]


@pytest.fixture(scope="module")
def attacked(shared_world):
    study = fresh_uid()
    shared_world.keep(data_set(study, study + ".1", study + ".1.1", patient_name=SECRET))
    shared_world.study = study
    return shared_world


def templates(world):
    return [
        (method, route.path)
        for route in world.app.routes
        for method in sorted(route.methods - {"HEAD"})
    ]


def paths(world, values):
    """Every route with a value in one of its places, and good values in the others."""
    good = {
        "{study}": world.study,
        "{series}": world.study + ".1",
        "{instance}": world.study + ".1.1",
        "{frames}": "1",
        "{bulk:path}": "7FE00010",
    }
    for method, template in templates(world):
        names = [name for name in good if name in template]
        for name, value in itertools.product(names, values):
            path = template.replace(name, value)
            for other in names:
                path = path.replace(other, good[other])
            yield method, path


def fill(world, template):
    """A route with good values in all its places."""
    for name, value in (
        ("{study}", world.study),
        ("{series}", world.study + ".1"),
        ("{instance}", world.study + ".1.1"),
        ("{frames}", "1"),
        ("{bulk:path}", "7FE00010"),
    ):
        template = template.replace(name, value)
    return template


def raw(world, request):
    """What comes back for bytes of a request."""
    url = httpx.URL(world.client.base_url)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(request)
        said = b""
        with contextlib.suppress(ConnectionResetError):  # it closed before it read all of it
            while piece := connection.recv(65536):
                said += piece
        return said


def head(world, method, path, *, token=True, more=()):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *more]
    if token:
        lines.append(f"Authorization: Bearer {world.tokens['clinician@NORTH']}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")


def status(said):
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.1 ") else 0


def test_no_path_is_answered_with_a_5xx_or_leaves_its_place(attacked):
    for method, path in paths(attacked, SEGMENTS):
        said = raw(attacked, head(attacked, method, path))
        assert 200 <= status(said) < 500, (method, path, said[:300])
        assert b"root:" not in said
        assert b"\r\nset-cookie" not in said.lower()


def test_no_query_is_answered_with_a_5xx(attacked):
    for (method, template), query in itertools.product(templates(attacked), QUERIES):
        if method == "GET":
            said = raw(attacked, head(attacked, method, f"{fill(attacked, template)}?{query}"))
            assert 200 <= status(said) < 500, (template, query, said[:300])


def test_no_header_is_answered_with_a_5xx(attacked):
    for (method, template), headers in itertools.product(templates(attacked), HEADERS):
        more = [f"{name}: {value}" for name, value in headers.items()]
        said = raw(attacked, head(attacked, method, fill(attacked, template), more=more))
        assert 200 <= status(said) < 500, (template, headers, said[:300])


def test_nobody_gets_data_without_a_token(attacked):
    for method, template in templates(attacked):
        path = fill(attacked, template)
        for more in ([], ["Authorization: Bearer "], ["Authorization: Bearer x", "Cookie: a=b"]):
            said = raw(attacked, head(attacked, method, path, token=False, more=more))
            assert status(said) in (200, 401)
            assert status(said) == 401 or template in ("/healthz", "/readyz")
            assert b"Verysecret" not in said


def test_what_another_facility_stored_is_not_told_apart_from_what_nobody_stored(attacked):
    for method, template in templates(attacked):
        if method != "GET" or "{study}" not in template:
            continue
        there = fill(attacked, template)
        nowhere = there.replace(attacked.study, "2.25.31337")
        answers = [
            attacked.client.get(path, headers=attacked.auth("sender@SOUTH"))
            for path in (there, nowhere)
        ]
        assert answers[0].status_code == answers[1].status_code, template
        assert answers[0].status_code in (204, 404)
        bodies = [answer.json() if answer.content else {} for answer in answers]
        for one in bodies:
            one.pop("request_id", None)
        assert bodies[0] == bodies[1]
        headers = [{k for k in answer.headers if k != "date"} for answer in answers]
        assert headers[0] == headers[1]


@pytest.mark.parametrize(
    "role", ["operator", "admin", "privacy", "reviewer", "sender@SOUTH", "nobody"]
)
def test_no_route_gives_a_patients_data_to_a_role_that_is_not_there_for_it(attacked, role):
    headers = {} if role == "nobody" else attacked.auth(role)
    for method, template in templates(attacked):
        if method == "GET":
            answer = attacked.client.get(fill(attacked, template), headers=headers)
            assert b"Verysecret" not in answer.content
            if template.startswith("/dicomweb"):
                assert answer.status_code in (204, 400, 401, 403, 404), (template, role)


@pytest.mark.parametrize(
    "content",
    [
        b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\0" * 1000,
        body([b"\0" * 128 + b"DICM" + b"\xff" * 2000]),
        body(
            [
                b"\0" * 128
                + b"DICM\2\0\0\0UL\4\0\xff\xff\xff\xff"
                + b"\2\0\1\0OB\0\0\xff\xff\xff\x7f"
            ]
        ),
        body([part10(data_set())[:400]]),
        body([part10(data_set()[:-20])]),
        body([part10(data_set() + b"\xff" * 20)]),
        body([b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50]),
        body([b"%PDF-1.7" + b"x" * 5000]),
        body([b"\x7fELF" + bytes(5000)]),
        (f"--{BOUNDARY}\r\n" * 5000).encode(),
        (f"--{BOUNDARY}\r\n\r\n" * 5000).encode(),
        f"--{BOUNDARY}\r\n".encode() + b"A: b\r\n" * 100_000,
        b"\r\n" * 100_000,
    ],
)
def test_no_body_is_answered_with_a_5xx_or_stops_the_next(attacked, content):
    answer = attacked.stow([], raw=content)
    assert answer.status_code in (202, 400, 409, 413, 415)
    assert attacked.stow([part10(data_set())]).status_code == 200


def test_a_data_set_100_000_deep_is_refused(attacked):
    deep = b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 100_000
    start = data_set()
    at = start.index(b"\x10\0\x10\0PN")
    file = part10(start[:at] + deep + start[at:])
    assert attacked.stow([file]).status_code == 409


def test_xml_that_grows_or_reads_files_is_refused(attacked):
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
        b'<NativeDicomModel><DicomAttribute tag="00100020" vr="LO"><Value number="1">&b;</Value>'
        b"</DicomAttribute></NativeDicomModel>"
    )
    outside = bomb.replace(b'"aaaaaaaaaa"', b'SYSTEM "file:///etc/passwd"')
    deep = b'<NativeDicomModel><DicomAttribute tag="00081115" vr="SQ"><Item number="1">' * 100_000
    kind = f'multipart/related; type="application/dicom+xml"; boundary={BOUNDARY}'
    for document in (bomb, outside, deep):
        sent = body([document], content_type=b"application/dicom+xml")
        answer = attacked.stow([], raw=sent, content_type=kind)
        assert answer.status_code == 400
        assert b"root:" not in answer.content


def test_a_method_that_is_none_is_refused(attacked):
    for method in ("TRACE", "CONNECT", "PUT", "DELETE", "PATCH", "FOO", "get"):
        said = raw(attacked, head(attacked, method, "/dicomweb/studies"))
        assert status(said) in (0, 400, 404, 405)


def test_the_content_type_of_a_store_request_may_be_nonsense(attacked):
    for kind in (
        "multipart/related; boundary=" + "-" * 200,
        STOW + "; boundary=b",
        "a" * 9000,
        "/",
    ):
        assert attacked.stow([data_set()], content_type=kind).status_code in (200, 400, 409, 415)
