"""What one stream carries from frame to frame."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.codec import PixelCodec
from lsdjax.model.cache import KVCache, init_cache
from lsdjax.model.config import ModelConfig


class StreamState(NamedTuple):
    """cache: the KV ring; previous (1, 1, h, w, ch): the latent of the last output."""

    cache: KVCache
    previous: jax.Array


def init_stream(config: ModelConfig) -> StreamState:
    """The state before the first frame."""
    codec = PixelCodec()
    h, w = config.height // codec.factor, config.width // codec.factor
    return StreamState(
        cache=init_cache(config, batch=1, dtype=jnp.dtype(jnp.float32)),
        previous=jnp.zeros((1, 1, h, w, codec.channels), jnp.float32),
    )
