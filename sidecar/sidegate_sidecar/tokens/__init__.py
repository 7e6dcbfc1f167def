"""Strict parsing of access tokens, signatures and claim checks. Pure: no I/O, no clock of its own."""
