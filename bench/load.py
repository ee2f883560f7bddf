"""A DICOM client that costs nearly nothing: what it sends is encoded before the clock starts.

Enough of the upper layer (PS3.8 9.3) and of DIMSE (PS3.7 9.3, annex E) to associate, store, move
and echo. A `StoreMessage` is the whole byte stream of one C-STORE request, command and data set
cut into P-DATA-TF PDUs; sending an instance means writing a fresh SOP Instance UID into it, one
`sendall`, and reading the answer. It trusts the peer and checks only what would spoil a
measurement: contexts that were not accepted, and any status but success.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import multiprocessing.connection
import multiprocessing.synchronize
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.instances import UID_BYTES, Study, Template, fresh_study, fresh_uid, number_text

VERIFICATION = "1.2.840.10008.1.1"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
IMPLICIT_VR_LE = "1.2.840.10008.1.2"
EXPLICIT_VR_LE = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.302170985671190624313806532014528105793"

OUR_PDU_BYTES = 131_072
SEND_PDU_BYTES = 131_072
"""The longest P-DATA-TF body that is sent, where the peer allows that much or more."""

C_STORE_RQ, C_MOVE_RQ, C_ECHO_RQ = 0x0001, 0x0021, 0x0030
NO_DATA_SET, DATA_SET = 0x0101, 0x0001


class LoadFailed(Exception):
    """The peer refused, closed, or answered something else than success."""


# --- encoding -----------------------------------------------------------------------------------


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_rq(
    called: str, calling: str, contexts: Sequence[tuple[int, str, Sequence[str]]]
) -> bytes:
    """An A-ASSOCIATE-RQ PDU (PS3.8 9.3.2)."""
    items = _item(0x10, APPLICATION_CONTEXT.encode())
    for context_id, abstract, syntaxes in contexts:
        body = struct.pack(">Bxxx", context_id) + _item(0x30, abstract.encode())
        body += b"".join(_item(0x40, syntax.encode()) for syntax in syntaxes)
        items += _item(0x20, body)
    user = _item(0x51, struct.pack(">I", OUR_PDU_BYTES))
    user += _item(0x52, IMPLEMENTATION_CLASS_UID.encode()) + _item(0x55, b"SEBAGO_BENCH")
    items += _item(0x50, user)
    head = struct.pack(">Hxx16s16s32x", 1, called.encode().ljust(16), calling.encode().ljust(16))
    return struct.pack(">BxI", 1, len(head) + len(items)) + head + items


def command_set(fields: Mapping[int, bytes]) -> bytes:
    """A command set in Implicit VR Little Endian, group length first (PS3.7 6.3.1)."""
    body = b"".join(
        struct.pack("<HHI", 0x0000, element, len(value)) + value
        for element, value in sorted(fields.items())
    )
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _us(value: int) -> bytes:
    return struct.pack("<H", value)


def _ui(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return raw + b"\0" * (len(raw) % 2)


def command_pdu(context_id: int, command: bytes) -> bytes:
    """One P-DATA-TF PDU with a whole command set in it."""
    return struct.pack(">BxIIBB", 4, len(command) + 6, len(command) + 2, context_id, 3) + command


def data_pdus(context_id: int, data: bytes | bytearray, body_bytes_max: int) -> list[bytes]:
    """A data set as P-DATA-TF PDUs, one PDV each, none with a longer body than allowed."""
    step = (body_bytes_max - 6) & ~1
    made: list[bytes] = []
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        last = 2 if at + step >= len(data) else 0
        head = struct.pack(">BxIIBB", 4, len(piece) + 6, len(piece) + 2, context_id, last)
        made.append(head + piece)
    return made


def parse_command(body: bytes) -> dict[int, bytes]:
    """Elements of a command set, by element number."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 8 <= len(body):
        _group, element, length = struct.unpack_from("<HHI", body, at)
        found[element] = body[at + 8 : at + 8 + length]
        at += 8 + length
    return found


# --- association --------------------------------------------------------------------------------


