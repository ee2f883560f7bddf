"""`sebago serve`: run the archive."""

from __future__ import annotations

from typing import Annotated

import typer

from sebago.cli.app import Call, new_app

app = new_app()


@app.command(epilog="sebago serve --http 0.0.0.0:8080 --dimse 0.0.0.0:11112")
def serve(
    ctx: typer.Context,
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="HTTP door [127.0.0.1:8080].")
    ] = None,
    dimse: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="DICOM door [127.0.0.1:11112].")
    ] = None,
    hl7: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="HL7 door: not served by this version."),
    ] = None,
    role: Annotated[str, typer.Option(help="all, dimse, web or keeper.")] = "all",
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes of each door [one a core].")
    ] = None,
) -> int:
    """Run until SIGTERM; prints `ready` when all doors are open."""
    call = Call.of(ctx)
    settings = call.settings(http=http, dimse=dimse, workers=workers)
    if hl7 is not None:
        call.out.note(f"HL7 is not served by this version: nothing listens on {hl7}")
    from sebago.serve.folders import prepare

    prepare(settings)  # before anything that counts is imported

    from sebago.serve.logs import configure
    from sebago.serve.main import serve as run

    configure(settings.log_level, "supervisor")

    def ready() -> None:
        call.out.note(
            f"Sebago at http://{settings.http}   DICOM {settings.ae_title}@{settings.dimse}"
            f"   data {settings.data.absolute()}"
        )
        call.out.note("  sebago facility add CODE --name NAME --authority NAMESPACE --ae TITLE")
        call.out.note("  sebago token create --role clinician --facility CODE")
        call.out.note("  sebago status")
        print("ready", flush=True)

    return run(settings, role=role, ready=ready)
