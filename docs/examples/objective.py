"""The pseudo-Huber loss of Song & Dhariwal 2024 (improved consistency training), for each pixel."""

import jax.numpy as jnp

from lsdjax.diffusion.forcing import WEIGHT_FLOOR, per_frame, register_objective, with_report
from lsdjax.diffusion.schedule import add_noise

C = 0.1  # errors are squared below it and count by their magnitude above; pixels are in [-1, 1]


def pseudo_huber(denoise, sample, noise, noise_level):
    """mean of 2 C^2 (sqrt(1 + (error / C)^2) - 1) / max(noise level, floor).

    Shapes: sample and noise (b, t, ...), noise_level (b, t).
    """
    prediction = denoise(add_noise(sample, noise, noise_level), noise_level)
    huber = 2 * C**2 * (jnp.sqrt(1 + ((prediction - sample) / C) ** 2) - 1)
    weighted = jnp.mean(per_frame(huber) / jnp.maximum(noise_level, WEIGHT_FLOOR))
    return with_report(weighted, prediction, sample, noise_level)


register_objective("pseudo_huber", pseudo_huber)
