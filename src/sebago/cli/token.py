"""`sebago token`: bearer tokens for programs and gateways."""

from __future__ import annotations

from typing import Annotated

import typer

from sebago.cli.app import Call, new_app
from sebago.cli.output import iso, table

app = new_app("Bearer tokens for programs.")


@app.command(epilog="TOKEN=$(sebago token create --role sender --facility CARY --days 90)")
def create(
    ctx: typer.Context,
    role: Annotated[
        str,
        typer.Option(help="clinician, sender, reviewer, privacy, operator or admin."),
    ],
    facility: Annotated[str, typer.Option(metavar="CODE", help="Facility that it acts for.")] = "",
    days: Annotated[int, typer.Option(metavar="N", help="Days until it ends.")] = 365,
) -> None:
    """Make a token and print it, the only time that it is shown."""
    from sebago.registry import Registrar

    call = Call.of(ctx)
    with call.index() as index:
        token = Registrar(index, call.actor).create_token(role, facility, days=days)
    call.out.result(
        {
            "token": token.text,
            "id": token.token_id,
            "role": role,
            "facility": facility or None,
            "days": days,
        },
        token.text,
    )
    call.out.note(f"token {token.token_id} for {role} ends in {days} days; it is not shown again")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """All tokens, ended ones too; never their secrets."""
    from sebago.ledger import now_us
    from sebago.registry import Registry

    call = Call.of(ctx)
    with call.index() as index:
        tokens = Registry(index).tokens()
    now = now_us()
    states = [
        "revoked"
        if token.revoked_us is not None
        else "expired"
        if token.expires_us <= now
        else "active"
        for token in tokens
    ]
    value = {
        "tokens": [
            {
                "id": token.token_id,
                "role": token.role,
                "facility": token.facility or None,
                "state": state,
                "created": iso(token.created_us),
                "expires": iso(token.expires_us),
                "revoked": iso(token.revoked_us) or None,
            }
            for token, state in zip(tokens, states, strict=True)
        ]
    }
    rows = [
        (token.token_id, token.role, token.facility or "-", state, iso(token.expires_us))
        for token, state in zip(tokens, states, strict=True)
    ]
    heads = ("ID", "ROLE", "FACILITY", "STATE", "EXPIRES")
    call.out.result(value, table(heads, rows) if rows else "")
    if not rows:
        call.out.note("no token yet: sebago token create --role ROLE --facility CODE")


@app.command()
def revoke(
    ctx: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the token.")],
) -> None:
    """End a token for good; it works for seconds at most after that."""
    from sebago.registry import Registrar

    call = Call.of(ctx)
    with call.index() as index:
        changed = Registrar(index, call.actor).revoke_token(token_id)
    call.out.result(
        {"id": token_id, "changed": changed},
        f"{token_id} revoked" if changed else f"{token_id} was revoked already",
    )
