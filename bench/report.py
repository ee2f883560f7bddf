"""The text around the table in `docs/bench.md`."""

HOW = """\
# Benchmarks

`make bench` measures Sebago beside the programs that the machine has, and prints one table with
what was reached and what was meant to be. `BENCH_ARGS=--quick` takes about two minutes, the whole
about ten; `BENCH_ARGS="--markdown docs/bench.md"` writes this file.

## How it measures

- **Everything runs here**: each program is started on free loopback ports with an empty temporary
  folder, and ended with its folder removed.
- **In turn**: each round runs every target once (A B C, A B C), so that a slow minute of the
  machine falls on all. A cell is the median of the rounds, with the least and the most in
  brackets; goals compare medians of the same run. Figures of different runs or machines should
  not be compared; ratios may.
- **The client is not measured.** C-STORE requests are encoded as whole byte streams before the
  clock starts; an instance is a fresh SOP Instance UID written into such a stream, one send and
  one answer read. Each association has a process of its own. STOW-RS bodies are parts made
  beforehand, patched and sent. Answers to GET are counted, not parsed.
- **Every instance is new**: fresh UIDs, instance numbers that run on, a new study every 250
  instances. Nothing is answered as a duplicate.
- **Acknowledged**: the time of an acknowledgement runs from the first byte of the request sent to
  the last byte of the answer read.
- **Between two runs the disk is synced**, so that what a peer left in the page cache is not
  written out at the cost of the next.
- **The disk** column is one file written in sequence with an fdatasync every 4 MiB, for as many
  bytes as the row moves: no receiver that syncs can be faster for long. Short runs may be: caches
  below the file system take the first few hundred MB.

## What runs

- *Sebago*: as shipped; digest, fdatasync and index before each acknowledgement; callers known.
- *Orthanc* with its DICOMweb plugin: SQLite index, no sign-in, no compression, keep-alive and
  TCP_NODELAY on. It does not sync what it stores.
- *DCMTK storescp* `--fork`: writes a file an instance; no index, no sync. `TCP_NODELAY=1`.
- *pynetdicom*'s storescp application, as shipped.
- All take PDUs of 128 KiB. The destination of C-MOVE is DCMTK's storescp `--fork --ignore`, which
  receives and stores nothing.
- Instances of 0.53 MB are real CT slices of 512 x 512; those of 10 kB are made, 64 x 64.
- Memory is the largest process of a target (RSS) and the sum of its processes (PSS), five looks a
  second.
"""
