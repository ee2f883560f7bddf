"""A whole archive in a temporary folder, and its web application as clients see it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass
from typing import Any

import httpx
import uvloop

from sebago.index.engine import Index
from sebago.intake import Intake
from sebago.intake.accept import Limits
from sebago.ledger import AccessLog, Ledger
from sebago.registry import Registrar, Registry
from sebago.retrieve import Archive
from sebago.web.app import build_app
from sebago.web.server import OnSocket, listen
from tests.web.made import STOW, body, part10

MIB = 1 << 20
LIMITS = Limits(
    segment_bytes=16 * MIB,
    reserve_bytes=0,
    queue_bytes_max=64 * MIB,
    inline_bytes_max=1 * MIB,
    instance_bytes_max=8 * MIB,
    inflated_bytes_max=64 * MIB,
)


@dataclass
class World:
    """The archive, its tokens and an HTTP client of it; the server is the real one."""

    index: Index
    intake: Intake
    archive: Archive
    registry: Registry
    app: Any
    client: httpx.Client
    tokens: dict
    ready: dict

    def get(self, path, *, as_="clinician@NORTH", accept=None, **more):
        headers = {**self.auth(as_), **more.pop("headers", {})}
        if accept is not None:
            headers["accept"] = accept
        return self.client.get(path, headers=headers, **more)

    def auth(self, as_):
        return {"authorization": f"Bearer {self.tokens[as_]}"}

    def stow(self, files, *, as_="sender@NORTH", path="/dicomweb/studies", raw=None, **headers):
        headers = {
            "content-type": STOW,
            "accept": "application/dicom+json",
            **self.auth(as_),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        content = body(files) if raw is None else raw
        return self.client.post(path, content=content, headers=headers)

    def keep(self, *data_sets, as_="sender@NORTH"):
        """Store data sets; all of them must be taken."""
        answer = self.stow([part10(data) for data in data_sets], as_=as_)
        assert answer.status_code == 200, answer.text


def rows(answer):
    assert answer.status_code == 200, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/dicom+json"
    return json.loads(answer.content)


def values(row, tag):
    return row[tag].get("Value", [])


@contextlib.contextmanager
def serving(app):
    """The application under the server that serves it in earnest, in a thread; its address."""
    listener = listen("127.0.0.1", 0)
    server: Any = OnSocket(app, listener, 30.0)
    loop = uvloop.new_event_loop()

    def run():
        asyncio.set_event_loop(loop)
        loop.run_until_complete(server.serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    host, port = listener.getsockname()
    yield f"http://{host}:{port}"
    loop.call_soon_threadsafe(server.stop)
    thread.join(10)
    app.state.threads.close()
    loop.close()
    listener.close()


@contextlib.contextmanager
def open_world(folder, **settings):
    index = Index.open(folder)
    registrar = Registrar(index, "local:test")
    tokens = {}
    for number, code in enumerate(("NORTH", "SOUTH"), 1):
        registrar.add_facility(code, f"{code} hospital", f"{code}&2.999.{number}&ISO")
        for role in ("sender", "clinician"):
            tokens[f"{role}@{code}"] = registrar.create_token(role, code).text
    for role in ("operator", "admin", "privacy", "reviewer"):
        tokens[role] = registrar.create_token(role, "NORTH").text
    access_log = AccessLog(Ledger(index))
    registry = Registry(index, access_log=access_log)
    intake = Intake(index, folder / "journal", LIMITS)
    archive = Archive(
        index,
        folder / "journal",
        access_log,
        matches_max=20_000,
        metadata_cache_bytes=8 * MIB,
    )
    ready = {"index": lambda: None}
    app = build_app(
        archive,
        intake,
        registry,
        checks=ready,
        instance_bytes_max=LIMITS.instance_bytes_max,
        **settings,
    )
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield World(index, intake, archive, registry, app, client, tokens, ready)
    intake.close()
    archive.close()
    index.dispose()
