"""A student that was cut out of a larger model follows it beside the truth, to recover."""

import jax
import jax.numpy as jnp

from lsdjax.configs import TrainConfig
from lsdjax.diffusion.forcing import WEIGHT_FLOOR, per_frame


def following_loss(
    student: tuple[jax.Array, jax.Array],
    teacher: tuple[jax.Array, jax.Array],
    noise_level: jax.Array,
    config: TrainConfig,
) -> jax.Array:
    """w mean |x - x'|^2 / max(s, 0.25) + u mean |a - a'|^2: what a teacher shows, where it acts.

    x, x' are the predictions from the same noisy frames; at one level their distance is that of the
    velocities. a is the attention map of the features f, mean_ch f^2 over its own mean (Zagoruyko &
    Komodakis 2017): it compares features however many there are. No gradient reaches the teacher.
    Shapes: predictions (b, t, h, w, ch), features (b, t, rows, columns, any), noise_level (b, t).
    """
    (sample, features), (followed, leading) = student, jax.lax.stop_gradient(teacher)

    def attention(features: jax.Array) -> jax.Array:
        energy = jnp.mean(features.astype(jnp.float32) ** 2, axis=-1)
        return energy / (jnp.mean(energy, axis=(2, 3), keepdims=True) + 1e-6)

    error = per_frame((sample - followed) ** 2) / jnp.maximum(noise_level, WEIGHT_FLOOR)
    apart = per_frame((attention(features) - attention(leading)) ** 2)
    return config.teacher_weight * jnp.mean(error) + config.feature_weight * jnp.mean(apart)
