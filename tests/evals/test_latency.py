"""Timing of streams side by side."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from lsdjax.core.errors import UserError
from lsdjax.evals import latency
from lsdjax.evals.latency import compare_streams


class Clocked:
    """A streamer whose every step takes `ms` of a clock of its own making."""

    size = (4, 6)

    def __init__(self, name: str, ms: float, log: list[str], clock: SimpleNamespace) -> None:
        self.name, self.ms, self.log, self.clock = name, ms, log, clock

    def warm_up(self) -> None:
        self.log.append(f"warm {self.name}")

    def start(self, prompt: str) -> "Clocked":
        return self

    def submit(self, frame: np.ndarray) -> np.ndarray:
        assert frame.shape == (4, 6, 3) and frame.dtype == np.uint8
        self.log.append(self.name)
        slow = 2.0 if len(self.log) % 8 in (0, 1) else 0.0
        self.clock.now += (self.ms + slow) / 1e3
        return frame


def test_streams_take_turns_and_each_has_its_own_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = SimpleNamespace(now=0.0), []
    fake = SimpleNamespace(perf_counter=lambda: clock.now)
    monkeypatch.setattr(latency, "time", fake)
    both: Any = [Clocked("full", 8.0, log, clock), Clocked("small", 5.0, log, clock)]
    full, small = compare_streams(both, frames=11)
    assert (full.median, full.fastest) == pytest.approx((8.0, 8.0))
    assert (small.median, small.fastest) == pytest.approx((5.0, 5.0))
    assert log[:2] == ["warm full", "warm small"]
    assert log[2:] == ["full", "small"] * 16


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(UserError, match="3 frames to time; at least 10"):
        compare_streams(cast(Any, []), frames=3)
