"""The OpenAPI document, with the DICOMweb resources in it, and a page that shows it.

The page is made here and needs no script, since nothing of this archive is fetched from elsewhere.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI

from sebago.web.dicomweb.routes import Resource

_PARAMETER = re.compile(r"{([a-z_]+)(:path)?}")


def describe(app: FastAPI, resources: Sequence[Resource]) -> dict[str, Any]:
    """The OpenAPI document of everything that is there."""
    document: dict[str, Any] = app.openapi()
    paths: dict[str, Any] = document.setdefault("paths", {})
    for resource in resources:
        path = _PARAMETER.sub(r"{\1}", resource.path)
        paths.setdefault(path, {})[resource.method.lower()] = {
            "summary": resource.summary,
            "tags": [resource.service],
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name, _ in _PARAMETER.findall(resource.path)
            ],
            "responses": {
                "200": {
                    "description": "As asked.",
                    "content": {media: {} for media in resource.gives},
                },
                "default": {
                    "description": "A problem (RFC 9457).",
                    "content": {"application/problem+json": {}},
                },
            },
        }
    document["components"] = {
        **document.get("components", {}),
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    }
    document["security"] = [{"token": []}]
    return document


def docs_page(document: dict[str, Any]) -> str:
    """The document for people."""
    rows = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            gives = ", ".join(operation["responses"].get("200", {}).get("content", {}))
            rows.append(
                f"<tr><td>{html.escape(method.upper())}</td><td><code>{html.escape(path)}</code>"
                f"</td><td>{html.escape(operation.get('summary', ''))}</td>"
                f"<td>{html.escape(gives)}</td></tr>"
            )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sebago: HTTP</title>'
        "</head><body><h1>HTTP interfaces</h1><p>Every request needs "
        "<code>Authorization: Bearer</code>, but those for <code>/healthz</code> and "
        '<code>/readyz</code>. The same as data: <a href="/openapi.json">OpenAPI</a>. '
        '<a href="/docs/errors">Errors</a>.</p><table><thead><tr><th>Method</th><th>Path</th>'
        "<th>What it does</th><th>Media types</th></tr></thead><tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></body></html>"
    )
