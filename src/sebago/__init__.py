"""Sebago: a statewide medical image archive.

The packages follow the way of the data, from the ground up; `docs/architecture.md` draws it.
"""

__version__ = "0.1.0"
