"""Quantities that annotations may have: every suffix and spelling that Kubernetes has, the least and the most."""

CPU = ("1m", "99999m", "2", "0.5", ".5", "1.", "+1", "1e3", "1E3", "1e-3", "1e+2", "0.001", "1000000n", "1000u", "2k")
MEMORY = (
    *("1Mi", "1048576", "1024Ki", "64Mi", "1.5Gi", "1Ti", "1Pi", "7Ei", "9223372036854775807"),
    *("5000k", "500M", "1G", "1T", "1P", "9E", "1e9", "1e18", "128974848000m"),
)
