"""The admission webhook that gives pods their sidecar, and a preview of what it does."""
