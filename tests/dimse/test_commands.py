"""Command sets from and to bytes."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dimse import command as c
from sebago.dimse.negotiation import AcceptedContext
from sebago.dimse.pdu import ProtocolViolation
from sebago.errors import PeerBrokeProtocol
from tests.dimse.live import CT, EXPLICIT, elements_of, request

CONTEXT = AcceptedContext(3, CT, EXPLICIT)
SHORTS = sorted(c._SHORTS - {c.COMMAND_FIELD, c.DATA_SET_TYPE})
uids = st.text("0123456789.", min_size=1, max_size=64)


@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.dictionaries(st.sampled_from(SHORTS), st.integers(0, 0xFFFF)),
    uids,
)
def test_a_command_set_that_is_encoded_and_decoded_is_the_same(
    field: int, data_set_type: int, shorts: dict[int, int], uid: str
) -> None:
    elements: dict[int, c.Value] = {c.MESSAGE_ID: 1, c.MESSAGE_ID_RESPONDED_TO: 2}
    elements |= shorts
    elements |= {
        c.COMMAND_FIELD: field,
        c.DATA_SET_TYPE: data_set_type,
        c.AFFECTED_SOP_INSTANCE_UID: uid,
        c.MOVE_DESTINATION: "STORE SCP",
    }
    encoded = c.encode_command(elements)
    assert len(encoded) % 2 == 0
    assert struct.unpack("<I", encoded[8:12])[0] == len(encoded) - 12
    command = c.decode_command(encoded, CONTEXT)
    assert command.field == field
    assert command.has_data_set == (data_set_type != 0x0101)
    assert command.text(c.AFFECTED_SOP_INSTANCE_UID) == uid
    assert command.move_destination == "STORE SCP"
    for element, value in shorts.items():
        assert command.integer(element) == value


@given(st.binary(max_size=120))
def test_any_bytes_are_a_command_or_a_broken_protocol(data: bytes) -> None:
    with contextlib.suppress(PeerBrokeProtocol):
        c.decode_command(data, CONTEXT)


@given(st.data())
def test_a_command_with_bytes_changed_or_cut_off_is_decoded_or_refused(
    data: st.DataObject,
) -> None:
    encoded = bytearray(request(c.C_STORE_RQ, CT, data=True, e1000="1.2.3", e0700=0))
    for _ in range(data.draw(st.integers(0, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    del encoded[data.draw(st.integers(0, len(encoded))) :]
    try:
        command = c.decode_command(encoded, CONTEXT)
    except ProtocolViolation:
        return
    assert isinstance(command.sop_class_uid + command.sop_instance_uid + command.name, str)
    assert 0 <= command.status <= 0xFFFF


def test_elements_out_of_order_and_without_group_length_are_understood() -> None:
    elements = [
        struct.pack("<HHIH", 0, c.DATA_SET_TYPE, 2, 0x0101),
        struct.pack("<HHIH", 0, c.MESSAGE_ID, 2, 5),
        struct.pack("<HHI4s", 0, 0x0002, 4, b"1.2 "),
        struct.pack("<HHI2s", 0, 0x5110, 2, b"xx"),
        struct.pack("<HHIH", 0, c.COMMAND_FIELD, 2, c.C_ECHO_RQ),
    ]
    command = c.decode_command(b"".join(elements), CONTEXT)
    assert (command.field, command.message_id, command.sop_class_uid) == (0x30, 5, "1.2")


@given(uids, uids, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_the_quick_store_response_is_the_general_one_byte_for_byte(
    sop_class: str, sop_instance: str, status: int, message_id: int
) -> None:
    encoded = request(c.C_STORE_RQ, sop_class, data=True, e1000=sop_instance, e0110=message_id)
    command = c.decode_command(encoded, CONTEXT)
    quick = c.store_response_pdu(command, status)
    assert quick is not None
    assert quick[12:] == c.encode_response(command, status)
    assert quick[:12] == struct.pack(">BxIIBB", 4, len(quick) - 6, len(quick) - 10, 3, 3)


def test_a_response_echoes_what_it_answers() -> None:
    command = c.decode_command(
        c.encode_command(
            {
                c.REQUESTED_SOP_CLASS_UID: "1.2.840.10008.1.20.1",
                c.REQUESTED_SOP_INSTANCE_UID: "1.2.840.10008.1.20.1.1",
                c.COMMAND_FIELD: c.N_ACTION_RQ,
                c.MESSAGE_ID: 77,
                c.ACTION_TYPE_ID: 1,
                c.DATA_SET_TYPE: 0x0102,
            }
        ),
        CONTEXT,
    )
    answer = elements_of(c.encode_response(command, 0x0115, with_data_set=True))
    assert answer[c.COMMAND_FIELD] == b"\x30\x81"
    assert answer[c.MESSAGE_ID_RESPONDED_TO] == b"\x4d\0"
    assert answer[c.AFFECTED_SOP_CLASS_UID] == b"1.2.840.10008.1.20.1"
    assert answer[c.AFFECTED_SOP_INSTANCE_UID] == b"1.2.840.10008.1.20.1.1"
    assert answer[c.ACTION_TYPE_ID] == b"\1\0"
    assert answer[c.DATA_SET_TYPE] != b"\1\1"


def test_counts_past_sixteen_bits_and_long_comments_are_cut() -> None:
    command = c.decode_command(request(c.C_MOVE_RQ, CT, data=True), CONTEXT)
    answer = elements_of(
        c.encode_response(
            command,
            0xFF00,
            counts=(70_000, 1, None, 0),
            error_comment="ü" * 70,
            offending=(0x100020,),
        )
    )
    assert answer[c.REMAINING] == b"\xff\xff"
    assert answer[c.COMPLETED] == b"\1\0"
    assert c.FAILED not in answer
    assert answer[c.WARNING] == b"\0\0"
    assert answer[c.ERROR_COMMENT] == b"?" * 64
    assert answer[c.OFFENDING_ELEMENT] == b"\x10\0\x20\0"


@pytest.mark.parametrize(
    ("status", "warning"),
    [(0x0000, False), (0xB000, True), (0xB007, True), (0x0107, True), (0xA700, False)],
)
def test_warnings_are_told_from_failures(status: int, warning: bool) -> None:
    assert c.is_warning(status) is warning
    assert not c.is_pending(status)
