"""Where the bytes of a data set go while they arrive."""

from __future__ import annotations

from typing import Final, Protocol

from sebago.dimse.pdu import ABORT_BY_USER, NOT_SPECIFIED, ProtocolViolation

IDENTIFIER_BYTES_MAX: Final = 1 << 20
"""Longest data set of a command that stores nothing: a query of thousands of UIDs fits."""


class Sink(Protocol):
    """Takes one data set, piece by piece, without a copy in between.

    The order of calls is room, filled, room, filled, ...; the memory of `room` is let go before
    `filled` is called, so that a bytearray behind it may then grow. A `SebagoError` out of any of
    them refuses the data set: what is left of it is read and thrown away, `abandon` is called,
    and the response carries the error's status.
    """

    def room(self, n: int) -> memoryview:
        """Where the next bytes go: at least 1 byte, better `n`, which are known to come."""
        ...

    def filled(self, n: int) -> None:
        """`n` bytes of the last room have been filled."""
        ...

    def abandon(self) -> None:
        """The data set will not be completed."""
        ...


class Discard:
    """Throws away what it is given. All threads share its memory: nobody ever reads it."""

    _scratch = memoryview(bytearray(256 * 1024))

    def room(self, n: int) -> memoryview:
        """Shared scratch memory."""
        return self._scratch

    def filled(self, n: int) -> None:
        """Nothing is kept."""

    def abandon(self) -> None:
        """Nothing to give back."""


DISCARD: Final = Discard()


class Buffered:
    """Keeps a data set of limited length in memory: identifiers of queries, N- service data.

    Grows by what arrives, not by what is announced. Past `limit_bytes` the association is
    aborted, as nothing sensible is that long.
    """

    __slots__ = ("_buffer", "_length", "_limit_bytes")

    def __init__(self, limit_bytes: int = IDENTIFIER_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._length = 0
        self._limit_bytes = limit_bytes

    def room(self, n: int) -> memoryview:
        """A piece behind what is there, at most 64 KiB at a time.

        Raises:
            ProtocolViolation: the data set passes the limit.
        """
        if self._length >= self._limit_bytes:
            raise ProtocolViolation(
                f"an identifier of more than {self._limit_bytes} bytes",
                NOT_SPECIFIED,
                source=ABORT_BY_USER,
            )
        piece = min(n, 64 * 1024, self._limit_bytes - self._length)
        missing = self._length + piece - len(self._buffer)
        if missing > 0:
            self._buffer.extend(bytes(missing))
        return memoryview(self._buffer)[self._length : self._length + piece]

    def filled(self, n: int) -> None:
        """Count what arrived."""
        self._length += n

    def abandon(self) -> None:
        """Give the memory back."""
        self._buffer = bytearray()
        self._length = 0

    @property
    def data(self) -> bytes:
        """What has arrived."""
        return bytes(memoryview(self._buffer)[: self._length])
