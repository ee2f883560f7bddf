"""The keeper's loop: stops when it is told to, and goes on after whatever went wrong."""

from __future__ import annotations

import threading
from pathlib import Path

from sebago.keeper import Keeper
from tests.samples import small
from tests.scp.site import open_site


def test_it_stops_at_once_when_there_is_nothing_to_do(tmp_path: Path):
    with open_site(tmp_path) as site:
        keeper = Keeper(site.archive)
        running = threading.Thread(target=keeper.run)
        running.start()
        keeper.stop()
        running.join(30)
        assert not running.is_alive()


def test_a_keeper_that_was_stopped_before_it_began_does_nothing(tmp_path: Path):
    with open_site(tmp_path) as site:
        keeper = Keeper(site.archive)
        keeper.stop()
        keeper.run()


def test_an_index_that_goes_away_does_not_end_it(tmp_path: Path):
    with open_site(tmp_path) as site:
        site.give(small())
        keeper = Keeper(site.archive)
        site.index.dispose()
        (tmp_path / "index.db").rename(tmp_path / "away.db")
        (tmp_path / "index.db").write_bytes(b"no database, but long enough to be looked at " * 40)
        running = threading.Thread(target=keeper.run)
        running.start()
        running.join(1)
        assert running.is_alive()
        (tmp_path / "index.db").unlink()
        (tmp_path / "away.db").rename(tmp_path / "index.db")
        keeper.stop()
        running.join(30)
        assert not running.is_alive()
