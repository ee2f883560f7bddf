"""One frame, whatever its transfer syntax, as an array of stored values.

Decoders allocate what a codestream claims, so its claim is held against Rows, Columns and Samples
per Pixel first. What a decoder raises is answered as NotSupported: the object is kept and handed
out as stored all the same.

Colour: lossy JPEG and JPEG 2000 with a component transform come out as RGB, whatever Photometric
Interpretation called them (a JPEG's own markers are believed before it); everything else comes
out as the components are.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from sebago.dicom.codestream import Claim, j2k_claim, jpeg_claim
from sebago.dicom.frames import PixelDescription
from sebago.dicom.rle import decode_rle
from sebago.errors import NotSupported

Pixels = NDArray[Any]
"""(rows, columns) or (rows, columns, samples)."""


_NATIVE_CODECS = frozenset({"", "uncompressed", "deflate-frame", "rle"})
"""What carries native samples bit for bit, unused bits included."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame's stored values and what its components mean."""

    pixels: Pixels
    """uint or int of `bits_allocated` (one bit and 12 packed bits as uint8 and uint16), or float;
    bits beyond Bits Stored cleared, signs extended."""
    photometric: str
    """What the components are now."""
    bits_beyond: bool
    """Whether bits outside Bits Stored were set (overlays of old, PS3.5 8.1.2)."""


def decode_frame(frame: bytes | memoryview, description: PixelDescription) -> Decoded:
    """Decode one frame that `FrameTable.frame` gave.

    Raises:
        NotSupported: no decoder takes the transfer syntax, or this codestream, or it is not the
            image that the data set describes.
    """
    raw, photometric = _components(frame, description)
    if description.floating:
        return Decoded(raw, photometric, bits_beyond=False)
    return _stored(raw, description, photometric)


def native_frame(frame: bytes | memoryview, description: PixelDescription) -> tuple[bytes, str]:
    """One frame as native pixel data have it (PS3.5 8.1): little endian, colours by pixel.

    Bits outside Bits Stored are kept where the transfer syntax can carry them. One bit per sample
    stays one bit, beginning at a byte; 12 packed bits come out in 16.

    Returns:
        The bytes, and the photometric interpretation of their components.

    Raises:
        NotSupported: as `decode_frame`.
    """
    raw, photometric = _components(frame, description)
    if not description.floating and description.syntax.codec not in _NATIVE_CODECS:
        raw = _stored(raw, description, photometric).pixels
    if description.bits_allocated == 1:
        return np.packbits(raw.astype(bool), bitorder="little").tobytes(), photometric
    little = raw.astype(raw.dtype.newbyteorder("<"), copy=False)
    return little.tobytes(), photometric


def _components(frame: bytes | memoryview, description: PixelDescription) -> tuple[Pixels, str]:
    """The samples as the decoder gives them, in shape, and what they are."""
    codec = description.syntax.codec
    photometric = description.photometric
    if codec in ("", "uncompressed"):
        raw, photometric = _native(frame, description)
    elif codec == "deflate-frame":
        raw, photometric = _native(_inflated(frame, description), description)
    elif codec == "rle":
        raw, photometric = _rle(frame, description)
    elif codec == "jpeg":
        raw, photometric = _jpeg(frame, description)
    elif codec == "jpegls":
        _agree(jpeg_claim(frame), description)
        raw = _run(imagecodecs.jpegls_decode, frame, "JPEG-LS")
    elif codec in ("j2k", "htj2k"):
        claim = j2k_claim(frame)
        _agree(claim, description)
        decode = imagecodecs.jpeg2k_decode if codec == "j2k" else imagecodecs.htj2k_decode
        raw = _run(decode, frame, "JPEG 2000")
        if claim.transformed or photometric in ("YBR_RCT", "YBR_ICT"):
            photometric = "RGB"
    elif codec == "jpegxl":
        raw = _run(imagecodecs.jpegxl_decode, frame, "JPEG XL")
        if description.samples == 3:
            photometric = "RGB"
    else:
        raise NotSupported(f"frames of {description.syntax.name} cannot be decoded")
    shape: tuple[int, ...] = (description.rows, description.columns)
    if description.samples > 1:
        shape = (*shape, description.samples)
    if raw.size != np.prod(shape):
        raise NotSupported(f"a frame of shape {raw.shape} was decoded, {shape} was described")
    raw = raw.reshape(shape)
    return raw, photometric


