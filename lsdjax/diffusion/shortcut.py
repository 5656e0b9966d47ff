"""Distillation: what a student that takes large steps learns from a model that takes small ones.

A student is told its step size d, and at level s predicts the sample X of which one Euler step,
x_{s-d} = x_s - d (x_s - X) / s, lands where many small steps would. Each objective differs in who
walks the small steps. What an input determines needs nobody to walk: there, the target is the truth
at every step size.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.diffusion.forcing import WEIGHT_FLOOR, ForcingLoss, per_frame, with_report
from lsdjax.diffusion.schedule import add_noise, expand, unwarp, velocity_from_sample, warp

FINEST = 16
"""Most steps a frame that a student can be asked for; it learns these, half of them, ..., one."""
WALK = 4
"""Most steps in which a teacher walks a student's one."""
_LIMIT = 4.0

# (noisy (b, t, ...), noise_level (b, t), step_size (b, t)) -> predicted sample (b, t, ...)
Predictor = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class Predictors(NamedTuple):
    """student: what learns; mean: the running mean of its parameters; teacher. All see the same.

    shift: how the teacher's sampler warps its noise levels, see `warp`.
    teacher_steps: most steps in which the teacher walks a frame, if a step of the student's is
        walked in no less than one.
    """

    student: Predictor
    mean: Predictor
    teacher: Predictor
    shift: float = 1.0
    teacher_steps: int = WALK * FINEST


def draw_steps(key: jax.Array, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Noise levels and step sizes (b, t) on the grid that a sampler can meet.

    d = 2^-i for i uniform in 0..log2 FINEST, and s a uniform multiple of d (Frans et al. 2024); for
    every frame its own (Chen et al. 2024).
    """
    size_key, level_key = jax.random.split(key)
    halvings = jax.random.randint(size_key, shape, 0, FINEST.bit_length())
    step_size = 0.5 ** halvings.astype(jnp.float32)
    count = (jnp.round(1 / step_size)).astype(jnp.int32)
    level = step_size * (1 + jax.random.randint(level_key, shape, 0, count)).astype(jnp.float32)
    return level, step_size


def walk(
    predict: Predictor,
    x: jax.Array,
    level: jax.Array,
    step_size: jax.Array,
    count: int,
    shift: float = 1.0,
    at_most: jax.Array | float = jnp.inf,
) -> jax.Array:
    """The sample X whose one Euler step of `step_size` lands where `count` smaller ones do.

    Or `at_most` (b, t), where those are fewer.

    X = x_s - s v, with v the mean of the small steps' velocities. They are spaced as those of a
    sampler with noise levels warped by `shift`; at 1 they are equal, and two of a model that is
    told their size make the bootstrap target of Frans et al. 2024, eq. 5. No gradient passes.
    Shapes: x (b, t, ...), level and step_size (b, t).
    """
    first, last = unwarp(level, shift), unwarp(level - step_size, shift)
    needed = jnp.broadcast_to(jnp.minimum(count, at_most), level.shape)
    at, here = level, x
    for number in range(1, count + 1):
        walking = number <= needed
        following = warp(first + (last - first) * jnp.minimum(number / needed, 1.0), shift)
        # Who has arrived is asked for something that a model can be asked, and stays.
        asked = jnp.where(walking, at, level)
        size = jnp.where(walking, at - following, step_size)
        velocity = velocity_from_sample(here, predict(here, asked, size), asked)
        moved = jnp.clip(here - expand(size, here) * velocity, -_LIMIT, _LIMIT)
        here = jnp.where(expand(walking, here), moved, here)
        at = jnp.where(walking, following, at)
    mean_velocity = (x - here) / expand(step_size, x)
    return jax.lax.stop_gradient(x - expand(level, x) * mean_velocity)


def trajectory_target(
    models: Predictors, x: jax.Array, velocity: jax.Array, level: jax.Array, step_size: jax.Array
) -> jax.Array:
    """Every step follows `WALK` smaller ones of the teacher, spaced as its own sampler's are.

    Or fewer, so that the steps of a frame are walked in `teacher_steps`: a teacher whose streams
    drift when it takes many is not followed there.
    """
    del velocity
    at_most = jnp.maximum(jnp.floor(models.teacher_steps * step_size), 1.0)
    return walk(models.teacher, x, level, step_size, WALK, models.shift, at_most)


def shortcut_target(
    models: Predictors, x: jax.Array, velocity: jax.Array, level: jax.Array, step_size: jax.Array
) -> jax.Array:
    """The smallest steps follow two of the teacher's, every other one two of the student's own."""
    del velocity
    taught = walk(models.teacher, x, level, step_size, 2, models.shift)
    own = walk(models.mean, x, level, step_size, 2)
    return jnp.where(expand(step_size, x) <= 1 / FINEST, taught, own)


def meanflow_target(
    models: Predictors, x: jax.Array, velocity: jax.Array, level: jax.Array, step_size: jax.Array
) -> jax.Array:
    """The mean velocity over [s - d, s]: u = v - d (v . grad_x u + du/ds + du/dd).

    Geng et al. 2025, MeanFlow, eq. 6. The end s - d stands still while s moves, so d moves with it.
    `velocity` is noise - sample: the loss takes its mean over the data.
    """

    def mean_velocity(x: jax.Array, level: jax.Array, step_size: jax.Array) -> jax.Array:
        return velocity_from_sample(x, models.mean(x, level, step_size), level)

    ones = jnp.ones_like(level)
    _, change = jax.jvp(mean_velocity, (x, level, step_size), (velocity, ones, ones))
    target = velocity - expand(step_size, x) * change
    return jax.lax.stop_gradient(x - expand(level, x) * target)


# (models, x_s (b, t, ...), noise - sample, s (b, t), d (b, t)) -> the sample to predict
Target = Callable[[Predictors, jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]

DISTILLATIONS: dict[str, Target] = {
    "trajectory": trajectory_target,
    "shortcut": shortcut_target,
    "meanflow": meanflow_target,
}


def distillation_loss(
    target: Target,
    models: Predictors,
    sample: jax.Array,
    noise: jax.Array,
    ambiguous: jax.Array,
    level: jax.Array,
    step_size: jax.Array,
) -> ForcingLoss:
    """mean over frames of |X - target|^2 / max(s, 0.25); the target is the truth where it can be.

    Shapes: sample and noise (b, t, ...); ambiguous, 1 where many pictures answer what a frame is
    told, level and step_size (b, t).
    """
    x = add_noise(sample, noise, level)
    wanted = target(models, x, noise - sample, level, step_size)
    wanted = jnp.where(expand(ambiguous, x) > 0, wanted, sample)
    prediction = models.student(x, level, step_size)
    error = per_frame((prediction - wanted) ** 2)
    weighted = jnp.mean(error / jnp.maximum(level, WEIGHT_FLOOR))
    return with_report(weighted, prediction, sample, level)
