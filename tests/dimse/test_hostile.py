"""A table of what hostile, broken and merely odd peers send, and what comes of each.

Every case runs against a live acceptor under a time bound; after each the door still serves.
What is legal but odd is in the table too: refusing it would be as wrong.
"""

from __future__ import annotations

import logging
import random
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from sebago.dimse import command as c
from sebago.dimse.associate import encode_associate_rq
from sebago.dimse.pdu import RELEASE_RP_PDU, RELEASE_RQ_PDU, encode_abort, encode_reject
from tests.dimse.live import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    VERIFICATION,
    Door,
    Raw,
    cancel,
    door,
    echo,
    find,
    pdus,
    proposal,
    request,
    store,
    told,
)

WHOLE_S = 5.0
"""Longest that any case may take: the timeouts of the door are longer, so none is a timeout."""


@pytest.fixture(scope="module")
def open_door() -> Iterator[Door]:
    with door() as opened:
        yield opened


# --- building proposals by hand -----------------------------------------------------------------


def item(kind: int, value: bytes, *, claims: int | None = None, reserved: int = 0) -> bytes:
    return struct.pack(">BBH", kind, reserved, len(value) if claims is None else claims) + value


def context(
    number: int = 1,
    abstract: bytes | None = VERIFICATION.encode(),
    transfer: tuple[bytes, ...] = (IMPLICIT.encode(),),
    more: bytes = b"",
    reserved: bytes = b"\0\0\0",
) -> bytes:
    value = bytes([number]) + reserved
    if abstract is not None:
        value += item(0x30, abstract)
    value += b"".join(item(0x40, syntax) for syntax in transfer)
    return item(0x20, value + more)


APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
MAX_LENGTH = item(0x51, struct.pack(">I", 16384))
USER = item(0x50, MAX_LENGTH + item(0x52, b"1.2.3"))


def user(*more: bytes) -> bytes:
    return item(0x50, MAX_LENGTH + item(0x52, b"1.2.3") + b"".join(more))


def rq(
    *items: bytes,
    version: int = 1,
    called: bytes = b"SEBAGO",
    calling: bytes = b"TESTER",
    claims: int | None = None,
    reserved: bytes = bytes(32),
    type_reserved: int = 0,
) -> bytes:
    body = struct.pack(">HH", version, 0xFFFF) + called.ljust(16) + calling.ljust(16) + reserved
    body += b"".join(items or (APPLICATION, context(), USER))
    return struct.pack(">BBI", 1, type_reserved, len(body) if claims is None else claims) + body


PLAIN = (APPLICATION, context(), USER)
ABORT_STA2 = "abort-0-0"
INVALID = "abort-2-6"

