"""Frame <-> latent, one frame at a time and without look-ahead."""

from typing import Protocol

import jax

from lsdjax.codec.pixel import PixelCodec as PixelCodec


class Codec(Protocol):
    """What a codec offers to the model and to the stream.

    Shapes: frames (..., height, width, 3) in [-1, 1]; latents (..., h, w, ch) of about unit scale.
    """

    factor: int
    channels: int

    def encode(self, frames: jax.Array) -> jax.Array:
        """Frames to latents, each frame on its own."""
        ...

    def decode(self, latents: jax.Array) -> jax.Array:
        """Latents to frames, each frame on its own."""
        ...
