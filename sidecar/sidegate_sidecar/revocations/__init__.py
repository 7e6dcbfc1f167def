"""The in-memory picture of all revocations that can still match, kept current from the log."""
