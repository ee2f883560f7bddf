"""Steps of the ledger's schema."""
