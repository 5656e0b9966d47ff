"""The sampler of models distilled to a few steps: predict the sample, noise it again, go on."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lsdjax.diffusion.schedule import add_noise, sample_from_velocity

# (x (b, t, ...), noise_level (b, t)) -> (velocity, anything else worth keeping)
type VelocityDenoiser[Kept] = Callable[[jax.Array, jax.Array], tuple[jax.Array, Kept]]


def solve_renoising[Kept](
    denoise: VelocityDenoiser[Kept], start: jax.Array, levels: jax.Array, noise: jax.Array
) -> tuple[jax.Array, Kept]:
    """sample = x - s v(x, s);  x' = (1 - s') sample + s' noise, along `levels` (steps,).

    Each step has noise of its own, (steps - 1, b, t, ...) (Self-Forcing, Huang et al. 2025). The
    last sample is the result; with it comes what the denoiser kept there.
    """
    x, shape = start, start.shape[:2]
    for i in range(len(levels)):
        level = jnp.full(shape, levels[i], jnp.float32)
        velocity, kept = denoise(x, level)
        sample = sample_from_velocity(x, velocity, level)
        if i + 1 < len(levels):
            x = add_noise(sample, noise[i], jnp.full(shape, levels[i + 1], jnp.float32))
    return sample, kept  # type: ignore[possibly-undefined]  # there is at least one level
