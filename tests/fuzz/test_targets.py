"""The fuzz targets themselves, over their seeds and over what becomes of them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_seeds_and_anything(name: str):
    target = TARGETS[name]
    for data in (b"", b"\0", b"\xff" * 100, *target.seeds):
        target.run(data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_a_target_takes_spoiled_seeds(name: str, data: st.DataObject):
    target = TARGETS[name]
    seed = bytearray(data.draw(st.sampled_from(target.seeds)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(seed)))
        seed[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    target.run(bytes(seed))


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is not None, reason="atheris is installed here"
)
def test_without_the_fuzzer_it_says_what_to_do():
    argv = [sys.executable, "-m", "tests.fuzz", "scan"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "atheris is not installed" in done.stderr
