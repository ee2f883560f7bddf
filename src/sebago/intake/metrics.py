"""What is counted of the way in. Labels are doors and codes, never anything of a patient."""

from __future__ import annotations

from prometheus_client import Counter

RECEIVED = Counter(
    "sebago_instances_received_total", "Instances acknowledged.", ["door", "outcome"]
)
RECEIVED_BYTES = Counter(
    "sebago_received_bytes_total", "Bytes of data sets acknowledged.", ["door"]
)
REFUSED = Counter("sebago_instances_refused_total", "Instances not kept.", ["door", "code"])
