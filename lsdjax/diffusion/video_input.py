"""How a video becomes the start of denoising: noised as far as it moves."""

import jax
import jax.numpy as jnp

from lsdjax.diffusion.schedule import add_noise

BASE_LEVEL = 0.8
_FULL_MOTION, _RELIEF, _INERTIA, _MARGIN = 0.2, 0.1, 0.1, 0.1


def motion_level(frames: jax.Array, last: jax.Array, level: jax.Array, base: float) -> jax.Array:
    """The noise level of a stretch of input: lower where it moves, so that it keeps up.

    d = clip(max_t rms(x_t - x_{t-1}) / 0.2, 0, 1);  s <- 0.9 (base - 0.1 d) + 0.1 s

    [StreamDiffusionV2, Feng et al. 2025.] Shapes: frames (t, height, width, 3) in [-1, 1], last
    (height, width, 3) the frame before them, level () that of the stretch before.
    """
    before = jnp.concatenate([last[None], frames[:-1]])
    rms = jnp.sqrt(jnp.mean((frames - before) ** 2, axis=(1, 2, 3)))
    motion = jnp.clip(jnp.max(rms) / _FULL_MOTION, 0.0, 1.0)
    return (1 - _INERTIA) * (base - _RELIEF * motion) + _INERTIA * level


def noised_input(
    inputs: jax.Array, noise: jax.Array, level: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What denoising starts from, and the level () that it is declared to be at.

    The declared level is 0.1 below the true one, as StreamDiffusionV2 has it: so the model takes
    some of the noise for detail, and does not smooth the input.
    """
    start = add_noise(inputs, noise, jnp.full(inputs.shape[:2], level, jnp.float32))
    return start, jnp.maximum(level - _MARGIN, 0.0)
