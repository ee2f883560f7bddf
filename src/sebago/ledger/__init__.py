"""The ledger: every fact that is not an image is an event, appended and never changed.

`append` puts an event into the caller's own transaction, beside the projection it changes;
`Ledger.append` makes many threads' events durable in one commit; `AccessLog` records the gate's
answers before any byte goes. Tables that the program reads are projections of events.
"""

from sebago.ledger.access import AccessLog
from sebago.ledger.append import Ledger, append, last, now_us, replay
from sebago.ledger.event import Event, Kind, Recorded

__all__ = [
    "AccessLog",
    "Event",
    "Kind",
    "Ledger",
    "Recorded",
    "append",
    "last",
    "now_us",
    "replay",
]
