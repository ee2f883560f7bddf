"""The running program: one process tree, roles, and how a process puts the archive together."""
