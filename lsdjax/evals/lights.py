"""Scenes of moving lights under a teacher, and how to tell from a picture what it holds."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from lsdjax.data.styles import TEACHERS
from lsdjax.data.synthetic import RADIUS, moving_lights
from lsdjax.data.teacher import TeacherState, init_state
from lsdjax.evals import metrics

VISIBLE = 0.05
"""How much brighter than the dark room a pixel must be to count as lit: 13 grey levels. Without it
two grey levels of the room, which nobody sees, would weigh as much as a sixth of a light."""

_CHUNK = 8
_REFERENCE_SEED, _REFERENCE_GROUPS, _REFERENCE_SCENES = 7_310_000, 4, 64
_REFERENCE_FRAMES, _REFERENCE_EVERY = 32, 4


def light_scenes(
    style: str, scenes: jax.Array, noise: jax.Array, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frame after frame without end: what the teacher `style` gives a model, and what it shows.

    scenes (n,): a key for each scene; noise (n,): the key from which its teacher draws what is
    random, which should be its stream's. Yields the given frames, uint8 (n, height, width, 3), and
    the targets, float32 in [0, 1], in steps of 1/255: as true as a stream can be. Rendered by
    chunks: a dispatch a frame would cost more than its pixels.
    """
    start = init_state(1, *size)
    state = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], len(scenes), axis=0), start)
    for first in itertools.count(0, _CHUNK):
        given, targets, state = _render(style, size, scenes, noise, state, np.int32(first))
        yield from zip(np.asarray(given), np.asarray(targets), strict=True)


@functools.partial(jax.jit, static_argnames=("style", "size"))
def _render(
    style: str,
    size: tuple[int, int],
    scenes: jax.Array,
    noise: jax.Array,
    state: TeacherState,
    first: jax.Array,
) -> tuple[jax.Array, jax.Array, TeacherState]:
    times = first + jnp.arange(_CHUNK, dtype=jnp.int32)

    def one(scene, key, state):
        frames, _ = moving_lights(scene, times, *size)
        # The teacher itself, not `teach`: a convolution inside its switch is slow on a CPU.
        given, targets, state = TEACHERS[style].render(frames[None], state, key)
        return jnp.round(255 * given[0]).astype(jnp.uint8), jnp.round(255 * targets[0]) / 255, state

    return jax.vmap(one, out_axes=(1, 1, 0))(scenes, noise, state)


@functools.cache
def reference_features(style: str, size: tuple[int, int]) -> np.ndarray:
    """`metrics.FEATURES` of 2,048 frames that the teacher shows of 256 scenes: (2048, 96)."""
    found = []
    for group in range(_REFERENCE_GROUPS):
        root = jax.random.key(_REFERENCE_SEED + group)
        keys = jax.random.split(root, _REFERENCE_SCENES)
        frames = itertools.islice(light_scenes(style, keys, keys, size), _REFERENCE_FRAMES)
        for _, targets in itertools.islice(frames, _REFERENCE_EVERY - 1, None, _REFERENCE_EVERY):
            found.append(metrics.features_each(targets))
    return np.concatenate(found)


@dataclass(frozen=True)
class Contents:
    """What each of n scenes holds for all time, read from true frames of it.

    dark, bright: of the room and of a light. counts, masses: (n, 3), by channel.
    """

    dark: float
    bright: float
    counts: np.ndarray
    masses: np.ndarray

    @classmethod
    def of(cls, frames: np.ndarray) -> "Contents":
        """The contents of scenes that true frames (n, h, w, 3) in [0, 1] show."""
        dark, bright = float(frames.min()), float(frames.max())
        counts = count_lights(frames, (dark + bright) / 2)
        return cls(dark, bright, counts, light_mass(frames, dark))

    def read(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts and masses (n, 3) of frames (n, h, w, 3) that should show these scenes."""
        counts = count_lights(frames, (self.dark + self.bright) / 2)
        return counts, light_mass(frames, self.dark)

    def count_error(self, counts: np.ndarray) -> np.ndarray:
        """|lights seen - lights there| / lights there: (frames, n, 3) -> (n,).

        Seen is the median over the frames, channel by channel: a light that changes its colour is
        one too few and one too many.
        """
        wrong = np.abs(np.median(counts, axis=0) - self.counts).sum(axis=1)
        return wrong / self.counts.sum(axis=1)

    def mass_error(self, masses: np.ndarray) -> np.ndarray:
        """The largest |mass - true mass| / true mass over the channels: (frames, n, 3) -> (n,).

        Of the median over the frames. What appears in a channel without a light is held against
        the scene's mean light.
        """
        lit = self.counts > 0
        mean = (self.masses * lit).sum(axis=1) / lit.sum(axis=1)
        scale = np.where(lit, self.masses, mean[:, None])
        return np.max(np.abs(np.median(masses, axis=0) - self.masses) / scale, axis=1)


def count_lights(frames: np.ndarray, threshold: float) -> np.ndarray:
    """Lights in each channel: (n, h, w, 3) -> (n, 3).

    A light is a connected component above `threshold` of at least a third of the area that a
    light is drawn with.
    """
    n, h, w, _ = frames.shape
    above = np.moveaxis(frames, -1, 1) > threshold
    beside = np.zeros((3, 3, 3, 3), bool)
    beside[1, 1, 1, :] = beside[1, 1, :, 1] = True  # up, down, left, right, in the same channel
    labels = np.zeros(above.shape, np.int32)
    found = cast(int, ndimage.label(above, beside, output=labels))
    flat = labels.ravel()
    owner = np.zeros(found + 1, np.intp)
    owner[flat] = np.arange(flat.size) // (h * w)
    area = np.bincount(flat, minlength=found + 1)
    whole = area >= np.pi * (RADIUS * h) ** 2 / 3
    whole[0] = False  # the room
    return np.bincount(owner[whole], minlength=3 * n).reshape(n, 3)


def light_mass(frames: np.ndarray, dark: float) -> np.ndarray:
    """Brightness above the dark room's, summed over what is visibly lit: (n, h, w, 3) -> (n, 3)."""
    above = frames - dark
    return np.where(above > VISIBLE, above, 0.0).sum(axis=(1, 2))
