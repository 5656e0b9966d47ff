"""Video codecs by one interface: stretches of frames to latents and back, with a history."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.codec import taehv, wan_vae
from lsdjax.codec.causal import History, Params
from lsdjax.codec.pixel import PixelCodec

# (params, stretch (b, t, ...), history or None at the start) -> (what it becomes, history)
Coder = Callable[[Params, jax.Array, History | None], tuple[jax.Array, History]]


class VideoCodec(NamedTuple):
    """Frames (b, t, height, width, 3) in [-1, 1] <-> latents (b, t, h, w, ch) of unit scale.

    encode, decode: pure functions. At the start, the first latent is one frame; from then on each
        is `frames_per_latent` of them.
    params: of both.
    """

    frames_per_latent: int
    params: Params
    encode: Coder
    decode: Coder


def pixel_codec() -> VideoCodec:
    """Pixels themselves, frame by frame."""
    codec = PixelCodec()

    def encode(_: Params, frames: jax.Array, __: History | None) -> tuple[jax.Array, History]:
        return codec.encode(frames), {}

    def decode(_: Params, latents: jax.Array, __: History | None) -> tuple[jax.Array, History]:
        return jnp.clip(codec.decode(latents), -1.0, 1.0), {}

    return VideoCodec(1, {}, encode, decode)


def video_codec(kind: str, config: Any, params: Params) -> VideoCodec:
    """The codec that `lsdjax convert` made: "wan-vae" or "taehv" with its config and tensors."""
    module = {"wan-vae": wan_vae, "taehv": taehv}[kind]

    def from_the_start(code: Callable[..., tuple[jax.Array, History]]) -> Coder:
        """At the start one latent has a call of its own; the rest of the stretch follows."""

        def run(params: Params, x: jax.Array, history: History | None) -> tuple[jax.Array, History]:
            if history is not None or x.shape[1] == 1:
                return code(params, config, x, history)
            first, history = code(params, config, x[:, :1], None)
            rest, history = code(params, config, x[:, 1:], history)
            return jnp.concatenate([first, rest], axis=1), history

        return run

    return VideoCodec(
        frames_per_latent=module.FRAMES_PER_LATENT,
        params=params,
        encode=from_the_start(module.encode),
        decode=from_the_start(module.decode),
    )
