"""Where real inputs for tests lie: beside the checkout, or in a folder named by the environment."""

from __future__ import annotations

import os
from pathlib import Path


def shared_data() -> Path | None:
    """The folder of real DICOM, HL7 and FHIR files, or None where this machine has none.

    `SEBAGO_TEST_DATA` names it; otherwise `shared/data` beside the checkout.
    """
    named = os.environ.get("SEBAGO_TEST_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    return folder if (folder / "manifest.tsv").is_file() else None
