"""What a server did, system call by system call: was it synced before it was acknowledged?

Reads the output of `strace -f -yy`. Lines are in the order in which calls were entered and left, over
all threads and processes, so that "before" needs no clock: a call that was interrupted by others has
an `<unfinished ...>` line where it began and a `resumed` line where it ended.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.peers import Absent

TRACED = (
    "recvfrom,recvmsg,read,readv,sendto,sendmsg,write,writev,"
    "fdatasync,fsync,sync_file_range,pwritev,pwritev2,pwrite64"
)
_READS = frozenset({"recvfrom", "recvmsg", "read", "readv"})
_SENDS = frozenset({"sendto", "sendmsg", "write", "writev"})
_SYNCS = frozenset({"fdatasync", "fsync"})
_LINE = re.compile(
    r"^(?P<pid>\d+) +(?:(?P<resumed><\.\.\. )?(?P<call>\w+)(?: resumed>|\())(?P<rest>.*)$"
)
_RESULT = re.compile(r"\)\s*= (?P<result>-?\d+)[^=]*$")


def strace(output: Path) -> list[str]:
    """The command that runs another one and writes its calls to `output`.

    Raises:
        Absent: there is no strace, or this machine does not let it trace.
    """
    found = shutil.which("strace")
    if found is None:
        raise Absent("strace is not installed")
    # -D: the traced program is the child, strace the grandchild, so that signals go to the former.
    options = ["-D", "-f", "-yy", "-x", "-s", "16", "-qq", "-e", f"trace={TRACED}"]
    return [found, *options, "-o", str(output)]


def finished(output: Path, *, timeout_s: float = 10) -> list[str]:
    """The lines of strace's output once it has stopped growing."""
    until = time.monotonic() + timeout_s
    size = -1
    while (now := output.stat().st_size) != size and time.monotonic() < until:
        size = now
        time.sleep(0.3)
    return output.read_text(encoding="utf-8", errors="replace").splitlines()


@dataclass(frozen=True, slots=True)
class Call:
    """One finished system call; `begun` and `ended` are line numbers."""

    name: str
    begun: int
    ended: int
    arguments: str
    result: int


def calls(lines: Iterable[str]) -> Iterator[Call]:
    """Finished calls in the order in which they ended; what never ended is left out."""
    open_calls: dict[str, tuple[str, int, str]] = {}
    for number, line in enumerate(lines):
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        pid, name, rest = match["pid"], match["call"], match["rest"]
        begun = number
        if match["resumed"]:
            if pid not in open_calls:
                continue
            name, begun, before = open_calls.pop(pid)
            rest = before + rest
        if rest.endswith("<unfinished ...>"):
            open_calls[pid] = (name, begun, rest.removesuffix("<unfinished ...>"))
            continue
        result = _RESULT.search(rest)
        if result is not None:
            yield Call(name, begun, number, rest[: result.start()], int(result["result"]))


@dataclass(slots=True)
class Acknowledgements:
    """What was seen on the sockets of one port."""

    seen: int = 0
    unsynced: int = 0
    """Sent without a sync of a journal file that began after the request was read to its end."""
    first_unsynced: str = ""


def acknowledgements(
    lines: Iterable[str], port: int, folder: Path, *, opening: str = r"\x04"
) -> Acknowledgements:
    """Look at everything that was sent from `port` and begins with `opening`.

    Args:
        lines: the output of strace.
        port: the server's port; its sockets are told by it.
        folder: where synced files must lie to count.
        opening: first byte of an answer, as strace writes it: 04 is a P-DATA-TF PDU.

    For each answer there must be a sync of a file in `folder` which began after the last byte of
    the request had been read from the same socket, and which returned 0 before the answer began
    to be sent.
    """
    found = Acknowledgements()
    last_read: dict[str, int] = {}
    syncs: list[tuple[int, int]] = []
    answer = f'"{opening}'
    ours = f"127.0.0.1:{port}->"
    for call in calls(lines):
        if call.name in _SYNCS:
            if call.result == 0 and f"<{folder}/" in call.arguments:
                syncs.append((call.begun, call.ended))
        elif ours in call.arguments:
            # `12<TCP:[127.0.0.1:11112->127.0.0.1:40000]>`: the connection, whichever its number.
            connection = call.arguments[call.arguments.index(ours) :].split("]")[0]
            if call.name in _READS and call.result > 0:
                last_read[connection] = call.ended
            elif call.name in _SENDS and call.result > 0 and answer in call.arguments:
                found.seen += 1
                read_at = last_read.get(connection, -1)
                if not any(begun > read_at and ended < call.begun for begun, ended in syncs):
                    found.unsynced += 1
                    found.first_unsynced = found.first_unsynced or f"line {call.begun + 1}"
                syncs = syncs[-64:]
    return found
