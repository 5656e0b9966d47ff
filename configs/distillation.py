"""How a student learns large steps: the stages, whatever the model's sizes."""

import dataclasses

from lsdjax.configs.presets import HOLDOUT
from lsdjax.configs.training import MATCHING, Stage, TrainConfig
from lsdjax.core.errors import UserError
from lsdjax.diffusion.shortcut import DISTILLATIONS, FINEST
from lsdjax.model.config import ModelConfig

_CROP = 64
_AGAIN = ("colourise", "sharpen", "fill_mask", "snow")


def distillation(model: ModelConfig, *, steps: int, objective: str) -> TrainConfig:
    """The recipe that makes `model` a shortcut model of `steps` steps a frame.

    Raises:
        UserError: `steps` is no power of two up to `FINEST`, or there is no such objective.
    """
    if steps < 1 or steps > FINEST or FINEST % steps:
        raise UserError(f"{steps} steps; a power of two from 1 to {FINEST} is expected")
    known = [*DISTILLATIONS, MATCHING]
    if objective not in known:
        raise UserError(f"no distillation {objective!r}; one of {known} is expected")
    crop = _CROP if min(model.height, model.width) > _CROP else 0
    return TrainConfig(
        model=dataclasses.replace(model, shortcut=True, steps=steps, noise_shift=1.0),
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
                again=_AGAIN,
            ),
            Stage(
                "rollout",
                steps=500,
                groups=10,
                clips=1,
                frames=4,
                prompts=32,
                crop=crop,
                learning_rate=(4e-4, 2e-5),
                fade=0.5,
                own_history=0.8,
                own_depth=2,
                again=_AGAIN,
            ),
        ),
        objective=objective,
        seed=2,
        holdout=HOLDOUT,
    )
