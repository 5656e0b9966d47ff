"""The account of one session's frames: received = sent + dropped + in flight, at every moment."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from lsdjax.serve.metrics import Metrics
from lsdjax.serve.protocol import DROP_REASONS, Flag, FrameHeader

_RECENT_FRAMES = 120  # for the percentiles in `stats`


@dataclass(slots=True, eq=False)
class Frame:
    """One input frame, from receipt to its end."""

    header: FrameHeader
    payload: memoryview
    received_s: float
    slot: int = -1
    revision: int = 0
    flags: Flag = Flag.NONE  # of the output
    discontinuity: bool = False


class Ledger:
    """Every frame is opened once and settled once, as sent or as dropped for one reason."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._live: set[Frame] = set()
        self._received = self._sent = 0
        self._dropped: dict[str, int] = dict.fromkeys(DROP_REASONS, 0)
        self._last_seq: int | None = None
        self._ages_ms: deque[float] = deque(maxlen=_RECENT_FRAMES)
        self._step_ms: float | None = None

    @property
    def live(self) -> list[Frame]:
        """The frames in flight."""
        return list(self._live)

    def open(self, frame: Frame) -> None:
        """Counts a frame as received."""
        self._live.add(frame)
        self._received += 1
        self._last_seq = frame.header.seq
        self._metrics.received.inc()

    def sent(self, frame: Frame, age_s: float) -> None:
        """Ends a frame that was sent `age_s` after its receipt."""
        self._live.remove(frame)
        self._sent += 1
        self._ages_ms.append(1e3 * age_s)
        self._metrics.sent.inc()
        self._metrics.age.observe(age_s)

    def dropped(self, frame: Frame, reason: str) -> None:
        """Ends a frame that was dropped."""
        self._live.remove(frame)
        self._dropped[reason] += 1
        self._metrics.dropped.labels(reason).inc()

    def stepped(self, step_s: float) -> None:
        """Takes a step's duration into the moving average."""
        last = self._step_ms if self._step_ms is not None else 1e3 * step_s
        self._step_ms = last + 0.1 * (1e3 * step_s - last)

    def stats(self) -> dict[str, Any]:
        """The counters; every frame up to `settled_seq` was sent or dropped."""
        ages = sorted(self._ages_ms)
        oldest = min((frame.header.seq for frame in self._live), default=None)
        return {
            "received": self._received,
            "sent": self._sent,
            "dropped": dict(self._dropped),
            "in_flight": len(self._live),
            "settled_seq": self._last_seq if oldest is None else oldest - 1,
            "step_ms": None if self._step_ms is None else round(self._step_ms, 2),
            "age_ms": {f"p{p}": _percentile(ages, p) for p in (50, 95, 99)},
        }


class RateLimit:
    """A token bucket: `take` is False when events come faster than `rate` a second for long."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at_s = burst, time.monotonic()

    def change(self, rate: float, burst: float) -> None:
        """Goes on with another rate."""
        self._rate, self._burst = rate, burst

    def take(self) -> bool:
        """Spends one token, if there is one."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + self._rate * (now - self._at_s))
        self._at_s = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _percentile(ascending: list[float], percent: int) -> float | None:
    if not ascending:
        return None
    return round(ascending[min(len(ascending) - 1, len(ascending) * percent // 100)], 1)
