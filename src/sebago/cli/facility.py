"""`sebago facility`: register facilities, their assigning authorities and their DICOM peers."""

from __future__ import annotations

from typing import Annotated

import typer

from sebago.cli.app import Call, new_app
from sebago.cli.output import table

app = new_app("Facilities, their assigning authorities and DICOM peers.")
ae = new_app("AE titles of a facility.")
app.add_typer(ae, name="ae")

Code = Annotated[str, typer.Argument(metavar="CODE", help="Facility code, such as CARY.")]


@app.command(
    epilog="sebago facility add CARY --name 'Cary Medical' --authority 'CARY&1.2.3.4&ISO' "
    "--ae CT1 --ae PACS@10.0.0.7:104"
)
def add(
    ctx: typer.Context,
    code: Code,
    name: Annotated[str, typer.Option(help="What people call it.")],
    authority: Annotated[
        str,
        typer.Option(
            metavar="NAMESPACE[&OID&ISO]", help="Assigning authority of its patient numbers."
        ),
    ],
    ae_titles: Annotated[
        list[str] | None,
        typer.Option("--ae", metavar="TITLE[@HOST:PORT]", help="A DICOM peer; repeatable."),
    ] = None,
) -> None:
    """Register a facility; the very same again is no error."""
    from sebago.registry import Registrar

    call = Call.of(ctx)
    with call.index() as index:
        changed = Registrar(index, call.actor).add_facility(code, name, authority, ae_titles or [])
    call.out.result({"code": code, "changed": changed}, _said(code, changed))


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """All facilities with their authorities and peers."""
    from sebago.registry import Registry

    call = Call.of(ctx)
    with call.index() as index:
        registry = Registry(index)
        facilities, peers = registry.facilities(), registry.peers()
    of = {
        facility.code: [peer for peer in peers if peer.facility == facility.code]
        for facility in facilities
    }
    value = {
        "facilities": [
            {
                "code": facility.code,
                "name": facility.name,
                "authority": str(facility.authority),
                "ae": [
                    {"title": peer.ae_title, "host": peer.host or None, "port": peer.port or None}
                    for peer in of[facility.code]
                ],
            }
            for facility in facilities
        ]
    }
    rows = [
        (
            facility.code,
            facility.name,
            str(facility.authority),
            " ".join(map(str, of[facility.code])),
        )
        for facility in facilities
    ]
    call.out.result(value, table(("CODE", "NAME", "AUTHORITY", "AE"), rows) if rows else "")
    if not rows:
        call.out.note("no facility yet: sebago facility add CODE --name ... --authority ...")


@ae.command("add", epilog="sebago facility ae add CARY PACS@10.0.0.7:104")
def ae_add(
    ctx: typer.Context,
    code: Code,
    title: Annotated[
        str,
        typer.Argument(metavar="TITLE[@HOST:PORT]", help="AE title, and where it can be called."),
    ],
) -> None:
    """Give a facility an AE title, or change where one can be called."""
    from sebago.registry import Registrar

    call = Call.of(ctx)
    with call.index() as index:
        changed = Registrar(index, call.actor).set_peer(code, title)
    call.out.result(
        {"code": code, "ae": title, "changed": changed}, _said(f"{code} {title}", changed)
    )


@ae.command("remove")
def ae_remove(
    ctx: typer.Context,
    code: Code,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="AE title.")],
) -> None:
    """Take an AE title from a facility: it is refused from now on."""
    from sebago.registry import Registrar

    call = Call.of(ctx)
    with call.index() as index:
        Registrar(index, call.actor).remove_peer(code, title)
    call.out.result({"code": code, "ae": title, "changed": True}, f"{code} {title} removed")


def _said(what: str, changed: bool) -> str:
    return f"{what} registered" if changed else f"{what} already there"