PROPOSALS: list[tuple[str, bytes, str]] = [
    # not a proposal at all: AA-1
    ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ABORT_STA2),
    ("one byte of http", b"P", ABORT_STA2),
    ("tls hello", bytes.fromhex("1603010200010001fc0303") + bytes(500), ABORT_STA2),
    ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n", ABORT_STA2),
    ("smb", b"\0\0\0\x45\xffSMBr" + bytes(60), ABORT_STA2),
    ("mllp", b"\x0bMSH|^~\\&|A|B\r\x1c\r", ABORT_STA2),
    ("zeros", bytes(100), ABORT_STA2),
    ("ones", b"\xff" * 100, ABORT_STA2),
    ("an answer", b"\x02" + rq()[1:], ABORT_STA2),
    ("a rejection", encode_reject((1, 1, 1)), ABORT_STA2),
    ("data", echo(), ABORT_STA2),
    ("a release", RELEASE_RQ_PDU, ABORT_STA2),
    ("a release answer", RELEASE_RP_PDU, ABORT_STA2),
    ("an unknown pdu", b"\x08\0\0\0\0\4" + bytes(4), ABORT_STA2),
    ("an abort", encode_abort(0, 0), "closed"),
    # lengths
    ("length zero", b"\x01\0\0\0\0\0", ABORT_STA2),
    ("length 67", b"\x01\0\0\0\0\x43" + bytes(67), ABORT_STA2),
    ("length 4 GiB", b"\x01\0\xff\xff\xff\xff" + bytes(100), ABORT_STA2),
    ("length 2 MiB", b"\x01\0\0\x20\0\0" + bytes(100), ABORT_STA2),
    ("no items", rq(b""), INVALID),
    ("half an item header", rq(*PLAIN, b"\x50\0"), INVALID),
    ("an item past the end", rq(APPLICATION, context(), item(0x50, b"", claims=9)), INVALID),
    ("a context past the end", rq(APPLICATION, item(0x20, b"\1\0\0\0", claims=400)), INVALID),
    ("a context of three bytes", rq(APPLICATION, item(0x20, b"\1\0\0"), USER), INVALID),
    (
        "a sub-item past its item",
        rq(APPLICATION, context(more=b"\x40\0\xff\xff1.2"), USER),
        INVALID,
    ),
    ("a maximum length of 2", rq(APPLICATION, context(), item(0x50, item(0x51, b"\0\1"))), INVALID),
    (
        "a maximum length of 5",
        rq(APPLICATION, context(), item(0x50, item(0x51, bytes(5)))),
        INVALID,
    ),
    (
        "a role without its uid",
        rq(APPLICATION, context(), user(item(0x54, b"\0\x40\1\1"))),
        INVALID,
    ),
    ("a role cut off", rq(APPLICATION, context(), user(item(0x54, b"\0\x031.2\1"))), INVALID),
    ("a role of nothing", rq(APPLICATION, context(), user(item(0x54, b""))), INVALID),
    ("a window of three bytes", rq(APPLICATION, context(), user(item(0x53, b"\0\1\0"))), INVALID),
    ("an identity cut off", rq(APPLICATION, context(), user(item(0x58, b"\2\1\0\x09ab"))), INVALID),
    ("an identity of one byte", rq(APPLICATION, context(), user(item(0x58, b"\1"))), INVALID),
    (
        "extended negotiation cut off",
        rq(APPLICATION, context(), user(item(0x56, b"\0\x20"))),
        INVALID,
    ),
    (
        "common extended negotiation cut off",
        rq(APPLICATION, context(), user(item(0x57, b"\0\x011\0\x011\0\x05\0\x09"))),
        INVALID,
    ),
    # structure
    ("no application context", rq(context(), USER), INVALID),
    ("two application contexts", rq(APPLICATION, APPLICATION, context(), USER), INVALID),
    ("no context", rq(APPLICATION, USER), INVALID),
    ("no user information", rq(APPLICATION, context()), INVALID),
    ("two user informations", rq(APPLICATION, context(), USER, USER), INVALID),
    ("context id 0", rq(APPLICATION, context(0), USER), INVALID),
    ("context id 2", rq(APPLICATION, context(2), USER), INVALID),
    ("a context id twice", rq(APPLICATION, context(1), context(1), USER), INVALID),
    ("no abstract syntax", rq(APPLICATION, context(abstract=None), USER), INVALID),
    ("two abstract syntaxes", rq(APPLICATION, context(more=item(0x30, b"1.2")), USER), INVALID),
    ("no transfer syntax", rq(APPLICATION, context(transfer=()), USER), INVALID),
    # well formed, and not acceptable
    ("protocol version 0", rq(version=0), "reject-1-2-2"),
    ("protocol version 2", rq(version=2), "reject-1-2-2"),
    ("another application context", rq(item(0x10, b"1.2.3"), context(), USER), "reject-1-1-2"),
    ("no calling title", rq(calling=b""), "reject-1-1-3"),
    ("a calling title of NUL", rq(calling=bytes(16)), "reject-1-1-3"),
    ("no called title", rq(called=b""), "reject-1-1-7"),
    ("a title with a line break", rq(calling=b"A\r\nB"), "reject-1-1-3"),
    ("a title with an escape", rq(calling=b"\x1b[2JX"), "reject-1-1-3"),
    ("a title with a backslash", rq(called=b"A\\B"), "reject-1-1-7"),
    ("a title in latin-1", rq(calling=b"M\xfcLLER"), "reject-1-1-3"),
    (
        "a maximum length that fits nothing",
        rq(APPLICATION, context(), item(0x50, item(0x51, b"\0\0\0\5"))),
        "reject-1-2-1",
    ),
    # legal, if odd
    ("plain", rq(), "accept"),
    ("protocol version 3, bit 0 set", rq(version=3), "accept"),
    ("protocol version FFFF", rq(version=0xFFFF), "accept"),
    ("reserved bytes set", rq(reserved=b"\xaa" * 32, type_reserved=7), "accept"),
    ("a lower-case title", rq(calling=b"scanner"), "accept"),
    ("a title with blanks before it", rq(calling=b"  CT"), "accept"),
    ("a title padded with NUL", rq(calling=b"CT".ljust(16, b"\0")), "accept"),
    ("a title of sixteen", rq(calling=b"0123456789ABCDEF"), "accept"),
    ("an unknown item", rq(item(0x77, b"??"), *PLAIN, item(0xEE, b"")), "accept"),
    ("items in another order", rq(USER, context(), APPLICATION), "accept"),
    (
        "an unknown sub-item in a context",
        rq(APPLICATION, context(more=item(0x99, b"x")), USER),
        "accept",
    ),
    ("an unknown user sub-item", rq(APPLICATION, context(), user(item(0x5F, b"abc"))), "accept"),
    (
        "a reserved byte in every item",
        rq(APPLICATION, context(reserved=b"\xff" * 3), USER),
        "accept",
    ),
    ("no maximum length", rq(APPLICATION, context(), item(0x50, item(0x52, b"1.2"))), "accept"),
    ("no implementation class", rq(APPLICATION, context(), item(0x50, MAX_LENGTH)), "accept"),
    (
        "a maximum length of 0",
        rq(APPLICATION, context(), item(0x50, item(0x51, bytes(4)))),
        "accept",
    ),
    (
        "a maximum length of 4 GiB",
        rq(APPLICATION, context(), item(0x50, item(0x51, b"\xff" * 4))),
        "accept",
    ),
    (
        "128 contexts of one abstract syntax",
        rq(APPLICATION, *(context(2 * n + 1) for n in range(128)), USER),
        "accept",
    ),
    (
        "a context with 300 transfer syntaxes",
        rq(APPLICATION, context(transfer=(IMPLICIT.encode(),) * 300), USER),
        "accept",
    ),
    (
        "uids padded with NUL",
        rq(APPLICATION, context(abstract=VERIFICATION.encode() + b"\0"), USER),
        "accept",
    ),
    (
        "an absurd abstract syntax",
        rq(APPLICATION, context(abstract=b"../../etc/passwd"), USER),
        "accept",
    ),
    ("an empty abstract syntax", rq(APPLICATION, context(abstract=b""), USER), "accept"),
    ("an abstract syntax of 200", rq(APPLICATION, context(abstract=b"1." * 100), USER), "accept"),
    ("an empty transfer syntax", rq(APPLICATION, context(transfer=(b"",)), USER), "accept"),
    (
        "an asynchronous window of 0,0",
        rq(APPLICATION, context(), user(item(0x53, bytes(4)))),
        "accept",
    ),
    (
        "a role for what is not proposed",
        rq(APPLICATION, context(), user(item(0x54, b"\0\x031.2\1\1"))),
        "accept",
    ),
    (
        "a role for noise",
        rq(APPLICATION, context(), user(item(0x54, b"\0\x03\xff\xfe1\1\1"))),
        "accept",
    ),
    (
        "role values of FF",
        rq(APPLICATION, context(), user(item(0x54, b"\0\x031.2\xff\xff"))),
        "accept",
    ),
    (
        "an identity of an unknown kind",
        rq(APPLICATION, context(), user(item(0x58, b"\x63\1\0\1a\0\0"))),
        "accept",
    ),
    (
        "an identity without its second part",
        rq(APPLICATION, context(), user(item(0x58, b"\1\0\0\1a"))),
        "accept",
    ),
    ("a version name of 40", rq(APPLICATION, context(), user(item(0x55, b"V" * 40))), "accept"),
    (
        "common extended negotiation without its list",
        rq(APPLICATION, context(), user(item(0x57, b"\0\x011\0\x011"))),
        "accept",
    ),
    (
        "60,000 bytes of user information",
        rq(APPLICATION, context(), user(item(0x5E, bytes(60_000)))),
        "accept",
    ),
]


