"""A client that outlives the server: it sends, and writes down what was acknowledged.

    python -m tests.whole.crash_client cstore|stow FOLDER NAME

`FOLDER/clients.json` says where the server is. The log, `FOLDER/NAME.log`, is only appended to, one
line an event, each written before the next thing is done:

    S <sop instance uid> <blake3 of the data set> <study instance uid>   is going to be sent
    A <sop instance uid>                                                 was acknowledged
    R <sop instance uid> <status>                                        was answered, not kept
    L                                                                    no connection, or it broke

What was sent and neither acknowledged nor refused when the connection broke is sent again first, as
any sender would. `FOLDER/stop` ends it.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from bench.instances import (
    Study,
    Template,
    ct_templates,
    fresh_study,
    fresh_uid,
    number_text,
    small_templates,
)
from bench.load import (
    EXPLICIT_VR_LE,
    Association,
    LoadFailed,
    command_pdu,
    command_set,
    data_pdus,
)
from tests.whole.parts import DICOM_JSON, multipart_body, stow_type

CALLING = "CRASHSCU"
CT_SHARE = 0.03
INSTANCES_PER_STUDY = 150
RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class Instance:
    """One made instance."""

    uid: bytes
    study: Study
    sop_class_uid: str
    part10: bytes
    dataset: bytes

    def line(self) -> str:
        """What the log says before it is sent."""
        return f"S {self.uid.decode()} {blake3(self.dataset).hexdigest()} {self.study.uid}\n"


class Client:
    """What both kinds of client share: instances, the log, the end."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.where = json.loads((folder / "clients.json").read_text())
        self.random = random.Random(name)
        self.log_fd = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.small = small_templates(4)
        self.large = ct_templates(4)
        self.study = fresh_study()
        self.made = 0
        self.pending: list[Instance] = []

    def log(self, text: str) -> None:
        """Append to the log in one write."""
        os.write(self.log_fd, text.encode())

    def stopped(self) -> bool:
        """Whether the run is over."""
        return (self.folder / "stop").exists()

    def make(self) -> Instance:
        """A fresh instance, small or now and then a whole CT slice."""
        if self.made % INSTANCES_PER_STUDY == 0:
            self.study = fresh_study()
        self.made += 1
        kinds = self.large if self.random.random() < CT_SHARE else self.small
        template: Template = self.random.choice(kinds)
        uid = fresh_uid()
        fields = {**self.study.fields(), "sop": uid, "number": number_text(self.made)}
        part10 = template.part10_with(fields)
        noise = self.random.randbytes(64)  # the last pixels: no two data sets are alike
        part10[-64:] = noise
        whole = bytes(part10)
        return Instance(
            uid, self.study, template.sop_class_uid, whole, whole[template.dataset_offset :]
        )

    def next_ones(self, count: int) -> list[Instance]:
        """What is to be sent: what is pending from before, else fresh instances, logged."""
        if not self.pending:
            self.pending = [self.make() for _ in range(count)]
            self.log("".join(one.line() for one in self.pending))
        return self.pending

    def run(self) -> None:
        """Send until told to stop; connections that break are no error here."""
        while not self.stopped():
            try:
                self.session()
            except (OSError, LoadFailed, http.client.HTTPException):
                self.log("L\n")
                time.sleep(RETRY_S)

    def session(self) -> None:
        """Connect and send until it breaks, or the end."""
        raise NotImplementedError


class StoreClient(Client):
    """C-STORE over one association after another."""

    def session(self) -> None:
        address = (self.where["host"], self.where["dimse_port"])
        sop_class = self.small[0].sop_class_uid
        association = Association(
            address,
            self.where["ae_title"],
            CALLING,
            [(1, sop_class, [EXPLICIT_VR_LE])],
            timeout_s=30,
        )
        try:
            for number in range(1, 1 + self.random.randrange(20, 400)):
                if self.stopped():
                    break
                (one,) = self.next_ones(1)
                association.socket.sendall(self.request(one, number, association.send_bytes_max))
                status = int.from_bytes(association.read_command()[0x0900], "little")
                kept = status == 0 or status >> 12 == 0xB
                uid = one.uid.decode()
                self.log(f"A {uid}\n" if kept else f"R {uid} {status:04X}\n")
                self.pending = []
            association.release()
        finally:
            association.close()

    @staticmethod
    def request(one: Instance, number: int, body_bytes_max: int) -> bytes:
        """The byte stream of one C-STORE request."""
        sop_class = one.sop_class_uid.encode()
        command = command_set(
            {
                0x0002: sop_class + b"\0" * (len(sop_class) % 2),
                0x0100: b"\x01\x00",
                0x0110: number.to_bytes(2, "little"),
                0x0700: b"\x00\x00",
                0x0800: b"\x01\x00",
                0x1000: one.uid,
            }
        )
        return command_pdu(1, command) + b"".join(data_pdus(1, one.dataset, body_bytes_max))


class StowClient(Client):
    """STOW-RS requests of a few instances each, over a connection that is kept."""

    def session(self) -> None:
        connection = http.client.HTTPConnection(
            self.where["host"], self.where["http_port"], timeout=30
        )
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(self.random.randrange(5, 60)):
                if self.stopped():
                    return
                self.post(connection, self.next_ones(self.random.randrange(1, 21)))
                self.pending = []
        finally:
            connection.close()

    def post(self, connection: http.client.HTTPConnection, ones: list[Instance]) -> None:
        """One request; logs what the answer says of each instance."""
        boundary = f"crash{self.random.randrange(10**12)}"
        connection.request(
            "POST",
            "/dicomweb/studies",
            body=multipart_body(boundary, [one.part10 for one in ones]),
            headers={
                "Content-Type": stow_type(boundary),
                "Accept": DICOM_JSON,
                "Authorization": self.where["authorization"],
            },
        )
        answer = connection.getresponse()
        body = answer.read()
        kept: set[str] = set()
        if answer.status in (200, 202):
            said = json.loads(body)
            said = said[0] if isinstance(said, list) else said
            for item in said.get("00081199", {}).get("Value", []):
                kept.update(item["00081155"]["Value"])
        lines = []
        for one in ones:
            uid = one.uid.decode()
            lines.append(f"A {uid}\n" if uid in kept else f"R {uid} {answer.status}\n")
        self.log("".join(lines))


def main() -> int:
    """Run one client to its end."""
    kind, folder, name = sys.argv[1:4]
    made: Client = (StoreClient if kind == "cstore" else StowClient)(Path(folder), name)
    made.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
