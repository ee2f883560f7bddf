"""Other people's DICOM programs at the other end, in either role; skipped by name where absent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from sebago.dimse import Association, Buffered, Command, Requestor, Sink
from sebago.dimse import command as c
from tests.dimse.live import (
    CT,
    EXPLICIT,
    IDENTITY,
    IMPLICIT,
    QUICK,
    STUDY_FIND,
    STUDY_GET,
    VERIFICATION,
    Desk,
    InMemory,
    door,
)
from tests.peers import (
    Absent,
    Running,
    dcmtk,
    dcmtk_storescp,
    free_port,
    port_is_open,
    run_dcmtk,
)

STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
MR = "1.2.840.10008.5.1.4.1.1.4"


def need(*tools: str) -> None:
    for tool in tools:
        try:
            dcmtk(tool)
        except Absent as absent:
            pytest.skip(str(absent))


def text(group: int, element: int, vr: bytes, value: str) -> bytes:
    """One element in Explicit VR Little Endian with a short length."""
    raw = value.encode("ascii")
    raw += (b"\0" if vr == b"UI" else b" ") * (len(raw) & 1)
    return (
        group.to_bytes(2, "little")
        + element.to_bytes(2, "little")
        + vr
        + len(raw).to_bytes(2, "little")
        + raw
    )


def implicit(group: int, element: int, value: str, pad: str = " ") -> bytes:
    raw = (value + pad * (len(value) & 1)).encode("ascii")
    return (
        group.to_bytes(2, "little")
        + element.to_bytes(2, "little")
        + len(raw).to_bytes(4, "little")
        + raw
    )


def image(number: int, pixel_bytes: int = 40_000) -> bytes:
    """A data set that a receiver can file: an image of made-up identity."""
    return b"".join(
        (
            text(0x0008, 0x0016, b"UI", CT),
            text(0x0008, 0x0018, b"UI", f"1.2.3.4.{number}"),
            text(0x0008, 0x0020, b"DA", "20240102"),
            text(0x0008, 0x0030, b"TM", "101500"),
            text(0x0008, 0x0050, b"SH", "A1"),
            text(0x0008, 0x0060, b"CS", "CT"),
            text(0x0010, 0x0010, b"PN", "Test^Made Up"),
            text(0x0010, 0x0020, b"LO", "ID1"),
            text(0x0020, 0x000D, b"UI", "1.2.3"),
            text(0x0020, 0x000E, b"UI", "1.2.3.4"),
            text(0x0020, 0x0010, b"SH", "S1"),
            text(0x0020, 0x0011, b"IS", "1"),
            text(0x0020, 0x0013, b"IS", str(number)),
            b"\xe0\x7f\x10\0OW\0\0" + pixel_bytes.to_bytes(4, "little") + bytes(pixel_bytes),
        )
    )


def connect(
    port: int,
    contexts: Sequence[tuple[str, Sequence[str]]],
    *,
    called: str = "ANY-SCP",
    roles: dict[str, tuple[bool, bool]] | None = None,
) -> Requestor:
    return Requestor.connect(
        "127.0.0.1",
        port,
        called=called,
        calling="SEBAGO",
        contexts=contexts,
        identity=IDENTITY,
        roles=roles,
        timeouts=QUICK,
        response_timeout_s=20,
    )


def write_file(folder: Path, number: int) -> Path:
    """The image as a file, for programs that send files."""
    meta = (
        b"\2\0\1\0OB\0\0\2\0\0\0\0\1"
        + text(2, 2, b"UI", CT)
        + text(2, 3, b"UI", f"1.2.3.4.{number}")
        + text(2, 0x10, b"UI", EXPLICIT)
        + text(2, 0x12, b"UI", "1.2.3")
    )
    head = b"\2\0\0\0UL\4\0" + len(meta).to_bytes(4, "little")
    path = folder / f"{number}.dcm"
    path.write_bytes(bytes(128) + b"DICM" + head + meta + image(number))
    return path


# --- their requestors, our acceptor -------------------------------------------------------------


def test_dcmtk_verifies_and_stores(tmp_path: Path) -> None:
    need("echoscu", "storescu")
    files = [write_file(tmp_path, number) for number in range(1, 6)]
    with door() as d:
        assert run_dcmtk("echoscu", "127.0.0.1", str(d.port)).returncode == 0
        for options in (["-pdu", "4096"], ["-pdu", "131072"], ["--repeat", "3"]):
            said = run_dcmtk("storescu", *options, "127.0.0.1", str(d.port), *files)
            assert said.returncode == 0, said.stdout
        assert {data for _, data in d.desk.stored} == {image(number) for number in range(1, 6)}
        assert len(d.desk.stored) == 25


def test_dcmtk_finds_and_cancels() -> None:
    need("findscu")

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        assert isinstance(sink, Buffered)
        for number in range(200):
            if association.cancelled(command.message_id):
                association.respond(command, c.CANCELLED)
                return
            answer = implicit(0x0008, 0x0052, "STUDY") + implicit(0x0010, 0x0020, f"N{number}")
            association.respond(command, c.PENDING, identifier=answer)
            time.sleep(0.002)
        association.respond(command, c.SUCCESS)

    with door(Desk(on_handle=handle)) as d:
        query = ["-v", "-S", "-xi", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID="]
        said = run_dcmtk("findscu", *query, "127.0.0.1", str(d.port))
        assert said.returncode == 0
        assert "Find Response: 200 (Pending)" in said.stdout
        said = run_dcmtk("findscu", *query, "--cancel", "3", "127.0.0.1", str(d.port))
        assert "Cancel" in said.stdout
        assert "Find Response: 199" not in said.stdout


def test_dcmtk_gets_on_its_own_association(tmp_path: Path) -> None:
    need("getscu")

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        for number in (1, 2, 3):
            assert association.store(CT, f"1.2.3.4.{number}", EXPLICIT, image(number)) == 0
            association.respond(
                command, c.PENDING, remaining=3 - number, completed=number, failed=0, warning=0
            )
        association.respond(command, c.SUCCESS, completed=3, failed=0, warning=0)

    with door(Desk(on_handle=handle)) as d:
        query = ["-S", "+xe", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3"]
        said = run_dcmtk("getscu", *query, "+B", "-od", tmp_path, "127.0.0.1", str(d.port))
        assert said.returncode == 0, said.stdout
        got = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
        assert len(got) == 3
        for number, file in enumerate(got, 1):
            assert file.endswith(image(number))


def test_pynetdicom_verifies_finds_and_stores() -> None:
    pynetdicom = pytest.importorskip("pynetdicom", reason="pynetdicom is not installed")
    import pydicom

    with door() as d:
        ae = pynetdicom.AE("PYNET")
        for abstract, syntax in ((VERIFICATION, IMPLICIT), (CT, EXPLICIT), (STUDY_FIND, IMPLICIT)):
            ae.add_requested_context(abstract, syntax)
        association = ae.associate("127.0.0.1", d.port)
        assert association.is_established
        assert association.send_c_echo().Status == 0
        data_set = pydicom.Dataset()
        data_set.SOPClassUID, data_set.SOPInstanceUID = CT, "1.2.3.4"
        data_set.PatientID = "ID1"
        data_set.file_meta = pydicom.dataset.FileMetaDataset()
        data_set.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data_set.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        data_set.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3.4")
        assert association.send_c_store(data_set).Status == 0
        query = pydicom.Dataset()
        query.QueryRetrieveLevel = "STUDY"
        statuses = [status.Status for status, _ in association.send_c_find(query, STUDY_FIND)]
        assert statuses == [0]
        association.release()
        assert association.is_released
        assert d.desk.stored[0][0] == "1.2.3.4"


# --- our requestor, their acceptors --------------------------------------------------------------


def test_dcmtk_storescp_receives_byte_for_byte(tmp_path: Path) -> None:
    need("storescp")
    with (
        dcmtk_storescp(tmp_path) as scp,
        connect(scp.port, [(VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT])]) as peer,
    ):
        assert peer.echo() == 0
        for number in range(1, 6):
            status = peer.store(CT, f"1.2.3.4.{number}", EXPLICIT, image(number))
            assert status == 0
        for number, path in enumerate(scp.files(), 1):
            assert path.read_bytes().endswith(image(number))
        assert len(scp.files()) == 5


def test_a_peer_that_waits_for_acknowledgements_of_small_writes_is_not_slow(
    tmp_path: Path,
) -> None:
    """DCMTK leaves Nagle's algorithm on by default: 44 ms an instance if we acknowledge late."""
    need("storescp")
    port = free_port()
    argv: list[str | Path] = [dcmtk("storescp"), "--ignore", str(port)]
    running = Running(argv, log=tmp_path / "log", env={"PATH": "/usr/bin"}, folder=tmp_path)
    try:
        running.wait_until(lambda: port_is_open(port), "storescp")
        with connect(port, [(CT, [EXPLICIT])]) as peer:
            assert peer.store(CT, "1.2.3.4.1", EXPLICIT, image(1)) == 0
            begun = time.monotonic()
            for _ in range(50):
                assert peer.store(CT, "1.2.3.4.1", EXPLICIT, image(1)) == 0
            assert (time.monotonic() - begun) / 50 < 0.03
    finally:
        running.stop(grace_s=2)


