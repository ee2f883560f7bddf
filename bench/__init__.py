"""Benchmarks: Sebago and the peers that are found on the machine, side by side in one run.

`python -m bench` prints one table. How it measures stands in `docs/bench.md` and in each module.
"""
