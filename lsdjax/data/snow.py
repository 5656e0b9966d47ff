"""Falling snow whose flakes are born from noise.

A flake appears where a field of normal numbers (`lsdjax.core.noise`) is high: anywhere in the first
frame of a stream, later only at the edges where the wind blows flakes in. From there it moves by
whole pixels, so the next frame follows from the last one and the field.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.core.noise import CELL, CHANNELS

_REFERENCE_HEIGHT = 128


@dataclass(frozen=True)
class SnowLayer:
    """One depth of snow. Sizes in px at 128 px height, velocities in px a frame there."""

    flakes: int
    radius: float
    opacity: float
    down: int
    right: int


LAYERS = (
    SnowLayer(flakes=30, radius=1.5, opacity=0.85, down=1, right=1),
    SnowLayer(flakes=17, radius=2.2, opacity=0.95, down=2, right=1),
    SnowLayer(flakes=8, radius=3.0, opacity=1.0, down=3, right=1),
)
assert len(LAYERS) == CHANNELS


def fall(flakes: jax.Array, noise: jax.Array, begins: jax.Array) -> jax.Array:
    """One frame later: the centres of all flakes move, and new ones are born.

    Shapes: flakes (b, h, w, layers), 1 at a flake's centre and else 0; noise (b, h / CELL, w /
    CELL, layers), one frame of `event_noise`; begins (b,) bool, where the stream has no past.
    """
    _, h, w, _ = flakes.shape
    moved = []
    for number, layer in enumerate(LAYERS):
        down, right = layer.down * _speed_scale(h), layer.right * _speed_scale(h)
        kept = flakes[:, : h - down, : w - right, number]
        moved.append(jnp.pad(kept, ((0, 0), (down, 0), (right, 0))))
    flakes = jnp.where(begins[:, None, None, None], 0.0, jnp.stack(moved, axis=-1))
    everywhere, edges = _thresholds(h, w)
    threshold = jnp.where(begins[:, None, None, None], everywhere[None], edges[None])
    born = (noise > threshold).astype(flakes.dtype)
    return jnp.maximum(flakes, jnp.zeros_like(flakes).at[:, 1::CELL, 1::CELL].set(born))


def coverage(flakes: jax.Array) -> jax.Array:
    """How much of each pixel snow covers, (n, h, w) in [0, 1], for centres (n, h, w, layers)."""
    clear = jnp.ones(flakes.shape[:3], jnp.float32)
    for number, layer in enumerate(LAYERS):
        disc = _disc(max(layer.radius * flakes.shape[1] / _REFERENCE_HEIGHT, 0.7))
        cover = jax.lax.conv_general_dilated(
            flakes[..., number : number + 1],
            jnp.asarray(disc)[:, :, None, None],
            window_strides=(1, 1),
            padding="SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        clear = clear * (1.0 - layer.opacity * jnp.minimum(cover[..., 0], 1.0))
    return 1.0 - clear


def _speed_scale(h: int) -> int:
    return max(1, round(h / _REFERENCE_HEIGHT))


def _disc(radius: float) -> np.ndarray:
    """A disc whose centre lies between pixels: a flake is born in the middle of a cell."""
    half = math.ceil(radius + 0.5)
    offsets = np.arange(-half, half) + 0.5
    distance = np.hypot(offsets[:, None], offsets[None, :])
    return np.clip(radius + 0.5 - distance, 0.0, 1.0).astype(np.float32)


def _thresholds(h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """What a cell's normal number must exceed, (h / CELL, w / CELL, layers): at the start, later.

    At the start every cell has the same chance. Later the cells of the first row and column make up
    for what moves out, so that the density stays what it was.
    """
    rows, columns, scale = h // CELL, w // CELL, _speed_scale(h)
    chance = np.zeros((2, rows, columns, len(LAYERS)))
    for number, layer in enumerate(LAYERS):
        density = layer.flakes * (w / h) / (rows * columns)
        chance[0, ..., number] = density
        chance[1, 0, :, number] += density * layer.down * scale / CELL
        chance[1, :, 0, number] += density * layer.right * scale / CELL
    values, places = np.unique(chance, return_inverse=True)
    limits = [NormalDist().inv_cdf(1 - value) if value else np.inf for value in values]
    everywhere, edges = np.array(limits, np.float32)[places].reshape(chance.shape)
    return everywhere, edges
