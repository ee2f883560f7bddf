"""How much there is: also while segments wait to be used, and while something is not indexed yet."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from sebago.mend.status import status
from sebago.mend.verify import verify
from tests.samples import body, small
from tests.scp.site import Site, open_site


def looked(site: Site):
    return status(site.index, site.folder / "journal")


def test_a_segment_that_waits_to_be_used_is_not_a_backlog(tmp_path: Path):
    with open_site(tmp_path) as site:
        assert looked(site).not_indexed_bytes == 0
        site.give(small(), small(instance="1.2.3.1.1.2"))
        seen = looked(site)
        assert (seen.instances, seen.not_indexed_bytes) == (2, 0)
        assert seen.journal_bytes >= seen.received_bytes == 2 * len(body(small()))


def test_what_the_index_does_not_know_yet_is_counted_to_the_byte(tmp_path: Path):
    with open_site(tmp_path) as site:
        site.give(small())
        with site.index.read() as conn:
            before = conn.execute(text("select max(indexed_bytes) from journal_segment")).scalar()
        site.give(small(instance="1.2.3.1.1.2"), small(instance="1.2.3.1.1.3"))
        with site.index.write() as conn:
            after = conn.execute(text("select max(indexed_bytes) from journal_segment")).scalar()
            conn.execute(text(f"update journal_segment set indexed_bytes = {before}"))
        assert before is not None
        assert after is not None
        assert looked(site).not_indexed_bytes == after - before > 0


def test_verify_beside_a_working_intake_finds_nothing(tmp_path: Path):
    with open_site(tmp_path) as site:
        for number in range(1, 6):
            site.give(small(instance=f"1.2.3.1.1.{number}"))
            for deep in (False, True):
                verified = verify(site.index, site.folder / "journal", deep=deep)
                assert (verified.instances, verified.findings) == (number, [])
