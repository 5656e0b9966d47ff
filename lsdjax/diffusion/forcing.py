"""Diffusion forcing: each frame of a sequence has a noise level of its own (Chen et al. 2024).

Objectives take a callable denoiser, so that they can be tested against an analytic one.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.diffusion.schedule import add_noise

# (noisy (b, t, ...), noise_level (b, t)) -> predicted sample (b, t, ...)
SampleDenoiser = Callable[[jax.Array, jax.Array], jax.Array]

WEIGHT_FLOOR = 0.25


class ForcingLoss(NamedTuple):
    """What a group of clips loses.

    weighted (): the objective; squared_error (): mean square error at pure noise, to report;
    prediction (b, t, ...): the predicted samples.
    """

    weighted: jax.Array
    squared_error: jax.Array
    prediction: jax.Array


def draw_levels(key: jax.Array, shape: tuple[int, int], pure_share: float) -> jax.Array:
    """Independent levels (b, t): 1 with probability `pure_share`, else uniform on (0, 1)."""
    pure_key, level_key = jax.random.split(key)
    level = jax.random.uniform(level_key, shape, minval=0.02, maxval=1.0)
    return jnp.where(jax.random.bernoulli(pure_key, pure_share, shape), 1.0, level)


def forcing_loss(
    denoise: SampleDenoiser, sample: jax.Array, noise: jax.Array, noise_level: jax.Array
) -> ForcingLoss:
    """mean over frames of |prediction - sample|^2 / max(s, 0.25).

    x-prediction with a bounded weight: the error at low noise, where the task is easy, counts up to
    four times. Shapes: sample and noise (b, t, ...), noise_level (b, t).
    """
    prediction = denoise(add_noise(sample, noise, noise_level), noise_level)
    error = jnp.mean((prediction - sample) ** 2, axis=tuple(range(2, sample.ndim)))
    pure = (noise_level >= 1).astype(error.dtype)
    at_pure = jnp.sum(error * pure) / jnp.maximum(jnp.sum(pure), 1.0)
    weighted = jnp.mean(error / jnp.maximum(noise_level, WEIGHT_FLOOR))
    return ForcingLoss(weighted, at_pure, prediction)


def balanced(loss: jax.Array, floor: float) -> jax.Array:
    """loss / stop_gradient(sqrt(loss + floor)): has twice the gradient of the root of `loss`.

    A mean square error lets the hard styles drown the easy ones, its logarithm the easy ones the
    hard ones (measured: after 200 steps the strong looks had hardly moved); the root gives every
    style a gradient of the same size.
    """
    return loss / jax.lax.stop_gradient(jnp.sqrt(loss + floor))
