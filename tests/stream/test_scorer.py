"""What a step finds in its own state, on states whose faults are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.model.cache import KVCache
from lsdjax.stream.scorer import describe, mend, seal_picture, seal_slot
from lsdjax.stream.state import Seal, StreamState

SLOTS = 3


@pytest.fixture
def state() -> StreamState:
    """Slots 0 and 2 hold frames 4 and 3; slot 1 is empty."""
    rng = np.random.default_rng(0)
    stores = rng.standard_normal((2, 2, 1, SLOTS, 6, 2, 16), np.float32)
    stores[:, :, :, 1] = 0.0
    keys, values = jnp.asarray(stores)
    previous = jnp.asarray(rng.uniform(-1, 1, (1, 1, 8, 8, 12)), jnp.float32)
    cache = KVCache(keys, values, jnp.array([4, -1, 3], jnp.int32), jnp.int32(5))
    slots = jnp.stack([seal_slot(keys[:, :, slot], values[:, :, slot]) for slot in range(SLOTS)])
    return StreamState(cache, previous, Seal(slots, seal_picture(previous)))


def find(state: StreamState, anchor: bool = False) -> tuple[StreamState, list[bool], bool]:
    mended, whole, kept = jax.jit(mend)(state, np.bool_(anchor))
    return mended, np.asarray(whole).tolist(), bool(kept)


def with_keys(state: StreamState, keys: jax.Array) -> StreamState:
    return state._replace(cache=state.cache._replace(keys=keys))


def test_a_whole_state_stays_as_it_is(state: StreamState) -> None:
    mended, whole, kept = find(state)
    assert whole == [True] * SLOTS and kept
    jax.tree.map(np.testing.assert_array_equal, mended, state)


@pytest.mark.parametrize("fault", ["nan", "infinite", "noise", "zero", "swapped tokens"])
def test_a_broken_slot_is_dropped_and_no_other(state: StreamState, fault: str) -> None:
    keys = state.cache.keys
    rng = np.random.default_rng(1)
    broken = {
        "nan": keys.at[1, 0, 2, 3, 1, 5].set(jnp.nan),
        "infinite": keys.at[1, 0, 2, 3, 1, 5].set(jnp.inf),
        "noise": keys.at[:, :, 2].add(0.1 * rng.standard_normal((2, 1, 6, 2, 16), np.float32)),
        "zero": keys.at[1, 0, 2].set(0.0),
        "swapped tokens": keys.at[0, 0, 2].set(keys[0, 0, 2, ::-1]),
    }[fault]
    mended, whole, kept = find(with_keys(state, broken))
    assert whole == [True, True, False] and kept
    assert mended.cache.frames.tolist() == [4, -1, -1]
    np.testing.assert_array_equal(mended.cache.keys, broken)  # a ring is not copied to mend it
    assert find(mended)[1:] == ([True] * SLOTS, True)  # and is not found again


@pytest.mark.parametrize("fault", ["nan", "saturated", "noise"])
def test_a_broken_output_is_dropped_alone(state: StreamState, fault: str) -> None:
    noise = np.random.default_rng(1).standard_normal((1, 1, 8, 8, 12), np.float32)
    broken = {
        "nan": state.previous.at[0, 0, 0, 0, 0].set(jnp.nan),
        "saturated": jnp.ones_like(state.previous),
        "noise": jnp.clip(state.previous + 0.1 * noise, -1, 1),
    }[fault]
    mended, whole, kept = find(state._replace(previous=broken))
    assert whole == [True] * SLOTS and not kept
    assert not mended.previous.any()
    assert find(mended)[1:] == ([True] * SLOTS, True)


def test_what_was_written_broken_is_dropped_too(state: StreamState) -> None:
    previous = state.previous.at[0, 0, 0, 0, 0].set(jnp.nan)
    seal = state.seal._replace(previous=seal_picture(previous))
    assert not find(state._replace(previous=previous, seal=seal))[2]


def test_an_anchor_drops_everything(state: StreamState) -> None:
    mended, whole, kept = find(state, anchor=True)
    assert whole == [False] * SLOTS and not kept
    assert mended.cache.frames.tolist() == [-1] * SLOTS and mended.cache.length == 5


def test_rounding_breaks_no_seal() -> None:
    """A picture of one colour, where all rounding goes the same way, in another order of sums."""
    picture = jnp.full((1, 1, 64, 64, 12), 0.7, jnp.float32)
    mark = np.asarray(seal_picture(picture), np.float64)
    assert abs(mark[0] - float(np.float32(0.7))) < 0.1 * mark[1]


def test_looks_of_known_pictures() -> None:
    plain = jnp.broadcast_to(jnp.array([0.2, 0.5, 0.6], jnp.float32), (16, 24, 3))
    expected = [0.2, 0.5, 0.6, 0, 0, 0, 0.4, 0]
    np.testing.assert_allclose(describe(plain), expected, atol=1e-3)
    checks = (np.indices((18, 26)) // 2).sum(axis=0) % 2  # 8 x 12 of them are looked at
    grey = jnp.asarray(np.repeat(checks[:, :, None], 3, axis=2), jnp.float32)
    np.testing.assert_allclose(describe(grey), [0.5] * 6 + [0, 2], atol=1e-3)
