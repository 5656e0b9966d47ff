"""Timing of streams side by side."""

import itertools
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


def test_steps_of_no_checkpoint_are_refused() -> None:
    with pytest.raises(UserError, match="beside_steps=2, and no checkpoint beside"):
        latency.bench_stream(beside_steps=2)


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(UserError, match="3 frames to time; at least 10"):
        compare_streams(cast(Any, []), frames=3)


def test_a_checkpoint_is_compared_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = SimpleNamespace(now=0.0), ["-"] * 8

    class Steady(Clocked):
        def __init__(self, ms: float, *, steps: int | None) -> None:
            super().__init__(f"{ms:g}", ms, log, clock)
            self.steps = steps or 1

        def submit(self, frame: np.ndarray) -> np.ndarray:
            log.append(self.name)
            clock.now += self.ms * self.steps / 1e3
            return frame

    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(latency, "load_checkpoint", {"small": 4.0, "full": 6.0}.__getitem__)
    monkeypatch.setattr(latency, "Streamer", Steady)
    found = latency.bench_stream("small", frames=60, beside="full", beside_steps=2)
    assert found["step_ms"] == {"p50": 4.0, "p95": 4.0}
    assert (found["fps"], found["steps"], found["frames"]) == (250.0, 1, 60)
    assert found["beside"]["step_ms"]["p50"] == 12.0
    assert (found["beside"]["fps"], found["beside"]["steps"]) == (83.33, 2)
    assert found["speedup"] == 3.0
    turns = [name for name, _ in itertools.groupby(log[10:])]
    assert turns == ["4", "6", "4", "6"]
