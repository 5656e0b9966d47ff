"""What a group's frames are for: to learn from the truth, or from a teacher."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.configs import MATCHING, Stage, TrainConfig
from lsdjax.diffusion.forcing import OBJECTIVES, balanced, draw_levels, with_report
from lsdjax.diffusion.matching import matching_loss
from lsdjax.diffusion.schedule import add_noise
from lsdjax.diffusion.shortcut import (
    DISTILLATIONS,
    Predictor,
    Predictors,
    distillation_loss,
    draw_steps,
)
from lsdjax.model.config import ModelConfig
from lsdjax.train.following import following_loss

# (noisy (b, t, ...), noise_level (b, t), step_size (b, t)) -> sample, features before the head
Sighted = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


class Guides(NamedTuple):
    """Parameters of models that a student learns from, and that learn nothing themselves.

    mean: the running mean of the student's own; teacher: of another model, of a config of its own.
    """

    mean: Any
    teacher: Any


class Sizes(NamedTuple):
    """The configs of a student and its teacher, for the pictures of a stage."""

    student: ModelConfig
    teacher: ModelConfig | None


class Lesson(NamedTuple):
    """The frames of a group, all of whose models are told the same.

    targets, noise: (b, t, h, w, ch). ambiguous (b, t): 1 where many pictures answer what a frame is
    told. student: what learns. guide: another model, of a config and parameters.
    """

    key: jax.Array
    targets: jax.Array
    noise: jax.Array
    ambiguous: jax.Array
    student: Sighted
    guide: Callable[[ModelConfig, Any], Sighted]

    @property
    def shape(self) -> tuple[int, int]:
        """Clips, frames."""
        clips, frames = self.ambiguous.shape
        return clips, frames


class Learned(NamedTuple):
    """loss (); squared_error () at pure noise; prediction (b, t, ...), made at levels (b, t)."""

    loss: jax.Array
    squared_error: jax.Array
    prediction: jax.Array
    level: jax.Array


def learn(
    config: TrainConfig,
    stage: Stage,
    lesson: Lesson,
    params: Any,
    guides: Guides | None,
    sizes: Sizes,
) -> Learned:
    """The loss of a lesson under the objective of `config`."""
    if not config.distils:
        return _force(config, stage, lesson, guides, sizes)
    assert guides is not None
    if config.objective == MATCHING:
        return _match(config, lesson, params, guides, sizes)
    return _distil(config, lesson, guides, sizes)


def _force(
    config: TrainConfig, stage: Stage, lesson: Lesson, guides: Guides | None, sizes: Sizes
) -> Learned:
    """From the truth; where there is a teacher, from that as well."""
    level = draw_levels(lesson.key, lesson.shape, stage.pure_share)
    finest, put_out = jnp.zeros_like(level), []

    def student(x: jax.Array, level: jax.Array) -> jax.Array:
        sample, features = lesson.student(x, level, finest)
        put_out.append(features)
        return sample

    found = OBJECTIVES[config.objective](student, lesson.targets, lesson.noise, level)
    weighted = found.weighted
    if guides is not None and sizes.teacher is not None:
        x = add_noise(lesson.targets, lesson.noise, level)
        leading = lesson.guide(sizes.teacher, guides.teacher)(x, level, finest)
        weighted += following_loss((found.prediction, put_out[-1]), leading, level, config)
    loss = balanced(weighted, config.balance_floor)
    return Learned(loss, found.squared_error, found.prediction, level)


def _sample_of(see: Sighted) -> Predictor:
    return lambda x, level, step_size: see(x, level, step_size)[0]


def _distil(config: TrainConfig, lesson: Lesson, guides: Guides, sizes: Sizes) -> Learned:
    assert sizes.teacher is not None
    models = Predictors(
        student=_sample_of(lesson.student),
        mean=_sample_of(lesson.guide(sizes.student, guides.mean)),
        teacher=_sample_of(lesson.guide(sizes.teacher, guides.teacher)),
        shift=sizes.teacher.noise_shift,
        teacher_steps=config.teacher_steps,
    )
    level, step_size = draw_steps(lesson.key, lesson.shape)
    found = distillation_loss(
        DISTILLATIONS[config.objective],
        models,
        lesson.targets,
        lesson.noise,
        lesson.ambiguous,
        level,
        step_size,
    )
    loss = balanced(found.weighted, config.balance_floor)
    return Learned(loss, found.squared_error, found.prediction, level)


def _match(
    config: TrainConfig, lesson: Lesson, params: Any, guides: Guides, sizes: Sizes
) -> Learned:
    assert sizes.teacher is not None
    found = matching_loss(
        lesson.key,
        _sample_of(lesson.student),
        _sample_of(lesson.guide(sizes.student, params["critic"])),
        _sample_of(lesson.guide(sizes.teacher, guides.teacher)),
        lesson.targets,
        lesson.noise,
        lesson.ambiguous,
        config.model.steps,
    )
    learned = balanced(found.truer, config.balance_floor)
    learned += balanced(found.critic, config.balance_floor)
    error = with_report(found.likelier, found.shown, lesson.targets, found.level).squared_error
    return Learned(learned + found.likelier, error, found.shown, found.level)
