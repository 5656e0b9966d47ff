"""The few-step solver: straight Euler steps from pure noise to a clean sample."""

from collections.abc import Callable

import jax

from lsdjax.diffusion.schedule import velocity_from_sample

# (x, noise_level (b, t), step_size (b, t)) -> (predicted sample, anything else worth keeping)
type StepDenoiser[Kept] = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, Kept]]


def solve[Kept](
    denoise: StepDenoiser[Kept], noise: jax.Array, levels: jax.Array
) -> tuple[jax.Array, Kept]:
    """x_{s-d} = x_s - d * v(x_s, s), with v from the predicted sample, along `levels` (steps + 1,).

    Returns the sample and what the denoiser kept at the last step. noise is (b, t, ...).
    """
    shape = noise.shape[:2]

    def step(x: jax.Array, pair: tuple[jax.Array, jax.Array]):
        level, following = (jax.numpy.full(shape, value, x.dtype) for value in pair)
        sample, kept = denoise(x, level, level - following)
        velocity = velocity_from_sample(x, sample, level)
        return x - (pair[0] - pair[1]).astype(x.dtype) * velocity, kept

    # Unrolled: inside a loop XLA's CPU backend runs convolutions about ten times slower.
    x, kept = jax.lax.scan(step, noise, (levels[:-1], levels[1:]), unroll=True)
    return x, jax.tree.map(lambda leaf: leaf[-1], kept)
