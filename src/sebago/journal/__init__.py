"""The journal: received data sets, durable before anybody is told so.

Files in one folder per writing process; it knows nothing of DICOM or SQL. `record` is the format,
`writer` the group commit, `spool` takes objects in as they arrive, `reader` hands them out, `replay`
brings them up again after a crash and looks for damage.
"""

from sebago.journal.entry import Entry, Position
from sebago.journal.reader import Reader
from sebago.journal.release import SegmentFile, release, segment_list
from sebago.journal.replay import Checked, Finding, Replayed, Tail, What, check, cut_tails, replay
from sebago.journal.spool import Spool, Spooled
from sebago.journal.writer import Journal

__all__ = [
    "Checked",
    "Entry",
    "Finding",
    "Journal",
    "Position",
    "Reader",
    "Replayed",
    "SegmentFile",
    "Spool",
    "Spooled",
    "Tail",
    "What",
    "check",
    "cut_tails",
    "release",
    "replay",
    "segment_list",
]
