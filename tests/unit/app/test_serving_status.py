"""GetServingStatus is asked by monitors, on the event loop that decides about tokens."""

import sys
from types import FrameType

from sidegate_sidecar.app import serving_status
from sidegate_sidecar.keys import KeyRing


def test_asking_for_the_status_reads_no_file() -> None:
    key_ring = KeyRing([])
    called: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        called.append(frame.f_code.co_filename if event == "call" else str(argument))

    sys.setprofile(note)
    try:
        status = serving_status(key_ring, None)
    finally:
        sys.setprofile(None)

    assert status.version
    assert any("ring.py" in name for name in called), "calls are seen"
    assert [
        name for name in called if "importlib" in name or "pathlib" in name or "built-in function open" in name
    ] == []