@pytest.mark.parametrize(
    ("sent", "expected"), [p[1:] for p in PROPOSALS], ids=[p[0] for p in PROPOSALS]
)
def test_a_proposal_comes_to(open_door: Door, sent: bytes, expected: str) -> None:
    begun = time.monotonic()
    for chunk in (len(sent), 7) if len(sent) < 2000 else (len(sent),):
        with Raw(open_door.port) as peer:
            _send_in_pieces(peer, sent, chunk)
            if expected == "accept":
                assert told(peer.pdu() or b"\0") == "accept"
                peer.send(RELEASE_RQ_PDU)
                assert peer.ended() == "released"
            else:
                assert peer.ended() == expected
    assert time.monotonic() - begun < WHOLE_S


def _send_in_pieces(peer: Raw, sent: bytes, chunk: int) -> None:
    try:
        for start in range(0, len(sent), chunk):
            peer.send(sent[start : start + chunk])
    except OSError:
        pass  # an answer came before all of it was sent


# --- in an association: contexts 1 verification, 3 CT, 5 find; 7 was refused ---------------------


def pdv(context_id: int, flags: int, data: bytes, *, claims: int | None = None) -> bytes:
    length = len(data) + 2 if claims is None else claims
    return struct.pack(">IBB", length, context_id, flags) + data


