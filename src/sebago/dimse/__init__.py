"""The DICOM upper layer (PS3.8) and message exchange (PS3.7), both roles.

Knows nothing of an archive. From bytes up: `pdu`, `associate` and `command` encode and decode;
`negotiation` decides what comes of a proposal; `inflow` turns what arrives into events; `channel`
is a socket with deadlines; `association` is an accepted association in its thread, `lobby` and
`acceptor` are the door; `scu` (with `dial`) is the other role. The first five do no I/O.
"""

from sebago.dimse.acceptor import Acceptor, Counters
from sebago.dimse.associate import AssociateRq, ProposedContext
from sebago.dimse.association import Association, Peer
from sebago.dimse.channel import Closed, Stalled, Timeouts
from sebago.dimse.command import Command, Progress
from sebago.dimse.dial import Rejected
from sebago.dimse.handler import Handler
from sebago.dimse.negotiation import AcceptedContext, Admission, Identity
from sebago.dimse.scu import Requestor
from sebago.dimse.sink import Buffered, Sink

__all__ = [
    "AcceptedContext",
    "Acceptor",
    "Admission",
    "AssociateRq",
    "Association",
    "Buffered",
    "Closed",
    "Command",
    "Counters",
    "Handler",
    "Identity",
    "Peer",
    "Progress",
    "ProposedContext",
    "Rejected",
    "Requestor",
    "Sink",
    "Stalled",
    "Timeouts",
]
