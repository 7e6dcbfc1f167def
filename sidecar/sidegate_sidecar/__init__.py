"""sidegate's sidecar: verifies access tokens locally and sees revocations within milliseconds.

Kept empty on purpose: the console script starts here even where the `sidecar` extra is not installed.
"""
