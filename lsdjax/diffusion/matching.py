"""Distribution matching: what a student shows is moved to where its teacher finds it likelier.

Yin et al. 2024 (DMD), in the form that Self-Forcing streams with (Huang et al. 2025).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.diffusion.forcing import WEIGHT_FLOOR, per_frame
from lsdjax.diffusion.schedule import add_noise, expand, velocity_from_sample
from lsdjax.diffusion.shortcut import Predictor


class MatchingLoss(NamedTuple):
    """What a student and its critic lose, each (), and what the student showed.

    likelier: where many pictures are right, moves what is shown; truer: elsewhere, the square
    error; critic: of the model that learns what is shown. shown (b, t, ...): the student's samples,
    made at noise levels level (b, t).
    """

    likelier: jax.Array
    truer: jax.Array
    critic: jax.Array
    shown: jax.Array
    level: jax.Array


def show(
    key: jax.Array, student: Predictor, noise: jax.Array, steps: int
) -> tuple[jax.Array, jax.Array]:
    """A student's samples at a random one of its steps, and the level (b, t) of that step.

    It takes the steps before by itself, and no gradient passes through them. noise (b, t, ...); all
    frames of a clip are at the same step.
    """
    b, t = noise.shape[:2]
    exit_step = jax.random.randint(key, (b, 1), 0, steps)
    size = jnp.full((b, t), 1 / steps)
    x, level = noise, jnp.ones((b, t))
    for number in range(1, steps):
        velocity = velocity_from_sample(x, student(x, level, size), level)
        further = jnp.broadcast_to(number <= exit_step, (b, t))
        x = jnp.where(expand(further, x) > 0, x - expand(size, x) * velocity, x)
        level = jnp.where(further, level - size, level)
    return student(jax.lax.stop_gradient(x), level, size), level


def matching_loss(
    key: jax.Array,
    student: Predictor,
    critic: Predictor,
    teacher: Predictor,
    sample: jax.Array,
    noise: jax.Array,
    ambiguous: jax.Array,
    steps: int,
) -> MatchingLoss:
    """1/2 |X - sg(X - g)|^2 with g = (fake - real) / mean |X - real|, and what the critic loses.

    X is what the student shows; real and fake are what teacher and critic take a noised X for, the
    critic having learned X as a diffusion model of its own. Shapes: sample and noise (b, t, ...),
    ambiguous (b, t).
    """
    exit_key, level_key, noise_key = jax.random.split(key, 3)
    shown, level = show(exit_key, student, noise, steps)
    settled = jax.lax.stop_gradient(shown)
    again = jax.random.uniform(level_key, level.shape, minval=0.02, maxval=0.98)
    x = add_noise(settled, jax.random.normal(noise_key, shown.shape, shown.dtype), again)
    finest = jnp.zeros_like(again)
    fake, real = critic(x, again, finest), teacher(x, again, finest)
    scale = expand(per_frame(jnp.abs(settled - real)), x)
    change = (fake - real) / jnp.maximum(scale, 1e-3)
    wanted = jax.lax.stop_gradient(settled - change)
    likelier = 0.5 * per_frame((shown - wanted) ** 2)
    truer = per_frame((shown - sample) ** 2)
    critical = per_frame((fake - settled) ** 2) / jnp.maximum(again, WEIGHT_FLOOR)
    return MatchingLoss(
        jnp.mean(jnp.where(ambiguous > 0, likelier, 0.0)),
        jnp.mean(jnp.where(ambiguous > 0, 0.0, truer)),
        jnp.mean(jnp.where(ambiguous > 0, critical, 0.0)),
        shown,
        level,
    )
