"""The tiny autoencoder for video latents, TAEHV (Bohan 2025): small, and fast enough for a stream.

It shares latents with a video VAE (Wan's, of 2.1 and 2.2) and approximates it with small
convolutions; looking back in time is one frame of memory a block. Its parameters keep their names.
"""

import dataclasses

import jax
import jax.numpy as jnp

from lsdjax.codec.causal import History, Params, Stretch, double
from lsdjax.codec.pixel import depth_to_space
from lsdjax.core.errors import UserError

FRAMES_PER_LATENT = 4
_POOLS, _GROWS = (2, 7, 12), (7, 13, 19)
"""Where, among the encoder's and the decoder's layers, frames are pooled and multiplied."""


@dataclasses.dataclass(frozen=True)
class TaehvConfig:
    """Sizes of the autoencoder.

    Attributes:
        channels: of a latent.
        patch: side of the square of pixels that is one position at its finest level.
        width: features of the encoder and of the decoder's finest level.
        widths: features of the decoder's three levels, coarse to fine.
        grown: frames that each of the decoder's growing layers stores weights for, 1 or 2; of the
            first, whose frames are not doubled, the last one's are used.
    """

    channels: int = 16
    patch: int = 1
    width: int = 64
    widths: tuple[int, ...] = (256, 128, 64)
    grown: tuple[int, ...] = (1, 2, 2)

    def __post_init__(self) -> None:
        if len(self.widths) != 3 or min(self.channels, self.patch, self.width, *self.widths) < 1:
            raise UserError(
                f"channels={self.channels}, patch={self.patch}, width={self.width}, "
                f"widths={self.widths}; positive numbers and three widths are expected"
            )
        if self.grown not in ((1, 2, 2), (2, 2, 2)):
            raise UserError(f"grown={self.grown}; (1, 2, 2) or (2, 2, 2) is expected")


def parameter_shapes(config: TaehvConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters."""
    shapes: dict[str, tuple[int, ...]] = {}
    width, pixels = config.width, 3 * config.patch**2

    def conv(name: str, outputs: int, inputs: int, *, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, 3, 3)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    def memory(name: str, wide: int) -> None:
        conv(f"{name}.conv.0", wide, 2 * wide)
        conv(f"{name}.conv.2", wide, wide)
        conv(f"{name}.conv.4", wide, wide)

    conv("encoder.0", width, pixels)
    for pool, frames in zip(_POOLS, (2, 2, 1), strict=True):
        shapes[f"encoder.{pool}.conv.weight"] = (width, frames * width, 1, 1)
        conv(f"encoder.{pool + 1}", width, width, bias=False)
        for i in range(pool + 2, pool + 5):
            memory(f"encoder.{i}", width)
    conv("encoder.17", config.channels, width)
    conv("decoder.1", config.widths[0], config.channels)
    following = (*config.widths[1:], width)
    for grow, frames, wide, after in zip(
        _GROWS, config.grown, config.widths, following, strict=True
    ):
        for i in range(grow - 4, grow - 1):
            memory(f"decoder.{i}", wide)
        shapes[f"decoder.{grow}.conv.weight"] = (frames * wide, wide, 1, 1)
        conv(f"decoder.{grow + 1}", after, wide, bias=False)
    conv("decoder.22", pixels, width)
    return shapes


def encode(
    params: Params, config: TaehvConfig, frames: jax.Array, history: History | None = None
) -> tuple[jax.Array, History]:
    """Latents of a stretch of frames, and what the next stretch needs.

    frames (b, t, height, width, 3) in [-1, 1]: a multiple of four; or, where there is no history,
    one, which stands for four -> (b, t / 4, h, w, ch).
    """
    if history is None and frames.shape[1] == 1:
        frames = jnp.repeat(frames, FRAMES_PER_LATENT, axis=1)
    if frames.shape[1] % FRAMES_PER_LATENT:
        raise ValueError(f"{frames.shape[1]} frames; a multiple of 4 is expected")
    now = Stretch(params, history)
    x = _unshuffle(0.5 * frames + 0.5, config.patch)
    x = jax.nn.relu(now.flat("encoder.0", x))
    for pool, count in zip(_POOLS, (2, 2, 1), strict=True):
        b, t, h, w, ch = x.shape
        together = jnp.moveaxis(x.reshape(b, t // count, count, h, w, ch), 2, 4)
        x = now.flat(f"encoder.{pool}.conv", together.reshape(b, t // count, h, w, count * ch))
        x = now.flat(f"encoder.{pool + 1}", x, stride=2)
        for i in range(pool + 2, pool + 5):
            x = _remember(now, f"encoder.{i}", x)
    return now.flat("encoder.17", x), now.seen


def decode(
    params: Params, config: TaehvConfig, latents: jax.Array, history: History | None = None
) -> tuple[jax.Array, History]:
    """Frames of a stretch of latents, in [-1, 1], and what the next stretch needs.

    latents (b, t, h, w, ch) -> (b, 4 t, height, width, 3); where there is no history, the first
    latent is one frame, as the VAE has it.
    """
    now = Stretch(params, history)
    x = jnp.tanh(latents / 3) * 3
    x = jax.nn.relu(now.flat("decoder.1", x))
    for grow, count in zip(_GROWS, (1, 2, 2), strict=True):
        for i in range(grow - 4, grow - 1):
            x = _remember(now, f"decoder.{i}", x)
        x = double(x)
        b, t, h, w, ch = x.shape
        name = f"decoder.{grow}.conv"
        now.params = {**now.params, f"{name}.weight": params[f"{name}.weight"][-count * ch :]}
        x = jnp.moveaxis(now.flat(name, x).reshape(b, t, h, w, count, ch), 4, 2)
        x = now.flat(f"decoder.{grow + 1}", x.reshape(b, count * t, h, w, ch))
    x = now.flat("decoder.22", jax.nn.relu(x))
    frames = 2 * jnp.clip(_shuffle(x, config.patch), 0.0, 1.0) - 1
    return frames[:, FRAMES_PER_LATENT - 1 :] if now.first else frames, now.seen


def _remember(now: Stretch, name: str, x: jax.Array) -> jax.Array:
    """relu(x + conv relu conv relu conv (x, the frame before x))."""
    before = now.after(name, x, 1)[:, :-1]
    y = jnp.concatenate([x, before], axis=-1)
    for i in (0, 2):
        y = jax.nn.relu(now.flat(f"{name}.conv.{i}", y))
    return jax.nn.relu(x + now.flat(f"{name}.conv.4", y))


def _unshuffle(x: jax.Array, side: int) -> jax.Array:
    """Squares of pixels become channels, channel by channel: the order of torch's."""
    b, t, h, w, ch = x.shape
    x = x.reshape(b, t, h // side, side, w // side, side, ch).transpose(0, 1, 2, 4, 6, 3, 5)
    return x.reshape(b, t, h // side, w // side, ch * side**2)


def _shuffle(x: jax.Array, side: int) -> jax.Array:
    b, t, h, w, _ = x.shape
    x = x.reshape(b, t, h, w, 3, side**2).swapaxes(-1, -2).reshape(b, t, h, w, -1)
    return depth_to_space(x, side)
