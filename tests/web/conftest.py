"""One archive for the tests that only add to it, and a fresh one for those that count."""

from __future__ import annotations

import pytest

from tests.web.world import open_world


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory):
    with open_world(tmp_path_factory.mktemp("archive")) as world:
        yield world


@pytest.fixture
def world(tmp_path):
    with open_world(tmp_path) as world:
        yield world