class Association:
    """One association as requestor. Blocking; `timeout_s` bounds each wait on the socket."""

    def __init__(
        self,
        address: tuple[str, int],
        called: str,
        calling: str,
        contexts: Sequence[tuple[int, str, Sequence[str]]],
        *,
        timeout_s: float = 60.0,
    ) -> None:
        """Connect and associate.

        Raises:
            LoadFailed: rejected, aborted, or not one of the contexts was accepted.
            OSError: no connection.
        """
        self.socket = socket.create_connection(address, timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(OUR_PDU_BYTES + 64)
        self._view = memoryview(self._buffer)
        self.accepted: dict[int, str] = {}
        self.peer_pdu_bytes = 16_384
        try:
            self.socket.sendall(associate_rq(called, calling, contexts))
            kind, body = self._read_pdu()
            if kind != 2:
                raise LoadFailed(f"{called}: no association, PDU type {kind}: {body[:4].hex()}")
            self._read_accept(bytes(body))
            if not self.accepted:
                raise LoadFailed(f"{called} accepted none of the presentation contexts")
        except BaseException:
            self.socket.close()
            raise

    def _read_accept(self, body: bytes) -> None:
        at = 68
        while at + 4 <= len(body):
            kind, length = struct.unpack_from(">BxH", body, at)
            item = body[at + 4 : at + 4 + length]
            at += 4 + length
            if kind == 0x21 and item[2] == 0:
                self.accepted[item[0]] = item[8:].rstrip(b"\0").decode()
            elif kind == 0x50:
                inner = 0
                while inner + 4 <= len(item):
                    sub, size = struct.unpack_from(">BxH", item, inner)
                    if sub == 0x51:
                        (limit,) = struct.unpack_from(">I", item, inner + 4)
                        self.peer_pdu_bytes = limit or SEND_PDU_BYTES
                    inner += 4 + size

    @property
    def send_bytes_max(self) -> int:
        """Longest PDU body that is sent to this peer."""
        return min(SEND_PDU_BYTES, self.peer_pdu_bytes)

    def _read_exactly(self, count: int) -> memoryview:
        got = 0
        while got < count:
            n = self.socket.recv_into(self._view[got:count])
            if not n:
                raise LoadFailed("the peer closed the connection")
            got += n
        return self._view[:count]

    def _read_pdu(self) -> tuple[int, memoryview]:
        kind, length = struct.unpack(">BxI", self._read_exactly(6))
        if length > len(self._buffer):
            raise LoadFailed(f"a PDU of {length} bytes, more than was allowed")
        return kind, self._read_exactly(length)

    def read_command(self) -> dict[int, bytes]:
        """The next command set from the peer; fragments of data sets are passed over."""
        command = b""
        while True:
            kind, body = self._read_pdu()
            if kind != 4:
                raise LoadFailed(
                    f"PDU type {kind} where an answer was due: {bytes(body[:4]).hex()}"
                )
            at = 0
            done = False
            while at + 6 <= len(body):
                (length,) = struct.unpack_from(">I", body, at)
                header = body[at + 5]
                if header & 1:
                    command += bytes(body[at + 6 : at + 4 + length])
                    done = done or bool(header & 2)
                at += 4 + length
            if done:
                return parse_command(command)

    def echo(self, context_id: int) -> int:
        """C-ECHO; the status."""
        fields = {
            0x0002: _ui(VERIFICATION),
            0x0100: _us(C_ECHO_RQ),
            0x0110: _us(1),
            0x0800: _us(NO_DATA_SET),
        }
        self.socket.sendall(command_pdu(context_id, command_set(fields)))
        return int.from_bytes(self.read_command()[0x0900], "little")

    def store(self, message: StoreMessage) -> int:
        """Send one prepared C-STORE request and return the status of the answer."""
        self.socket.sendall(message.stream)
        return int.from_bytes(self.read_command()[0x0900], "little")

    def move(self, context_id: int, destination: str, study_uid: str) -> Iterator[dict[int, bytes]]:
        """C-MOVE of a study; yields every answer, the last one with a final status."""
        study = _ui(study_uid)
        identifier = struct.pack("<HHI", 0x0008, 0x0052, 6) + b"STUDY "
        identifier += struct.pack("<HHI", 0x0020, 0x000D, len(study)) + study
        fields = {
            0x0002: _ui(STUDY_ROOT_MOVE),
            0x0100: _us(C_MOVE_RQ),
            0x0110: _us(1),
            0x0600: destination.encode() + b" " * (len(destination) % 2),
            0x0700: _us(0),
            0x0800: _us(DATA_SET),
        }
        if self.accepted[context_id] != IMPLICIT_VR_LE:
            raise LoadFailed("C-MOVE identifiers are sent in Implicit VR Little Endian")
        stream = command_pdu(context_id, command_set(fields))
        stream += b"".join(data_pdus(context_id, identifier, self.send_bytes_max))
        self.socket.sendall(stream)
        while True:
            answer = self.read_command()
            yield answer
            if int.from_bytes(answer[0x0900], "little") not in (0xFF00, 0xFF01):
                return

    def release(self) -> None:
        """A-RELEASE, then close; whatever the peer says to it."""
        with contextlib.suppress(OSError, LoadFailed):
            self.socket.sendall(struct.pack(">BxIxxxx", 5, 4))
            self._read_pdu()
        self.socket.close()

    def close(self) -> None:
        """Close the connection without a word."""
        self.socket.close()


# --- C-STORE ------------------------------------------------------------------------------------


class StoreMessage:
    """The byte stream of one C-STORE request, made once; `renew` makes it another instance."""

    def __init__(self, template: Template, context_id: int, body_bytes_max: int) -> None:
        """Encode `template` for a context and the longest PDU body that the peer takes."""
        mark = fresh_uid()
        command = command_set(
            {
                0x0002: _ui(template.sop_class_uid),
                0x0100: _us(C_STORE_RQ),
                0x0110: _us(1),
                0x0700: _us(0),
                0x0800: _us(DATA_SET),
                0x1000: _ui(mark),
            }
        )
        head = command_pdu(context_id, command)
        body = template.part10[template.dataset_offset :]
        self.stream = bytearray(head + b"".join(data_pdus(context_id, body, body_bytes_max)))
        self._uid_at = self.stream.index(mark)
        self._message_at = head.index(struct.pack("<HHI", 0, 0x0110, 2)) + 8
        # Each PDU has 12 bytes before its piece of the data set.
        step = (body_bytes_max - 6) & ~1
        self._places: dict[str, int] = {}
        for name, places in template.places.items():
            offset = places[-1] - template.dataset_offset
            if offset % step + UID_BYTES > step:
                raise ValueError(f"{name} lies across two PDUs; choose another PDU length")
            self._places[name] = len(head) + offset + 12 * (offset // step + 1)
        self.dataset_bytes = template.dataset_bytes

    def of_study(self, study: Study) -> None:
        """Make it an instance of `study`."""
        for name, value in study.fields().items():
            at = self._places[name]
            self.stream[at : at + len(value)] = value

    def renew(self, uid: bytes, number: int) -> None:
        """Give it a SOP Instance UID (in the command and in the data set) and numbers."""
        stream = self.stream
        stream[self._uid_at : self._uid_at + UID_BYTES] = uid
        at = self._places["sop"]
        stream[at : at + UID_BYTES] = uid
        text = number_text(number)
        at = self._places["number"]
        stream[at : at + len(text)] = text
        struct.pack_into("<H", stream, self._message_at, number % 65_535 + 1)


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """Where to store: address, and the AE titles to use."""

    address: tuple[str, int]
    called: str
    calling: str


@dataclass(slots=True)
class StoreRun:
    """What one run of C-STORE measured."""

    instances: int = 0
    seconds: float = 0.0
    bytes_sent: int = 0
    latencies_s: list[float] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Instances acknowledged a second."""
        return self.instances / self.seconds

    def latency_ms(self, quantile: float) -> float:
        """From the first byte sent to the whole answer read."""
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]


INSTANCES_PER_STUDY = 250


def store_some(
    target: StoreTarget,
    templates: Sequence[Template],
    count: int,
    *,
    study: Study | None = None,
    first_number: int = 1,
    start: multiprocessing.synchronize.Barrier | None = None,
) -> tuple[StoreRun, float, float]:
    """Store `count` fresh instances over one association.

    Returns what was measured, and when it began and ended on the monotonic clock.

    Raises:
        LoadFailed: any status but success.
    """
    sop_class = templates[0].sop_class_uid
    association = Association(
        target.address, target.called, target.calling, [(1, sop_class, [EXPLICIT_VR_LE])]
    )
    try:
        messages = [StoreMessage(t, 1, association.send_bytes_max) for t in templates]
        run = StoreRun()
        if start is not None:
            start.wait(timeout=120)
        clock = time.perf_counter
        began = clock()
        for i in range(count):
            if i % INSTANCES_PER_STUDY == 0:
                current = study or fresh_study()
                run.studies.append(current)
                for message in messages:
                    message.of_study(current)
            message = messages[i % len(messages)]
            message.renew(fresh_uid(), first_number + i)
            sent = clock()
            status = association.store(message)
            run.latencies_s.append(clock() - sent)
            if status != 0:
                raise LoadFailed(f"{target.called} answered {status:04X} to C-STORE")
            run.bytes_sent += message.dataset_bytes
        ended = clock()
        run.instances, run.seconds = count, ended - began
        association.release()
        return run, began, ended
    except BaseException:
        association.close()
        raise


def _store_process(
    target: StoreTarget,
    templates: Sequence[Template],
    count: int,
    study: Study | None,
    first_number: int,
    start: multiprocessing.synchronize.Barrier,
    answer: multiprocessing.connection.Connection,
) -> None:
    gc.disable()  # this process ends with its run
    try:
        answer.send(
            store_some(
                target, templates, count, study=study, first_number=first_number, start=start
            )
        )
    except (OSError, LoadFailed, ValueError) as error:
        start.abort()
        answer.send(f"{type(error).__name__}: {error}")
    except threading.BrokenBarrierError:
        answer.send("stopped, because another client failed")


def store_load(
    target: StoreTarget,
    templates: Sequence[Template],
    count: int,
    associations: int,
    *,
    study: Study | None = None,
    timeout_s: float = 300.0,
) -> StoreRun:
    """Store `count` fresh instances over several associations at once, a process for each.

    All are associated and have encoded their messages before the first sends. The time runs from
    the first one's beginning to the last one's end. With `study`, all go into that one.

    Raises:
        LoadFailed: a client was refused, or nothing came for `timeout_s`.
    """
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(associations)
    share = [count // associations + (i < count % associations) for i in range(associations)]
    clients = []
    first = 1
    for part in share:
        ours, theirs = fork.Pipe(duplex=False)
        process = fork.Process(
            target=_store_process, args=(target, templates, part, study, first, start, theirs)
        )
        process.start()
        theirs.close()
        clients.append((process, ours))
        first += part
    whole = StoreRun()
    began, ended, said = float("inf"), 0.0, []
    until = time.monotonic() + timeout_s
    for process, ours in clients:
        try:
            if not ours.poll(max(0.0, until - time.monotonic())):
                said.append(f"no answer within {timeout_s} s")
                process.kill()
            else:
                result = ours.recv()
                if isinstance(result, str):
                    said.append(result)
                else:
                    run, first_at, last_at = result
                    whole.instances += run.instances
                    whole.bytes_sent += run.bytes_sent
                    whole.latencies_s += run.latencies_s
                    whole.studies += run.studies
                    began, ended = min(began, first_at), max(ended, last_at)
        except EOFError:
            said.append("a client died")
        process.join(timeout=10)
        ours.close()
    if said:
        said.sort(key=lambda text: text.startswith("stopped"))
        raise LoadFailed(f"{target.called}: {said[0]}")
    whole.seconds = ended - began
    return whole


@dataclass(frozen=True, slots=True)
class MoveRun:
    """What one C-MOVE measured."""

    completed: int
    failed: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Instances moved a second."""
        return self.completed / self.seconds


def move_study(target: StoreTarget, destination: str, study_uid: str) -> MoveRun:
    """C-MOVE one study to a destination that the peer knows, and time it.

    Raises:
        LoadFailed: it ended with another status than success.
    """
    association = Association(
        target.address,
        target.called,
        target.calling,
        [(1, STUDY_ROOT_MOVE, [IMPLICIT_VR_LE])],
        timeout_s=120,
    )
    began = time.perf_counter()
    last: dict[int, bytes] = {}
    for answer in association.move(1, destination, study_uid):
        last = answer
    took = time.perf_counter() - began
    association.release()
    status = int.from_bytes(last[0x0900], "little")
    if status != 0:
        raise LoadFailed(f"{target.called} answered {status:04X} to C-MOVE")
    counts = [int.from_bytes(last.get(element, b""), "little") for element in (0x1021, 0x1022)]
    return MoveRun(counts[0], counts[1], took)
