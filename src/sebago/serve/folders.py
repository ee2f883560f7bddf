"""The folders of a server: data for our eyes only, and the files in which processes count.

Counts are files of the metrics library, one or more a process, added up by whoever is asked for
them. Nothing here imports that library: it reads the name of its folder when it is imported.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final

from sebago.errors import OperatorsFault
from sebago.settings import Settings

_COUNTS: Final = re.compile(r"[a-z_]+_([0-9]+)\.db")


def prepare(settings: Settings) -> None:
    """Make the data folder and the folder of metrics, and say to the library where that is.

    Raises:
        OperatorsFault: it cannot be written.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o750)
        metrics(settings).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorsFault(
            f"the data folder {settings.data} cannot be used: {error.strerror}",
            do="give a folder that this account may write, by --data or SEBAGO_DATA",
        ) from error
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics(settings).absolute())


def metrics(settings: Settings) -> Path:
    """Where processes count."""
    return settings.run_dir / "metrics"


def forget_former(settings: Settings, *, all_of_them: bool) -> None:
    """Remove the counts of a former server: of all processes but this, or of those that are gone.

    To be called when the doors are ours: a second server that finds them taken must not wipe out
    what the first one counts.
    """
    for path in metrics(settings).iterdir():
        found = _COUNTS.fullmatch(path.name)
        if found is None or int(found[1]) == os.getpid():
            continue
        if all_of_them or not Path("/proc", found[1]).exists():
            path.unlink(missing_ok=True)


def forget(pid: int) -> None:
    """Remove what a process that died showed of its present state; what it counted stays."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder:
        for path in Path(folder).glob(f"gauge_live*_{pid}.db"):
            with contextlib.suppress(OSError):
                path.unlink()
