"""Video codecs by one interface: stretches of frames to latents and back, with a history."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

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
    return VideoCodec(1, {}, lambda p, x, h: (codec.encode(x), {}), _pixels)


def _pixels(params: Params, x: jax.Array, history: History | None) -> tuple[jax.Array, History]:
    return jax.numpy.clip(PixelCodec().decode(x), -1.0, 1.0), {}


def video_codec(kind: str, config: Any, params: Params) -> VideoCodec:
    """The codec that `lsdjax convert` made: "wan-vae" or "taehv" with its config and tensors."""
    module = {"wan-vae": wan_vae, "taehv": taehv}[kind]

    def bound(code: Callable[..., tuple[jax.Array, History]]) -> Coder:
        return functools.wraps(code)(lambda params, x, history: code(params, config, x, history))

    # Longer stretches at the start than one latent: its own call, then the rest.
    def split(code: Coder) -> Coder:
        def run(params: Params, x: jax.Array, history: History | None):
            if history is not None or x.shape[1] == 1:
                return code(params, x, history)
            first, history = code(params, x[:, :1], None)
            rest, history = code(params, x[:, 1:], history)
            return jax.numpy.concatenate([first, rest], axis=1), history

        return run

    return VideoCodec(
        module.FRAMES_PER_LATENT, params, split(bound(module.encode)), split(bound(module.decode))
    )
