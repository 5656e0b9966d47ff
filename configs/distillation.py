"""How a student learns large steps: the stages, whatever the model's sizes."""

import dataclasses
from collections.abc import Sequence

from lsdjax.configs.presets import HOLDOUT, SLOW_TO_LEARN
from lsdjax.configs.training import MATCHING, Stage, TrainConfig
from lsdjax.core.errors import UserError
from lsdjax.data.styles import TEACHERS
from lsdjax.diffusion.shortcut import DISTILLATIONS, FINEST, WALK
from lsdjax.model.config import ModelConfig

_CROP = 64
_AGAIN = (*SLOW_TO_LEARN, "fill_mask", "sharpen")


def distillation(
    model: ModelConfig,
    *,
    steps: int,
    objective: str,
    styles: Sequence[str] = (),
    input_drop: float = 0.15,
    teacher_steps: int | None = None,
) -> TrainConfig:
    """The recipe that makes `model` a shortcut model of `steps` steps a frame.

    styles: those that it knows, all where empty. input_drop: of the sequences, see `Stage`.
    teacher_steps: most steps in which the teacher walks a frame, of the objective "trajectory".

    Raises:
        UserError: `steps` is no power of two up to `FINEST`, `input_drop` no share, there is no
            such objective or style, or `teacher_steps` makes no sense.
    """
    if steps < 1 or steps > FINEST or FINEST % steps:
        raise UserError(f"{steps} steps; a power of two from 1 to {FINEST} is expected")
    known = [*DISTILLATIONS, MATCHING]
    if objective not in known:
        raise UserError(f"no distillation {objective!r}; one of {known} is expected")
    if unknown := [name for name in styles if name not in TEACHERS]:
        raise UserError(f"unknown styles {unknown}; known are {list(TEACHERS)}")
    if not 0 <= input_drop <= 1:
        raise UserError(f"drop={input_drop:g}; a share in [0, 1] is expected")
    if teacher_steps is not None and objective != "trajectory":
        raise UserError(
            f"teacher-steps={teacher_steps} with {objective!r}; 'trajectory' is expected"
        )
    finest = WALK * FINEST
    teacher_steps = finest if teacher_steps is None else teacher_steps
    if not steps <= teacher_steps <= finest:
        raise UserError(
            f"teacher-steps={teacher_steps}; from the student's {steps} to {finest} are expected"
        )
    again = tuple(name for name in _AGAIN if not styles or name in styles)
    crop = _CROP if min(model.height, model.width) > _CROP else 0
    return TrainConfig(
        # It is shown pasts from clean to hardly noised, and streams on the clean one: no draw of
        # noise a frame, and no picture worse for it.
        model=dataclasses.replace(
            model, shortcut=True, steps=steps, noise_shift=1.0, history_level=0.0
        ),
        stages=(
            Stage(
                "crops",
                steps=900,
                groups=10,
                prompts=32,
                crop=crop,
                learning_rate=(1e-3, 4e-4),
                warmup=50,
                fade=0.5,
                again=again,
            ),
            Stage(
                "rollout",
                steps=500,
                groups=10,
                clips=1,
                frames=5,
                prompts=32,
                crop=crop,
                learning_rate=(4e-4, 2e-5),
                input_drop=input_drop,
                history_max_level=0.08,
                history_drift=0.1,
                fade=0.5,
                own_history=1.0,
                own_depth=2,
                again=again,
            ),
        ),
        objective=objective,
        teacher_steps=teacher_steps,
        styles=tuple(styles),
        seed=2,
        holdout=HOLDOUT,
    )
