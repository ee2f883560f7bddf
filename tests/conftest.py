"""For all tests: what one sets for its whole process, the next does not find."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A command that ran in this process set a level for its own logs; take it back."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
