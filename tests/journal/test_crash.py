"""A process killed with SIGKILL under load, again and again: nothing acknowledged is lost."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from blake3 import blake3

from sebago.journal import Position, Reader, What, replay
from tests.journal.entries import replayed

LOAD = """
import os, sys, threading
from pathlib import Path
from blake3 import blake3
from sebago.journal import Entry, Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=1 << 20, reserve_bytes=0, spares=1,
                       inline_bytes_max=100_000, then=lambda batch: None)
def load(seed):
    number = 0
    while True:
        number += 1
        with journal.spool() as spool:
            spool.write(os.urandom(200_000 if number % 7 == seed else 20_000))
            data = spool.finish()
            one = Entry(data, spool.digest, b"provenance", number)
            journal.commit([one])
            assert one.error is None, one.error
            at = one.position
            line = f"{at.writer} {at.segment} {at.offset} {at.length} {at.end} {one.digest.hex()}\\n"
            os.write(1, line.encode())
            del data
for seed in range(3):
    threading.Thread(target=load, args=(seed,)).start()
"""


def test_whatever_was_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    acknowledged: dict[Position, bytes] = {}
    root = tmp_path / "journal"
    for number in range(6):
        out = tmp_path / f"out-{number}"
        with (
            out.open("wb") as file,
            subprocess.Popen([sys.executable, "-c", LOAD, str(root)], stdout=file) as child,
        ):
            until = time.monotonic() + 20
            while out.stat().st_size < 2000 and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(random.Random(number).random() / 5)
            child.send_signal(signal.SIGKILL)
        lines = out.read_text().splitlines(keepends=True)
        for line in lines:
            if line.endswith("\n"):
                writer, *numbers, digest = line.split()
                position = Position(writer, *map(int, numbers))
                acknowledged[position] = bytes.fromhex(digest)
    assert len(acknowledged) > 60

    found = {record.position: record.digest for record in replay(root, {})}
    assert acknowledged.items() <= found.items()
    _, findings = replayed(root)
    assert not [one for one in findings if one.what is What.DAMAGE]
    reader = Reader(root)
    for position, kept_digest in found.items():
        assert blake3(reader.read(position)).digest() == kept_digest
    reader.close()
    # One writer at a time: its folder was taken over each time, and nothing half-made is left for long.
    assert len(list(root.iterdir())) == 1
