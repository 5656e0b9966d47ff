"""The one convention of noise: level 0 is clean, level 1 is pure noise, in between a straight line.

x = (1 - noise_level) * sample + noise_level * noise;  velocity = noise - sample.
"""

import jax
import jax.numpy as jnp


def expand(level: jax.Array, like: jax.Array) -> jax.Array:
    """A level per frame, (b, t), made to multiply `like` (b, t, ...)."""
    return level.reshape(*level.shape, *[1] * (like.ndim - level.ndim)).astype(like.dtype)


def add_noise(sample: jax.Array, noise: jax.Array, noise_level: jax.Array) -> jax.Array:
    """x = (1 - s) * sample + s * noise; sample and noise (b, t, ...), noise_level (b, t)."""
    level = expand(noise_level, sample)
    return (1 - level) * sample + level * noise


def velocity_from_sample(x: jax.Array, sample: jax.Array, noise_level: jax.Array) -> jax.Array:
    """v = (x - sample) / s, where s > 0."""
    return (x - sample) / jnp.maximum(expand(noise_level, x), 1e-4)


def sample_from_velocity(x: jax.Array, velocity: jax.Array, noise_level: jax.Array) -> jax.Array:
    """sample = x - s * v."""
    return x - expand(noise_level, x) * velocity


def warp(u: jax.Array, shift: float) -> jax.Array:
    """s = shift * u / (1 + (shift - 1) * u): more steps at high noise when shift > 1.

    Esser et al. 2024.
    """
    return shift * u / (1 + (shift - 1) * u)


def unwarp(s: jax.Array, shift: float) -> jax.Array:
    """The u of which `warp` makes s."""
    return s / (shift - (shift - 1) * s)


def step_levels(steps: int, shift: float = 1.0) -> jax.Array:
    """Noise levels 1 = s_0 > s_1 > ... > s_steps = 0 of a sampler: (steps + 1,)."""
    return warp(jnp.linspace(1.0, 0.0, steps + 1), shift)
