"""Events: the sparse random impulses from which a style draws what the input does not determine."""

import jax
import jax.numpy as jnp

from lsdjax.core.noise import uniform

CELL = 2
"""Pixels a side of the square that shares one number of each channel: a latent position."""

_REFERENCE_HEIGHT = 128
_RATES = (1 / 128, 1 / 256, 1 / 512)
"""How often a cell holds an event, for each channel, at 128 px height; larger pictures, of more
cells, have as many events."""

CHANNELS = len(_RATES)


def draw_events(key: jax.Array, frame_index: jax.Array, t: int, h: int, w: int) -> jax.Array:
    """Events of t frames from frame_index (b,) on: 0 or 1, (b, t, h / CELL, w / CELL, CHANNELS).

    h and w in pixels. The events of a frame depend on the key of its stream, the sample's place in
    the batch and the frame's index only, so a teacher and a stream that were given the same key see
    the same ones, however either is cut. A model that is told them can place what is random (a new
    snowflake) in a single step, where without them its best guess is the mean of all that could be;
    compare the noise inputs of Karras et al. 2019.
    """
    rates = jnp.array(_RATES, jnp.float32) * (_REFERENCE_HEIGHT / h) ** 2
    shape = (h // CELL, w // CELL, CHANNELS)

    def sample(number: jax.Array, first: jax.Array) -> jax.Array:
        stream = jax.random.fold_in(key, number)

        def frame(index: jax.Array) -> jax.Array:
            drawn = uniform(jax.random.fold_in(stream, index), shape)
            return (drawn < rates[None, None, :]).astype(jnp.float32)

        return jax.vmap(frame)(first + jnp.arange(t, dtype=jnp.int32))

    return jax.vmap(sample)(jnp.arange(len(frame_index), dtype=jnp.int32), frame_index)
