"""Which form of history augmentation keeps a stream from drifting: the arms of the comparison."""

import dataclasses

from lsdjax.configs.training import Stage, TrainConfig
from lsdjax.model.config import ModelConfig

MODEL = ModelConfig(
    height=32,
    width=32,
    dim=96,
    depth=2,
    heads=3,
    channels=16,
    experts=1,
    text_dim=64,
    text_depth=1,
    window=4,
    sinks=2,
    history_level=0.1,
)
STAGE = Stage(
    "lights",
    steps=1200,
    groups=1,
    clips=16,
    frames=8,
    prompts=1,
    learning_rate=(2e-3, 1e-4),
    warmup=50,
    input_drop=1.0,
    history_max_level=0.0,
)


def _arm(*, model: dict | None = None, **stage: object) -> TrainConfig:
    return TrainConfig(
        model=dataclasses.replace(MODEL, **(model or {})),
        stages=(dataclasses.replace(STAGE, **stage),),
        styles=("original",),
        checkpoint_every=250,
        sample_every=1200,
    )


ARMS: dict[str, TrainConfig] = {
    "teacher forcing": _arm(model={"clean_pass": True, "history_level": 0.0}),
    "diffusion forcing": _arm(model={"history_level": 0.0}),
    "+ noised": _arm(history_max_level=0.5),
    "+ declared": _arm(history_max_level=0.5, history_declared=1.0, model={"history_noise": False}),
    "+ error bank": _arm(history_errors=0.9, model={"history_level": 0.0}),
    "+ self-rollout": _arm(rollout=8, model={"history_level": 0.0}),
    "+ synthetic drift": _arm(history_drift=0.9, model={"history_level": 0.0}),
    "all": _arm(
        history_max_level=0.5,
        history_declared=0.25,
        history_errors=0.5,
        history_drift=0.5,
        rollout=8,
    ),
}
"""Equal sizes and steps, clips and frames to learn from; what a stream declares of its past goes
with what it learned."""
