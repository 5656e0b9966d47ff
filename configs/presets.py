"""The named recipes."""

from lsdjax.configs.training import Stage, TrainConfig
from lsdjax.configs.wan import WAN_RECIPES
from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig

# Whole recordings kept for evaluation: nothing of these scenes is ever trained on.
HOLDOUT = (
    "store-aisle-shoppers",
    "stream-of-water",
    "silent-film-street",
    "head-turning-woman",
    "conveyor-fruit-vegetables",
    "warehouse-worker-walking",
    "flower-opening-timelapse",
)

SLOW_TO_LEARN = (
    *(("snow",) * 6),
    *(("colourise",) * 3),
    "long_exposure",
    "motion_trails",
    "sharpen",
)
"""The turns that these styles need beyond one, for all of them to come out alike."""

LIVE_128 = TrainConfig(
    model=ModelConfig(noise_shift=10.0),
    stages=(
        Stage("text", steps=200, groups=0, prompts=192, learning_rate=(2e-3, 2e-3), warmup=50),
        Stage(
            "crops",
            steps=2100,
            groups=9,
            prompts=32,
            crop=64,
            learning_rate=(2e-3, 4.5e-4),
            warmup=60,
            pure_share=0.65,
        ),
        Stage(
            "rollout",
            steps=400,
            groups=9,
            clips=1,
            frames=4,
            prompts=32,
            crop=64,
            learning_rate=(4.5e-4, 1e-4),
            pure_share=0.65,
            own_history=0.5,
        ),
        Stage(
            "sequence",
            steps=60,
            clips=1,
            frames=5,
            prompts=32,
            learning_rate=(1e-4, 2e-5),
            own_history=0.5,
        ),
    ),
    holdout=HOLDOUT,
)

LIVE_128_FINISH = TrainConfig(
    model=LIVE_128.model,
    stages=(
        Stage(
            "crops",
            steps=1600,
            groups=9,
            prompts=32,
            crop=64,
            learning_rate=(1e-3, 4e-4),
            warmup=100,
            pure_share=0.65,
            fade=0.7,
            again=("snow", "fill_mask"),
        ),
        Stage(
            "rollout",
            steps=1800,
            groups=9,
            clips=1,
            frames=4,
            prompts=32,
            crop=64,
            learning_rate=(4e-4, 1e-4),
            pure_share=0.65,
            fade=0.5,
            own_history=0.8,
            own_depth=2,
            again=("snow", "fill_mask"),
        ),
        Stage(
            "sequence",
            steps=300,
            clips=1,
            frames=5,
            prompts=32,
            learning_rate=(1e-4, 1e-5),
            fade=0.5,
            own_history=0.8,
            own_depth=2,
            again=("snow", "fill_mask"),
        ),
        Stage(
            "deep rollout",
            steps=700,
            groups=9,
            clips=1,
            frames=5,
            prompts=32,
            crop=64,
            learning_rate=(3e-4, 3e-5),
            pure_share=0.65,
            fade=0.5,
            own_history=1.0,
            own_depth=3,
            again=("snow", "snow", "colourise", "fill_mask"),
        ),
        Stage(
            "clear past",
            steps=420,
            groups=9,
            clips=1,
            frames=5,
            prompts=32,
            crop=64,
            learning_rate=(3e-4, 2e-5),
            pure_share=0.65,
            history_max_level=0.08,
            fade=0.5,
            own_history=1.0,
            own_depth=2,
            again=("snow",) * 8,
        ),
    ),
    seed=1,
    holdout=HOLDOUT,
)
"""To go on from a checkpoint of `LIVE_128` (`--init`): its past is kept from fading."""

