"""The DICOM JSON object of an instance, from the bytes of its data set (PS3.18 F).

The slices of a series differ in few elements: what one element becomes is remembered by its
bytes. Every remembered element is a `_Node`, and a node remembers which one followed it last
time: reading a slice is mostly comparing the next bytes with the node that is expected there.
Only what differs is parsed. This is right because an element's text is decided by its own bytes
and by what a `_Context` holds (character set, private creators, sign of pixels), and nodes of two
contexts are never shared.

Text is UTF-8, so (0008,0005) says ISO_IR 192 wherever one was declared, and is added where none
was and the text is not ASCII. Group lengths and groups 0000 and 0002 are left out; the stored
transfer syntax is put in as Available Transfer Syntax UID (0008,3002), by which viewers choose a
decoder. Binary values of more than 1 KiB, and pixel data of any size, go as BulkDataURI.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from urllib.parse import quote

from sebago.dicom.charset import DEFAULT, charsets_of
from sebago.dicom.elements import (
    ITEM,
    MARKERS,
    UNDEFINED,
    Buffer,
    Kind,
    creator_block,
    creator_name,
    encoding_of,
    header_at,
    implicit_vr,
    inflate,
    is_private_creator,
    only_zeros,
    outline,
    swapped,
)
from sebago.dicom.json_sequence import (
    PIXEL_REPRESENTATION,
    SPECIFIC_CHARACTER_SET,
    UTF_8_DECLARED,
    in_order,
    is_bulky,
    sequence_attribute,
    shown_vr,
)
from sebago.dicom.json_values import (
    BULK_BASE,
    attribute,
    binary_attribute,
    bulk_attribute,
    quoted,
)
from sebago.errors import NotDicom, Truncated

__all__ = ["BULK_BASE", "JsonWriter", "bulk_uri"]

AVAILABLE_TRANSFER_SYNTAX_UID = 0x00083002

_HEAD_BYTES = 16 * 1024
_REMEMBERED_ELEMENT_MAX = 16 * 1024
_NODE_BYTES = 250
"""About what a node costs besides its bytes."""
_CONTEXTS_MAX = 256

# Stands for the instance's own bulk address while fragments are shared between instances: JSON
# never holds a bare NUL.
_HERE = b"\0"
_NOT_IN_URI = re.compile(rb"[^A-Za-z0-9{}:/._~%?&=+-]")


def bulk_uri(study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> bytes:
    """Where an instance's bulk data are found, below `BULK_BASE`: the prefix that `write` takes."""
    parts = [
        quote(uid, safe="") for uid in (study_instance_uid, series_instance_uid, sop_instance_uid)
    ]
    path = "/studies/{}/series/{}/instances/{}/bulk".format(*parts)
    return BULK_BASE + path.encode("ascii")


class _Context:
    """What decides an element's text besides its own bytes, and the nodes made under it."""

    __slots__ = ("charsets", "children", "creators", "nodes", "root", "signed")

    def __init__(
        self, charsets: tuple[str, ...], creators: dict[int, str], *, signed: bool
    ) -> None:
        self.charsets = charsets
        self.creators = creators
        self.signed = signed
        self.nodes: dict[bytes, _Node] = {}
        self.children: dict[tuple[int, bytes], _Context] = {}
        self.root = _Node(0, b"", b"", 0, self)


class _Node:
    """One element as it was met: `raw` is compared, `size` skipped, `fragment` written.

    `raw` is the element without its value where the text does not depend on the value.
    """

    __slots__ = ("context", "following", "fragment", "raw", "size", "tag")

    def __init__(self, tag: int, raw: bytes, fragment: bytes, size: int, context: _Context) -> None:
        self.tag = tag
        self.raw = raw
        self.fragment = fragment
        self.size = size
        self.context = context
        """The context of what follows."""
        self.following: _Node | None = None

    def follow_like(self, other: _Node) -> None:
        """Expect what followed the same element when it had another value."""
        if other.tag == self.tag and other.context is self.context:
            self.following = other.following


