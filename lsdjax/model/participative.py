"""Participative compression: of the frames let go, the tokens that take part most are kept.

Deep Forcing (2025) ranks the tokens of the middle of the window by what recent queries make of
them, layer by layer, and keeps the best. As the sum over queries is linear, the queries' sum is all
that is needed of them.
"""

import jax
import jax.numpy as jnp

from lsdjax.model.cache import KVCache
from lsdjax.model.policy import CachePolicy
from lsdjax.model.wan_layers import rotate_time


def absorb(
    cache: KVCache, slot: jax.Array, queries: jax.Array, ages: jax.Array, policy: CachePolicy
) -> KVCache:
    """The cache before `slot` is written over: the best of its tokens among the mixed ones.

    score_j = sum_heads (sum_i q_i) . R(-age_j) k_j;  the places of empty slots are given first.

    slot () int32; queries (layers, b, heads, d), the sum of the recent ones, turned; ages (slots,)
    of the cache's slots. An empty `slot` changes nothing.
    """
    whole, mixed = policy.slots, policy.compressed
    layers, b, _, n, heads, d = cache.keys.shape
    held = cache.frames[whole:] >= 0

    def candidates(store: jax.Array) -> jax.Array:
        """(layers, b, (mixed + 1) * n, heads, d): the tokens that there are, and those let go."""
        leaving = jax.lax.dynamic_index_in_dim(store, slot, axis=2)
        both = jnp.concatenate([store[:, :, whole:], leaving], axis=2)
        return both.reshape(layers, b, (mixed + 1) * n, heads, d)

    keys, values = candidates(cache.keys), candidates(cache.values)
    place = jnp.concatenate([ages[whole:], ages[slot][None]])
    turned = rotate_time(keys.reshape(layers * b, mixed + 1, n, heads, d), -place)
    scores = jnp.einsum(
        "lbhd,lbmhd->lbm",
        queries.astype(jnp.float32),
        turned.reshape(keys.shape).astype(jnp.float32),
    )
    there = jnp.repeat(jnp.append(held, True), n)
    scores = jnp.where(there[None, None], scores, -jnp.inf)
    _, best = jax.lax.top_k(scores, mixed * n)
    leaves = cache.frames[slot] >= 0

    def keep(store: jax.Array, tokens: jax.Array) -> jax.Array:
        chosen = jnp.take_along_axis(tokens, best[..., None, None], axis=2)
        chosen = chosen.reshape(layers, b, mixed, n, heads, d)
        return store.at[:, :, whole:].set(jnp.where(leaves, chosen, store[:, :, whole:]))

    count = jnp.sum(held) + leaves.astype(jnp.int32)
    frames = jnp.where(jnp.arange(mixed) < count, 0, -1).astype(cache.frames.dtype)
    return cache._replace(
        keys=keep(cache.keys, keys),
        values=keep(cache.values, values),
        frames=cache.frames.at[whole:].set(frames),
    )
