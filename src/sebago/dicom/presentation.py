"""The attributes by which an image wants to be shown, read from its data set.

At the top level, or for enhanced objects in the functional groups of all frames or of one (PS3.3
C.7.6.16): the frame's own group is believed first, then the shared one, then the top level.
"""

from __future__ import annotations

import struct
from math import isfinite

from sebago.dicom.colour import Rgb, palette
from sebago.dicom.elements import Kind, outline, swapped, walk_part
from sebago.dicom.frames import Frames
from sebago.dicom.scan import Header
from sebago.dicom.voi import LINEAR, VOI_FUNCTIONS, Greys, Lut, Window

RESCALE_INTERCEPT, RESCALE_SLOPE = 0x00281052, 0x00281053
WINDOW_CENTER, WINDOW_WIDTH, VOI_FUNCTION = 0x00281050, 0x00281051, 0x00281056
PADDING, PADDING_LIMIT = 0x00280120, 0x00280121
MODALITY_LUT, VOI_LUT = 0x00283000, 0x00283010
LUT_DESCRIPTOR, LUT_DATA = 0x00283002, 0x00283006
PIXEL_SPACING, ASPECT_RATIO, IMAGER_SPACING = 0x00280030, 0x00280034, 0x00181164
SHARED_GROUPS, FRAME_GROUPS = 0x52009229, 0x52009230
FRAME_VOI, FRAME_TRANSFORMATION, FRAME_MEASURES = 0x00289132, 0x00289145, 0x00289110
_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
_PALETTES = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED = (0x00281221, 0x00281222, 0x00281223)
_IN_GROUPS = frozenset(
    {RESCALE_INTERCEPT, RESCALE_SLOPE, WINDOW_CENTER, WINDOW_WIDTH, VOI_FUNCTION}
)

PRESENTATION_TAGS = frozenset(
    {
        RESCALE_INTERCEPT, RESCALE_SLOPE, WINDOW_CENTER, WINDOW_WIDTH, VOI_FUNCTION, PADDING,
        PADDING_LIMIT, MODALITY_LUT, VOI_LUT, PIXEL_SPACING, ASPECT_RATIO, IMAGER_SPACING,
        SHARED_GROUPS, FRAME_GROUPS, *_DESCRIPTORS, *_PALETTES, *_SEGMENTED,
    }
)  # fmt: skip
"""What the scan of a rendered instance must keep. Large ones are cut and read again where needed."""

_WORDS_MAX = 65536


def numbers(raw: bytes | None) -> list[float]:
    """The finite numbers of a DS or IS value, in order; what is none is left out."""
    found = []
    for part in (raw or b"").split(b"\\"):
        try:
            number = float(part.strip(b" \0").replace(b",", b"."))
        except ValueError:
            continue
        if isfinite(number):
            found.append(number)
    return found


def grey_values(frames: Frames, index: int) -> Greys:
    """How the stored values of frame `index` (from 0) become shades."""
    header, description = frames.header, frames.description
    values = {tag: header.values[tag] for tag in _IN_GROUPS if tag in header.values}
    if FRAME_GROUPS in header.values or SHARED_GROUPS in header.values:
        values |= _group_values(frames, index)
    slope = next(iter(numbers(values.get(RESCALE_SLOPE))), 1.0)
    intercept = next(iter(numbers(values.get(RESCALE_INTERCEPT))), 0.0)
    modality = _lut(frames, MODALITY_LUT) if header.values.get(MODALITY_LUT) else None
    window = _window(values)
    voi = None
    if window is None and header.values.get(VOI_LUT):
        voi = _lut(frames, VOI_LUT)
    return Greys(
        slope=slope or 1.0,
        intercept=intercept,
        modality=modality,
        window=window,
        voi=voi,
        inverted=description.photometric == "MONOCHROME1",
        padding=_padding(header, signed=description.signed),
    )


def _window(values: dict[int, bytes]) -> Window | None:
    centers, widths = numbers(values.get(WINDOW_CENTER)), numbers(values.get(WINDOW_WIDTH))
    if not centers or not widths:
        return None
    function = values.get(VOI_FUNCTION, b"").strip(b" \0").decode("ascii", "replace").upper()
    function = function if function in VOI_FUNCTIONS else LINEAR
    if widths[0] < (1 if function == LINEAR else 0) or widths[0] == 0:
        return None
    return Window(centers[0], widths[0], function)


def _padding(header: Header, *, signed: bool) -> tuple[int, int] | None:
    order = "<" if header.little_endian else ">"
    ends = []
    for tag in (PADDING, PADDING_LIMIT):
        raw = header.values.get(tag, b"")
        if len(raw) >= 2:
            ends.append(int(struct.unpack_from(order + ("h" if signed else "H"), raw)[0]))
    return (min(ends), max(ends)) if ends and PADDING in header.values else None


