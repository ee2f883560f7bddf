"""The harness's torn tails take nothing that was acknowledged: they test the journal, not luck."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sebago.journal import Finding, What, replay
from tests.whole.crash_tail import open_segments, records, tear, watermarks

WRITER = """
import os, signal, sqlite3, sys, time
from pathlib import Path
from blake3 import blake3
from sebago.journal import Entry, Journal

data = Path(sys.argv[1])
base = sqlite3.connect(data / "index.db", isolation_level=None, check_same_thread=False)
base.execute("PRAGMA journal_mode=WAL")
base.execute("CREATE TABLE journal_segment (writer TEXT, segment INTEGER, indexed_bytes INTEGER,"
             " PRIMARY KEY (writer, segment))")
batches = 0

def then(batch):
    global batches
    batches += 1
    if batches == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    for entry in batch:
        at = entry.position
        base.execute("INSERT INTO journal_segment VALUES (?, ?, ?) ON CONFLICT (writer, segment)"
                     " DO UPDATE SET indexed_bytes = excluded.indexed_bytes",
                     (at.writer, at.segment, at.end))

journal = Journal.open(data / "journal", segment_bytes=1 << 20, reserve_bytes=1 << 20,
                       queue_bytes_max=1 << 26, inline_bytes_max=1 << 20, then=then)
for batch in range(9):
    sent = []
    for number in range(5):
        content = os.urandom(3000 * (number + 1))
        sent.append(Entry(data=memoryview(content), digest=blake3(content).digest(),
                          provenance=b"test", received_us=1, note=None))
    journal.commit(sent)
    for entry in sent:
        print(entry.digest.hex(), flush=True)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """Data that a killed writer left behind, with the digests of what it had acknowledged."""
    data = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(data)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return data, set(done.stdout.split())


def test_there_are_records_that_the_index_does_not_know(killed: tuple[Path, set[str]]) -> None:
    data, acknowledged = killed
    assert len(acknowledged) == 40
    (segment,) = open_segments(data)
    (watermark,) = watermarks(data).values()
    found = records(segment)
    assert len(found) == 45
    assert sum(header.offset >= watermark for header in found) == 5


def test_a_torn_tail_takes_nothing_that_was_acknowledged(
    killed: tuple[Path, set[str]], tmp_path: Path
) -> None:
    data, acknowledged = killed
    ways = set()
    for seed in range(40):
        torn = tmp_path / str(seed)
        shutil.copytree(data, torn)
        (done,) = tear(torn, random.Random(seed))
        ways.add(done.how)
        found: list[Finding] = []
        there = {one.digest.hex() for one in replay(torn / "journal", {}, found=found.append)}
        assert acknowledged <= there, f"seed {seed}: {done}"
        assert all(finding.what is What.TORN for finding in found), f"seed {seed}: {found}"
        shutil.rmtree(torn)
    assert len(ways) == 4