def test_dcmtk_archive_is_filled_queried_and_emptied_by_get_and_move(tmp_path: Path) -> None:
    need("dcmqrscp")
    desk = Desk()
    with door(desk) as ours:
        port = free_port()
        (tmp_path / "db").mkdir()
        config = tmp_path / "dcmqrscp.cfg"
        config.write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
            f"HostTable BEGIN\nus = (SEBAGO, 127.0.0.1, {ours.port})\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nQRSCP {tmp_path / 'db'} RW (20, 100mb) ANY\nAETable END\n"
        )
        running = Running([dcmtk("dcmqrscp"), "-c", config], log=tmp_path / "log", folder=tmp_path)
        try:
            running.wait_until(lambda: port_is_open(port), "dcmqrscp")
            contexts = [
                (VERIFICATION, [IMPLICIT]),
                (CT, [EXPLICIT]),
                (STUDY_FIND, [IMPLICIT]),
                (STUDY_MOVE, [IMPLICIT]),
                (STUDY_GET, [IMPLICIT]),
            ]
            with connect(port, contexts, called="QRSCP", roles={CT: (True, True)}) as peer:
                for number in range(1, 5):
                    status = peer.store(CT, f"1.2.3.4.{number}", EXPLICIT, image(number))
                    assert status == 0
                identifier = implicit(8, 0x52, "STUDY") + implicit(0x20, 0xD, "1.2.3", "\0")
                answers = list(peer.find(STUDY_FIND, identifier))
                assert [status for status, _ in answers] == [c.PENDING, c.SUCCESS]
                assert answers[0][1] is not None
                assert b"1.2.3" in answers[0][1]

                moved = list(peer.move(STUDY_MOVE, "SEBAGO", identifier))
                assert moved[-1].status == 0
                assert moved[-1].completed == 4
                assert {uid for uid, _ in desk.stored} == {f"1.2.3.4.{n}" for n in range(1, 5)}
                assert desk.commands[-1].move_originator is not None
                assert list(peer.move(STUDY_MOVE, "NOBODY", identifier))[-1].status == 0xA801

                got: dict[str, int] = {}

                def stored(command: Command, sink: Sink) -> int:
                    assert isinstance(sink, InMemory)
                    got[command.sop_instance_uid] = len(sink.data)
                    return 0

                steps = list(
                    peer.get(STUDY_GET, identifier, receive=lambda _: InMemory(), stored=stored)
                )
                assert steps[-1].status == 0
                assert steps[-1].completed == 4
                assert len(got) == 4
        finally:
            running.stop(grace_s=2)