def pixel_shape(header: Header) -> tuple[float, float]:
    """(height, width) of a pixel, of which the smaller is 1: what makes pixels square."""
    for tag in (ASPECT_RATIO, PIXEL_SPACING, IMAGER_SPACING):
        sides = numbers(header.values.get(tag))
        if len(sides) >= 2 and min(sides[:2]) > 0:
            ratio = sides[0] / sides[1]
            # A ratio within 1 % is rounding, one past 10 a mistake.
            if not 0.99 < ratio < 1.01 and 0.1 <= ratio <= 10:
                return (ratio, 1.0) if ratio > 1 else (1.0, 1 / ratio)
            return 1.0, 1.0
    return 1.0, 1.0


def _group_values(frames: Frames, index: int) -> dict[int, bytes]:
    """Window and rescale of one frame, from the functional groups."""
    header, data = frames.header, frames.data
    view = memoryview(data)
    found: dict[int, bytes] = {}
    wanted = {SHARED_GROUPS: 0, FRAME_GROUPS: index}
    for step, end in outline(
        data, 0, header.pixel_offset or 0,
        explicit=header.explicit, little_endian=header.little_endian,
    ):  # fmt: skip
        if step.tag not in wanted or step.kind is not Kind.SEQUENCE:
            continue
        item = -1
        group = 0
        for inner in walk_part(
            data, step.value_offset, end,
            explicit=header.explicit, little_endian=header.little_endian, items=True,
        ):  # fmt: skip
            if inner.kind is Kind.ITEM and inner.depth == 1:
                item += 1
                if item > wanted[step.tag]:
                    break
            elif item != wanted[step.tag]:
                continue
            elif inner.kind is Kind.SEQUENCE and inner.depth == 1:
                group = inner.tag
            elif (
                inner.kind is Kind.VALUE
                and inner.depth == 2
                and inner.tag in _IN_GROUPS
                and group in (FRAME_VOI, FRAME_TRANSFORMATION)
            ):
                value = view[inner.value_offset : inner.value_offset + inner.length]
                found[inner.tag] = bytes(value)
    return found


def _lut(frames: Frames, sequence: int) -> Lut | None:
    """The table in the first item of a Modality or VOI LUT Sequence; None if it is none."""
    header, data = frames.header, frames.data
    values: dict[int, bytes] = {}
    for step, end in outline(
        data, 0, header.pixel_offset or 0,
        explicit=header.explicit, little_endian=header.little_endian,
    ):  # fmt: skip
        if step.tag != sequence or step.kind is not Kind.SEQUENCE:
            continue
        for inner in walk_part(
            data, step.value_offset, end,
            explicit=header.explicit, little_endian=header.little_endian, items=True,
        ):  # fmt: skip
            if inner.kind is Kind.ITEM_END and inner.depth == 1:
                break
            if inner.kind is Kind.VALUE and inner.tag in (LUT_DESCRIPTOR, LUT_DATA):
                raw = memoryview(data)[inner.value_offset : inner.value_offset + inner.length]
                values[inner.tag] = bytes(raw) if inner.little_endian else swapped(raw, "US")
    descriptor, entries = values.get(LUT_DESCRIPTOR, b""), values.get(LUT_DATA, b"")
    if len(descriptor) < 6 or len(entries) < 2:
        return None
    count, first, bits = struct.unpack_from("<3H", descriptor)
    if frames.description.signed and first >= 0x8000:
        first -= 0x10000
    count = count or _WORDS_MAX
    if bits <= 8 and len(entries) < 2 * count:
        table: tuple[int, ...] = tuple(entries[:count])
    else:
        table = struct.unpack(f"<{len(entries) // 2}H", entries[: len(entries) // 2 * 2])[:count]
    return Lut(first, min(max(bits, 1), 16), table)


def has_palette(header: Header) -> bool:
    """Whether the tables of a PALETTE COLOR image are there; without them it is shown in grey."""
    return all(header.values.get(tag) for tag in _DESCRIPTORS)


def palette_of(frames: Frames) -> list[tuple[int, Rgb]]:
    """Red, green and blue table of a PALETTE COLOR image.

    Raises:
        NotSupported: there is no palette.
    """
    header = frames.header
    tables = []
    for descriptor, plain, segmented in zip(_DESCRIPTORS, _PALETTES, _SEGMENTED, strict=True):
        is_segmented = not header.values.get(plain) and bool(header.values.get(segmented))
        tables.append(
            palette(
                header.values.get(descriptor, b""),
                _whole(frames, segmented if is_segmented else plain),
                little_endian=header.little_endian,
                segmented=is_segmented,
            )
        )
    return tables


def _whole(frames: Frames, tag: int) -> bytes:
    """A value that the scan may have cut."""
    header = frames.header
    kept = header.values.get(tag, b"")
    if len(kept) < _WORDS_MAX:
        return kept
    for step, end in outline(
        frames.data, 0, header.pixel_offset or 0,
        explicit=header.explicit, little_endian=header.little_endian,
    ):  # fmt: skip
        if step.tag == tag:
            return bytes(memoryview(frames.data)[step.value_offset : end])
    return kept
