"""What a training run is made of: a model and stages, each with its own batch and learning rate."""

import dataclasses
from typing import Any

from lsdjax.core.errors import UserError
from lsdjax.diffusion.forcing import OBJECTIVES
from lsdjax.diffusion.shortcut import DISTILLATIONS, FINEST, WALK
from lsdjax.model.config import ModelConfig

MATCHING = "matching"
"""The distillation whose critic is trained beside the student."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stretch of training with a fixed batch.

    A step takes `groups` groups of clips that share a style and a phrase; gradients are summed over
    the groups.

    Attributes:
        name: for the log.
        steps: optimizer steps.
        groups, clips, frames: groups a step, clips a group, frames a clip in a sequence step. No
            groups at all means that only the text encoder is trained.
        prompts: prompts a step that train the text encoder beside the pictures.
        crop: side of the square cut from each finished example, in pixels, a multiple of 16;
            0 takes whole frames. Small squares give more optimizer steps for the same arithmetic.
        single_share: share of the steps that use single frames instead, `clips * frames` of them.
        learning_rate: at the start (after `warmup` steps) and at the end, linear in between.
        pure_share: share of the frames at pure noise.
        input_drop: share of the clips in which input frames are withheld, each frame with a chance
            that is drawn once a clip: from a stream with gaps to free generation. The first frame
            of a clip, and those that are sinks, are shown.
        history_max_level: history augmentation noises the previous output to U[0, this].
        history_declared: share of the clips whose previous output is only said to be noised.
        history_drop: how often the previous output is withheld.
        history_drift: share of the clips whose previous output looks like that of a stream that
            drifted.
        history_errors: share of the clips whose previous output has errors of the model's own, from
            a bank that the run fills as it goes.
        fade: share of the clips whose previous output has faded, in styles that must not fade.
        own_history: share of the clips of a sequence that see the model's own previous pictures,
            of a rollout up to `own_depth` frames deep.
        rollout: frames that the model streams by itself, through its KV cache, before those of a
            sequence that it learns from.
        again: styles that have a further turn, one for each time that they are named.
    """

    name: str
    steps: int
    groups: int = 6
    clips: int = 4
    frames: int = 1
    prompts: int = 64
    crop: int = 0
    single_share: float = 0.0
    learning_rate: tuple[float, float] = (1.5e-3, 1.5e-3)
    warmup: int = 0
    pure_share: float = 0.5
    input_drop: float = 0.0
    history_max_level: float = 0.2
    history_declared: float = 0.0
    history_drop: float = 0.0
    history_drift: float = 0.0
    history_errors: float = 0.0
    fade: float = 0.0
    own_history: float = 0.0
    own_depth: int = 1
    rollout: int = 0
    again: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("steps", "clips", "frames", "prompts"):
            if getattr(self, name) < 1:
                raise UserError(f"stage {self.name!r}: {name}={getattr(self, name)}; at least 1")
        if self.groups < 0 or self.rollout < 0 or self.crop < 0 or self.crop % 16:
            raise UserError(
                f"stage {self.name!r}: groups={self.groups}, rollout={self.rollout}, "
                f"crop={self.crop}; numbers of at least 0 and a multiple of 16 are expected"
            )

    def group_shape(self, *, single: bool) -> tuple[int, int]:
        """Clips a group and frames a clip, in a step on single frames or on sequences.

        The frames of a sequence include those that are rolled out before any is learned from.
        """
        if single:
            return self.clips * self.frames, 1
        return self.clips, self.rollout + self.frames


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A whole recipe.

    Attributes:
        model: the model's sizes.
        stages: run one after the other; the optimizer's state is carried over.
        objective: the name of what the pictures are trained to minimise, or of a distillation.
        teacher_steps: most steps in which a distillation's teacher walks a frame.
        seed: of the parameters and of every draw.
        b2, clip_norm, ema_decay: Adam's second decay, the gradient's norm limit, the running mean
            of the parameters that is evaluated and exported.
        styles: those that are taught, all where empty.
        balance_floor: mean square error in [-1, 1] below which a style counts as learned.
        text_weight: weight of the prompt classification that trains the text encoder beside the
            picture loss.
        prompt_dropout: how often a group is trained without its prompt, for guidance.
        teacher_weight, feature_weight: weights of following a teacher's pictures, and of acting
            where its features do, beside the truth; of no account without a teacher.
        compute_dtype: of the model's arithmetic, "float32" or "bfloat16"; parameters, moments, EMA,
            norms, softmax and losses stay float32.
        remat: what a backward pass computes anew to save memory: "none", all but the matrix
            products ("dots"), or all within the blocks and convolutions ("blocks").
        checkpoint_every, sample_every: steps between checkpoints and sample sheets.
        holdout: stems of recordings that are never trained on.
    """

    model: ModelConfig
    stages: tuple[Stage, ...]
    objective: str = "forcing"
    teacher_steps: int = WALK * FINEST
    seed: int = 0
    b2: float = 0.98
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    styles: tuple[str, ...] = ()
    balance_floor: float = 0.001
    text_weight: float = 0.1
    prompt_dropout: float = 0.05
    teacher_weight: float = 1.0
    feature_weight: float = 0.01
    compute_dtype: str = "float32"
    remat: str = "none"
    checkpoint_every: int = 100
    sample_every: int = 250
    holdout: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, known in (
            ("compute_dtype", ("float32", "bfloat16")),
            ("remat", ("none", "dots", "blocks")),
        ):
            if getattr(self, name) not in known:
                raise UserError(f"{name}={getattr(self, name)!r}; one of {known} is expected")
        if not self.distils:
            _ = OBJECTIVES[self.objective]  # there has to be one

    @property
    def distils(self) -> bool:
        """Whether a teacher is needed."""
        return self.objective == MATCHING or self.objective in DISTILLATIONS

    @property
    def total_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[int, int]:
        """Which stage the step belongs to, and how far into it."""
        for number, stage in enumerate(self.stages):
            if step < stage.steps:
                return number, step
            step -= stage.steps
        raise ValueError("step is past the last stage")

    def picture_size(self, stage: Stage) -> tuple[int, int]:
        """Height and width in pixels of the pictures that a stage learns from."""
        whole = (self.model.height, self.model.width)
        return (stage.crop, stage.crop) if stage.crop else whole

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