class JsonWriter:
    """Writes instances as DICOM JSON, and remembers elements from one to the next.

    Threads may share a writer: what it remembers is only ever added to, or dropped as a whole.
    """

    def __init__(self, *, remembered_bytes_max: int = 8 * 1024 * 1024) -> None:
        self._remembered_bytes_max = remembered_bytes_max
        self._forget()

    def _forget(self) -> None:
        self._remembered_bytes = 0
        self._contexts = 0
        self._tops: dict[tuple[bool, bool], _Context] = {}

    def write(self, data: Buffer, transfer_syntax_uid: str, *, bulk_uri: bytes) -> bytes:
        """The DICOM JSON object of one instance, compact UTF-8.

        Args:
            data: its data set without file meta information; not kept.
            transfer_syntax_uid: of `data`, also written as (0008,3002).
            bulk_uri: prefix of every BulkDataURI, see the function of that name. What follows is
                `/<tag>`, or `/<tag>/<item from 1>/<tag>` within a sequence (`find_bulk`).

        Raises:
            NotDicom and its kinds: what the header scan would not have let in.
        """
        plain, plain_uid = inflate(data, transfer_syntax_uid)
        encoding = encoding_of(plain, plain_uid)
        if self._remembered_bytes > self._remembered_bytes_max or self._contexts > _CONTEXTS_MAX:
            self._forget()
        top = self._tops.get(encoding)
        if top is None:
            top = self._tops[encoding] = _Context(DEFAULT, {}, signed=False)
        with memoryview(plain) as view:
            fragments = self._fragments(view, encoding, top)
        available = b'"00083002":{"vr":"UI","Value":[%s]}' % quoted(transfer_syntax_uid)
        fragments.insert(bisect_left(fragments, available), available)
        text = b",".join(fragments)
        if not text.isascii():
            at = bisect_left(fragments, UTF_8_DECLARED)
            if at == len(fragments) or fragments[at] != UTF_8_DECLARED:
                fragments.insert(at, UTF_8_DECLARED)
                text = b",".join(fragments)
        return b"{%s}" % text.replace(_HERE, _NOT_IN_URI.sub(b"_", bulk_uri))

    def _fragments(
        self,
        view: memoryview,
        encoding: tuple[bool, bool],
        top: _Context,
        *,
        charset_known: bool = False,
    ) -> list[bytes]:
        """The attributes in ascending order, each once. The hot loop."""
        total = len(view)
        fragments: list[bytes] = []
        append = fragments.append
        node = top.root
        ordered = True
        base = 0
        while base < total:
            head = bytes(view[base : base + _HEAD_BYTES])
            # Past `last` an element's header might not be whole in this piece.
            last = len(head) if base + len(head) == total else len(head) - 16
            starts_with = head.startswith
            offset = 0
            while offset < last:
                expected = node.following
                if expected is not None and starts_with(expected.raw, offset):
                    node = expected
                    offset += node.size
                    if node.fragment:
                        append(node.fragment)
                    continue
                found = self._read(view, base + offset, encoding, node.context)
                offset += found.size
                if found.fragment:
                    append(found.fragment)
                if found.tag > node.tag:
                    if expected is not None and found.following is None:
                        found.follow_like(expected)
                    if found.raw:
                        node.following = found
                    node = found
                else:
                    ordered = False
                    if found.tag == SPECIFIC_CHARACTER_SET and not charset_known:
                        # It comes after text that it governs: again, knowing it from the start.
                        return self._fragments(view, encoding, found.context, charset_known=True)
                    # Not linked: what follows here need not follow in a data set in order.
                    node = _Node(node.tag, b"", b"", 0, found.context)
            base += offset
        if base > total:
            raise Truncated(f"the last element claims {base - total} bytes more than are there")
        return fragments if ordered else in_order(fragments)

    def _read(
        self, view: memoryview, offset: int, encoding: tuple[bool, bool], context: _Context
    ) -> _Node:
        """The node of the element at `offset`, remembered or made."""
        explicit, little = encoding
        total = len(view)
        if not view[offset] and only_zeros(view, offset, total):
            return _Node(0, b"", b"", total - offset, context)
        tag, vr, length, value, _ = header_at(
            view, offset, total, explicit=explicit, little_endian=little
        )
        if tag in MARKERS and not vr:
            # Delimiters where none belong, and items that no sequence holds, are passed over.
            whole = length if tag == ITEM and length != UNDEFINED else 0
            return _Node(0, b"", b"", value - offset + whole, context)
        if not vr:
            vr = implicit_vr(tag, context.creators)
        if length != UNDEFINED and length > total - value:
            raise Truncated(
                f"element {tag:08X} at offset {offset} claims {length} bytes, "
                f"{total - value} are there"
            )
        shown = vr
        if vr == "UN" or " " in vr:
            shown = shown_vr(tag, vr, length, signed=context.signed)
        if length == UNDEFINED or shown == "SQ":
            return self._read_sequence(view, offset, encoding, context)
        end = value + length
        bulky = is_bulky(tag, shown, length)
        raw = bytes(view[offset : value if bulky else end])
        node = context.nodes.get(raw)
        if node is not None:
            return node
        following = context
        fragment = b""
        if tag & 0xFFFF == 0 or tag >> 16 in (0, 2) or tag == AVAILABLE_TRANSFER_SYNTAX_UID:
            pass
        elif bulky:
            fragment = bulk_attribute(tag, shown, b"%s/%08X" % (_HERE, tag))
        elif tag == SPECIFIC_CHARACTER_SET:
            following = self._following(context, tag, raw, bytes(view[value:end]))
            fragment = b"" if following.charsets == DEFAULT else UTF_8_DECLARED
        else:
            content = bytes(view[value:end])
            if not little and vr != "UN":
                content = swapped(content, shown)
            fragment = attribute(tag, shown, content, context.charsets)
            if not explicit and (tag == PIXEL_REPRESENTATION or is_private_creator(tag)):
                following = self._following(context, tag, raw, content)
        return self._remembered(_Node(tag, raw, fragment, end - offset, following), context)

    def _following(self, context: _Context, tag: int, raw: bytes, value: bytes) -> _Context:
        """The context after an element that changes it."""
        child = context.children.get((tag, raw))
        if child is None:
            charsets, creators, signed = context.charsets, context.creators, context.signed
            if tag == SPECIFIC_CHARACTER_SET:
                charsets = charsets_of(value)
            elif tag == PIXEL_REPRESENTATION:
                signed = value[:1] == b"\1"
            else:
                creators = {**creators, creator_block(tag): creator_name(value)}
            child = context.children[tag, raw] = _Context(charsets, creators, signed=signed)
            self._contexts += 1
        return child

    def _remembered(self, node: _Node, context: _Context) -> _Node:
        if len(node.raw) <= _REMEMBERED_ELEMENT_MAX:
            context.nodes[node.raw] = node
            self._remembered_bytes += len(node.raw) + len(node.fragment) + _NODE_BYTES
        else:
            node.raw = b""  # too large to be expected next time
        return node

    def _read_sequence(
        self, view: memoryview, offset: int, encoding: tuple[bool, bool], context: _Context
    ) -> _Node:
        """The node of a sequence, or of encapsulated pixel data."""
        explicit, little = encoding
        step, end = next(outline(view, offset, len(view), explicit=explicit, little_endian=little))
        tag, value = step.tag, step.value_offset
        uri = b"%s/%08X" % (_HERE, tag)
        if step.kind is Kind.FRAGMENTS:
            shown = step.vr if step.vr in ("OB", "OW") else "OB"
            return _Node(tag, b"", bulk_attribute(tag, shown, uri), end - offset, context)
        raw = bytes(view[offset : min(end, offset + _REMEMBERED_ELEMENT_MAX + 1)])
        node = context.nodes.get(raw)
        if node is not None:
            return node
        try:
            hidden = step.vr == "UN"
            fragment = sequence_attribute(
                view, tag, value, end,
                explicit=explicit and not hidden, little_endian=little or hidden,
                charsets=context.charsets, signed=context.signed, uri=uri,
            )  # fmt: skip
        except NotDicom:
            # The header scan passes over a sequence of given length, whatever is in it: it is
            # kept, so it is shown, as bytes.
            fragment = binary_attribute(tag, "UN", bytes(view[value:end]), uri)
        return self._remembered(_Node(tag, raw, fragment, end - offset, context), context)
