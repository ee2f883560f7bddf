"""The `sebago` command: global options, commands loaded when called, errors in three parts."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from sebago.cli.output import Output
from sebago.errors import BadValue, SebagoError

if TYPE_CHECKING:
    from sebago.index.engine import Index
    from sebago.settings import Settings

COMMANDS: Final = (
    ("serve", "serve", "Run the archive."),
    ("facility", "facility", "Facilities, their assigning authorities and DICOM peers."),
    ("user", "user", "Local accounts."),
    ("token", "token", "Bearer tokens for programs."),
    ("import", "import_", "Take in files, folders, zips and discs."),
    ("export", "export", "Write a study as Part 10 files."),
    ("status", "status", "Counts, journal depth, last study per facility."),
    ("verify", "verify", "Compare what is kept with what is known of it."),
    ("reindex", "reindex", "Make the index again of what is kept."),
)
"""Name, module in `sebago.cli`, one sentence. Shown in this order, if the module is there."""

_FLAGS: Final = frozenset({"--json", "--debug", "--quiet", "-q", "--verbose", "-v", "--no-color"})
_VALUED: Final = ("--data", "--config")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the command: its global options, and how it opens things and speaks."""

    data: Path | None = None
    config: Path | None = None
    debug: bool = False
    out: Output = field(default_factory=Output)

    @classmethod
    def of(cls, ctx: typer.Context) -> Call:
        """The call that a command runs in."""
        call = ctx.find_object(cls)
        if call is None:
            raise RuntimeError("a command runs under `sebago.cli.app.main`")
        return call

    @property
    def actor(self) -> str:
        """Who the ledger says did it: the account of this machine that runs the command."""
        import getpass

        try:
            return f"local:{getpass.getuser()}"
        except (KeyError, OSError):
            return f"local:{os.getuid()}"

    def settings(self, **overrides: object) -> Settings:
        """File, environment and command line, in that order; `overrides` are a command's own.

        Raises:
            BadValue: a setting is none, or the file named by `--config` is not there.
        """
        from pydantic import ValidationError

        from sebago.settings import load

        if self.config is not None:
            if not self.config.is_file():
                raise BadValue(f"there is no file {self.config}", do="give --config FILE")
            os.environ["SEBAGO_CONFIG"] = str(self.config)
        try:
            return load(data=self.data, **overrides)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            raise BadValue(
                f"setting {name} cannot be used",
                why=first["msg"],
                do=f"look at SEBAGO_{name.upper()}, the configuration file and the options",
            ) from None

    @contextmanager
    def index(self) -> Iterator[Index]:
        """The database of these settings, opened and closed again."""
        from sebago.index.engine import Index

        settings = self.settings()
        index = Index.open(settings.data, settings.database_url)
        try:
            yield index
        finally:
            index.dispose()


class Group(TyperGroup):
    """Commands of which a mistyped one is answered with the one that was meant."""

    # Typer's own types of what is taken and given here are private to it, hence Any.

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            near = difflib.get_close_matches(args[0], known, n=1)
            guess = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"no command '{args[0][:40]}'.{guess}")
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """The commands of `COMMANDS`, each imported when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401
        return [name for name, module, _help in COMMANDS if _is_there(module)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        for name, module, _help in COMMANDS:
            if name == cmd_name and _is_there(module):
                app = importlib.import_module(f"sebago.cli.{module}").app
                command = typer.main.get_command(app)
                command.name = name
                return command
        return None

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, help_) for name, module, help_ in COMMANDS if _is_there(module)]
            )


def new_app(help: str | None = None) -> typer.Typer:
    """The app of a command's module; with `help` a group of commands, else a single one."""
    app = typer.Typer(
        cls=Group,
        help=help,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    if help is not None:
        app.callback()(_nothing)
    return app


def _nothing() -> None:
    return None


_root = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Sebago, a statewide medical image archive.",
    epilog="The options above may stand before or after a command. Exit status: 0 done, "
    "1 something was refused or failed, 2 usage, 130 interrupted.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from sebago import __version__

        print(f"sebago {__version__}")
        raise typer.Exit


@_root.callback()
def _globals(
    ctx: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the archive [SEBAGO_DATA; ./sebago-data].", metavar="DIR"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration file [SEBAGO_CONFIG; ./sebago.toml].", metavar="FILE"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say errors only.")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more.")] = 0,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour [NO_COLOR].")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Say which version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    ctx.obj = Call(
        data=data,
        config=config,
        debug=debug,
        out=Output(as_json=as_json, quiet=quiet, verbose=verbose, color=not no_color),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    os.umask(0o077)  # what is made here holds patients' images and hashes of secrets
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    out = Output(color="--no-color" not in arguments)
    try:
        status = typer.main.get_command(_root).main(
            args=globals_first(arguments), prog_name="sebago", standalone_mode=False
        )
    except TyperException as error:
        _usage(out, error)
        return getattr(error, "exit_code", 2)
    except typer.Abort:
        out.note("interrupted")
        return 130
    except SebagoError as error:
        if debug:
            traceback.print_exc()
        out.sebago_error(error)
        return 2 if isinstance(error, BadValue) else 1
    except Exception as error:  # noqa: BLE001 (a door: whatever is left is shown in three parts)
        if debug:
            traceback.print_exc()
        out.error(
            "something failed that should not",
            "internal",
            f"{type(error).__name__}: {error}"[:400],
            "run it again with --debug and report what it shows",
        )
        return 1
    return status if isinstance(status, int) else 0


def globals_first(arguments: Sequence[str]) -> list[str]:
    """Global options moved before the command, `help X` turned into `X --help`.

    So that they work wherever they stand. What follows `--` stays where it is.

    Raises:
        BadValue: an option that needs a value stands last.
    """
    front: list[str] = []
    rest: list[str] = []
    waiting = list(reversed(arguments))
    while waiting:
        word = waiting.pop()
        if word == "--":
            rest += [word, *reversed(waiting)]
            break
        if word in _FLAGS or word.startswith(tuple(f"{name}=" for name in _VALUED)):
            front.append(word)
        elif word in _VALUED:
            if not waiting:
                raise BadValue(f"option {word} needs a value", do="see  sebago --help")
            front += [word, waiting.pop()]
        else:
            rest.append(word)
    if rest[:1] == ["help"]:
        rest = [*rest[1:], "--help"]
    return front + rest


def _usage(out: Output, error: TyperException) -> None:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "sebago"
    usage = " ".join(ctx.get_usage().split()) if ctx is not None else "usage: sebago COMMAND"
    message = error.format_message().rstrip(".")
    out.error(
        message[:1].lower() + message[1:],
        "usage",
        usage[:1].lower() + usage[1:],
        f"{path} --help  says what it takes",
    )


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(f"sebago.cli.{module}") is not None
