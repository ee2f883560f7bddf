"""Manners of the command: where options may stand, what is said where, how it ends."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sebago.cli
from sebago.cli.app import COMMANDS, globals_first
from sebago.cli.output import iso, plain, table
from sebago.errors import BadValue


def test_help_lists_the_commands_and_is_quick(sebago):
    took_s = []
    for _ in range(3):
        started = time.perf_counter()
        said = sebago.process("--help").stdout
        took_s.append(time.perf_counter() - started)
    for name in ("facility", "user", "token"):
        assert f"\n  {name} " in said
    assert min(took_s) < 1.0, "0.15 s where nothing else runs"


def test_help_loads_nothing_heavy():
    code = (
        "import sys, sebago.cli\n"
        "sebago.cli.main(['--help'])\n"
        "heavy = {'sqlalchemy', 'pydicom', 'fastapi', 'pydantic_settings', 'rich', 'numpy', 'argon2'}\n"
        "sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_every_command_in_the_table_has_a_sentence_and_none_stands_twice():
    names = [name for name, _module, _help in COMMANDS]
    assert len(names) == len(set(names))
    for _name, _module, sentence in COMMANDS:
        assert sentence.endswith(".")


def test_the_command_is_the_same_in_a_process_of_its_own(sebago):
    for arguments in (["facility", "lst"], ["facility", "list"], ["--version"]):
        alone, here = sebago.process(*arguments), sebago(*arguments)
        assert (alone.returncode, alone.stdout, alone.stderr) == (
            here.returncode,
            here.stdout,
            here.stderr,
        )


def test_version_and_help_of_a_command(sebago):
    assert sebago.ok("--version").startswith("sebago ")
    assert sebago.ok("help", "facility", "add") == sebago.ok("facility", "add", "--help")
    assert "sebago facility add CARY --name" in sebago.ok("help", "facility", "add")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["facilty", "list"], "no command 'facilty'. Did you mean 'facility'?"),
        (["facility", "lst"], "no command 'lst'. Did you mean 'list'?"),
        (["frobnicate"], "no command 'frobnicate'"),
        ([], "missing command"),
        (["facility"], "missing command"),
        (["facility", "add"], "missing argument 'CODE'"),
        (["facility", "list", "--frob"], "no such option: --frob"),
        (["token", "create", "--role", "sender", "--days", "x"], "invalid value for '--days'"),
        (["facility", "list", "--data"], "option --data needs a value"),
    ],
)
def test_a_mistyped_command_is_a_usage_error_that_says_what_was_meant(sebago, arguments, said):
    done = sebago(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    first, why, do = done.stderr.rstrip("\n").split("\n")
    assert first.startswith(f"error: {said}")
    assert first.endswith("]")
    assert why.startswith("  why: ")
    assert do.startswith("  do:  ")


def test_global_options_work_before_and_after_the_command(sebago, tmp_path):
    other = tmp_path / "other"
    sebago.ok(
        "--data", str(other), "facility", "add", "CARY", "--name", "Cary", "--authority", "CARY"
    )
    before = sebago.ok("--data", str(other), "--json", "facility", "list")
    after = sebago.ok("facility", "list", f"--data={other}", "--json")
    assert before == after
    assert '"CARY"' in before
    assert sebago.json("facility", "list") == {"facilities": []}, "SEBAGO_DATA is another folder"


def test_a_configuration_file_is_read_and_a_missing_one_is_an_error(sebago, tmp_path):
    (tmp_path / "my.toml").write_text(f'data = "{tmp_path / "from_file"}"\n')
    sebago.environment["SEBAGO_DATA"] = str(tmp_path / "from_environment")
    sebago.ok("facility", "list", "--config", str(tmp_path / "my.toml"))
    assert (tmp_path / "from_environment").is_dir()
    assert not (tmp_path / "from_file").exists(), "the environment goes before the file"
    done = sebago("facility", "list", "--config", "none.toml")
    assert done.returncode == 2
    assert "there is no file none.toml" in done.stderr


def test_a_setting_that_cannot_be_used_is_named(sebago):
    sebago.environment["SEBAGO_WORKERS"] = "many"
    done = sebago("facility", "list")
    assert done.returncode == 2
    assert done.stderr.startswith("error: setting workers cannot be used [bad-value]\n  why: ")
    assert "many" not in done.stderr


def test_what_should_not_fail_is_shown_without_a_traceback_unless_debug_is_asked_for(
    sebago, tmp_path
):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index.db").mkdir()
    done = sebago("facility", "list")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "Traceback" in sebago("facility", "list", "--debug").stderr


def test_quiet_says_the_result_and_errors_only(sebago):
    sebago.add_facility("CARY")
    done = sebago("token", "create", "--role", "sender", "--facility", "CARY", "-q")
    assert done.stderr == ""
    assert done.stdout.startswith("sbg_")
    assert sebago("facility", "lst", "-q").stderr.startswith("error: ")


class Terminal:
    """A command that runs on a terminal of its own."""

    def __init__(self, sebago, *arguments: str) -> None:
        self.fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sebago.cli", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**sebago.env, "TERM": "xterm"},
            cwd=sebago.folder,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def read_until(self, text: str) -> None:
        while text not in self.shown and self._read():
            pass
        assert text in self.shown

    def end(self) -> int:
        while self._read():
            pass
        os.close(self.fd)
        return self.process.wait(30)

    def _read(self) -> bool:
        try:
            more = os.read(self.fd, 4096)
        except OSError:  # the other side is closed
            return False
        self.shown += more.decode()
        return bool(more)


def in_a_terminal(sebago, *arguments: str) -> str:
    terminal = Terminal(sebago, *arguments)
    terminal.end()
    return terminal.shown


def test_a_password_is_asked_for_twice_on_a_terminal_and_not_shown(sebago):
    terminal = Terminal(sebago, "user", "add", "ann", "--role", "admin")
    terminal.read_until("Password: ")
    os.write(terminal.fd, b"correct horse\n")
    terminal.read_until("Again: ")
    os.write(terminal.fd, b"correct horse\n")
    assert terminal.end() == 0
    assert "ann may sign in" in terminal.shown
    assert "correct horse" not in terminal.shown


def test_an_interrupted_command_ends_with_130_and_no_traceback(sebago):
    terminal = Terminal(sebago, "user", "add", "ann", "--role", "admin")
    terminal.read_until("Password: ")
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.end() == 130
    assert "Traceback" not in terminal.shown


def test_colour_is_for_terminals_and_for_nobody_who_says_no(sebago):
    assert "\x1b[" in in_a_terminal(sebago, "facility", "lst")
    assert "\x1b[" not in in_a_terminal(sebago, "--no-color", "facility", "lst")
    sebago.environment["NO_COLOR"] = "1"
    assert "\x1b[" not in in_a_terminal(sebago, "facility", "lst")
    assert "\x1b[" not in sebago("facility", "lst").stderr


words = st.lists(
    st.sampled_from(["facility", "list", "--json", "-v", "--data", "D", "--data=E", "--", "help"])
    | st.text(max_size=5),
    max_size=8,
)


@given(arguments=words)
def test_moving_global_options_to_the_front_loses_and_invents_nothing(arguments):
    try:
        moved = globals_first(arguments)
    except BadValue:
        before = arguments[: arguments.index("--")] if "--" in arguments else arguments
        assert before[-1] in ("--data", "--config")
        return
    if moved[-1:] == ["--help"] and sorted(moved) != sorted(arguments):
        moved = ["help", *moved[:-1]]
    assert sorted(moved) == sorted(arguments)


def test_what_follows_two_hyphens_stays_where_it_is():
    assert globals_first(["import", "--json", "--", "--data", "-v"]) == [
        "--json",
        "import",
        "--",
        "--data",
        "-v",
    ]


def test_the_entry_point_returns_the_exit_status(capsys):
    assert sebago.cli.main(["--version"]) == 0
    assert sebago.cli.main(["nothing"]) == 2
    assert capsys.readouterr().out.startswith("sebago ")


def test_a_table_has_columns_and_no_blanks_at_the_end():
    assert table(("A", "LONG"), [("first", "x"), ("y", "")]) == "A      LONG\nfirst  x\ny"


def test_times_are_iso_with_a_zone():
    assert iso(1_700_000_000_999_999) == "2023-11-14T22:13:20+00:00"
    assert iso(None) == ""


def test_text_from_outside_cannot_steer_a_terminal():
    assert plain("a\x1b[31mb\r\n\u202ec") == "a\\x1b[31mb\\r\\n\\u202ec"
