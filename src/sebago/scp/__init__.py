"""The archive's DIMSE services: verification, storage, query and retrieve, on `sebago.dimse`."""

from sebago.scp.service import Policy, Services

__all__ = ["Policy", "Services"]
