"""The one way out: search, locate, open. Each asks the gate and records the answer first.

Doors (`scp`, `web`) know this package and `intake`, and nothing that lies below them.
"""

from sebago.retrieve.archive import Archive
from sebago.retrieve.held import Answer, Held, Level, Metadata, Query, Row

__all__ = ["Answer", "Archive", "Held", "Level", "Metadata", "Query", "Row"]
