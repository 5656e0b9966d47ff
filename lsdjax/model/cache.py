"""The KV ring: the last `window` frames plus `sinks` first frames that are never evicted.

Pure functions over a pytree. Keys are stored without temporal rotation; a slot's age is computed
when it is read, so a stream may run to any frame index. The training mask comes from the same
`ages_at`, so that one rule decides what a frame sees in both.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.model.config import ModelConfig


class KVCache(NamedTuple):
    """Keys and values of past frames.

    keys, values: (layers, b, slots, n, heads, d).
    frames: (slots,) int32, the frame index that each slot holds, -1 where it is empty.
    length: () int32, frames written so far, which is the index of the next frame.
    """

    keys: jax.Array
    values: jax.Array
    frames: jax.Array
    length: jax.Array


def init_cache(config: ModelConfig, batch: int, dtype: jnp.dtype) -> KVCache:
    """An empty ring."""
    shape = (config.depth, batch, config.slots, config.tokens, config.heads, config.head_dim)
    return KVCache(
        keys=jnp.zeros(shape, dtype),
        values=jnp.zeros(shape, dtype),
        frames=jnp.full((config.slots,), -1, jnp.int32),
        length=jnp.zeros((), jnp.int32),
    )


def ages_at(
    index: jax.Array, frames: jax.Array, window: int, sinks: int
) -> tuple[jax.Array, jax.Array]:
    """Age of each frame for the frame `index`, and whether it can be seen.

    Seen are the frame itself, the `window` frames before it and the first `sinks` frames; a sink
    older than the window keeps the age window + 1.
    Shapes: index (), frames (slots,) -> two (slots,).
    """
    age = index - frames
    visible = (frames >= 0) & (age >= 0) & ((age <= window) | (frames < sinks))
    return jnp.clip(age, 0, window + 1), visible


def write(cache: KVCache, keys: jax.Array, values: jax.Array, sinks: int) -> KVCache:
    """Put one frame's keys and values (layers, b, n, heads, d) into the oldest frame's slot."""
    slots = cache.frames.shape[0]
    length = cache.length
    slot = jnp.where(length < slots, length, sinks + (length - sinks) % (slots - sinks))

    def put(store: jax.Array, new: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(store, new.astype(store.dtype), slot, axis=2)

    return KVCache(
        keys=put(cache.keys, keys),
        values=put(cache.values, values),
        frames=cache.frames.at[slot].set(length),
        length=length + 1,
    )


def clear(cache: KVCache) -> KVCache:
    """Forget every frame: the next one is the first of a stream."""
    return cache._replace(
        frames=jnp.full_like(cache.frames, -1), length=jnp.zeros_like(cache.length)
    )
