"""The benchmark's own parts: its client sends what it says, its table judges as it should."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from bench.disk import sync_rate
from bench.instances import ct_templates, fresh_study, small_templates
from bench.load import StoreTarget, store_load
from bench.rows import ORDER, define
from bench.table import Goal, Row, as_data, as_markdown, as_text
from bench.targets import DISK, ORTHANC, SEBAGO
from bench.web import StowRequest
from tests.peers import dcmtk_storescp
from tests.whole.conftest import absent_is_skipped
from tests.whole.parts import split_part10


@pytest.mark.parametrize("kind", ["small", "ct"])
def test_the_client_sends_distinct_and_whole_instances(tmp_path: Path, kind: str) -> None:
    templates = small_templates(3) if kind == "small" else ct_templates(3)
    study = fresh_study()
    with absent_is_skipped(), dcmtk_storescp(tmp_path) as scp:
        target = StoreTarget(("127.0.0.1", scp.port), scp.ae_title, "BENCHSCU")
        run = store_load(target, templates, 20, 3, study=study)
        files = [split_part10(path.read_bytes()) for path in scp.files()]
        read = [pydicom.dcmread(path) for path in scp.files()]
    assert run.instances == len(files) == len(run.latencies_s) == 20
    assert run.bytes_sent == sum(len(file.dataset) for file in files)
    assert len({ds.SOPInstanceUID for ds in read}) == 20
    assert sorted(ds.InstanceNumber for ds in read) == list(range(1, 21))
    assert {ds.StudyInstanceUID for ds in read} == {study.uid}
    assert all(len(ds.PixelData) == ds.Rows * ds.Columns * 2 for ds in read)


def test_a_stow_request_is_as_long_as_it_says() -> None:
    request = StowRequest(small_templates(3), 7, fresh_study())
    assert sum(len(piece) for piece in request.pieces()) == request.size


def test_the_disk_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    rate = sync_rate(tmp_path, 8 * 2**20)
    assert rate.bytes_written == 8 * 2**20
    assert rate.mb_per_second > 0
    assert not list(tmp_path.iterdir())


def test_every_row_has_a_definition_with_its_goals() -> None:
    rows = [define(key) for key in ORDER]
    assert [row.key for row in rows] == list(ORDER)
    assert {row.key for row in rows if not row.goals} == {"memory-own", "memory-pss"}


def test_a_rate_must_reach_its_goal_and_a_time_must_stay_below() -> None:
    rate = Row("rate", "a rate", "/s", goals=(Goal(2, ORTHANC), Goal(0.7, DISK)))
    for value in (100, 210, 5000):
        rate.add(SEBAGO, value)
    rate.add(ORTHANC, 100)
    assert [verdict.word for verdict in rate.verdicts()] == ["ok", "-"]
    rate.add(DISK, 310)
    assert [verdict.word for verdict in rate.verdicts()] == ["ok", "missed"]
    time = Row("time", "a time", "ms", higher_is_better=False, goals=(Goal(0.2, ORTHANC), Goal(15)))
    time.add(SEBAGO, 16)
    time.add(ORTHANC, 100)
    assert [verdict.word for verdict in time.verdicts()] == ["ok", "missed"]


def test_the_table_can_be_printed_and_written() -> None:
    row = define("store-ct-4")
    row.add(SEBAGO, 900.0)
    row.add(SEBAGO, 1100.0)
    row.add(ORTHANC, 250.0)
    assert "1,000 [900-1,100]" in as_text([row])
    assert as_markdown([row]).count("\n") == 3
    assert as_data([row], {})["rows"]
