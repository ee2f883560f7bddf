"""`sebago verify`: what is kept against what is known of it."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from sebago.cli.app import Call, new_app

app = new_app()


@app.command(epilog="sebago verify --deep")
def verify(
    ctx: typer.Context,
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte again.")] = False,
) -> int:
    """Compare index, journal and ledger; one line for each finding, exit status 1 if any."""
    from sebago.index.engine import Index
    from sebago.mend.verify import verify as run
    from sebago.serve.logs import configure

    call = Call.of(ctx)
    settings = call.settings()
    configure("error", "verify")
    started = time.monotonic()
    index = Index.open(settings.data, settings.database_url)
    try:
        verified = run(index, settings.journal_dir, deep=deep)
    finally:
        index.dispose()
    took_s = time.monotonic() - started
    for line in verified.findings:
        call.out.refused(line)
    call.out.result(
        {
            "instances": verified.instances,
            "bytes": verified.bytes,
            "deep": deep,
            "seconds": round(took_s, 3),
            "findings": verified.findings,
        },
        f"Verified {verified.instances:,} images, {verified.bytes / 1e6:,.0f} MB"
        f"{' read again' if deep else ''}: "
        f"{len(verified.findings) or 'no'} finding{'' if len(verified.findings) == 1 else 's'}.",
    )
    return 1 if verified.findings else 0
