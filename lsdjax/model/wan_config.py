"""What fixes the shapes and the sampling of a causal Wan DiT, saved beside its weights."""

import dataclasses

from lsdjax.core.errors import UserError
from lsdjax.model.policy import CACHE_POLICIES, CachePolicy

PATCH = 2
"""Latents along each side of a token."""

CODECS = {"wan2.1": (8, 16), "wan2.2": (16, 48), "pixel": (2, 12)}
"""Pixels along each side of a latent, and its channels, by the name of the codec."""


@dataclasses.dataclass(frozen=True)
class WanConfig:
    """Sizes of the DiT of Wan 2.1 and 2.2 (Wan team 2025), and how a stream of it is sampled.

    Attributes:
        height, width: frame size in pixels; multiples of the codec's factor times 2.
        codec: what makes its latents, one of `CODECS`.
        beside: whether the latents of an input video enter beside the noisy ones; the patch
            embedding is then twice as wide. Public text-to-video checkpoints have none.
        dim, depth, heads, ffn_dim: width, blocks, attention heads, hidden width of a block.
        frequency_dim: width of the sinusoidal code of the timestep.
        text_dim, text_length: features a word, and words that every prompt is padded to with zeros,
            which are seen like words.
        chunk: latent frames that are denoised together, 1 to 3.
        window: latent frames before a chunk that it attends to. Public configs count all that is
            attended to: their `local_attn_size` is window + sinks + chunk.
        sinks: first latent frames of a stream that are never evicted.
        cache_policy: the name of the rule that says what a chunk sees; it goes by these two.
        rope: "absolute" turns keys by their frame's true distance, as the public models were
            trained; "window" by the age that the cache policy gives, which stays small for ever.
        timesteps: of 1000, before the warp; a chunk is denoised once at each.
        noise_shift: the warp's strength, `lsdjax.diffusion.schedule.warp`.
        clean_pass: whether later chunks see keys and values of a chunk's clean latents, at the
            price of one more pass, instead of those that its last denoising step computed.
    """

    height: int = 480
    width: int = 832
    codec: str = "wan2.1"
    beside: bool = False
    dim: int = 1536
    depth: int = 30
    heads: int = 12
    ffn_dim: int = 8960
    frequency_dim: int = 256
    text_dim: int = 4096
    text_length: int = 512
    chunk: int = 3
    window: int = 18
    sinks: int = 0
    cache_policy: str = "sinks"
    rope: str = "absolute"
    timesteps: tuple[int, ...] = (1000, 750, 500, 250)
    noise_shift: float = 5.0
    clean_pass: bool = True

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise UserError(f"codec={self.codec!r}; one of {sorted(CODECS)} is expected")
        side = CODECS[self.codec][0] * PATCH
        for name in ("height", "width"):
            if getattr(self, name) <= 0 or getattr(self, name) % side:
                raise UserError(
                    f"{name}={getattr(self, name)}; a positive multiple of {side} is expected"
                )
        for name in ("dim", "depth", "heads", "ffn_dim", "text_dim", "text_length", "window"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}; at least 1 is expected")
        if self.dim % self.heads or self.head_dim % 2 or self.head_dim < 6:
            raise UserError(
                f"dim={self.dim} over heads={self.heads}; an even head size of at least 6 "
                "is expected"
            )
        if self.frequency_dim < 2 or self.frequency_dim % 2:
            raise UserError(f"frequency_dim={self.frequency_dim}; an even number is expected")
        if self.chunk not in (1, 2, 3) or self.sinks < 0:
            raise UserError(
                f"chunk={self.chunk}, sinks={self.sinks}; 1 to 3 and at least 0 are expected"
            )
        if self.rope not in ("absolute", "window"):
            raise UserError(f"rope={self.rope!r}; 'absolute' or 'window' is expected")
        falling = sorted(set(self.timesteps), reverse=True) == list(self.timesteps)
        if not self.timesteps or not falling or not 0 < self.timesteps[-1] <= 1000:
            raise UserError(f"timesteps={self.timesteps}; falling numbers in 1..1000 are expected")
        if self.timesteps[0] > 1000 or self.noise_shift <= 0:
            raise UserError(
                f"timesteps={self.timesteps}, noise_shift={self.noise_shift}; "
                "at most 1000 and a positive number are expected"
            )
        _ = self.policy  # there has to be one

    @property
    def channels(self) -> int:
        """Of a latent."""
        return CODECS[self.codec][1]

    @property
    def input_channels(self) -> int:
        """Of what the patch embedding takes."""
        return self.channels * (2 if self.beside else 1)

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def latent_size(self) -> tuple[int, int]:
        """Rows and columns of latents."""
        factor = CODECS[self.codec][0]
        return self.height // factor, self.width // factor

    @property
    def tokens(self) -> int:
        """Of one latent frame."""
        rows, columns = self.latent_size
        return (rows // PATCH) * (columns // PATCH)

    @property
    def policy(self) -> CachePolicy:
        """What decides which frames are kept and seen."""
        return CACHE_POLICIES[self.cache_policy](self.window, self.sinks)

    @property
    def slots(self) -> int:
        """Latent frames that the KV cache holds."""
        return self.policy.slots + self.policy.compressed
