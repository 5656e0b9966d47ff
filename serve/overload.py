"""The overload ladder: what a server gives up, one thing after the other, when steps get slow."""

from dataclasses import dataclass

PATIENCE = 5  # so many worse looks in a row to go up a rung, so many better ones to go down
TICK_S = 0.5
_BUSY = 0.85
_RATE_SHARE = 0.5


@dataclass(frozen=True)
class Rung:
    """One thing to give up; `message` says so to a person."""

    reason: str
    message: str


RUNGS = (
    Rung("post_processing", "the device is slow: pictures are no longer post-processed"),
    Rung("input_rate", "the device is slow: only every second frame is taken"),
    Rung("fewer_steps", "the device is slow: frames are made in fewer steps"),
    Rung("admission", "the device is slow: nobody new is admitted"),
)


class Ladder:
    """How many rungs up a server is: 0 is normal service.

    Worse is a device that throttles itself, or one that is busy and whose steps take `ratio` times
    as long as at start-up. Better is neither, with room to spare.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._worse = self._better = 0
        self.height = 0

    @property
    def skips_post_processing(self) -> bool:
        """Rung 1."""
        return self.height >= 1

    @property
    def rate_share(self) -> float:
        """Rung 2: the part of a client's frame rate that is taken."""
        return _RATE_SHARE if self.height >= 2 else 1.0

    @property
    def takes_fewer_steps(self) -> bool:
        """Rung 3."""
        return self.height >= 3

    @property
    def admits(self) -> bool:
        """Whether rung 4 is not reached."""
        return self.height < 4

    def tick(self, slowdown: float, busy: float, *, throttled: bool) -> Rung | None:
        """One look: the rung that was gone up to or left, None when nothing changed.

        slowdown: mean step time lately over that at start-up, 0 without a step; busy: the part of
        the time which steps took.
        """
        slow = slowdown > self._ratio and busy > _BUSY
        if throttled or slow:
            self._worse, self._better = self._worse + 1, 0
        elif slowdown < 0.5 * (1 + self._ratio):
            self._worse, self._better = 0, self._better + 1
        else:
            self._worse = self._better = 0
        if self._worse == PATIENCE and self.height < len(RUNGS):
            self._worse = 0
            self.height += 1
            return RUNGS[self.height - 1]
        if self._better == PATIENCE and self.height > 0:
            self._better = 0
            self.height -= 1
            return RUNGS[self.height]
        self._worse, self._better = self._worse % PATIENCE, self._better % PATIENCE
        return None
