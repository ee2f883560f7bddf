"""The archive's DICOM services behind a real acceptor, with two facilities and what they sent."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import config
from pydicom.dataset import Dataset

from sebago.dicom.identifier import read_keys, write_identifier
from sebago.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from sebago.dimse import Acceptor, Identity, Timeouts
from sebago.dimse.scu import Requestor
from sebago.gate import Asker, Role
from sebago.index.engine import Index
from sebago.intake import Accepted, Declared, Intake, Source
from sebago.intake.accept import Limits
from sebago.ledger import AccessLog, Ledger
from sebago.registry import Registrar, Registry
from sebago.retrieve import Archive
from sebago.scp import Policy, Services
from tests.samples import body

MIB = 1 << 20
LIMITS = Limits(
    segment_bytes=8 * MIB,
    reserve_bytes=0,
    queue_bytes_max=64 * MIB,
    inline_bytes_max=1 * MIB,
    instance_bytes_max=8 * MIB,
    inflated_bytes_max=64 * MIB,
)
IDENTITY = Identity("1.2.3.4", "TESTS", 65536)
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (
    f"1.2.840.10008.5.1.4.1.2.1.{number}" for number in (1, 2, 3)
)
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
RETIRED_FIND = "1.2.840.10008.5.1.4.1.2.3.1"
ALL = [VERIFICATION, PATIENT_FIND, PATIENT_MOVE, STUDY_FIND, STUDY_MOVE, RETIRED_FIND]


@dataclass
class Site:
    """The running services, and hands to put things in and ask."""

    folder: Path
    index: Index
    intake: Intake
    archive: Archive
    registrar: Registrar
    port: int
    services: Services

    def give(self, *made: Dataset, facility: str = "NORTH") -> list[Accepted]:
        """Hand data sets to the intake, as a door would."""
        number = {"NORTH": 1, "SOUTH": 2}[facility]
        source = Source(facility, f"{facility}&2.999.{number}&ISO", "dimse", "GIVER", "127.0.0.1")
        accepted = []
        for data_set in made:
            incoming = self.intake.incoming()
            incoming.write(body(data_set))
            syntax = data_set.file_meta.TransferSyntaxUID
            accepted.append(self.intake.accept(source, Declared(syntax), incoming))
        return accepted

    def call(
        self,
        classes: Sequence[str] = (),
        *,
        as_: str = "NORTH1",
        syntax: str = IMPLICIT_VR_LE,
        called: str = "SEBAGO",
        contexts: Sequence[tuple[str, Sequence[str]]] = (),
        **more: object,
    ) -> Requestor:
        """An association with the site; by default with all services in one transfer syntax."""
        proposed = list(contexts) or [(uid, [syntax]) for uid in (classes or ALL)]
        return Requestor.connect(
            "127.0.0.1",
            self.port,
            called=called,
            calling=as_,
            contexts=proposed,
            identity=IDENTITY,
            **more,  # type: ignore[arg-type]
        )

    def find(
        self,
        level: str,
        *,
        model: str = STUDY_FIND,
        as_: str = "NORTH1",
        syntax: str = IMPLICIT_VR_LE,
        relational: bool = False,
        **keys: str,
    ) -> tuple[list[dict[tuple[int, ...], str]], list[int]]:
        """C-FIND: matches by tag path, and all statuses."""
        extended = {model: b"\x01"} if relational else {}
        with self.call([model], as_=as_, syntax=syntax, extended=extended) as peer:
            answers = list(peer.find(model, identifier(level, syntax, **keys)))
        matches = [read_keys(data, syntax) for _, data in answers if data is not None]
        return matches, [status for status, _ in answers]

    def asker(self, facility: str = "NORTH", role: Role = Role.SENDER) -> Asker:
        """Somebody of a facility."""
        return Asker("token:test", role, facility)


def identifier(level: str, syntax: str = IMPLICIT_VR_LE, **keys: str) -> bytes:
    """An identifier; keys by keyword, values as raw text."""
    made = Dataset()
    with config.disable_value_validation():
        for keyword, value in keys.items():
            setattr(made, keyword, value.split("\\") if "\\" in value else value)
    row = {f"{element.tag:08X}": element.to_json_dict(None, 0) for element in made}
    if level:
        row["00080052"] = {"vr": "CS", "Value": [level]}
    return write_identifier(row, syntax)


@contextlib.contextmanager
def open_site(
    folder: Path,
    *,
    matches_max: int = 1000,
    reserve_bytes: int = 0,
    again: bool = False,
    **policy: object,
) -> Iterator[Site]:
    """Everything, ended in order; `again` where the facilities are there already."""
    index = Index.open(folder)
    registrar = Registrar(index, "local:test")
    for number, code in enumerate(() if again else ("NORTH", "SOUTH"), 1):
        registrar.add_facility(code, f"{code} hospital", f"{code}&2.999.{number}&ISO")
        registrar.set_peer(code, f"{code}1")
    access_log = AccessLog(Ledger(index))
    intake = Intake(index, folder / "journal", replace(LIMITS, reserve_bytes=reserve_bytes))
    archive = Archive(
        index,
        folder / "journal",
        access_log,
        matches_max=matches_max,
        metadata_cache_bytes=MIB,
    )
    said = {"ae_title": "SEBAGO", "open_facility": "", "lenient_hierarchy": False}
    services = Services(
        archive,
        intake,
        Registry(index, access_log=access_log, clock_s=itertools.count(0.0, 60.0).__next__),
        Policy(identity=IDENTITY, **(said | policy)),  # type: ignore[arg-type]
    )
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        quick = Timeouts(pdu_s=20, stall_s=20, idle_s=60, closing_s=2)
        acceptor = Acceptor(services, [listening], identity=IDENTITY, timeouts=quick)
        thread = threading.Thread(target=acceptor.serve_forever)
        thread.start()
        try:
            port = listening.getsockname()[1]
            yield Site(folder, index, intake, archive, registrar, port, services)
        finally:
            acceptor.stop(1.0)
            thread.join(30)
            intake.close()
            archive.close()
            index.dispose()


__all__ = ["EXPLICIT_VR_LE", "IMPLICIT_VR_LE", "Site", "identifier", "open_site"]
