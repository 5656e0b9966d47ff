"""The random numbers that a teacher's events and a stream's diffusion noise have in common."""

import jax
import jax.numpy as jnp

CELL = 2
"""Pixels a side of the square that shares one number of each channel: a latent position."""

CHANNELS = 3
"""The first latent channels; the others are noise alone."""


def event_noise(key: jax.Array, frame_index: jax.Array, t: int, h: int, w: int) -> jax.Array:
    """Normal numbers of t frames from frame_index (b,) on: (b, t, h / CELL, w / CELL, CHANNELS).

    h and w in pixels. The numbers of a frame depend on the key of its stream, the sample's place in
    the batch and the frame's index only: a teacher and a stream that were given the same key see
    the same events, however either is cut.
    """

    def sample(number: jax.Array, first: jax.Array) -> jax.Array:
        stream = jax.random.fold_in(key, number)
        shape = (h // CELL, w // CELL, CHANNELS)
        frames = first + jnp.arange(t, dtype=jnp.int32)
        return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(stream, i), shape))(frames)

    return jax.vmap(sample)(jnp.arange(len(frame_index), dtype=jnp.int32), frame_index)


def with_events(noise: jax.Array, events: jax.Array) -> jax.Array:
    """Diffusion noise (b, t, h, w, ch) whose first channels are `events` (b, t, h, w, CHANNELS).

    A coupling of noise and sample (Pooladian et al. 2023, "Multisample flow matching"): what is
    random in a target becomes a function of noise that the model sees, so that it can be drawn in
    one step. With independent noise the best one-step guess is the mean of all that could be.
    """
    return noise.at[..., :CHANNELS].set(events.astype(noise.dtype))
