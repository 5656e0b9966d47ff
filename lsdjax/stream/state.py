"""What one stream carries from frame to frame."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.codec import PixelCodec
from lsdjax.model.cache import KVCache, init_cache
from lsdjax.model.config import ModelConfig


class Seal(NamedTuple):
    """Weighted means of what a step wrote, and how far rounding may move each.

    slots: (slots, parts, 2), a slot's keys and its values of every layer; previous: (2,).
    """

    slots: jax.Array
    previous: jax.Array


class StreamState(NamedTuple):
    """cache: the KV ring; previous (1, 1, h, w, ch): the latent of the last output; their seal."""

    cache: KVCache
    previous: jax.Array
    seal: Seal


def init_stream(config: ModelConfig) -> StreamState:
    """The state before the first frame; its seal is that of zeros."""
    codec = PixelCodec()
    h, w = config.height // codec.factor, config.width // codec.factor
    return StreamState(
        cache=init_cache(config, batch=1, dtype=jnp.dtype(jnp.float32)),
        previous=jnp.zeros((1, 1, h, w, codec.channels), jnp.float32),
        seal=Seal(
            slots=jnp.zeros((config.slots, 2 * config.depth, 2), jnp.float32),
            previous=jnp.zeros((2,), jnp.float32),
        ),
    )