def test_pynetdicom_serves_our_requestor() -> None:
    pynetdicom = pytest.importorskip("pynetdicom", reason="pynetdicom is not installed")
    import pydicom

    received: list[bytes] = []

    def on_store(event: object) -> int:
        received.append(event.request.DataSet.getvalue())  # type: ignore[attr-defined]
        return 0xB000

    def on_find(event: object) -> object:
        answer = pydicom.Dataset()
        answer.QueryRetrieveLevel = "STUDY"
        answer.PatientID = "ID1"
        for _ in range(3):
            yield 0xFF00, answer

    ae = pynetdicom.AE("PYNET")
    ae.add_supported_context(VERIFICATION, [IMPLICIT])
    ae.add_supported_context(CT, [EXPLICIT])
    ae.add_supported_context(STUDY_FIND, [IMPLICIT])
    handlers = [(pynetdicom.evt.EVT_C_STORE, on_store), (pynetdicom.evt.EVT_C_FIND, on_find)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        port = server.server_address[1]
        contexts = [
            (VERIFICATION, [IMPLICIT]),
            (CT, [EXPLICIT]),
            (MR, [EXPLICIT]),
            (STUDY_FIND, [IMPLICIT]),
        ]
        with connect(port, contexts, called="PYNET") as peer:
            assert peer.echo() == 0
            assert peer.store(CT, "1.2.3.4.1", EXPLICIT, image(1)) == 0xB000
            assert received == [image(1)]
            assert not peer.storable(MR)
            identifier = implicit(8, 0x52, "STUDY") + implicit(0x10, 0x20, "")
            answers = list(peer.find(STUDY_FIND, identifier))
            assert [status for status, _ in answers] == [0xFF00] * 3 + [0]
    finally:
        server.shutdown()
