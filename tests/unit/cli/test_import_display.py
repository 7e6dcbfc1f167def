"""What is shown of an import where no terminal is."""

import pytest
from sidegate_sidecar.cli.import_display import Display
from sidegate_sidecar.cli.import_journal import Rejected, Tally
from sidegate_sidecar.cli.import_lines import Line


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def rejected(number: int, reason: str = "not JSON") -> Rejected:
    return Rejected(Line(number, number, b""), reason)


def test_a_line_every_ten_seconds_says_how_far_and_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Display(None, Tally(lines=1000, registered=1000), monotonic=clock) as display:
        clock.now += 5
        display.advance(Tally(lines=2000, registered=2000), [])
        assert capsys.readouterr().err == ""
        clock.now += 5
        display.advance(Tally(lines=31_000, registered=30_999, rejected=1), [])
        display.advance(Tally(lines=32_000, registered=31_999, rejected=1), [])
    assert capsys.readouterr().err == "sidegate: 31,000 lines, 30,999 registered, 1 rejected, 3,000/s\n"


def test_rejected_lines_are_told_by_their_numbers_up_to_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(None, Tally(), shown_rejections=2) as display:
        display.advance(Tally(lines=1), [rejected(7)])
        display.advance(Tally(lines=2), [rejected(8), rejected(9)])
    assert capsys.readouterr().err.splitlines() == [
        "sidegate: line 7: not JSON",
        "sidegate: line 8: not JSON",
        "sidegate: further rejected lines are not shown here",
    ]


def test_what_a_line_holds_is_shown_and_never_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    with Display(None, Tally()) as display:
        display.advance(Tally(lines=1), [rejected(1, "\x1b[2J[red]")])
    assert capsys.readouterr().err == "sidegate: line 1: \\x1b[2J[red]\n"
