"""The pixel codec: blocks of pixels become channels, losslessly and without parameters."""

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
