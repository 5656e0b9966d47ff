"""The pixel codec: blocks of pixels become channels, losslessly and without parameters.

Measured against learned per-frame autoencoders on two CPU cores at 128 x 128, ten minutes of
training each, held-out recordings: factor 4 reconstructs the stateless teachers at 40.1 dB (worst
30.2, neon edges) in 5.7 ms a frame, factor 8 at 34.4 dB (26.1) in 5.0 ms; this one takes 0.2 ms and
loses nothing. At this size a learned codec would spend an eighth of the frame's time to lose
detail; at larger sizes, where tokens are what is scarce, it is worth measuring again.
"""

import dataclasses

import jax


def space_to_depth(x: jax.Array, factor: int) -> jax.Array:
    """(..., h, w, ch) -> (..., h/factor, w/factor, factor * factor * ch)."""
    *batch, h, w, ch = x.shape
    x = x.reshape(*batch, h // factor, factor, w // factor, factor, ch)
    x = x.swapaxes(-4, -3)
    return x.reshape(*batch, h // factor, w // factor, factor * factor * ch)


def depth_to_space(x: jax.Array, factor: int) -> jax.Array:
    """The inverse of `space_to_depth`."""
    *batch, h, w, ch = x.shape
    x = x.reshape(*batch, h, w, factor, factor, ch // factor**2)
    x = x.swapaxes(-4, -3)
    return x.reshape(*batch, h * factor, w * factor, ch // factor**2)


@dataclasses.dataclass(frozen=True)
class PixelCodec:
    """Each latent position holds a `factor` x `factor` block of pixels."""

    factor: int = 2

    @property
    def channels(self) -> int:
        return 3 * self.factor**2

    def encode(self, frames: jax.Array) -> jax.Array:
        return space_to_depth(frames, self.factor)

    def decode(self, latents: jax.Array) -> jax.Array:
        return depth_to_space(latents, self.factor)
