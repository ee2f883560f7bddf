"""The index: identities, studies, series and instances as SQL knows them, and the ledger's tables.

Every SQL statement of the archive lives in this package: one function a question, the connection
first, dataclasses out. `engine` opens the database, `tables` declares the index's half of it.
"""
