"""What the system was asked to do, by strace: every acknowledgement comes after its sync."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMITS = """
import os, sys
from pathlib import Path
from blake3 import blake3
from sebago.journal import Entry, Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=65536, reserve_bytes=0, spares=0,
                       inline_bytes_max=20_000, then=lambda batch: None)
for number in range(8):
    with journal.spool() as spool:
        spool.write(bytes([number]) * (30_000 if number == 5 else 15_000))
        data = spool.finish()
        one = Entry(data, spool.digest, b"", number)
        journal.commit([one])
        assert one.error is None
        at = one.position
        print(f"ack {at.segment} {at.end}", flush=True)
        del data
"""

CALL = re.compile(r"^(?:\d+ +)?(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_acknowledgement_comes_before_the_sync_of_its_bytes_and_of_its_files_name(
    tmp_path: Path,
) -> None:
    root, trace = tmp_path / "journal", tmp_path / "trace"
    calls = "trace=openat,close,pwrite64,pwritev,pwritev2,write,fsync,fdatasync,rename"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), sys.executable]
    done = subprocess.run(
        [*command, "-c", COMMITS, str(root)], capture_output=True, text=True, check=False
    )
    if done.returncode and "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    dirty: set[str] = set()  # files written since their last sync
    unnamed = False  # a name was given since the folder's last sync
    acks = 0
    for line in trace.read_text().splitlines():
        found = CALL.match(line)
        if found is None:
            continue
        name, arguments = found["name"], found["arguments"]
        path = re.match(r"\d+<([^>]*)>", arguments)
        where = path[1] if path else ""
        if name.startswith("pwrite") and where.startswith(str(root)):
            dirty.add(where)
        elif name in ("fdatasync", "fsync"):
            dirty.discard(where)
            if Path(where).parent == root:
                unnamed = False
        elif name == "rename":
            old, new = re.findall(r'"([^"]*)"', arguments)
            if old in dirty:
                dirty.remove(old)
                dirty.add(new)
            unnamed |= new.endswith(".open") or old.endswith(".part")
        elif name == "write" and '"ack ' in arguments:
            acks += 1
            assert not dirty, f"{dirty} not synced before acknowledgement {acks}"
            assert not unnamed, f"a name was not synced before acknowledgement {acks}"
    assert acks == 8
