"""Files to send, taken apart without the code under test."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom

from bench.instances import Study, ct_templates, fresh_uid, number_text
from bench.load import Association, command_pdu, command_set, data_pdus

EXPLICIT_VR_LE = "1.2.840.10008.1.2.1"
EXPLICIT_VR_BE = "1.2.840.10008.1.2.2"
IMPLICIT_VR_LE = "1.2.840.10008.1.2"
_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT")


@dataclass(frozen=True, slots=True)
class Sample:
    """A DICOM file as it is on the disk, and its data set, byte for byte."""

    path: Path
    file: bytes
    dataset: bytes
    transfer_syntax_uid: str
    has_meta: bool
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""

    @property
    def identified(self) -> bool:
        """Whether it has all that an archive needs to know it by."""
        return bool(
            self.sop_class_uid
            and self.sop_instance_uid
            and self.study_instance_uid
            and self.series_instance_uid
        )


def guess_syntax(dataset: bytes) -> str:
    """The transfer syntax of a data set without meta information, by its first element."""
    big = dataset[:2] in (b"\x00\x08", b"\x00\x02", b"\x00\x10")
    if dataset[4:6].isalpha() and dataset[4:6].isupper():
        return EXPLICIT_VR_BE if big else EXPLICIT_VR_LE
    return IMPLICIT_VR_LE


def _meta(file: bytes) -> tuple[dict[int, bytes], int]:
    """Elements of group 2, and where the data set begins."""
    at = 132 if file[128:132] == b"DICM" else 0
    found: dict[int, bytes] = {}
    while at + 8 <= len(file):
        group, element, vr, length = struct.unpack_from("<HH2sH", file, at)
        if group != 2:
            break
        head = 8
        if vr in _LONG_VRS:
            (length,) = struct.unpack_from("<I", file, at + 8)
            head = 12
        elif not vr.isalpha():  # implicit meta information: wrong, and met
            (length,) = struct.unpack_from("<I", file, at + 4)
        found[element] = file[at + head : at + head + length]
        at += head + length
    return found, at


def _text(raw: bytes | None) -> str:
    return (raw or b"").rstrip(b"\0 ").decode("ascii", "replace")


def take_apart(path: Path) -> Sample | None:
    """Read a file; None if nothing in it looks like DICOM."""
    file = path.read_bytes()
    meta, at = _meta(file)
    dataset = file[at:]
    ids = _identifiers(file)
    if not meta and not any(ids.values()):
        return None
    return Sample(
        path,
        file,
        dataset,
        _text(meta.get(0x0010)) or guess_syntax(dataset),
        bool(meta),
        ids["SOPClassUID"] or _text(meta.get(0x0002)),
        ids["SOPInstanceUID"],
        ids["StudyInstanceUID"],
        ids["SeriesInstanceUID"],
    )


def _identifiers(file: bytes) -> dict[str, str]:
    """What stands in the data set, by pydicom; empty where it has none or cannot be read."""
    names = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
    found = dict.fromkeys(names, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(io.BytesIO(file), force=True, specific_tags=list(names))
            for name in names:
                found[name] = str(ds.get(name) or "").rstrip("\0 ")
        except Exception:  # noqa: BLE001 (whatever pydicom raises: the file has no identifiers)
            return dict.fromkeys(names, "")
    return found


def store_exact(
    address: tuple[str, int], called: str, calling: str, samples: Sequence[Sample]
) -> list[int | None]:
    """C-STORE data sets byte for byte over one association; statuses in order.

    None: the presentation context was refused. The transfer syntax that a file says is proposed,
    whether or not its data set is encoded so: that is what a careless sender does.

    Raises:
        LoadFailed, OSError: the association was refused, or it broke.
    """
    pairs = list(dict.fromkeys((s.sop_class_uid, s.transfer_syntax_uid) for s in samples))
    ids = {pair: 2 * i + 1 for i, pair in enumerate(pairs)}
    contexts = [(ids[pair], pair[0], [pair[1]]) for pair in pairs]
    association = Association(address, called, calling, contexts, timeout_s=30)
    statuses: list[int | None] = []
    try:
        for sample in samples:
            context = ids[sample.sop_class_uid, sample.transfer_syntax_uid]
            if context not in association.accepted:
                statuses.append(None)
                continue
            command = command_set(
                {
                    0x0002: even(sample.sop_class_uid),
                    0x0100: b"\x01\x00",
                    0x0110: b"\x01\x00",
                    0x0700: b"\x00\x00",
                    0x0800: b"\x01\x00",
                    0x1000: even(sample.sop_instance_uid),
                }
            )
            stream = command_pdu(context, command)
            stream += b"".join(data_pdus(context, sample.dataset, association.send_bytes_max))
            association.socket.sendall(stream)
            statuses.append(int.from_bytes(association.read_command()[0x0900], "little"))
        association.release()
    finally:
        association.close()
    return statuses


def even(uid: str) -> bytes:
    """A UID as its value is encoded (PS3.5 9.1)."""
    raw = uid.encode("ascii", "replace")
    return raw + b"\0" * (len(raw) % 2)


def write_study(folder: Path, count: int, study: Study) -> list[Path]:
    """Part 10 files of real CT slices with fresh UIDs, of one study and series."""
    folder.mkdir(parents=True, exist_ok=True)
    templates = ct_templates(4)
    paths = []
    for number in range(1, count + 1):
        template = templates[number % len(templates)]
        fields = {**study.fields(), "sop": fresh_uid(), "number": number_text(number)}
        path = folder / f"IM{number:04d}.dcm"
        path.write_bytes(template.part10_with(fields))
        paths.append(path)
    return paths
