"""An archive with a facility, and files to take in, for the commands that work on images."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.cli.command import Command
from tests.samples import part10, small

SMALL = {
    "SEBAGO_JOURNAL_SEGMENT_BYTES": str(4 << 20),
    "SEBAGO_JOURNAL_RESERVE_BYTES": "0",
}


def opened(sebago: Command, *facilities: str) -> Command:
    """The command on a folder with these facilities, and with small journals."""
    sebago.environment.update(SMALL)
    for code in facilities or ("CARY",):
        sebago.add_facility(code)
    return sebago


def files(folder: Path, count: int = 3, *, series: str = "1.2.3.1.1", **more: object) -> Path:
    """A folder of so many images of one series."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        made = small(series=series, instance=f"{series}.{number}", number=number, **more)  # type: ignore[arg-type]
        (folder / f"{number:03d}").write_bytes(part10(made))
    return folder


def rows(sebago: Command, statement: str) -> list[tuple[object, ...]]:
    """What a statement says of the index."""
    connection = sqlite3.connect(sebago.folder / "data" / "index.db")
    try:
        return list(connection.execute(statement))
    finally:
        connection.close()


def in_journal(sebago: Command, sop_instance_uid: str) -> tuple[Path, int, int]:
    """The segment file that holds an instance, and where and how long it is in there."""
    ((writer, segment, offset, length),) = rows(
        sebago,
        "select writer, segment, data_offset, data_length from instance "
        f"where sop_instance_uid = '{sop_instance_uid}'",
    )
    (path,) = (sebago.folder / "data" / "journal" / str(writer)).glob(f"{segment:010d}.*")
    return path, int(str(offset)), int(str(length))


def spoil(sebago: Command, sop_instance_uid: str, at: int | None = None) -> None:
    """Flip one bit of an instance where the journal holds it, by default in its middle."""
    path, offset, length = in_journal(sebago, sop_instance_uid)
    with path.open("r+b") as file:
        file.seek(offset + (length // 2 if at is None else at))
        (byte,) = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))
