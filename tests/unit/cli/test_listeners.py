"""What the log says of where the sidecar listens."""

from pathlib import Path

import pytest
from sidegate_sidecar.app import Listening
from sidegate_sidecar.cli.serving import log_listeners
from sidegate_sidecar.listener import Listener
from structlog.testing import capture_logs


@pytest.mark.parametrize(
    ("listener", "warned"),
    [
        (Listener(path=Path("/run/sidegate.sock")), False),
        (Listener(host="127.0.0.1", port=1), False),
        (Listener(host="::1", port=1), False),
        (Listener(host="0.0.0.0", port=1), True),  # noqa: S104 - named, not bound
        (Listener(host="::", port=1), True),
        (Listener(host="10.0.0.1", port=1), True),
        (Listener(host="sidecar.example", port=1), True),
    ],
    ids=str,
)
async def test_a_data_plane_that_other_hosts_can_reach_is_warned_of(listener: Listener, warned: bool) -> None:
    with capture_logs() as logged:
        await log_listeners(Listening([listener], [], health=[Listener(host="0.0.0.0", port=1)]))  # noqa: S104 - as above

    warnings = [entry["listener"] for entry in logged if entry["event"] == "listening_beyond_this_host"]
    assert warnings == ([str(listener)] if warned else [])
    assert all(entry["log_level"] == "warning" for entry in logged if entry["event"] != "listening")