LIVE_128_ENDLESS = TrainConfig(
    model=LIVE_128.model,
    stages=(
        Stage(
            "endless",
            steps=1100,
            groups=10,
            clips=1,
            frames=5,
            prompts=32,
            crop=64,
            learning_rate=(5e-4, 2e-4),
            warmup=50,
            pure_share=0.4,
            input_drop=0.3,
            history_max_level=0.25,
            history_drift=0.5,
            fade=0.4,
            own_history=0.8,
            own_depth=2,
            again=("snow", "snow", "colourise", "sharpen", "fill_mask"),
        ),
        Stage(
            "whole frames",
            steps=250,
            clips=1,
            frames=5,
            prompts=32,
            learning_rate=(1e-4, 2e-5),
            pure_share=0.4,
            input_drop=0.2,
            history_max_level=0.25,
            history_drift=0.25,
            fade=0.5,
            own_history=0.8,
            own_depth=2,
            again=("snow", "snow", "fill_mask"),
        ),
        Stage(
            "clear past",
            steps=450,
            groups=10,
            clips=1,
            frames=5,
            prompts=32,
            crop=64,
            learning_rate=(3e-4, 2e-5),
            pure_share=0.5,
            input_drop=0.15,
            history_max_level=0.08,
            history_drift=0.25,
            fade=0.5,
            own_history=1.0,
            own_depth=2,
            again=("snow",) * 8,
        ),
        Stage(
            "settle",
            steps=800,
            groups=10,
            clips=1,
            frames=5,
            prompts=32,
            crop=64,
            learning_rate=(4e-4, 2e-5),
            pure_share=0.55,
            input_drop=0.15,
            history_max_level=0.08,
            history_drift=0.1,
            fade=0.5,
            own_history=1.0,
            own_depth=2,
            again=SLOW_TO_LEARN,
        ),
    ),
    seed=3,
    holdout=HOLDOUT,
)
"""To go on from a checkpoint of `LIVE_128_FINISH`: it learns to do without its input for a while,
and to mend a past that has drifted."""

LIVE_128_RECOVER = TrainConfig(
    model=LIVE_128.model,
    stages=(
        Stage(
            "crops",
            steps=700,
            groups=10,
            prompts=32,
            crop=64,
            learning_rate=(1e-3, 4e-4),
            warmup=50,
            pure_share=0.65,
            fade=0.5,
            again=("snow", "fill_mask"),
        ),
        Stage(
            "rollout",
            steps=900,
            groups=10,
            clips=1,
            frames=5,
            prompts=32,
            crop=64,
            learning_rate=(4e-4, 2e-5),
            pure_share=0.55,
            input_drop=0.15,
            history_max_level=0.08,
            history_drift=0.1,
            fade=0.5,
            own_history=1.0,
            own_depth=2,
            again=SLOW_TO_LEARN,
        ),
    ),
    seed=2,
    holdout=HOLDOUT,
)
"""For a model that was cut out of a `LIVE_128` one (`--init`), with that as its `--teacher`."""

TINY = TrainConfig(
    model=ModelConfig(
        height=32,
        width=32,
        dim=32,
        depth=1,
        heads=1,
        channels=8,
        experts=2,
        text_dim=32,
        text_depth=1,
        window=2,
    ),
    stages=(
        Stage("text", steps=10, groups=0, prompts=16, warmup=2),
        Stage("crops", steps=10, groups=2, clips=2, prompts=8, crop=16, warmup=5),
        Stage("sequence", steps=10, groups=2, clips=1, frames=3, prompts=8, single_share=0.4),
    ),
    checkpoint_every=10,
    sample_every=20,
)

PRESETS: dict[str, TrainConfig] = {
    "live-128": LIVE_128,
    "live-128-finish": LIVE_128_FINISH,
    "live-128-endless": LIVE_128_ENDLESS,
    "live-128-recover": LIVE_128_RECOVER,
    "tiny": TINY,
}


def preset(name: str) -> TrainConfig:
    """The recipe called `name`.

    Raises:
        UserError: there is none.
    """
    if name not in PRESETS:
        known = sorted({*PRESETS, *WAN_RECIPES})
        raise UserError(f"no preset {name!r}; one of {known} is expected")
    return PRESETS[name]
