"""web/dicomweb."""
