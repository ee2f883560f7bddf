"""What is counted of the DICOM door. Labels are words, never titles or addresses of strangers."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

ASSOCIATIONS = Counter(
    "sebago_associations_total", "Associations asked for, by what became of them.", ["result"]
)
ASSOCIATIONS_OPEN = Gauge(
    "sebago_associations_open", "Associations that are open.", multiprocess_mode="livesum"
)
