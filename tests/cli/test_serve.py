"""`sebago serve` as a command: what it takes, and what it says when it cannot run (see tests/serve)."""

from __future__ import annotations

import pytest


def test_help_names_its_doors_and_roles(sebago):
    said = sebago.ok("serve", "--help")
    for word in ("--http", "--dimse", "--role", "--workers", "127.0.0.1:8080", "127.0.0.1:11112"):
        assert word in said


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["--role", "nobody"], 1, "cannot-do"),
        (["--http", "8080"], 1, "cannot-do"),
        (["--workers", "0"], 2, "bad-value"),
        (["--workers", "many"], 2, "usage"),
        (["--http"], 2, "usage"),
    ],
)
def test_what_cannot_be_run_is_an_error_in_three_parts(sebago, arguments, status, code):
    done = sebago.process("serve", *arguments)
    assert done.returncode == status
    assert done.stdout == ""
    what, why, do = done.stderr.splitlines()
    assert what.startswith("error: ")
    assert what.endswith(f"[{code}]")
    assert why.startswith("  why: ")
    assert do.startswith("  do:  ")


def test_a_setting_that_is_none_is_named(sebago):
    sebago.environment["SEBAGO_WORKERS"] = "plenty"
    done = sebago.process("serve")
    assert done.returncode == 2
    assert "SEBAGO_WORKERS" in done.stderr
