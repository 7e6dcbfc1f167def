"""The issuers' public keys: fetched, checked, kept and rotated."""
