"""Access: every answer of the gate, yes and no, is an event before any byte goes.

- A search is one event each.
- A retrieval is one event per (actor, study, act, answer) in `WINDOW_S` per process: the 500
  requests for the frames of a series are one look at a study, and 500 rows would hide it. What is
  remembered is bounded: the oldest is forgotten first, and forgetting costs one event more.
- Threads that ask the same while its event is on its way wait for that event: "already recorded"
  means durable, not under way.
- If the event cannot be written nothing is shown (`IndexAway`).

The body of an access event: `act`, `reason`, `scope` (absent in a denial), `role`, `purpose`,
`address` (where known), `query` (searches: the keys as they were given), `obligations` beyond
"record". Kinds: `access.permitted`, `access.denied`.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from sebago.gate import Act, Asker, Decision
from sebago.ledger.append import Ledger, Ticket
from sebago.ledger.event import TEXT_CHARS_MAX, Event, Kind

WINDOW_S: Final = 300.0
REMEMBERED_MAX: Final = 20_000
QUERY_CHARS_MAX: Final = 16_384

_Key = tuple[str, ...]


class AccessLog:
    """Records the gate's answers of one process; made after a fork, shared by its threads."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        window_s: float = WINDOW_S,
        remembered_max: int = REMEMBERED_MAX,
    ) -> None:
        self._ledger = ledger
        self._clock_s = clock_s
        self._window_s = window_s
        self._remembered_max = remembered_max
        self._lock = threading.Lock()
        self._seen: OrderedDict[_Key, tuple[float, Ticket]] = OrderedDict()

    def __len__(self) -> int:
        """How many recorded answers are remembered."""
        return len(self._seen)

    def record_access(
        self,
        asker: Asker,
        act: Act,
        decision: Decision,
        *,
        study_instance_uid: str = "",
        query: Mapping[str, Any] | None = None,
        address: str = "",
    ) -> None:
        """Record one answer; durable on return.

        Args:
            asker: who asked.
            act: what for. A `SEARCH` is always an event of its own.
            decision: what the gate answered.
            study_instance_uid: the study it was about; empty where it was about none.
            query: a search's keys as they were given; kept in the body, cut where very long.
            address: network address of the asker.

        Raises:
            IndexAway: the ledger cannot be written; no data may go.
        """
        study_instance_uid = study_instance_uid[:TEXT_CHARS_MAX]
        if act is Act.SEARCH:
            self._ledger.append([_event(asker, act, decision, study_instance_uid, query, address)])
            return
        key = (
            asker.actor,
            asker.facility,
            asker.role,
            asker.purpose,
            act,
            study_instance_uid,
            decision.reason,
            decision.scope or "",
        )
        self._once(key, lambda: _event(asker, act, decision, study_instance_uid, query, address))

    def record_refusal(
        self, actor: str, why: str, *, facility: str = "", address: str = ""
    ) -> None:
        """Record that a credential or caller was refused: one event per (actor, why) a window.

        Args:
            actor: "token:7f3a", "user:ann" or "ae:CT9" if it is known to be one, else "unknown".
            why: a stable word: "expired", "revoked", "disabled", "wrong", "unknown".
        """
        self._once(
            (Kind.SIGNIN_REFUSED, actor, why),
            lambda: Event(
                Kind.SIGNIN_REFUSED, actor, facility, actor, _body({"why": why, "address": address})
            ),
        )

    def _once(self, key: _Key, make: Callable[[], Event]) -> None:
        now = self._clock_s()
        with self._lock:
            known = self._seen.get(key)
            if known is not None and now - known[0] < self._window_s and known[1].error is None:
                ticket = known[1]
            else:
                ticket = self._ledger.submit([make()])
                self._seen[key] = (now, ticket)
                self._seen.move_to_end(key)
                while len(self._seen) > self._remembered_max:
                    self._seen.popitem(last=False)
        self._ledger.wait(ticket)


def _event(
    asker: Asker,
    act: Act,
    decision: Decision,
    study_instance_uid: str,
    query: Mapping[str, Any] | None,
    address: str,
) -> Event:
    body: dict[str, Any] = {
        "act": act,
        "reason": decision.reason,
        "scope": decision.scope,
        "role": asker.role,
        "purpose": asker.purpose[:TEXT_CHARS_MAX],
        "address": address[:TEXT_CHARS_MAX],
        "obligations": [duty for duty in decision.obligations if duty != "record"],
    }
    if query is not None:
        body["query"] = _bounded(query)
    return Event(
        Kind.ACCESS_PERMITTED if decision.permit else Kind.ACCESS_DENIED,
        asker.actor,
        asker.facility,
        study_instance_uid,
        _body(body),
    )


def _body(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def _bounded(query: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys; of very long ones (a list of thousands of UIDs) the beginning of their JSON."""
    text = json.dumps(query, sort_keys=True)
    if len(text) <= QUERY_CHARS_MAX:
        return query
    return {"cut": text[:QUERY_CHARS_MAX], "chars": len(text)}