def _run(decode: Any, frame: bytes | memoryview, name: str) -> Pixels:  # noqa: ANN401
    try:
        decoded: Pixels = decode(bytes(frame))
    except (ValueError, RuntimeError, TypeError, MemoryError, OSError) as error:
        raise NotSupported(f"a {name} frame cannot be decoded: {error}") from error
    return decoded


def _agree(claim: Claim, description: PixelDescription) -> None:
    said = (claim.rows, claim.columns, claim.components)
    described = (description.rows, description.columns, description.samples)
    if said != described:
        raise NotSupported(
            f"the codestream holds {said[0]} x {said[1]} x {said[2]}, the data set describes "
            f"{described[0]} x {described[1]} x {described[2]}"
        )
    if claim.precision > max(description.bits_allocated, 8):
        raise NotSupported(
            f"samples of {claim.precision} bits, {description.bits_allocated} are allocated"
        )


def _jpeg(frame: bytes | memoryview, description: PixelDescription) -> tuple[Pixels, str]:
    claim = jpeg_claim(frame)
    _agree(claim, description)
    frame = frame[claim.offset :]
    photometric = description.photometric
    if claim.components != 3 or claim.lossless:
        # The lossless process knows no colour transform: components are what the data set says.
        as_is = _from_rgb if claim.components == 3 else imagecodecs.jpeg8_decode
        return _run(as_is, frame, "JPEG"), photometric
    transformed = claim.transformed
    if transformed is None:
        transformed = photometric.startswith("YBR")
    decode = _from_ycbcr if transformed else _from_rgb
    return _run(decode, frame, "JPEG"), "RGB"


def _from_ycbcr(frame: bytes) -> Pixels:
    rgb: Pixels = imagecodecs.jpeg8_decode(frame, colorspace="YCBCR", outcolorspace="RGB")
    return rgb


def _from_rgb(frame: bytes) -> Pixels:
    rgb: Pixels = imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB")
    return rgb


