"""Named sizes and samplings of causal Wan models."""

import dataclasses

from lsdjax.core.errors import UserError
from lsdjax.model.wan_config import WanConfig

WAN_1_3B = WanConfig()
"""Self-Forcing's: Wan 2.1 1.3B, chunks of three, all of a 21-frame clip seen, four steps."""

WAN_14B = dataclasses.replace(WAN_1_3B, dim=5120, depth=40, heads=40, ffn_dim=13824)

WAN2_2_5B = dataclasses.replace(
    WAN_1_3B, height=704, width=1280, codec="wan2.2", dim=3072, heads=24, ffn_dim=14336
)

# A stream's work is 14 dim^2 weights a block, which makes 294 M of them; those that project the
# prompt's words (2 dim^2 a block) are used once a prompt.
STUDENT_294M = WanConfig(
    height=704,
    width=1280,
    codec="wan2.2",
    beside=True,
    dim=1024,
    depth=20,
    heads=8,
    ffn_dim=4096,
    chunk=1,
    window=8,
    rope="window",
    timesteps=(1000, 500),
    clean_pass=False,
)

TINY_WAN = WanConfig(
    height=32,
    width=48,
    codec="pixel",
    beside=True,
    dim=48,
    depth=2,
    heads=2,
    ffn_dim=96,
    frequency_dim=32,
    text_dim=16,
    text_length=8,
    chunk=1,
    window=3,
    sinks=1,
    cache_policy="deep-sinks",
    rope="window",
    timesteps=(1000, 500),
)

WAN_PRESETS: dict[str, WanConfig] = {
    "wan-1.3b": WAN_1_3B,
    "wan-14b": WAN_14B,
    "wan2.2-5b": WAN2_2_5B,
    "longlive-1.3b": dataclasses.replace(WAN_1_3B, window=6, sinks=3),
    "streamdiffusionv2-1.3b": dataclasses.replace(
        WAN_1_3B, chunk=1, window=2, sinks=3, noise_shift=1.0, timesteps=(700, 500)
    ),
    "student-294m": STUDENT_294M,
    "tiny-wan": TINY_WAN,
}


def wan_preset(name: str) -> WanConfig:
    """The config called `name`.

    Raises:
        UserError: there is none.
    """
    if name not in WAN_PRESETS:
        raise UserError(f"no preset {name!r}; one of {sorted(WAN_PRESETS)} is expected")
    return WAN_PRESETS[name]


@dataclasses.dataclass(frozen=True)
class WanRecipe:
    """How a Wan-shaped model is trained on pairs.

    Attributes:
        model: its sizes; the pixel codec's, for which latents need not be made first.
        steps, groups, clips, frames: optimizer steps; groups a step, each under one prompt; clips a
            group; frames a clip, a multiple of the model's chunk.
        learning_rate, warmup: at the end of the warm-up, from where it falls to zero in a line.
        pure_share: share of the chunks at pure noise.
        objective, seed, clip_norm, checkpoint_every: as `TrainConfig` has them.
    """

    model: WanConfig
    steps: int = 2000
    groups: int = 4
    clips: int = 2
    frames: int = 6
    learning_rate: float = 1e-3
    warmup: int = 50
    pure_share: float = 0.3
    objective: str = "forcing"
    seed: int = 0
    clip_norm: float = 1.0
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        if self.model.codec != "pixel":
            raise UserError(f"codec={self.model.codec!r}; only 'pixel' can be trained on")
        if self.frames % self.model.chunk or min(self.steps, self.groups, self.clips) < 1:
            raise UserError(
                f"frames={self.frames}, steps={self.steps}, groups={self.groups}, "
                f"clips={self.clips}; a multiple of chunk={self.model.chunk} and positive numbers "
                "are expected"
            )


WAN_RECIPES: dict[str, WanRecipe] = {"tiny-wan": WanRecipe(TINY_WAN)}
