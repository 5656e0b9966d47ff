"""Participative compression keeps the tokens of the highest scores, and only those there were."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.core.errors import UserError
from lsdjax.model.cache import KVCache
from lsdjax.model.config import ModelConfig
from lsdjax.model.participative import absorb
from lsdjax.model.policy import Participative
from lsdjax.model.wan_layers import rotate_time

POLICY = Participative(window=4, sinks=1)  # five whole slots, two of mixed tokens
LAYERS, B, N, HEADS, D = 2, 1, 3, 2, 6


def cache_after(frames: list[int]) -> KVCache:
    rng = np.random.default_rng(0)
    keys, values = rng.standard_normal((2, LAYERS, B, 7, N, HEADS, D)).astype(np.float32)
    return KVCache(keys, values, jnp.array(frames, jnp.int32), jnp.int32(max(frames) + 1))


def test_the_best_tokens_stay():
    assert (POLICY.slots, POLICY.compressed) == (5, 2)
    cache = cache_after([0, 9, 6, 7, 8, 0, 0])
    queries = np.random.default_rng(1).standard_normal((LAYERS, B, HEADS, D)).astype(np.float32)
    ages = np.array([7, 1, 4, 3, 2, 6, 5], np.int32)
    after = jax.jit(lambda c, q, a: absorb(c, jnp.int32(2), q, a, POLICY))(cache, queries, ages)
    np.testing.assert_array_equal(after.keys[:, :, :5], cache.keys[:, :, :5])
    assert after.frames.tolist() == [0, 9, 6, 7, 8, 0, 0]
    for layer in range(LAYERS):
        from_slots = [5, 6, 2]
        tokens = np.asarray(cache.keys)[layer, 0, from_slots]
        turned = np.asarray(
            rotate_time(jnp.asarray(tokens)[None], -jnp.asarray(ages[from_slots]))[0]
        )
        scores = np.einsum("hd,snhd->sn", queries[layer, 0], np.asarray(turned)).reshape(-1)
        best = np.argsort(-scores)[: 2 * N]
        assert set(best) != set(range(2 * N))  # some of those that there were had to go
        for store, made in ((cache.keys, after.keys), (cache.values, after.values)):
            expected = np.asarray(store)[layer, 0, from_slots].reshape(-1, HEADS, D)[best]
            np.testing.assert_array_equal(made[layer, 0, 5:].reshape(-1, HEADS, D), expected)


def test_empty_slots_are_filled_first_and_empty_ones_change_nothing():
    absorbed = jax.jit(
        lambda c, s: absorb(c, s, jnp.ones((LAYERS, B, HEADS, D)), jnp.arange(7), POLICY)
    )
    first = absorbed(cache_after([0, 1, 2, 3, 4, -1, -1]), jnp.int32(1))
    assert first.frames.tolist() == [0, 1, 2, 3, 4, 0, -1]
    held = np.sort(np.asarray(first.keys)[0, 0, 5].reshape(-1))
    np.testing.assert_array_equal(held, np.sort(np.asarray(first.keys)[0, 0, 1].reshape(-1)))
    young = cache_after([0, 1, -1, -1, -1, -1, -1])
    same = absorbed(young, jnp.int32(2))
    np.testing.assert_array_equal(same.frames, young.frames)
    np.testing.assert_array_equal(same.keys, young.keys)


def test_models_of_one_frame_a_step_refuse_it():
    with pytest.raises(UserError, match="mixes frames' tokens, which only Wan models can"):
        ModelConfig(cache_policy="participative")
