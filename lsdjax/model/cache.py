"""The KV cache: keys and values of the past frames that a policy keeps.

Pure functions over a pytree. Keys are stored without temporal rotation; a slot's age is computed
when it is read, so a stream may run to any frame index. The training mask comes from the same
`ages_at`, so that one rule decides what a frame sees in both.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from lsdjax.model.policy import CachePolicy


class CacheSizes(Protocol):
    """What of a model's config fixes the shape of its cache."""

    @property
    def depth(self) -> int: ...

    @property
    def slots(self) -> int: ...

    @property
    def tokens(self) -> int: ...

    @property
    def heads(self) -> int: ...

    @property
    def head_dim(self) -> int: ...


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


def init_cache(config: CacheSizes, batch: int, dtype: jnp.dtype) -> KVCache:
    """An empty cache."""
    shape = (config.depth, batch, config.slots, config.tokens, config.heads, config.head_dim)
    return KVCache(
        keys=jnp.zeros(shape, dtype),
        values=jnp.zeros(shape, dtype),
        frames=jnp.full((config.slots,), -1, jnp.int32),
        length=jnp.zeros((), jnp.int32),
    )


def ages_at(
    index: jax.Array, frames: jax.Array, policy: CachePolicy
) -> tuple[jax.Array, jax.Array]:
    """Age of each of `frames` for each frame of `index`, and whether it is seen.

    That is what the policy says, save that nothing of the future is seen and no empty slot.
    Shapes: index (t,), frames (slots,) -> two (t, slots).
    """
    ages, visible = jax.vmap(policy.sees, in_axes=(0, None))(index, frames)
    held = (frames >= 0)[None, :] & (frames[None, :] <= index[:, None])
    return ages, visible & held


def write(cache: KVCache, keys: jax.Array, values: jax.Array, policy: CachePolicy) -> KVCache:
    """Put one frame's keys and values (layers, b, n, heads, d) where the policy says."""
    length = cache.length
    slot = policy.slot(length)

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
