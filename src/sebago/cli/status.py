"""`sebago status`: how much there is, how deep the journal, who sent last."""

from __future__ import annotations

import typer

from sebago.cli.app import Call, new_app
from sebago.cli.output import iso, table

app = new_app()


@app.command(epilog="sebago status --json")
def status(ctx: typer.Context) -> int:
    """Counts, bytes, journal depth and the last study of each facility."""
    from sebago import __version__
    from sebago.index.engine import Index
    from sebago.mend.status import status as look

    call = Call.of(ctx)
    settings = call.settings()
    index = Index.open(settings.data, settings.database_url)
    try:
        seen = look(index, settings.journal_dir)
    finally:
        index.dispose()
    value = {
        "version": __version__,
        "studies": seen.studies,
        "series": seen.series,
        "instances": seen.instances,
        "received_bytes": seen.received_bytes,
        "stored_bytes": seen.journal_bytes,
        "journal_bytes": seen.journal_bytes,
        "journal_segments": seen.journal_segments,
        "not_indexed_bytes": seen.not_indexed_bytes,
        "unsettled_studies": seen.studies,
        "free_bytes": seen.free_bytes,
        "findings": seen.findings,
        "copies_missing": {},
        "facilities": [
            {
                "code": one.code,
                "studies": one.studies,
                "instances": one.instances,
                "received_bytes": one.received_bytes,
                "last_received": iso(one.last_received_us) or None,
            }
            for one in seen.facilities
        ],
    }
    rows = [
        (
            one.code,
            f"{one.studies:,}",
            f"{one.instances:,}",
            f"{one.received_bytes / 1e6:,.0f}",
            iso(one.last_received_us) or "nothing yet",
        )
        for one in seen.facilities
    ]
    text = (
        f"Sebago {__version__}   data {settings.data}\n"
        f"  exams {seen.studies:,} · images {seen.instances:,} · "
        f"received {seen.received_bytes / 1e9:,.2f} GB · free {seen.free_bytes / 1e9:,.0f} GB\n"
        f"  journal {seen.journal_bytes / 1e9:,.2f} GB in {seen.journal_segments:,} segments, "
        f"{seen.not_indexed_bytes / 1e6:,.0f} MB not indexed · findings {seen.findings:,}\n"
        + table(("FACILITY", "EXAMS", "IMAGES", "MB", "LAST RECEIVED"), rows)
    )
    call.out.result(value, text)
    return 0
