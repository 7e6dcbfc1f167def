"""For a service's own tests: a sidecar in the test's process. See docs/testing.md.

Needs nothing but the client's own dependencies. With pytest, the fixture `sidegate_sidecar` is one, started.
"""

from sidegate.testing.faults import Faults
from sidegate.testing.sidecar import FakeSidecar

__all__ = ["FakeSidecar", "Faults"]
