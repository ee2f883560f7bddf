"""A ZIP file that is written while it is sent: stored entries, sizes behind each (APPNOTE 4.3).

Sizes and checksum of an entry stand in its data descriptor and in the central directory, in ZIP64
form throughout, so that nothing has to be known before the entry was sent.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from sebago.dicom.elements import Buffer

_LOCAL: Final = struct.Struct("<IHHHHHIIIHH")
_DESCRIPTOR: Final = struct.Struct("<IIQQ")
_CENTRAL: Final = struct.Struct("<IHHHHHHIIIHHHHHII")
_EXTRA: Final = struct.Struct("<HHQQQ")
_LOCAL_EXTRA: Final = struct.Struct("<HHQQ")
_END64: Final = struct.Struct("<IQHHIIQQQQ")
_LOCATOR: Final = struct.Struct("<IIQI")
_END: Final = struct.Struct("<IHHHHIIH")

_VERSION: Final = 45
_BEHIND_AND_UTF8: Final = 0x0808
_DATE: Final = 0x21
"""1 January 1980: when a file was made says nothing here."""
_ALL_ONES: Final = 0xFFFFFFFF


class ZipStream:
    """Entries one after the other, then `end`. What is given are the bytes of the file, in order."""

    def __init__(self) -> None:
        self._at = 0
        self._entries: list[tuple[bytes, int, int, int]] = []

    def entry(self, name: str, content: Iterable[Buffer]) -> Iterator[Buffer]:
        """One file of the given name."""
        encoded = name.encode()
        start = self._at
        extra = _LOCAL_EXTRA.pack(1, 16, 0, 0)
        yield self._said(
            _LOCAL.pack(
                0x04034B50,
                _VERSION,
                _BEHIND_AND_UTF8,
                0,
                0,
                _DATE,
                0,
                _ALL_ONES,
                _ALL_ONES,
                len(encoded),
                len(extra),
            )
            + encoded
            + extra
        )
        checksum = size = 0
        for buffer in content:
            checksum = zlib.crc32(buffer, checksum)
            size += len(buffer)
            self._at += len(buffer)
            yield buffer
        yield self._said(_DESCRIPTOR.pack(0x08074B50, checksum, size, size))
        self._entries.append((encoded, checksum, size, start))

    def end(self) -> Iterator[Buffer]:
        """The central directory."""
        start = self._at
        for name, checksum, size, offset in self._entries:
            extra = _EXTRA.pack(1, 24, size, size, offset)
            yield self._said(
                _CENTRAL.pack(
                    0x02014B50,
                    _VERSION,
                    _VERSION,
                    _BEHIND_AND_UTF8,
                    0,
                    0,
                    _DATE,
                    checksum,
                    _ALL_ONES,
                    _ALL_ONES,
                    len(name),
                    len(extra),
                    0,
                    0,
                    0,
                    0,
                    _ALL_ONES,
                )
                + name
                + extra
            )
        count, size, at = len(self._entries), self._at - start, self._at
        yield _END64.pack(0x06064B50, 44, _VERSION, _VERSION, 0, 0, count, count, size, start)
        yield _LOCATOR.pack(0x07064B50, 0, at, 1)
        few = min(count, 0xFFFF)
        yield _END.pack(0x06054B50, 0, 0, few, few, min(size, _ALL_ONES), _ALL_ONES, 0)

    def _said(self, data: bytes) -> bytes:
        self._at += len(data)
        return data
