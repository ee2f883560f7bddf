"""What the acceptor asks of whoever runs services on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sebago.dimse.associate import AssociateRq
    from sebago.dimse.association import Association
    from sebago.dimse.command import Command
    from sebago.dimse.negotiation import Admission
    from sebago.dimse.sink import Sink


class Handler(Protocol):
    """Decides on associations and answers commands.

    One handler serves all associations: its methods are called in the associations' threads,
    several at once.
    """

    def admit(self, request: AssociateRq, address: str) -> Admission:
        """Decide on a proposal that is well formed; `address` is the peer's IP address.

        An exception rejects it as transient, temporary congestion.
        """
        ...

    def sink(self, association: Association, command: Command) -> Sink | None:
        """Where the command's data set goes.

        None: into memory, at most 1 MiB (`Buffered`), past which the association is aborted. A
        `SebagoError` refuses the data set: it is read and thrown away, and the response carries
        the error's status and a comment.
        """
        ...

    def handle(self, association: Association, command: Command, sink: Sink | None) -> None:
        """Carry out a request and answer it with `association.respond`.

        Called once the data set is complete, which is then this method's to finish or abandon.
        C-CANCEL never comes here. A `SebagoError` is answered with its status unless a final
        response was sent; anything else with 0110, and its traceback is logged.
        """
        ...

    def closed(self, association: Association) -> None:
        """An association that was admitted is over, however it ended."""
        ...
