"""`python -m bench`: run the benchmarks and print one table.

python -m bench                        every row, three rounds, about ten minutes
python -m bench --quick                one round, about two minutes
python -m bench --only store-ct --only move
python -m bench --markdown bench.md --json bench.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench import rows, table
from bench.report import HOW
from bench.targets import versions

FREE_BYTES_MIN = 12 * 10**9


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Sebago and the peers on this machine, side by side."
    )
    parser.add_argument("--quick", action="store_true", help="one short round, about two minutes")
    parser.add_argument("--rounds", type=int, help="rounds of every row (3; quick: 1)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="ROW", help="rows by key or its beginning"
    )
    parser.add_argument(
        "--without", action="append", default=[], metavar="TARGET", help="leave a target out"
    )
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="print the keys of the rows, and end")
    return parser.parse_args()


def main() -> int:
    """Run, print, write; 1 if there was nothing to show."""
    asked = arguments()
    if asked.list:
        print("\n".join(rows.ORDER))
        return 0
    place = tempfile.mkdtemp(prefix="sebago-bench-", dir=asked.folder)
    free = shutil.disk_usage(place).free
    if free < FREE_BYTES_MIN:
        print(f"{place}: {free / 1e9:.0f} GB free, 12 GB are needed", file=sys.stderr)
        shutil.rmtree(place)
        return 1
    plan = rows.Plan(
        Path(place),
        rounds=asked.rounds or (1 if asked.quick else 3),
        scale=0.5 if asked.quick else 1.0,
        only=tuple(asked.only),
    )
    found = versions()
    plan.targets = tuple(
        name
        for name in plan.targets
        if not found[name].startswith("absent")
        and not any(left.lower() in name.lower() for left in asked.without)
    )
    for name, version in found.items():
        rows.say(f"{name}: {version}")
    about: dict[str, object] = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "rounds": plan.rounds,
        "targets": found,
    }
    began = time.monotonic()
    try:
        for group in rows.GROUPS:
            group(plan)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    about["seconds"] = round(time.monotonic() - began)
    shown = plan.shown()
    print(table.as_text(shown))
    print(
        f"\n{about['rounds']} rounds in {about['seconds']} s; {about['cores']} cores,"
        f" load {about['load_before']} before"
    )
    if asked.markdown:
        told = "\n".join(f"- {name}: {version}" for name, version in found.items())
        asked.markdown.write_text(
            f"{HOW}\n## The last run\n\n{about['cores']} cores, Python {about['python']},"
            f" {about['rounds']} rounds, load {about['load_before']} before.\n\n{told}\n\n"
            f"{table.as_markdown(shown)}\n",
            encoding="utf-8",
        )
    if asked.json:
        asked.json.write_text(json.dumps(table.as_data(shown, about), indent=1), encoding="utf-8")
    return 0 if shown else 1


if __name__ == "__main__":
    raise SystemExit(main())
