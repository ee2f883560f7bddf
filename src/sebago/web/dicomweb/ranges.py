"""Range requests (RFC 9110 14): one range of bytes, else the whole."""

from __future__ import annotations

import re
from typing import Final

_ONE_RANGE: Final = re.compile(r"bytes=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*\Z")


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last of what is asked for; None: all of it.

    Several ranges, other units and nonsense mean all of it, as the standard allows. A range that
    begins behind the end is (size, size): it cannot be satisfied, and is answered with 416.
    """
    match = _ONE_RANGE.match(header or "")
    if match is None:
        return None
    first, last = match.groups()
    if first:
        start = int(first)
        if last and int(last) < start:
            return None
        if start >= size:
            return size, size
        return start, min(int(last) + 1, size) if last else size
    if not last:
        return None
    suffix = int(last)
    if suffix == 0 or size == 0:
        return size, size
    return max(0, size - suffix), size
