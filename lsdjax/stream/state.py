"""What one stream carries from frame to frame, and in which type."""

from typing import Any, NamedTuple

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


def usual_dtype() -> str:
    """What a model computes in where nobody says: "float32" on a CPU, "bfloat16" on the rest."""
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"


def hold_in(dtype: jnp.dtype, params: Any) -> Any:
    """Parameters as a stream holds them: matrices and kernels in `dtype`, vectors in float32."""
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype, copy=False) if leaf.ndim > 1 else leaf, params
    )


def cast(dtype: jnp.dtype, tree: Any) -> Any:
    """A tree of arrays with its floats in `dtype`."""
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def init_stream(config: ModelConfig, dtype: jnp.dtype) -> StreamState:
    """The state before the first frame; its seal is that of zeros.

    dtype: of the KV ring, in which the step then computes. The picture stays float32.
    """
    codec = PixelCodec()
    h, w = config.height // codec.factor, config.width // codec.factor
    return StreamState(
        cache=init_cache(config, batch=1, dtype=dtype),
        previous=jnp.zeros((1, 1, h, w, codec.channels), jnp.float32),
        seal=Seal(
            slots=jnp.zeros((config.slots, 2 * config.depth, 2), jnp.float32),
            previous=jnp.zeros((2,), jnp.float32),
        ),
    )