def data_tf(*fragments: bytes, claims: int | None = None, reserved: int = 0) -> bytes:
    body = b"".join(fragments)
    return struct.pack(">BBI", 4, reserved, len(body) if claims is None else claims) + body


ECHO = request(c.C_ECHO_RQ)
STORE = request(c.C_STORE_RQ, CT, data=True, e0700=0, e1000="1.2.3")
FIND = request(c.C_FIND_RQ, STUDY_FIND, data=True, e0700=0)
BAD_PDU = "abort-2-2"
BAD_PARAMETER = "abort-2-5"
BAD_DIMSE = "abort-0-0"
OK = "status-0000"
OK_RELEASED = "status-0000 released"


def element(number: int, value: bytes, *, group: int = 0, claims: int | None = None) -> bytes:
    return struct.pack("<HHI", group, number, len(value) if claims is None else claims) + value


def without(*numbers: int) -> bytes:
    """An echo request lacking elements."""
    said = {0x0002: b"1.2.840.10008.1.1\0", 0x0100: b"\x30\0", 0x0110: b"\1\0", 0x0800: b"\1\1"}
    return b"".join(element(n, value) for n, value in said.items() if n not in numbers)


MESSAGES: list[tuple[str, bytes, str]] = [
    # PDUs that do not belong here
    ("a second proposal", rq(), BAD_PDU),
    ("an answer", b"\x02" + rq()[1:], BAD_PDU),
    ("a rejection", encode_reject((1, 1, 1)), BAD_PDU),
    ("a release answer", RELEASE_RP_PDU, BAD_PDU),
    ("an unknown pdu", b"\x08\0\0\0\0\4" + bytes(4), "abort-2-1"),
    ("pdu type zero", bytes(10), "abort-2-1"),
    ("pdu type FF", b"\xff" * 10, "abort-2-1"),
    ("http", b"GET / HTTP/1.1\r\n\r\n", "abort-2-1"),
    ("an abort", encode_abort(0, 0), "closed"),
    ("an abort by the provider", encode_abort(2, 6), "closed"),
    ("an abort with reserved bytes set", b"\x07\xff\0\0\0\4\xff\xff\0\0", "closed"),
    # lengths
    ("a release of 5", b"\x05\0\0\0\0\5" + bytes(5), INVALID),
    ("a release of 0", b"\x05\0\0\0\0\0", INVALID),
    ("an abort of 0", b"\x07\0\0\0\0\0", INVALID),
    ("an abort of 4 GiB", b"\x07\0\xff\xff\xff\xff", INVALID),
    ("data of 0", data_tf(), INVALID),
    ("data of 3", data_tf(b"\0\0\0"), INVALID),
    ("data of 4 GiB", data_tf(pdv(1, 3, ECHO), claims=0xFFFFFFFF), INVALID),
    ("data longer than we asked for", data_tf(pdv(1, 1, bytes(140_000))), INVALID),
    ("a fragment of 0", data_tf(pdv(1, 3, b"", claims=0)), INVALID),
    ("a fragment of 1", data_tf(pdv(1, 3, b"", claims=1)), INVALID),
    ("a fragment past its pdu", data_tf(pdv(1, 3, ECHO, claims=len(ECHO) + 3)), INVALID),
    ("a fragment of 4 GiB", data_tf(pdv(1, 3, ECHO, claims=0xFFFFFFFF)), INVALID),
    ("a fragment short of its pdu", data_tf(pdv(1, 3, ECHO), b"\0\0\0"), INVALID),
    # contexts
    ("a context that was not proposed", data_tf(pdv(99, 3, ECHO)), INVALID),
    ("a context that was refused", data_tf(pdv(7, 3, ECHO)), INVALID),
    ("context 0", data_tf(pdv(0, 3, ECHO)), INVALID),
    ("an even context", data_tf(pdv(2, 3, ECHO)), INVALID),
    (
        "a command in two contexts",
        data_tf(pdv(1, 1, ECHO[:20]), pdv(3, 3, ECHO[20:])),
        BAD_PARAMETER,
    ),
    ("a data set in another context", data_tf(pdv(3, 3, STORE), pdv(5, 2, b"12")), BAD_PARAMETER),
    # order
    ("a data set without a command", data_tf(pdv(3, 2, b"12")), BAD_PARAMETER),
    ("a second data set", store(b"12") + data_tf(pdv(3, 2, b"12")), f"{OK} {BAD_PARAMETER}"),
    ("a data set after an echo", echo() + data_tf(pdv(1, 2, b"12")), f"{OK} {BAD_PARAMETER}"),
    (
        "a command inside a data set",
        data_tf(pdv(3, 3, STORE), pdv(3, 0, b"12"), pdv(1, 3, ECHO)),
        BAD_PARAMETER,
    ),
    ("a command before a data set", data_tf(pdv(3, 3, STORE)) + echo(), BAD_PARAMETER),
    (
        "a data set inside a command",
        data_tf(pdv(3, 1, STORE[:20]), pdv(3, 0, b"12")),
        BAD_PARAMETER,
    ),
    ("a proposal inside a data set", data_tf(pdv(3, 3, STORE), pdv(3, 0, b"12")) + rq(), BAD_PDU),
    # command sets
    ("an empty command", data_tf(pdv(1, 3, b"")), BAD_DIMSE),
    ("a command of noise", data_tf(pdv(1, 3, bytes(range(256)))), BAD_DIMSE),
    ("a command without its field", data_tf(pdv(1, 3, without(0x0100))), BAD_DIMSE),
    ("a command without its id", data_tf(pdv(1, 3, without(0x0110))), BAD_DIMSE),
    ("a command without its data set type", data_tf(pdv(1, 3, without(0x0800))), BAD_DIMSE),
    (
        "a field of four bytes",
        data_tf(pdv(1, 3, without(0x0100) + element(0x0100, b"\x30\0\0\0"))),
        BAD_DIMSE,
    ),
    ("an id of no bytes", data_tf(pdv(1, 3, without(0x0110) + element(0x0110, b""))), BAD_DIMSE),
    (
        "an element past the end",
        data_tf(pdv(1, 3, without() + element(0x1000, b"", claims=99))),
        BAD_DIMSE,
    ),
    (
        "an element of 4 GiB",
        data_tf(pdv(1, 3, without() + element(0x1000, b"", claims=0xFFFFFFFF))),
        BAD_DIMSE,
    ),
    (
        "an element of a patient",
        data_tf(pdv(1, 3, without() + element(0x0010, b"X^Y ", group=0x10))),
        BAD_DIMSE,
    ),
    (
        "a command in explicit VR",
        data_tf(pdv(1, 3, b"\0\0\0\0UL\4\0\x38\0\0\0" + ECHO[12:])),
        BAD_DIMSE,
    ),
    ("a response to nothing", pdus(1, request(0x8030, e0120=7, e0900=0)), BAD_PDU),
    ("a store response to nothing", pdus(3, request(0x8001, CT, e0120=7, e0900=0)), BAD_PDU),
    # legal, if odd
    ("an echo", echo(), OK_RELEASED),
    ("a cancel of nothing", cancel() + echo(), OK_RELEASED),
    (
        "a cancel with a data set",
        pdus(5, request(0x0FFF, data=True, e0120=7), b"12") + echo(),
        OK_RELEASED,
    ),
    ("a command a byte a pdu", pdus(1, ECHO, fragment=1), OK_RELEASED),
    (
        "a command in two fragments of a pdu",
        data_tf(pdv(1, 1, ECHO[:9]), pdv(1, 3, ECHO[9:])),
        OK_RELEASED,
    ),
    ("empty fragments", data_tf(pdv(1, 1, b""), pdv(1, 1, ECHO), pdv(1, 3, b"")), OK_RELEASED),
    ("reserved bits in a message header", data_tf(pdv(1, 0xF3, ECHO)), OK_RELEASED),
    ("a reserved byte in a pdu header", data_tf(pdv(1, 3, ECHO), reserved=0xFF), OK_RELEASED),
    ("a release with reserved bytes set", b"\x05\xff\0\0\0\4\xff\xff\xff\xff", "released"),
    ("two messages in a pdu", data_tf(pdv(1, 3, ECHO), pdv(1, 3, ECHO)), f"{OK} {OK_RELEASED}"),
    (
        "a command and its data set in a pdu",
        data_tf(pdv(3, 3, STORE), pdv(3, 0, b"12"), pdv(3, 2, b"3")),
        OK_RELEASED,
    ),
    ("an empty data set", store(b""), OK_RELEASED),
    ("a data set of one byte", store(b"x"), OK_RELEASED),
    ("a data set in fragments of one byte", store(bytes(300), fragment=1), OK_RELEASED),
    ("an odd last fragment", store(bytes(10_001), fragment=100), OK_RELEASED),
    ("a data set of as much as we ask for", store(bytes(400_000), fragment=131_066), OK_RELEASED),
    (
        "a peer that forgets the fragment's header",
        store(bytes(400_000), fragment=131_072),
        OK_RELEASED,
    ),
    (
        "a wrong group length",
        data_tf(pdv(1, 3, ECHO[:8] + b"\xff\xff\0\0" + ECHO[12:])),
        OK_RELEASED,
    ),
    ("no group length", data_tf(pdv(1, 3, without())), OK_RELEASED),
    ("no affected class", data_tf(pdv(1, 3, without(0x0002))), OK_RELEASED),
    (
        "a command with unknown elements",
        data_tf(pdv(1, 3, without() + element(0x5180, b"??"))),
        OK_RELEASED,
    ),
    (
        "a retired length to end",
        data_tf(pdv(1, 3, element(0x0001, bytes(4)) + without())),
        OK_RELEASED,
    ),
    ("a class of 300 bytes", pdus(1, request(0x30, "1." * 150)), OK_RELEASED),
    ("an unknown command", pdus(1, request(0x0666)), "status-0211 released"),
    ("command zero", pdus(1, request(0)), "status-0211 released"),
    ("a store without a data set", pdus(3, request(1, CT, e1000="1.2")), "status-C000 released"),
    ("a find without an identifier", pdus(5, request(0x20, STUDY_FIND)), "status-C000 released"),
    ("an echo with a data set", pdus(1, request(0x30, data=True), b"12"), "status-0212 released"),
    ("a release inside a data set", data_tf(pdv(3, 3, STORE), pdv(3, 0, b"12")), "released"),
    ("a release inside a command", data_tf(pdv(3, 1, STORE[:10])), "released"),
    ("an identifier of a million bytes", find(bytes(1_000_000)), OK_RELEASED),
]


