"""What fixes the shapes of a model; saved as JSON with every checkpoint."""

import dataclasses
from typing import Any

from lsdjax.core.errors import UserError
from lsdjax.model.policy import CACHE_POLICIES, CachePolicy
from lsdjax.text.registry import NGRAMS


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the causal DiT, its convolutional stem and head, and its text encoder.

    A size that is left at 0 follows from the others: `head_dim` is dim / heads, `mlp_hidden` is
    2 dim, `observed_channels` and `fused_channels` are `channels`, `wide_channels` twice as many.

    Attributes:
        height, width: frame size in pixels; multiples of 16.
        dim: width of the transformer's residual stream.
        depth: transformer blocks.
        heads: attention heads.
        head_dim: width of a head, a multiple of 16 (rotary angles, time and space).
        mlp_hidden: hidden width of the feed-forward layers.
        channels: features of the noisy frame at half resolution.
        observed_channels: features of what a frame is told, at half resolution.
        fused_channels: features that the picture is made of, at half resolution.
        wide_channels: features at a quarter of the resolution.
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
        shortcut: whether the model is told how large a step is, and may see the noise that a large
            step starts from, so that few steps can choose one of many answers. Its sampler's steps
            are equal: `noise_shift` is 1.
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
    head_dim: int = 0
    mlp_hidden: int = 0
    channels: int = 32
    observed_channels: int = 0
    fused_channels: int = 0
    wide_channels: int = 0
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
    shortcut: bool = False
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
        for name in ("dim", "heads", "channels"):  # the others follow from these
            self._require_positive(name)
        if not self.head_dim and self.dim % self.heads:
            raise UserError(f"dim={self.dim} over heads={self.heads}; a whole number is expected")
        following = {
            "head_dim": self.dim // self.heads,
            "mlp_hidden": 2 * self.dim,
            "observed_channels": self.channels,
            "fused_channels": self.channels,
            "wide_channels": 2 * self.channels,
        }
        for name, size in following.items():
            object.__setattr__(self, name, getattr(self, name) or size)
            self._require_positive(name)
        if self.head_dim % 16:
            raise UserError(
                f"head_dim={self.head_dim} (dim={self.dim}, heads={self.heads}); "
                "a multiple of 16 is expected"
            )
        for name in ("depth", "experts", "text_dim", "text_depth", "window", "steps"):
            self._require_positive(name)
        if self.noise_shift <= 0:
            raise UserError(f"noise_shift={self.noise_shift}; a positive number is expected")
        if self.sinks < 0 or not 0 <= self.history_level <= 1:
            raise UserError(
                f"sinks={self.sinks}, history_level={self.history_level}; "
                "sinks >= 0 and a level in [0, 1] are expected"
            )
        if self.shortcut and self.noise_shift != 1:
            raise UserError(
                f"shortcut with noise_shift={self.noise_shift}; its steps are equal, which is 1"
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

    def _require_positive(self, name: str) -> None:
        if getattr(self, name) < 1:
            raise UserError(f"{name}={getattr(self, name)}; at least 1 is expected")

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
