"""How old a message of the feed is at most, by clocks that may step. Pure: the caller reads the clocks."""

STEP_SECONDS = 0.5  # less is drift between two hosts' clocks; more is a step. NTP's daemons step past 0.128 s


class Lateness:
    """The age of one stream's checkpoints when they arrive.

    Sender and receiver share no clock that never steps, so the age cannot be measured; but it can be bounded. The first
    checkpoint was sent after the stream was opened, and the others as much later as the sender's clock says. So none is
    older than the time since the opening, less what that clock has advanced since the first. A sender's clock that was
    set back makes the bound too high, never too low. One that was set forward would make it too low; but sender and
    receiver are on one host, so the receiver sees its own wall clock move against a clock that never steps, and adds
    that. Wall clocks of different hosts need not agree.

    Where the sender's host is another one, its clock can be set forward unseen by STEP_SECONDS more than the bound. And
    a clock that was set forward and back again between two messages is nowhere to be seen: NearCache lets no silence
    pass in which that would hide more than its own limit.

    Args:
        steady: Seconds of a clock that never steps and runs through suspension, read before the stream was opened.
        wall: Seconds since the epoch, read with it.
    """

    def __init__(self, steady: float, wall: float) -> None:
        self._opened = steady
        self._wall_ahead = wall - steady
        self._set_forward = 0.0
        self._first_sent: float | None = None

    def age(self, sent: float, steady: float, wall: float) -> float | None:
        """Seconds, at most, since a checkpoint was sent that arrives now. None: no bound can be told any more, because
        the sender's clock was set forward.

        Args:
            sent: Seconds since the epoch, by the sender's clock.
        """
        if self._first_sent is None:
            self._first_sent = sent
        # The largest so far: a checkpoint sent while the clock stood forward may arrive after it was set back.
        self._set_forward = max(self._set_forward, wall - steady - self._wall_ahead)
        age = (steady - self._opened) - (sent - self._first_sent) + self._set_forward
        if age < -STEP_SECONDS:
            return None
        if age < 0:
            # Sent before it was opened, as it were: that clock runs faster. Nothing arrives before it is sent.
            self._first_sent -= age  # age < 0: later
            return 0.0
        return age
