"""Opening an association: the TCP connection, the proposal, the answer to it."""

from __future__ import annotations

import contextlib
import socket
import time

from sebago.dimse.associate import (
    AssociateAc,
    AssociateRq,
    decode_associate_ac,
    encode_associate_rq,
)
from sebago.dimse.channel import Closed, Stalled, prepare
from sebago.dimse.lobby import ASSOCIATE_BYTES_MAX
from sebago.dimse.pdu import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    HEADER_BYTES,
    INVALID_PARAMETER,
    UNEXPECTED_PDU,
    UNRECOGNIZED_PDU,
    Aborted,
    ProtocolViolation,
    Rejection,
    decode_fixed,
    encode_abort,
)
from sebago.errors import PeerAway


class Rejected(PeerAway):
    """The peer rejected the association (PS3.8 9.3.4); `transient`: later it may accept."""

    code = "peer-rejected"

    def __init__(self, rejection: Rejection) -> None:
        result, source, reason = rejection
        super().__init__(
            f"the association was rejected: result {result}, source {source}, reason {reason}"
        )
        self.rejection = rejection
        self.transient = result == 2


def dial(
    host: str,
    port: int,
    request: AssociateRq,
    *,
    connect_timeout_s: float,
    associate_timeout_s: float,
) -> tuple[socket.socket, AssociateAc]:
    """Connect and propose; the socket and the acceptance.

    Raises:
        Rejected: by the peer.
        PeerAway: no connection, or no answer in time.
        ProtocolViolation: the answer makes no sense; an A-ABORT was sent.
    """
    encoded = encode_associate_rq(request)
    try:
        sock = socket.create_connection((host, port), timeout=connect_timeout_s)
    except OSError as error:
        raise PeerAway(
            f"no connection to {host}:{port}: {error.strerror or error}",
            do="check the peer's address, and that it is running",
        ) from error
    try:
        prepare(sock)
        return sock, _negotiate(sock, encoded, time.monotonic() + associate_timeout_s)
    except BaseException:
        sock.close()
        raise


def _negotiate(sock: socket.socket, request: bytes, until: float) -> AssociateAc:
    """Sta5: send the proposal, wait for the answer to it, whole, and not a byte more."""
    try:
        sock.settimeout(max(0.001, until - time.monotonic()))
        sock.sendall(request)
        header = _exactly(sock, HEADER_BYTES, until)
        kind, length = header[0], int.from_bytes(header[2:6], "big")
        if kind not in (ASSOCIATE_AC, ASSOCIATE_RJ, ABORT):
            reason = UNEXPECTED_PDU if 1 <= kind <= 7 else UNRECOGNIZED_PDU
            raise ProtocolViolation(f"PDU type {kind:02X}H in answer to a proposal", reason)
        if length > (ASSOCIATE_BYTES_MAX if kind == ASSOCIATE_AC else 4):
            raise ProtocolViolation(
                f"PDU type {kind:02X}H claims {length} bytes", INVALID_PARAMETER
            )
        body = _exactly(sock, length, until)
        if kind == ASSOCIATE_AC:
            return decode_associate_ac(body)
        result, source, reason = decode_fixed(header + body)
        if kind == ASSOCIATE_RJ:
            raise Rejected((result, source, reason))
        raise Closed(f"the peer ended the association: {Aborted(source, reason)}")
    except ProtocolViolation as violation:
        with contextlib.suppress(OSError):
            sock.send(encode_abort(violation.source, violation.reason), socket.MSG_DONTWAIT)
        raise
    except TimeoutError as error:
        raise Stalled("no answer to the proposal in time") from error
    except OSError as error:
        raise Closed(f"the connection broke: {error.strerror}") from error


def _exactly(sock: socket.socket, n: int, until: float) -> bytes:
    out = bytearray()
    while len(out) < n:
        sock.settimeout(max(0.001, until - time.monotonic()))
        piece = sock.recv(min(n - len(out), 64 * 1024))
        if not piece:
            raise Closed("the peer closed the connection before it answered")
        out += piece
    return bytes(out)
