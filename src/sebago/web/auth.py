"""Who asks: the bearer token of a request, turned into an `Asker`.

Every path wants a token but those in `OPEN_PATHS`; one that no route knows wants it too, so that
nobody learns from the outside what there is.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from sebago.errors import Denied, NotSignedIn
from sebago.gate import Act, Asker, decide

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
TOKEN_CHARS_MAX: Final = 4096


def bearer_token(headers: Headers) -> str:
    """The token of an Authorization header (RFC 6750 2.1).

    Raises:
        NotSignedIn: there is none, or it is of another scheme.
    """
    given = headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > TOKEN_CHARS_MAX:
        raise NotSignedIn(
            "this needs a token", do="send Authorization: Bearer <token>; `sebago token create`"
        )
    return token


def asker_of(scope: Scope) -> Asker:
    """The asker of a request that the door let in."""
    asker: Asker = scope["state"]["asker"]
    return asker


def address_of(scope: Scope) -> str:
    """The network address of whoever sent a request, for the record; behind a proxy, the proxy's."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def require(asker: Asker, act: Act) -> None:
    """Ask the gate about an act that touches no patient's data.

    Raises:
        Denied: the asker's role is not there for it.
    """
    decision = decide(asker, act)
    if not decision.permit:
        raise Denied("the role may not do this", reason=decision.reason)
