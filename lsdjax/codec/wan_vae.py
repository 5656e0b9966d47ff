"""The causal VAE of Wan 2.1: 4 x 8 x 8 pixels of a video become one latent of 16 channels.

The first frame of a video is a latent of its own; then every four frames make one. Nothing looks
ahead, so a stream is encoded and decoded stretch by stretch with a history of features, exactly as
its whole clip would be (Wan team 2025, section 4.1).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.codec.causal import History, Params, Stretch, double
from lsdjax.core.attention import dot_product_attention
from lsdjax.core.errors import UserError

FRAMES_PER_LATENT = 4

# Of the latents of the published weights: published with them, so that theirs is unit scale.
_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
_DEVIATION = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class WanVaeConfig:
    """Sizes of the VAE.

    Attributes:
        dim: features at full resolution.
        multipliers: of `dim`, level by level; between levels the sides are halved.
        blocks: residual blocks a level; the decoder has one more.
        halve_time: between which levels the frames are halved as well.
        mean, deviation: of each latent channel.
    """

    dim: int = 96
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    halve_time: tuple[bool, ...] = (False, True, True)
    mean: tuple[float, ...] = _MEAN
    deviation: tuple[float, ...] = _DEVIATION

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.deviation) or not self.mean or min(self.deviation) <= 0:
            raise UserError(
                f"{len(self.mean)} means and {len(self.deviation)} deviations; "
                "one positive deviation for each mean is expected"
            )
        if len(self.halve_time) != len(self.multipliers) - 1 or sum(self.halve_time) != 2:
            raise UserError(
                f"halve_time={self.halve_time} between {len(self.multipliers)} levels; "
                "one flag less than levels, and two that are set, are expected"
            )
        if min(self.dim, self.blocks, *self.multipliers) < 1:
            raise UserError(
                f"dim={self.dim}, blocks={self.blocks}, multipliers={self.multipliers}; "
                "positive numbers are expected"
            )

    @property
    def channels(self) -> int:
        return len(self.mean)


class _Layer(NamedTuple):
    """kind: "residual", "attention", "down", "down_time", "up", "up_time"."""

    name: str
    kind: str
    inputs: int
    outputs: int


def _middle(part: str, width: int) -> list[_Layer]:
    kinds = ("residual", "attention", "residual")
    return [_Layer(f"{part}.middle.{i}", kind, width, width) for i, kind in enumerate(kinds)]


def _encoder(config: WanVaeConfig) -> list[_Layer]:
    layers: list[_Layer] = []
    width = config.dim

    def add(kind: str, outputs: int) -> None:
        layers.append(_Layer(f"encoder.downsamples.{len(layers)}", kind, width, outputs))

    for level, multiplier in enumerate(config.multipliers):
        for _ in range(config.blocks):
            add("residual", multiplier * config.dim)
            width = multiplier * config.dim
        if level < len(config.halve_time):
            add("down_time" if config.halve_time[level] else "down", width)
    return [*layers, *_middle("encoder", width)]


def _decoder(config: WanVaeConfig) -> list[_Layer]:
    layers: list[_Layer] = []
    width = config.multipliers[-1] * config.dim
    middle = _middle("decoder", width)
    double_time = config.halve_time[::-1]

    def add(kind: str, outputs: int) -> None:
        layers.append(_Layer(f"decoder.upsamples.{len(layers)}", kind, width, outputs))

    for level, multiplier in enumerate(config.multipliers[::-1]):
        for _ in range(config.blocks + 1):
            add("residual", multiplier * config.dim)
            width = multiplier * config.dim
        if level < len(double_time):
            add("up_time" if double_time[level] else "up", width // 2)
            width //= 2
    return [*middle, *layers]


def parameter_shapes(config: WanVaeConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, outputs: int, inputs: int, *kernel: int) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, *kernel)
        shapes[f"{name}.bias"] = (outputs,)

    def layer(told: _Layer) -> None:
        name, kind, inputs, outputs = told
        if kind == "residual":
            shapes[f"{name}.residual.0.gamma"] = (inputs, 1, 1, 1)
            conv(f"{name}.residual.2", outputs, inputs, 3, 3, 3)
            shapes[f"{name}.residual.3.gamma"] = (outputs, 1, 1, 1)
            conv(f"{name}.residual.6", outputs, outputs, 3, 3, 3)
            if inputs != outputs:
                conv(f"{name}.shortcut", outputs, inputs, 1, 1, 1)
        elif kind == "attention":
            shapes[f"{name}.norm.gamma"] = (inputs, 1, 1)
            conv(f"{name}.to_qkv", 3 * inputs, inputs, 1, 1)
            conv(f"{name}.proj", inputs, inputs, 1, 1)
        else:
            conv(f"{name}.resample.1", outputs, inputs, 3, 3)
            if kind == "down_time":
                conv(f"{name}.time_conv", inputs, inputs, 3, 1, 1)
            if kind == "up_time":
                conv(f"{name}.time_conv", 2 * inputs, inputs, 3, 1, 1)

    ch, wide = config.channels, config.multipliers[-1] * config.dim
    conv("encoder.conv1", config.dim, 3, 3, 3, 3)
    for told in _encoder(config):
        layer(told)
    shapes["encoder.head.0.gamma"] = (wide, 1, 1, 1)
    conv("encoder.head.2", 2 * ch, wide, 3, 3, 3)
    conv("conv1", 2 * ch, 2 * ch, 1, 1, 1)
    conv("conv2", ch, ch, 1, 1, 1)
    conv("decoder.conv1", wide, ch, 3, 3, 3)
    for told in _decoder(config):
        layer(told)
    narrow = config.multipliers[0] * config.dim
    shapes["decoder.head.0.gamma"] = (narrow, 1, 1, 1)
    conv("decoder.head.2", 3, narrow, 3, 3, 3)
    return shapes


def encode(
    params: Params, config: WanVaeConfig, frames: jax.Array, history: History | None = None
) -> tuple[jax.Array, History]:
    """Latents of a stretch of frames, and what the next stretch needs.

    frames (b, t, height, width, 3) in [-1, 1]: one frame where there is no history, a multiple of
    four after it -> (b, 1 or t / 4, height / 8, width / 8, ch), the mean of the posterior.
    """
    if frames.shape[1] != 1 if history is None else frames.shape[1] % FRAMES_PER_LATENT:
        expected = "1 frame" if history is None else "a multiple of 4 frames"
        raise ValueError(f"{frames.shape[1]} frames; {expected} is expected")
    now = Stretch(params, history)
    x = now.causal("encoder.conv1", frames)
    for layer in _encoder(config):
        x = _apply(now, layer, x)
    x = now.causal("encoder.head.2", _activate(now, "encoder.head.0", x))
    mean = now.conv("conv1", x)[..., : config.channels]
    mean = (mean - _row(config.mean, mean)) / _row(config.deviation, mean)
    return mean, now.seen


def decode(
    params: Params, config: WanVaeConfig, latents: jax.Array, history: History | None = None
) -> tuple[jax.Array, History]:
    """Frames of a stretch of latents, in [-1, 1], and what the next stretch needs.

    latents (b, t, h, w, ch): one where there is no history, which is one frame; then four each.
    """
    if history is None and latents.shape[1] != 1:
        raise ValueError(f"{latents.shape[1]} latents; 1 is expected at the start")
    now = Stretch(params, history)
    x = latents * _row(config.deviation, latents) + _row(config.mean, latents)
    x = now.causal("decoder.conv1", now.conv("conv2", x))
    for layer in _decoder(config):
        x = _apply(now, layer, x)
    x = now.causal("decoder.head.2", _activate(now, "decoder.head.0", x))
    return jnp.clip(x, -1.0, 1.0), now.seen


def _row(values: tuple[float, ...], like: jax.Array) -> jax.Array:
    return jnp.asarray(values, like.dtype)[None, None, None, None]


def _norm(now: Stretch, name: str, x: jax.Array) -> jax.Array:
    """x / |x| sqrt(ch) gamma, over the channels, in float32."""
    wide = x.astype(jnp.float32)
    length = jnp.sqrt(jnp.sum(wide**2, axis=-1, keepdims=True))
    gamma = now.params[f"{name}.gamma"].astype(jnp.float32).reshape(-1)
    wide = wide / jnp.maximum(length, 1e-12) * x.shape[-1] ** 0.5
    return (wide * gamma[None, None, None, None]).astype(x.dtype)


def _activate(now: Stretch, name: str, x: jax.Array) -> jax.Array:
    return jax.nn.silu(_norm(now, name, x))


def _apply(now: Stretch, layer: _Layer, x: jax.Array) -> jax.Array:
    name, kind = layer.name, layer.kind
    if kind == "residual":
        y = now.causal(f"{name}.residual.2", _activate(now, f"{name}.residual.0", x))
        y = now.causal(f"{name}.residual.6", _activate(now, f"{name}.residual.3", y))
        return y + (x if layer.inputs == layer.outputs else now.conv(f"{name}.shortcut", x))
    if kind == "attention":
        return x + _attention(now, name, x)
    if kind in ("down", "down_time"):
        x = now.flat(f"{name}.resample.1", x, stride=2, before=0)
        return _halve_time(now, f"{name}.time_conv", x) if kind == "down_time" else x
    if kind == "up_time":
        x = _double_time(now, f"{name}.time_conv", x)
    return now.flat(f"{name}.resample.1", double(x))


def _attention(now: Stretch, name: str, x: jax.Array) -> jax.Array:
    """Each frame's latents over each other, with one head."""
    b, t, h, w, ch = x.shape
    qkv = now.flat(f"{name}.to_qkv", _norm(now, f"{name}.norm", x))
    q, k, v = jnp.split(qkv.reshape(b * t, h * w, 1, 3 * ch), 3, axis=-1)
    return now.flat(f"{name}.proj", dot_product_attention(q, k, v).reshape(x.shape))


def _halve_time(now: Stretch, name: str, x: jax.Array) -> jax.Array:
    """Frames 0, 1, 2 -> 1, frames 2, 3, 4 -> 2, ...; the first of a stream stays as it is."""
    behind = now.after(name, x, 1)
    return x if now.first else now.conv(name, behind, stride=2)


def _double_time(now: Stretch, name: str, x: jax.Array) -> jax.Array:
    """Each frame becomes two; the first of a stream stays one, and is not looked back on."""
    if now.first:
        now.after(name, jnp.zeros_like(x), 2)
        return x
    x = now.causal(name, x)
    b, t, h, w, ch = x.shape
    return jnp.moveaxis(x.reshape(b, t, h, w, 2, ch // 2), 4, 2).reshape(b, 2 * t, h, w, ch // 2)
