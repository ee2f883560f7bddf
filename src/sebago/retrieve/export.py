"""A study as Part 10 files in a folder: PS3.10 7.1. For commands on the archive's own machine.

The gate is asked as for every other way out: with the custody view of a facility, one after the other
where several hold the study. Where two of them sent the same instance it is written once, the first
facility's; one that differs is written beside it under the facility's code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from sebago.dicom.part10 import write_meta
from sebago.dicom.transcode import to_explicit_le
from sebago.dicom.uids import EXPLICIT_VR_LE, uid_is_sane
from sebago.errors import Damaged, NotFound, OperatorsFault, SebagoError
from sebago.gate import Asker, Role
from sebago.index.instances import Held
from sebago.retrieve.archive import Archive


@dataclass(slots=True)
class Exported:
    """What was written."""

    files: int = 0
    bytes: int = 0
    failed: list[str] = field(default_factory=list)


def export_study(
    archive: Archive,
    folder: Path,
    study_instance_uid: str,
    *,
    facility: str,
    as_received: bool,
    all_versions: bool,
    actor: str,
) -> Exported:
    """Write a study's current instances below `folder`, as STUDY/SERIES/INSTANCE.dcm.

    Args:
        archive: the way out.
        folder: made if absent; files of the same names are replaced.
        study_instance_uid: of the study.
        facility: only what it sent; "": what all sent.
        as_received: the data set's very bytes; else Explicit VR Little Endian where that can be.
        all_versions: earlier versions too, `.v<n>` before their ending.
        actor: who the ledger says asked.

    Raises:
        NotFound: nobody holds such a study.
        OperatorsFault: the folder cannot be written.
    """
    facilities = [facility] if facility else sorted(archive.custodians(study_instance_uid))
    exported = Exported()
    written: dict[str, bytes] = {}
    for code in facilities:
        asker = Asker(actor, Role.SENDER, code)
        for held in archive.locate(asker, study_instance_uid):
            several = [held]
            if all_versions:
                several = archive.versions(code, held.sop_instance_uid)
            for one in several:
                suffix = "" if one.instance_id == held.instance_id else f".v{one.version}"
                name = one.sop_instance_uid + suffix
                if written.setdefault(name, one.digest) != one.digest:
                    suffix += f".{code}"
                elif (code != facilities[0]) and written[name] == one.digest:
                    continue
                _write(archive, folder, one, suffix, exported, as_received=as_received)
    if not written:
        raise NotFound(f"no facility holds a study {study_instance_uid}")
    return exported


def _write(
    archive: Archive,
    folder: Path,
    held: Held,
    suffix: str,
    exported: Exported,
    *,
    as_received: bool,
) -> None:
    syntax = held.transfer_syntax_uid
    try:
        data = archive.open(held)
        if blake3(data).digest() != held.digest:
            raise Damaged("the journal does not hold it as it was received")
    except Damaged as error:
        exported.failed.append(f"{held.sop_instance_uid}: {error.detail}")
        return
    if not as_received:
        try:
            data = memoryview(to_explicit_le(data, syntax))
            syntax = EXPLICIT_VR_LE
        except SebagoError:
            pass  # what cannot be decoded goes as it is
    path = (
        folder
        / safe_name(held.study_instance_uid)
        / safe_name(held.series_instance_uid)
        / f"{safe_name(held.sop_instance_uid)}{suffix}.dcm"
    )
    header = write_meta(held.sop_class_uid, held.sop_instance_uid, syntax)
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(header)
            file.write(data)
        part.replace(path)
    except OSError as error:
        raise OperatorsFault(
            f"{path} cannot be written: {error.strerror}", do="give a folder with room in it"
        ) from error
    exported.files += 1
    exported.bytes += len(header) + len(data)


def safe_name(uid: str) -> str:
    """A UID as a file name; one that is none (PS3.5 9.1) under a digest of it."""
    if uid_is_sane(uid) and uid.strip("."):
        return uid
    return "uid-" + hashlib.blake2b(uid.encode(), digest_size=16).hexdigest()
