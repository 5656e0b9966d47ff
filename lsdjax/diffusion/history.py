"""History augmentation: corrupt what a frame is told of the past, and tell it how much."""

import jax
import jax.numpy as jnp

from lsdjax.diffusion.schedule import add_noise


def noisy_history(
    key: jax.Array, previous: jax.Array, present: jax.Array, *, max_level: float, drop: float
) -> tuple[jax.Array, jax.Array]:
    """Noise the previous output to a level ~ U[0, max_level], or drop it.

    A model trained so trusts its own past only as far as the declared level allows (Self-Forcing's
    `aug_t`). Shapes: previous (b, t, ...), present (b, t) -> the same and its level (b, t), 1 where
    there is nothing.
    """
    level_key, noise_key, drop_key = jax.random.split(key, 3)
    level = jax.random.uniform(level_key, present.shape, maxval=max_level)
    dropped = jax.random.bernoulli(drop_key, drop, present.shape[:1])[:, None]
    level = jnp.where((present > 0) & ~dropped, level, 1.0)
    noise = jax.random.normal(noise_key, previous.shape, previous.dtype)
    return add_noise(previous, noise, level), level
