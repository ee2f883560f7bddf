"""Twenty kills under load: nothing acknowledged is lost, nothing half-written is shown."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.whole.crash import Harness


@pytest.mark.timeout(600)
def test_twenty_kills_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    outcome = Harness(tmp_path, kills=20, seed=seed, load_s=(0.3, 1.2)).run()
    assert outcome.good(), f"seed {seed}\n{outcome.summary()}"
    assert outcome.kills == 20
    assert outcome.kills_in_recovery == 5
    assert outcome.torn, "no tail was torn: the run did not test what it is for"
    assert outcome.acknowledged >= 1000
