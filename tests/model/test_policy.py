"""Cache policies: a stream sees what its training saw, and each what its name says."""

import jax
import numpy as np
import pytest

from lsdjax.model.policy import (
    CACHE_POLICIES,
    CachePolicy,
    DeepSinks,
    RingWithSinks,
    RollingSink,
    register_cache_policy,
)


@pytest.mark.parametrize("policy", [RingWithSinks, DeepSinks, RollingSink])
def test_training_and_stream_agree(policy, monkeypatch):
    monkeypatch.setattr(CACHE_POLICIES, "_entries", {})
    register_cache_policy("checked", policy)
    assert CACHE_POLICIES["checked"] is policy


def seen(policy: CachePolicy, index: int) -> dict[int, int]:
    """Ages by frame of what frame `index` sees of its past."""
    frames = np.arange(index, dtype=np.int32)
    ages, visible = jax.jit(policy.sees)(np.int32(index), frames)
    return {int(f): int(a) for f, a, v in zip(frames, ages, visible, strict=True) if v}


def test_deep_sinks_stand_right_before_the_window():
    assert seen(DeepSinks(2, 3), 20) == {0: 5, 1: 4, 2: 3, 18: 2, 19: 1}
    assert seen(DeepSinks(2, 3), 4) == {0: 4, 1: 3, 2: 2, 3: 1}
    assert seen(RingWithSinks(2, 3), 20) == {0: 3, 1: 3, 2: 3, 18: 2, 19: 1}


def test_a_rolling_sink_lets_the_start_go():
    policy = RollingSink(3, 2)
    assert seen(policy, 4) == {1: 3, 2: 2, 3: 1}
    assert seen(policy, 9) == {3: 5, 4: 4, 6: 3, 7: 2, 8: 1}
    assert seen(policy, 1000) == {3: 5, 4: 4, 997: 3, 998: 2, 999: 1}
