"""`sebago export`: a study as Part 10 files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sebago.cli.app import Call, new_app

app = new_app()


@app.command(
    epilog="sebago export out/ --study 1.2.3   "
    "sebago export out/ --study 1.2.3 --as-received --facility CARY --all-versions"
)
def export(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="Folder to write into; made if absent.")],
    study: Annotated[str, typer.Option(metavar="UID", help="Study Instance UID.")],
    as_received: Annotated[
        bool,
        typer.Option(
            "--as-received", help="The very bytes that were sent, whatever their transfer syntax."
        ),
    ] = False,
    facility: Annotated[
        str, typer.Option(metavar="CODE", help="Only what this facility sent.")
    ] = "",
    all_versions: Annotated[
        bool, typer.Option("--all-versions", help="Earlier versions too, as UID.v1.dcm.")
    ] = False,
) -> int:
    """Write a study's instances as files: STUDY/SERIES/INSTANCE.dcm.

    Without --as-received compressed and implicit data sets are written as Explicit VR Little
    Endian where they can be; what cannot be decoded is written as it was received.
    """
    from sebago.retrieve.export import export_study
    from sebago.serve.logs import configure
    from sebago.serve.services import open_archive

    call = Call.of(ctx)
    configure("error", "export")
    with open_archive(call.settings()) as archive:
        exported = export_study(
            archive,
            path,
            study,
            facility=facility,
            as_received=as_received,
            all_versions=all_versions,
            actor=call.actor,
        )
    for line in exported.failed:
        call.out.refused(f"failed: {line}")
    call.out.result(
        {
            "study": study,
            "files": exported.files,
            "bytes": exported.bytes,
            "failed": exported.failed,
            "path": str(path),
        },
        f"Wrote {exported.files:,} files, {exported.bytes / 1e6:,.1f} MB, to {path}",
    )
    return 1 if exported.failed else 0
