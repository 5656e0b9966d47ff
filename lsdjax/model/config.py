"""What fixes the shapes of a model; saved as JSON with every checkpoint."""

import dataclasses
from typing import Any

from lsdjax.core.errors import UserError
from lsdjax.model.policy import CACHE_POLICIES, CachePolicy
from lsdjax.text.registry import NGRAMS


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the causal DiT, its convolutional stem and head, and its text encoder.

    Attributes:
        height, width: frame size in pixels; multiples of 16.
        dim: width of the transformer.
        depth: transformer blocks.
        heads: attention heads; `dim / heads` is a multiple of 16 (rotary angles, time and space).
        mlp_ratio: hidden width of the feed-forward layers over `dim`.
        channels: features of the convolutions at half resolution; twice as many at a quarter.
        experts: prompt-dependent offsets mixed into each convolution kernel.
        text_dim: width of the text encoder and of the conditioning vector.
        text_depth: blocks of the text encoder.
        window: past frames that a frame attends to.
        sinks: first frames of a stream that are never evicted.
        cache_policy: the name of the rule that says what a frame sees; it goes by these two.
        steps: denoising steps a frame that the checkpoint was made for.
        noise_shift: warp of the sampler's noise levels; above 1 the steps crowd at high noise.
        history_level: noise level that a stream declares for its own previous frame.
        history_noise: whether a stream also adds the noise that it declares.
        clean_pass: whether later frames see keys and values of a frame's clean picture, at the
            price of one more pass a frame, instead of those that its last denoising step computed.
        text_encoder: what reads prompts: "ngrams", which is trained with the model, or the name of
            a frozen encoder, see `lsdjax.text.registry`.
        text_width, text_fingerprint: features a word that the frozen encoder makes, and how to tell
            it from others; 0 and empty for "ngrams".
    """

    height: int = 128
    width: int = 128
    dim: int = 192
    depth: int = 3
    heads: int = 3
    mlp_ratio: int = 2
    channels: int = 32
    experts: int = 8
    text_dim: int = 128
    text_depth: int = 2
    window: int = 4
    sinks: int = 0
    cache_policy: str = "sinks"
    steps: int = 2
    noise_shift: float = 1.0
    history_level: float = 0.05
    history_noise: bool = True
    clean_pass: bool = False
    text_encoder: str = NGRAMS
    text_width: int = 0
    text_fingerprint: str = ""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) <= 0 or getattr(self, name) % 16:
                raise UserError(
                    f"{name}={getattr(self, name)}; a positive multiple of 16 is expected"
                )
        if self.dim % self.heads or (self.dim // self.heads) % 16:
            raise UserError(
                f"dim={self.dim} over heads={self.heads}; "
                "a head size that is a multiple of 16 is expected"
            )
        for name in ("depth", "channels", "experts", "text_dim", "text_depth", "window", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}; at least 1 is expected")
        if self.noise_shift <= 0:
            raise UserError(f"noise_shift={self.noise_shift}; a positive number is expected")
        if self.sinks < 0 or not 0 <= self.history_level <= 1:
            raise UserError(
                f"sinks={self.sinks}, history_level={self.history_level}; "
                "sinks >= 0 and a level in [0, 1] are expected"
            )
        if self.text_width < 0 or (self.text_encoder == NGRAMS) != (self.text_width == 0):
            raise UserError(
                f"text_encoder={self.text_encoder!r}, text_width={self.text_width}; "
                f"0 for {NGRAMS!r} and a positive number for any other are expected"
            )
        if self.policy.compressed:
            raise UserError(
                f"cache_policy={self.cache_policy!r} mixes frames' tokens, which only Wan models "
                "can; another one is expected"
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens: one token for 16 x 16 pixels."""
        return self.height // 16, self.width // 16

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def policy(self) -> CachePolicy:
        """What decides which frames are kept and seen."""
        return CACHE_POLICIES[self.cache_policy](self.window, self.sinks)

    @property
    def slots(self) -> int:
        """Frames that the KV cache holds."""
        return self.policy.slots

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ModelConfig":
        """The config that `to_json` wrote.

        Raises:
            UserError: a name is unknown or missing, or a value has another type.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - set(fields)):
            raise UserError(f"model config has unknown entries {unknown}")
        if missing := sorted(set(fields) - set(values)):
            raise UserError(f"model config lacks the entries {missing}")
        for name, value in values.items():
            expected = type(fields[name].default)
            if type(value) is not expected:
                raise UserError(f"model config {name}={value!r}; {expected.__name__} is expected")
        return cls(**values)