@pytest.mark.parametrize(
    ("sent", "expected"), [m[1:] for m in MESSAGES], ids=[m[0] for m in MESSAGES]
)
def test_a_message_comes_to(open_door: Door, sent: bytes, expected: str) -> None:
    begun = time.monotonic()
    items = (
        APPLICATION,
        context(1),
        context(3, CT.encode(), (EXPLICIT.encode(),)),
        context(5, STUDY_FIND.encode()),
        context(7, b"not a uid"),
        USER,
    )
    for chunk in (len(sent), 5) if len(sent) < 1000 else (len(sent),):
        with Raw(open_door.port) as peer:
            peer.send(rq(*items))
            assert told(peer.pdu() or b"\0") == "accept"
            ending = RELEASE_RQ_PDU if expected.endswith("released") else b""
            if sent[:1] == b"\x05":
                ending = b""
            _send_in_pieces(peer, sent + ending, chunk)
            assert peer.ended() == expected
    assert time.monotonic() - begun < WHOLE_S
    with Raw(open_door.port) as peer:
        peer.associate()
        peer.send(echo())
        assert told(peer.pdu() or b"\0") == OK


@pytest.mark.parametrize("early", [echo(), RELEASE_RQ_PDU, b"x"], ids=["data", "release", "noise"])
def test_what_comes_before_the_answer_is_unexpected(open_door: Door, early: bytes) -> None:
    with Raw(open_door.port) as peer:
        peer.send(encode_associate_rq(proposal()) + early)
        assert peer.ended() == BAD_PDU


