"""How a video becomes the start of denoising: noised as far as it moves."""

import jax
import jax.numpy as jnp

from lsdjax.diffusion.schedule import add_noise

BASE_LEVEL = 0.8
_MARGIN = 0.1


def noised_input(
    inputs: jax.Array, noise: jax.Array, level: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What denoising starts from, and the level () that it is declared to be at.

    The declared level is 0.1 below the true one, as StreamDiffusionV2 has it: so the model takes
    some of the noise for detail, and does not smooth the input.
    """
    start = add_noise(inputs, noise, jnp.full(inputs.shape[:2], level, jnp.float32))
    return start, jnp.maximum(level - _MARGIN, 0.0)