def _rle(frame: bytes | memoryview, description: PixelDescription) -> tuple[Pixels, str]:
    pixels = description.rows * description.columns * description.samples
    if description.bits_allocated in (1, 12):
        # One segment holds what would be the native frame, samples packed as they are there.
        size = -(-pixels * description.bits_allocated // 8)
        packed = decode_rle(frame, pixels=size, samples=1, sample_bytes=1)
        return _native(packed.tobytes(), description)
    raw = decode_rle(
        frame,
        pixels=description.rows * description.columns,
        samples=description.samples,
        sample_bytes=description.bits_allocated // 8,
    )
    return raw, description.photometric


def _inflated(frame: bytes | memoryview, description: PixelDescription) -> bytes:
    """A frame of Deflated Image Frame Compression (PS3.5 A.4.13), held to its described size."""
    size = -(-description.rows * description.columns * description.samples
             * description.bits_allocated // 8)  # fmt: skip
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(frame, size + 1)
    except zlib.error as error:
        raise NotSupported(f"a deflated frame cannot be inflated: {error}") from error
    if len(plain) < size:
        raise NotSupported(f"a deflated frame holds {len(plain)} of {size} bytes")
    return plain[:size]


def _native(frame: bytes | memoryview, description: PixelDescription) -> tuple[Pixels, str]:
    allocated = description.bits_allocated
    pixels = description.rows * description.columns
    count = pixels * description.samples
    photometric = description.photometric
    if photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and description.samples == 3:
        if allocated == 8 and len(frame) < count:
            return _upsampled(frame, description), photometric[:-4].replace("PARTIAL", "FULL")
        photometric = "YBR_FULL"
    needed = -(-count * allocated // 8)
    if len(frame) < needed:
        raise NotSupported(f"a frame of {len(frame)} bytes, {needed} are described")
    if allocated == 1:
        bits = np.unpackbits(np.frombuffer(frame, np.uint8, needed), count=count, bitorder="little")
        return _interleaved(bits, description), photometric
    if allocated == 12:
        return _interleaved(_unpacked_12(frame, count), description), photometric
    kind = "f" if description.floating else "u"
    values = np.frombuffer(frame, f"<{kind}{allocated // 8}", count)
    return _interleaved(values, description), photometric


def _interleaved(values: Pixels, description: PixelDescription) -> Pixels:
    if description.planar:
        planes = values.reshape(description.samples, description.rows, description.columns)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))
    return values


def _unpacked_12(frame: bytes | memoryview, count: int) -> Pixels:
    """Samples of 12 bits without gaps (PS3.5 D, of old): two in three bytes, low bits first."""
    packed = np.zeros(-(-count // 2) * 3, np.uint8)
    packed[: -(-count * 3 // 2)] = np.frombuffer(frame, np.uint8, -(-count * 3 // 2))
    triples = packed.reshape(-1, 3).astype(np.uint16)
    values = np.empty((len(triples), 2), np.uint16)
    values[:, 0] = triples[:, 0] | (triples[:, 1] & 0x0F) << 8
    values[:, 1] = triples[:, 1] >> 4 | triples[:, 2] << 4
    return values.reshape(-1)[:count]


def _upsampled(frame: bytes | memoryview, description: PixelDescription) -> Pixels:
    """Native YBR_FULL_422 (PS3.3 C.7.6.3.1.2): Y Y Cb Cr for every two pixels of a row."""
    pixels = description.rows * description.columns
    if description.columns % 2 or len(frame) < pixels * 2:
        raise NotSupported(f"a 4:2:2 frame of {len(frame)} bytes, {pixels * 2} are described")
    pairs = np.frombuffer(frame, np.uint8, pixels * 2).reshape(-1, 4)
    out = np.empty((len(pairs), 2, 3), np.uint8)
    out[:, :, 0] = pairs[:, :2]
    out[:, :, 1] = pairs[:, 2:3]
    out[:, :, 2] = pairs[:, 3:4]
    return out


def _stored(raw: Pixels, description: PixelDescription, photometric: str) -> Decoded:
    """Values as Bits Stored and Pixel Representation have them, in Bits Allocated."""
    width = {1: 8, 12: 16}.get(description.bits_allocated, description.bits_allocated)
    if raw.dtype.kind == "f":
        raise NotSupported("a codestream of floating point samples for integer pixel data")
    if raw.dtype.itemsize * 8 > width:
        raw = raw.astype(f"i{width // 8}" if raw.dtype.kind == "i" else f"u{width // 8}")
    stored = description.bits_stored
    native = description.syntax.codec in _NATIVE_CODECS
    words = raw.astype(
        f"=i{width // 8}" if raw.dtype.kind == "i" else f"=u{width // 8}", copy=False
    )
    words = words.view(f"u{width // 8}")
    shift = description.high_bit + 1 - stored if native else 0
    shift = shift if 0 <= shift <= width - stored else 0
    beyond = False
    if stored < width and (native or raw.dtype.kind == "i" or description.signed):
        mask = np.array((1 << stored) - 1, words.dtype)
        kept = words >> np.array(shift, words.dtype) if shift else words
        beyond = bool(
            native and description.bits_allocated > 8 and np.any(words & ~(mask << shift))
        )
        words = kept & mask
    if description.signed:
        values = words.view(f"i{width // 8}")
        if stored < width:
            up = width - stored
            values = (values << up) >> up
        return Decoded(values, photometric, bits_beyond=beyond)
    return Decoded(words, photometric, bits_beyond=beyond)
