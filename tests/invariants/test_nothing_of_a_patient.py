"""Nothing of a patient in logs, metrics, error pages and error comments, after a hostile run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydicom import config

from sebago.dimse import Identity
from sebago.dimse.command import ERROR_COMMENT
from sebago.dimse.scu import Requestor
from tests.invariants.ways_in import by_c_store, headers, stow
from tests.samples import body, part10, small
from tests.scp.site import EXPLICIT_VR_LE, IMPLICIT_VR_LE, PATIENT_FIND, STUDY_MOVE, identifier
from tests.serve.watch import installed
from tests.whole.server import Server

NAME, PATIENT_ID, BIRTH_DATE = "ZZCANARY^ANN", "CANARY-0042", "19341122"
OF_A_PATIENT = ("zzcanary", "canary-0042", "19341122")
KEYS = {"PatientName": NAME, "PatientID": PATIENT_ID, "PatientBirthDate": BIRTH_DATE}


def canary(number: int = 1, **more: object):
    return small(
        study="1.2.43.1",
        series="1.2.43.1.1",
        instance=f"1.2.43.1.1.{number}",
        patient_name=NAME,
        patient_id=PATIENT_ID,
        **({"PatientBirthDate": BIRTH_DATE} | more),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, list[str]]]:
    """A server, and all that it said to hostile and clumsy clients."""
    server = installed(tmp_path_factory.mktemp("ran"), 1)
    try:
        server.add_facility("NORTH", peers=["NORTH1"])
        server.start()
        with config.disable_value_validation():
            _store(server)
        yield server, [*_ask(server), *_browse(server), *_commands(server)]
    finally:
        server.close()


def _store(server: Server) -> None:
    whole = body(canary())
    for data in (
        whole,
        whole[:-3],
        whole[: len(whole) // 2],
        whole[:200],
        whole.replace(b"1.2.43.1.1.1", b"1.2.43.1.1.2"),
        body(canary(3, StudyInstanceUID="")),
        body(canary(4, SOPClassUID=NAME.replace("^", "."))),
        body(canary(5, StudyInstanceUID=PATIENT_ID + "/x")),
        whole + b"\xff" * 40,
        NAME.encode() * 40,
    ):
        by_c_store(server, "NORTH", canary(), data)
        stow(server, "NORTH", part10(canary())[: -len(whole)] + data)
    stow(server, "NORTH", part10(canary(9, PatientName="ZZCANARY\r\n\x1b[31mROT")))


def _ask(server: Server) -> list[str]:
    said = []
    identity = Identity("1.2.3.4", "TESTS", 65536)
    for model, levels in (
        (PATIENT_FIND, ("PATIENT", "IMAGE", NAME[:16])),
        (STUDY_MOVE, ("STUDY",)),
    ):
        for level in levels:
            with Requestor.connect(
                *server.dimse, called="SEBAGO", calling="NORTH1",
                contexts=[(model, [IMPLICIT_VR_LE])], identity=identity,
            ) as peer:  # fmt: skip
                keys = identifier(level, IMPLICIT_VR_LE, **KEYS)
                if model == PATIENT_FIND:
                    list(peer.find(model, keys + keys[:7]))
                    list(peer.find(model, keys))
                else:
                    list(peer.move(model, "ZZCANARY", keys))
                assert peer.last_response is not None
                if peer.last_response.status not in (0, 0xFF00):
                    said.append(peer.last_response.text(ERROR_COMMENT))
    return said


def _browse(server: Server) -> list[str]:
    said = []
    ours = headers(server, "NORTH")
    for path in (
        f"/dicomweb/studies?PatientName={NAME}&PatientBirthDate=x{BIRTH_DATE}",
        f"/dicomweb/studies?PatientID={PATIENT_ID}&limit=x",
        f"/dicomweb/studies?StudyDate={BIRTH_DATE}-&PatientID={PATIENT_ID}&offset=-1",
        f"/dicomweb/studies?PatientID={PATIENT_ID}",
        "/dicomweb/studies/1.2.43.1/metadata",
        "/dicomweb/studies/1.2.43.1/series/1.2.43.1.1/instances/1.2.43.1.1.1/frames/99",
        "/dicomweb/studies/1.2.43.1/rendered?viewport=x",
    ):
        for given in (ours, {}, {"Authorization": f"Bearer sbg_1_{PATIENT_ID}"}):
            answer = httpx.get(f"{server.url}{path}", headers=given, timeout=60)
            if answer.status_code >= 400:
                said.append(answer.text)
    return said


def _commands(server: Server) -> list[str]:
    folder = server.folder / "disc"
    folder.mkdir()
    (folder / "cut").write_bytes(part10(canary(20))[:-9])
    (folder / "whole").write_bytes(part10(canary(21)))
    said = []
    for arguments in (
        ("import", folder, "--facility", "NORTH"),
        ("export", server.folder / "out", "--study", "1.2.43.1"),
        ("verify", "--deep"),
        ("status",),
    ):
        done = server.try_command(*arguments)
        said.append(done.stdout + done.stderr)
    return said


def absent_from(text: str) -> None:
    for word in OF_A_PATIENT:
        at = text.lower().find(word)
        assert at < 0, text[max(0, at - 200) : at + 100]


def test_the_log_holds_no_patient_and_is_one_object_a_line(ran):
    server, _ = ran
    lines = server.log.read_text().splitlines()
    absent_from("\n".join(lines))
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(events) == len(
        [line for line in lines if not line.startswith(("Sebago", "  sebago"))]
    )
    assert len([event for event in events if event["event"] == "refused"]) >= 8
    assert all(line.isprintable() for line in lines)


def test_metrics_hold_no_patient(ran):
    server, _ = ran
    answer = httpx.get(f"{server.url}/metrics", headers=headers(server, "NORTH", "operator"))
    assert answer.status_code == 200
    assert "sebago_instances_refused_total" in answer.text
    absent_from(answer.text)
    assert "1.2.43" not in answer.text


def test_what_clients_and_operators_are_told_of_errors_holds_no_patient(ran):
    _, said = ran
    assert len(said) > 15
    for text in said:
        absent_from(text)


def test_file_names_hold_no_patient(ran):
    server, _ = ran
    for path in server.data.rglob("*"):
        absent_from(str(path.relative_to(server.data)))


def test_what_was_taken_in_is_as_it_was_sent_all_the_same(ran, tmp_path: Path):
    server, _ = ran
    server.command("export", tmp_path, "--study", "1.2.43.1", "--as-received")
    whole = body(canary())
    assert any(path.read_bytes().endswith(whole) for path in tmp_path.rglob("*.dcm"))
    assert EXPLICIT_VR_LE
