"""Named shapes of a block, shared by tests, compile gates and measurements."""

import dataclasses
import math

from lsdjax.pallas.rotary import Rotary


@dataclasses.dataclass(frozen=True)
class BlockShape:
    """What fixes a DiT block's work on one frame, and the variant of block it is.

    Attributes:
        layers, dim, heads, hidden: of the transformer; `hidden` is the feed-forward width.
        grid: rows and columns of tokens in a frame.
        slots: frames in the key/value ring, the present one among them.
        words: prompt tokens of the cross-attention; 0 leaves it out.
        norm: "rms" or "layer", before a projection, without parameters.
        qk_norm: "head" (RMS over a head) or "full" (RMS over all heads), with a learned scale.
        gate_offset: the residual is x + (gate_offset + gate) * y.
        rotary: of a head.
    """

    layers: int
    dim: int
    heads: int
    hidden: int
    grid: tuple[int, int]
    slots: int
    words: int
    norm: str
    qk_norm: str
    gate_offset: float
    rotary: Rotary

    @property
    def tokens(self) -> int:
        return math.prod(self.grid)

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    def flops(self) -> int:
        """Of one block: multiplications and additions of matrix products, on one frame."""
        weights = 4 * self.dim**2 + 2 * self.dim * self.hidden
        keys = self.slots * self.tokens + self.words
        weights += 2 * self.dim**2 if self.words else 0
        return 2 * self.tokens * weights + 4 * self.tokens * keys * self.dim


OURS = Rotary(time=16, space=(24, 24))
WAN = Rotary(time=44, space=(42, 42), interleaved=True, time_base=10000.0, space_base=10000.0)

SHAPES = {
    "tiny": BlockShape(1, 128, 2, 256, (8, 16), 3, 0, "rms", "head", 1.0, OURS),
    "student-294m": BlockShape(20, 1024, 16, 4096, (22, 40), 8, 0, "rms", "head", 1.0, OURS),
    "wan-1.3b-w9": BlockShape(30, 1536, 12, 8960, (30, 52), 9, 512, "layer", "full", 0.0, WAN),
    "wan-1.3b-w21": BlockShape(30, 1536, 12, 8960, (30, 52), 21, 512, "layer", "full", 0.0, WAN),
}
