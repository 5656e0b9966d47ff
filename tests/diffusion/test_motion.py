"""The noise level that follows motion: bounded, monotonic, late by a tenth."""

import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsdjax.diffusion.motion import HISTORY_GAIN, INPUT_GAIN, motion_level

STILL = jnp.zeros((4, 4, 3))
unit = st.floats(0, 1, width=32)
gains = st.sampled_from([INPUT_GAIN, HISTORY_GAIN])


def level(change: float, before: float, base: float, gain: float) -> float:
    return float(motion_level(STILL[None] + change, STILL, jnp.float32(before), base, gain))


@settings(deadline=None)
@given(unit, unit, gains, st.lists(st.floats(0, 2), min_size=2, max_size=3))
def test_the_level_lies_within_0_and_1_and_more_motion_moves_it_further(
    before: float, base: float, gain: float, changes: list[float]
) -> None:
    levels = [level(change, before, base, gain) for change in sorted(changes)]
    assert all(0 <= each <= 1 for each in levels)
    assert levels == sorted(levels, reverse=gain < 0)
    assert levels[0] == pytest.approx(level(-min(changes), before, base, gain))


def test_the_past_is_noisier_where_the_input_moves_and_rests_at_its_base() -> None:
    reached = 0.05
    for _ in range(20):
        reached = level(0.2, reached, 0.05, HISTORY_GAIN)
    assert reached == pytest.approx(0.15)
    for _ in range(20):
        reached = level(0.0, reached, 0.05, HISTORY_GAIN)
    assert reached == pytest.approx(0.05)
