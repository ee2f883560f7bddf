"""`sebago reindex`: the index, made again of what the journal holds."""

from __future__ import annotations

import time

import typer

from sebago.cli.app import Call, new_app

app = new_app()


@app.command(epilog="rm sebago-data/index.db*; sebago reindex")
def reindex(ctx: typer.Context) -> int:
    """Put everything that the journal holds and the index does not into the index.

    Into an empty database it makes the whole index again: delete `index.db` (and its -wal and
    -shm) while the server is stopped, or name an empty database. The ledger is not touched.
    """
    from sebago.index.engine import Index
    from sebago.intake.recover import recover
    from sebago.serve.logs import configure

    call = Call.of(ctx)
    settings = call.settings()
    configure("critical", "reindex")  # what is found is said below, a line each
    started = time.monotonic()
    index = Index.open(settings.data, settings.database_url)
    try:
        recovered = recover(index, settings.journal_dir)
    finally:
        index.dispose()
    took_s = time.monotonic() - started
    for line in recovered.damage + recovered.unreadable:
        call.out.refused(f"not indexed: {line}")
    call.out.result(
        {
            "instances": recovered.instances,
            "bytes": recovered.bytes,
            "seconds": round(took_s, 3),
            "damage": recovered.damage,
            "unreadable": recovered.unreadable,
        },
        f"Indexed {recovered.instances:,} images, {recovered.bytes / 1e6:,.0f} MB, in "
        f"{took_s:.1f} s ({recovered.instances / max(took_s, 1e-3):,.0f} a second).",
    )
    return 1 if recovered.damage or recovered.unreadable else 0
