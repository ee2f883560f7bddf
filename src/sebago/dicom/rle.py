"""RLE Lossless (PS3.5 annex G): byte planes, most significant first, each packed by PackBits."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from sebago.errors import NotSupported

_SEGMENTS_MAX = 15


def decode_rle(
    frame: bytes | memoryview, *, pixels: int, samples: int, sample_bytes: int
) -> NDArray[np.unsignedinteger]:
    """One frame as an array (pixels, samples), unsigned, little endian.

    A segment that is longer than its plane is cut, as its padding is; one that is shorter is an
    error.

    Raises:
        NotSupported: the header or a segment does not fit the image.
    """
    if len(frame) < 64:
        raise NotSupported(f"an RLE frame of {len(frame)} bytes has no header")
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != samples * sample_bytes or count > _SEGMENTS_MAX:
        raise NotSupported(f"an RLE frame of {count} segments, not {samples * sample_bytes}")
    bounds = [*offsets[:count], len(frame)]
    planes = np.empty((samples, sample_bytes, pixels), np.uint8)
    for segment in range(count):
        start, end = bounds[segment], bounds[segment + 1]
        if not 64 <= start <= end <= len(frame):
            raise NotSupported(f"RLE segment {segment + 1} lies outside its frame")
        plane = _unpack(frame[start:end], pixels)
        if len(plane) < pixels:
            raise NotSupported(f"RLE segment {segment + 1} holds {len(plane)} of {pixels} bytes")
        # The first segment is the most significant byte; memory has the least significant first.
        place = sample_bytes - 1 - segment % sample_bytes
        planes[segment // sample_bytes, place] = np.frombuffer(plane, np.uint8, pixels)
    words = np.ascontiguousarray(planes.transpose(2, 0, 1)).view(f"<u{sample_bytes}")
    return words.reshape(pixels, samples)


def _unpack(segment: bytes | memoryview, size: int) -> bytes | bytearray:
    # PackBits grows at most 128 bytes out of two: bounded by the segment, but hold it to the
    # plane all the same; a decoder that overruns the buffer says so.
    try:
        return imagecodecs.packbits_decode(bytes(segment), out=size + 256)
    except (RuntimeError, ValueError):
        return _unpack_plain(bytes(segment), size)


def _unpack_plain(segment: bytes, size: int) -> bytearray:
    """PackBits step by step, for segments whose last run overshoots or that are padded."""
    out = bytearray()
    at = 0
    while at < len(segment) and len(out) < size:
        control = segment[at]
        if control < 128:
            out += segment[at + 1 : at + 2 + control]
            at += 2 + control
        elif control > 128:
            out += segment[at + 1 : at + 2] * (257 - control)
            at += 2
        else:
            at += 1
    return out
