"""The one way out: search, locate, open. Each asks the gate and records the answer first.

Doors (`scp`, `web`) know this package and `intake`, and nothing that lies below them.
"""

from sebago.index.instances import Held
from sebago.retrieve.answers import Answer, Level, Metadata, Query, Row
from sebago.retrieve.archive import Archive

__all__ = ["Answer", "Archive", "Held", "Level", "Metadata", "Query", "Row"]