def test_a_proposal_cut_off_anywhere_and_closed_leaves_the_door_open(open_door: Door) -> None:
    whole = encode_associate_rq(proposal())
    for cut in range(0, len(whole), 3):
        with Raw(open_door.port) as peer:
            peer.send(whole[:cut])
            peer.sock.shutdown(socket.SHUT_WR)
            assert peer.ended() == "closed"


def test_a_message_cut_off_anywhere_and_closed_leaves_the_door_open(open_door: Door) -> None:
    whole = store(bytes(300), fragment=50)
    for cut in range(1, len(whole), 7):
        with Raw(open_door.port) as peer:
            peer.associate()
            peer.send(whole[:cut])
            peer.sock.shutdown(socket.SHUT_WR)
            assert peer.ended() == "closed"


def test_noise_in_place_of_anything_never_leaves_a_peer_waiting(
    open_door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="sebago.dimse")
    chance = random.Random(20240607)
    whole = encode_associate_rq(proposal()) + store(bytes(100)) + find(b"12") + RELEASE_RQ_PDU
    for _ in range(500):
        stream = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            stream[chance.randrange(len(stream))] = chance.randrange(256)
        with Raw(open_door.port, timeout_s=WHOLE_S) as peer:
            _send_in_pieces(peer, bytes(stream), chance.choice([3, 50, 1000]))
            try:
                peer.sock.shutdown(socket.SHUT_WR)
            except OSError:
                continue
            peer.ended()  # within the socket's time, which is less than every deadline of the door
    with Raw(open_door.port) as peer:
        peer.associate()
        peer.send(echo())
        assert told(peer.pdu() or b"\0") == OK
    assert not caplog.records  # nothing failed in a way that was not foreseen
