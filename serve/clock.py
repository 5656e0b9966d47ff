"""A client's view of time: the server's clock against its own, and frames that grow older.

Latency needs no common clock, for the server echoes capture times. The offset is for traces that
join both sides; the slope of the frames' age finds queues that nobody knows of.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

SAMPLES = 8  # of which the one with the shortest round trip counts
_HISTORY = 24
_MAX_PPM = 200.0
_MAX_STEP_S = 0.050
_SLOPE_S = 10.0
_MAX_SLOPE_MS = 1.0  # a second


@dataclass(frozen=True)
class Offset:
    """The server's clock minus this one's, at a moment of this one (seconds)."""

    at_s: float
    offset_s: float
    round_trip_s: float


class ClockSync:
    """The offset by the four time stamps of NTP (RFC 5905, section 8), and its drift.

    offset = ((t1 - t0) + (t2 - t3)) / 2, round trip = (t3 - t0) - (t2 - t1)
    """

    def __init__(self) -> None:
        self._samples: list[Offset] = []
        self._history: deque[Offset] = deque(maxlen=_HISTORY)

    @property
    def latest(self) -> Offset | None:
        """The last offset, the best of `SAMPLES`."""
        return self._history[-1] if self._history else None

    @property
    def drift_ppm(self) -> float | None:
        """How fast the offset grows, in millionths; None until three offsets are known."""
        if len(self._history) < 3:
            return None
        times, offsets = zip(*((one.at_s, one.offset_s) for one in self._history), strict=True)
        return 1e6 * _slope(times, offsets)

    def add(self, t0_s: float, t1_s: float, t2_s: float, t3_s: float) -> str | None:
        """Takes the stamps of a request sent, received, answered and its answer received.

        Returns an alarm in words: the clocks drift apart, or one was set.
        """
        sample = Offset(t3_s, ((t1_s - t0_s) + (t2_s - t3_s)) / 2, (t3_s - t0_s) - (t2_s - t1_s))
        self._samples.append(sample)
        if len(self._samples) < SAMPLES:
            return None
        best = min(self._samples, key=lambda one: one.round_trip_s)
        self._samples.clear()
        before = self.latest
        self._history.append(best)
        if before is not None and abs(best.offset_s - before.offset_s) > _MAX_STEP_S:
            self._history.clear()
            self._history.append(best)
            return f"a clock was set: {1e3 * (best.offset_s - before.offset_s):+.0f} ms"
        drift = self.drift_ppm
        if drift is not None and abs(drift) > _MAX_PPM:
            return f"the clocks drift apart: {drift:+.0f} ppm"
        return None


class AgeSlope:
    """Whether frames get older and older: somewhere they wait in a queue that grows."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float]] = deque()
        self._quiet_until_s = 0.0

    def add(self, at_s: float, age_ms: float) -> str | None:
        """Takes a frame's age; an alarm in words, at most one in ten seconds."""
        self._recent.append((at_s, age_ms))
        while at_s - self._recent[0][0] > _SLOPE_S:
            self._recent.popleft()
        if at_s - self._recent[0][0] < 0.9 * _SLOPE_S or at_s < self._quiet_until_s:
            return None
        times, ages = zip(*self._recent, strict=True)
        slope = _slope(times, ages)
        if slope <= _MAX_SLOPE_MS:
            return None
        self._quiet_until_s = at_s + _SLOPE_S
        return f"frames arrive ever later: {slope:+.1f} ms each second"


def _slope(x: tuple[float, ...], y: tuple[float, ...]) -> float:
    """Of the regression line."""
    off = np.array(x) - np.mean(x)
    return float(off @ np.array(y) / (off @ off)) if len(x) > 1 and off.any() else 0.0
