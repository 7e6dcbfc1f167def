"""That every refusal is logged until there is a flood of them, and that the log tells how many were not."""

from sidegate_sidecar.rpc.refusals import MAX_A_SECOND, RefusalLog
from structlog.testing import capture_logs


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_flood_of_refusals_is_counted_where_it_is_not_logged() -> None:
    clock = FakeClock()
    log = RefusalLog("refused", clock)

    with capture_logs() as logs:
        for number in range(MAX_A_SECOND + 3):
            log.write(number=str(number))
        clock.now += 0.99
        log.write(number="still too many")
        clock.now += 0.01
        log.write(number="another second's")
        log.write(number="and another")

    assert [entry["number"] for entry in logs[:MAX_A_SECOND]] == [str(number) for number in range(MAX_A_SECOND)]
    assert all("omitted" not in entry for entry in logs[:MAX_A_SECOND])
    assert [(entry["number"], entry.get("omitted")) for entry in logs[MAX_A_SECOND:]] == [
        ("another second's", 4),
        ("and another", None),
    ]


def test_refusals_of_one_kind_hide_none_of_another() -> None:
    clock = FakeClock()
    strangers, callers = RefusalLog("refused", clock), RefusalLog("refused", clock)

    with capture_logs() as logs:
        for _ in range(2 * MAX_A_SECOND):
            strangers.write(actor="")
        callers.write(actor="somebody")

    assert logs[-1] == {"event": "refused", "log_level": "warning", "actor": "somebody"}
