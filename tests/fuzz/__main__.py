"""`python -m tests.fuzz TARGET [options of libFuzzer]`: fuzz until something is found or Ctrl-C."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PARSERS = ("sebago.dicom", "sebago.dimse", "sebago.intake", "sebago.web.dicomweb.multipart")


def main(arguments: list[str]) -> int:
    """Exit status 2: no such target, or no fuzzer."""
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.stderr.write(
            "atheris is not installed, and not in the lock: pip install atheris\n"
            "without it  pytest tests/fuzz  runs each target over spoiled seeds\n"
        )
        return 2
    with atheris.instrument_imports(include=list(PARSERS)):
        from tests.fuzz.targets import TARGETS
    if not arguments or arguments[0] not in TARGETS:
        sys.stderr.write(f"usage: python -m tests.fuzz {'|'.join(TARGETS)} [-runs=N ...]\n")
        return 2
    target = TARGETS[arguments[0]]
    with TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds):
            Path(folder, str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *arguments[1:], folder], target.run)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
