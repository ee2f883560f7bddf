"""`sebago user`: local accounts."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sebago.cli.app import Call, new_app
from sebago.cli.output import iso, table
from sebago.errors import BadValue

app = new_app("Local accounts.")

SHORT_PASSWORD_CHARS = 12

Login = Annotated[str, typer.Argument(metavar="LOGIN", help="Login, such as ann.")]


@app.command(
    epilog="pass show ann | sebago user add ann --role clinician --facility CARY --password-stdin"
)
def add(
    ctx: typer.Context,
    login: Login,
    role: Annotated[
        str,
        typer.Option(help="clinician, sender, reviewer, privacy, operator or admin."),
    ],
    facility: Annotated[str, typer.Option(metavar="CODE", help="Facility that they act for.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    """Add an account; the password is read from a prompt or from standard input."""
    from sebago.registry import Registrar

    call = Call.of(ctx)
    password = _from_stdin() if password_stdin else _from_prompt()
    if len(password) < SHORT_PASSWORD_CHARS:
        call.out.note(f"note: a password of fewer than {SHORT_PASSWORD_CHARS} characters is weak")
    with call.index() as index:
        kept = Registrar(index, call.actor).add_user(login, role, facility, password)
    call.out.result(
        {"login": kept, "role": role, "facility": facility or None}, f"{kept} may sign in"
    )


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """All accounts."""
    from sebago.registry import Registry

    call = Call.of(ctx)
    with call.index() as index:
        users = Registry(index).users()
    value = {
        "users": [
            {
                "login": user.login,
                "role": user.role,
                "facility": user.facility or None,
                "disabled": user.disabled,
                "added": iso(user.added_us),
            }
            for user in users
        ]
    }
    rows = [
        (
            user.login,
            user.role,
            user.facility or "-",
            "disabled" if user.disabled else "active",
            iso(user.added_us),
        )
        for user in users
    ]
    heads = ("LOGIN", "ROLE", "FACILITY", "STATE", "ADDED")
    call.out.result(value, table(heads, rows) if rows else "")
    if not rows:
        call.out.note("no user yet: sebago user add LOGIN --role ROLE --facility CODE")


@app.command()
def disable(ctx: typer.Context, login: Login) -> None:
    """Let an account sign in no more."""
    _set_disabled(Call.of(ctx), login, disabled=True)


@app.command()
def enable(ctx: typer.Context, login: Login) -> None:
    """Let a disabled account sign in again."""
    _set_disabled(Call.of(ctx), login, disabled=False)


def _set_disabled(call: Call, login: str, *, disabled: bool) -> None:
    from sebago.registry import Registrar

    with call.index() as index:
        changed = Registrar(index, call.actor).set_user_disabled(login, disabled=disabled)
    word = "disabled" if disabled else "enabled"
    call.out.result(
        {"login": login, "disabled": disabled, "changed": changed},
        f"{login} {word}" if changed else f"{login} was {word} already",
    )


def _from_stdin() -> str:
    """All of standard input without the line end that most tools put after a password."""
    from sebago.registry.credentials import PASSWORD_BYTES_MAX

    text = sys.stdin.read(PASSWORD_BYTES_MAX + 3)
    return text.removesuffix("\n").removesuffix("\r")


def _from_prompt() -> str:
    import getpass

    if not sys.stdin.isatty():
        raise BadValue(
            "no password was given",
            why="standard input is no terminal to ask on",
            do="pipe the password in and give --password-stdin",
        )
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise BadValue("the two passwords differ", do="run the command again")
    return first
