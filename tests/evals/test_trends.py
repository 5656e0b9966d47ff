"""Intervals hold what they should, slopes are slopes."""

import numpy as np
import pytest

from lsdjax.evals.trends import interval, paired, slopes


def test_an_interval_is_students() -> None:
    found = interval(np.array([1.0, 2.0, 3.0]))
    reach = 4.302653 / np.sqrt(3)  # t of 2 degrees of freedom at 97.5 %, deviation 1
    assert found["mean"] == 2 and found["n"] == 3
    assert found["high"] - 2 == pytest.approx(reach, rel=1e-6)
    assert 2 - found["low"] == pytest.approx(reach, rel=1e-6)
    assert interval(np.array([4.0])) == {"mean": 4.0, "low": None, "high": None, "n": 1}


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    draws = np.random.default_rng(0).normal(5.0, 2.0, (1000, 6))
    held = [found["low"] <= 5 <= found["high"] for found in map(interval, draws)]
    assert 0.93 < np.mean(held) < 0.97


def test_slopes_are_per_thousand_frames() -> None:
    frames = np.array([100.0, 300.0, 500.0, 700.0])
    curves = np.stack([2 + 0.004 * frames, 7 - 0.001 * frames, np.full(4, 3.0)])
    np.testing.assert_allclose(slopes(curves, frames), [4, -1, 0], atol=1e-12)


def test_what_has_changed_is_told_from_what_varies() -> None:
    rng = np.random.default_rng(1)
    early = rng.normal(0, 10, 20)  # rollouts differ far more than they change
    changed = paired(early, early + 1 + 0.5 * rng.standard_normal(20))
    assert changed["p"] < 1e-6 and 0.5 < changed["late_minus_early"]["low"] < 1
    unchanged = paired(early, early + 0.5 * rng.standard_normal(20))
    assert unchanged["p"] > 0.05
    assert paired(early, early)["p"] is None  # nothing varies, so nothing can be tested
