"""The HTTP doors: DICOMweb, health, metrics, documentation.

Routes parse, ask `retrieve` or `intake`, and write answers; they know nothing that lies below
these two, and never decide who may see what.
"""
