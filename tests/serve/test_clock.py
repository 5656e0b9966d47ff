"""A client's view of time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsdjax.serve.clock import SAMPLES, AgeSlope, ClockSync

EVERY_S = 0.625


def sync(
    offset_s: float, ppm: float, *, seconds: float, seed: int = 0, jump_at_s: float = 1e9
) -> tuple[ClockSync, list[str]]:
    """A minute of requests over a link whose delay varies from 5 to 25 ms each way."""
    clock, alarms = ClockSync(), []
    random = np.random.default_rng(seed)
    for t0 in np.arange(0, seconds, EVERY_S):
        out, back = 0.005 + 0.02 * random.random(2) ** 3
        jump = 0.2 if t0 > jump_at_s else 0.0

        def server(t: float, jump: float = jump) -> float:
            return t * (1 + 1e-6 * ppm) + offset_s + jump

        t3 = t0 + out + 0.001 + back
        alarm = clock.add(t0, server(t0 + out), server(t0 + out + 0.001), t3)
        alarms += [alarm] if alarm else []
    return clock, alarms


@given(st.floats(-1e4, 1e4), st.integers(0, 1000))
def test_the_offset_is_found_within_half_the_round_trip(offset_s: float, seed: int) -> None:
    clock, alarms = sync(offset_s, 0.0, seconds=60, seed=seed)
    assert clock.latest is not None
    assert abs(clock.latest.offset_s - offset_s) <= clock.latest.round_trip_s / 2 + 1e-6
    assert not any("set" in alarm for alarm in alarms)


def test_nothing_is_said_before_there_are_samples() -> None:
    clock, _ = sync(1.0, 0.0, seconds=EVERY_S * (SAMPLES - 1))
    assert clock.latest is None and clock.drift_ppm is None


def test_clocks_that_drift_apart_are_noticed() -> None:
    clock, alarms = sync(3.0, 900.0, seconds=100)
    assert clock.drift_ppm == pytest.approx(900, abs=150)
    assert any("drift apart" in alarm for alarm in alarms)


def test_a_clock_that_was_set_is_noticed_and_forgiven() -> None:
    clock, alarms = sync(0.0, 0.0, seconds=100, jump_at_s=50)
    assert sum("was set" in alarm for alarm in alarms) == 1
    assert clock.latest is not None and clock.latest.offset_s == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(("slope", "expected"), [(0.0, 0), (0.5, 0), (5.0, 2), (-5.0, 0)])
def test_frames_that_get_older_are_noticed_once_in_ten_seconds(slope: float, expected: int) -> None:
    ages = AgeSlope()
    jitter = np.random.default_rng(0).normal(0, 1.0, 600)
    alarms = [ages.add(i / 25, 40 + slope * i / 25 + jitter[i]) for i in range(600)]
    assert sum(alarm is not None for alarm in alarms) == expected
