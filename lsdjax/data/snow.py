"""Falling snow: flakes are born of events, then move by whole pixels.

A flake is born wherever an event (`lsdjax.core.events`) meets a place without a past: anywhere in
the first frame of a stream, later only in the strips at the upper and left edge that the falling
snow uncovers. The next frame thus follows from the last one and its events.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.core.events import CELL, CHANNELS

_REFERENCE_HEIGHT = 128


@dataclass(frozen=True)
class SnowLayer:
    """One depth of snow. Radius in px at 128 px height, velocity in cells a frame there."""

    radius: float
    opacity: float
    down: int
    right: int


LAYERS = (
    SnowLayer(radius=1.5, opacity=0.85, down=1, right=0),
    SnowLayer(radius=2.2, opacity=0.95, down=2, right=1),
    SnowLayer(radius=3.0, opacity=1.0, down=3, right=1),
)
"""Small and slow, far away, to large and fast, near; one for each channel of the events."""
assert len(LAYERS) == CHANNELS


def velocity(layer: SnowLayer, h: int) -> tuple[int, int]:
    """Pixels down and to the right in one frame of height h."""
    scale = CELL * max(1, round(h / _REFERENCE_HEIGHT))
    return layer.down * scale, layer.right * scale


def fall(flakes: jax.Array, events: jax.Array, begins: jax.Array) -> jax.Array:
    """One frame later: the centres of all flakes move, and new ones are born.

    Shapes: flakes (b, h, w, layers), 1 at a flake's centre and else 0; events (b, h / CELL, w /
    CELL, layers); begins (b,) bool, where the stream has no past.
    """
    _, h, w, _ = flakes.shape
    born = jnp.zeros_like(flakes).at[:, 1::CELL, 1::CELL].set(events)
    layers = []
    for number, layer in enumerate(LAYERS):
        down, right = velocity(layer, h)
        moved = jnp.pad(flakes[:, : h - down, : w - right, number], ((0, 0), (down, 0), (right, 0)))
        uncovered = (np.arange(h) < down)[:, None] | (np.arange(w) < right)[None, :]
        pastless = begins[:, None, None] | uncovered[None]
        layers.append(jnp.where(pastless, born[..., number], moved))
    return jnp.stack(layers, axis=-1)


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


def _disc(radius: float) -> np.ndarray:
    """A disc whose centre lies between pixels: a flake is born in the middle of a cell."""
    half = math.ceil(radius + 0.5)
    offsets = np.arange(-half, half) + 0.5
    distance = np.hypot(offsets[:, None], offsets[None, :])
    return np.clip(radius + 0.5 - distance, 0.0, 1.0).astype(np.float32)
