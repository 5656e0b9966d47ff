"""Diffusion forcing: each frame of a sequence has a noise level of its own (Chen et al. 2024).

Objectives take a callable denoiser, so that they can be tested against an analytic one.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.core.errors import UserError
from lsdjax.core.registry import Registry, blame
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
    error = per_frame((prediction - sample) ** 2)
    weighted = jnp.mean(error / jnp.maximum(noise_level, WEIGHT_FLOOR))
    return with_report(weighted, prediction, sample, noise_level)


def per_frame(error: jax.Array) -> jax.Array:
    """The mean of each frame, (b, t, ...) -> (b, t)."""
    return jnp.mean(error, axis=tuple(range(2, error.ndim)))


def with_report(
    weighted: jax.Array, prediction: jax.Array, sample: jax.Array, noise_level: jax.Array
) -> ForcingLoss:
    """An objective's value () and what is reported beside it, whatever the objective."""
    error = per_frame((prediction - sample) ** 2)
    pure = (noise_level >= 1).astype(error.dtype)
    at_pure = jnp.sum(error * pure) / jnp.maximum(jnp.sum(pure), 1.0)
    return ForcingLoss(weighted, at_pure, prediction)


# (denoise, sample (b, t, ...), noise (b, t, ...), noise_level (b, t)) -> losses
Objective = Callable[[SampleDenoiser, jax.Array, jax.Array, jax.Array], ForcingLoss]

OBJECTIVES: Registry[Objective] = Registry("objective", {"forcing": forcing_loss})


def register_objective(name: str, objective: Objective) -> None:
    """Make `objective` known as `TrainConfig.objective` and as `--objective`.

    Its value is at least 0 and about a square error where it is small: `balanced` divides by its
    root.

    Raises:
        UserError: the name is taken, or it does not take or return what `forcing_loss` does.
    """
    sample = jax.ShapeDtypeStruct((1, 2, 4, 4, 3), jnp.float32)
    level = jax.ShapeDtypeStruct((1, 2), jnp.float32)
    with blame(f"objective {name!r}"):
        losses = jax.eval_shape(
            lambda *drawn: objective(lambda noisy, _: noisy, *drawn), sample, sample, level
        )
        if not isinstance(losses, ForcingLoss):
            raise UserError(f"{type(losses).__name__} returned; a ForcingLoss is expected")
        if losses.weighted.shape or losses.weighted.dtype != jnp.float32:
            found = f"{losses.weighted.dtype} {losses.weighted.shape}"
            raise UserError(f"weighted is {found}; float32 () is expected")
    OBJECTIVES.register(name, objective)


def balanced(loss: jax.Array, floor: float) -> jax.Array:
    """loss / stop_gradient(sqrt(loss + floor)): has twice the gradient of the root of `loss`.

    A mean square error lets the hard styles drown the easy ones, its logarithm the easy ones the
    hard ones (measured: after 200 steps the strong looks had hardly moved); the root gives every
    style a gradient of the same size.
    """
    return loss / jax.lax.stop_gradient(jnp.sqrt(loss + floor))
