"""A user's own pairs as training groups, through grain: windows of one clip under one prompt.

A dataset is indexed, never iterated: the groups of step s are always element s, because grain
seeds the generator of an element from the seed and its index. So a resumed run continues exactly
with nothing to remember but its step; there is no iterator whose state could be lost.

Every clip is decoded once and stays in memory, fitted, as uint8: at 128 x 128, about 0.3 GB for a
minute of 30 frames a second (both sides together). The footage must fit.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.core.events import draw_events
from lsdjax.data.examples import START_SHARE, Examples, join_streams
from lsdjax.data.paired import PairedClip
from lsdjax.data.video import fit_frame, open_source

MARGIN = 1.25


class DecodedPair(NamedTuple):
    """One pair in memory.

    inputs, targets: uint8 (n, MARGIN * height, MARGIN * width, 3), frame for frame.
    seconds: how long it lasts; name: of the file; prompts: any of them asks for the targets.
    """

    inputs: np.ndarray
    targets: np.ndarray
    seconds: float
    name: str
    prompts: tuple[str, ...]


class PairedWindows(NamedTuple):
    """What one group shows: inputs, targets uint8 (b, t + 1, height, width, 3)."""

    inputs: np.ndarray | jax.Array
    targets: np.ndarray | jax.Array

    def examples(self, key: jax.Array, shape: tuple[int, int, int, int]) -> Examples:
        """Some windows begin a stream, the others join one; shape (b, t, height, width)."""
        b, t, height, width = shape
        assert self.inputs.shape == self.targets.shape == (b, t + 1, height, width, 3)
        start_key, event_key = jax.random.split(key)
        starts = jax.random.bernoulli(start_key, START_SHARE, (b,))
        inputs, targets = (jnp.asarray(side, jnp.float32) / 127.5 - 1 for side in self)
        events = draw_events(event_key, jnp.zeros((b,), jnp.int32), t + 1, height, width)
        # Who knows what a user's pairs leave open? What learns of it has a model to ask.
        return join_streams(starts, inputs, targets, targets, events, jnp.ones(()))


class PairedGroup(NamedTuple):
    """Windows of one pair, the prompt that they share, and the name of its file."""

    windows: PairedWindows
    prompt: str
    name: str


def decode_pairs(
    clips: Sequence[PairedClip], height: int, width: int, *, frames: int
) -> tuple[DecodedPair, ...]:
    """Decode every pair, for windows of height x width pixels and up to `frames` + 1 frames.

    Raises:
        UserError: a file is damaged, its two sides differ in length, or it is too short.
    """
    pairs = []
    for clip in clips:
        inputs, seconds = _decode(clip.input, height, width)
        targets, _ = _decode(clip.target, height, width)
        if len(inputs) != len(targets):
            raise UserError(
                f"{clip.target}: {len(targets)} frames, but {clip.input} has {len(inputs)}; "
                "a target answers its input frame for frame"
            )
        if len(inputs) <= frames:
            raise UserError(f"{clip.input}: {len(inputs)} frames; at least {frames + 1} expected")
        pairs.append(DecodedPair(inputs, targets, seconds, clip.input.name, clip.prompts))
    return tuple(pairs)


def paired_batches(
    pairs: Sequence[DecodedPair], shape: tuple[int, int, int, int], *, groups: int, seed: int
) -> grain.MapDataset[list[PairedGroup]]:
    """Batches without end, indexed by the step: `groups` groups of windows of `shape` each.

    A pair comes once for every second that it lasts before all begin again in another order.
    Shape: (clips a group, frames, height, width); windows have one frame more.
    """
    turns = np.repeat(np.arange(len(pairs)), [max(1, round(pair.seconds)) for pair in pairs])
    order = grain.MapDataset.source(turns.tolist()).seed(seed).shuffle().repeat()
    drawn = order.random_map(lambda turn, rng: draw_group(pairs[turn], shape, rng))
    return drawn.batch(groups, batch_fn=list)


def draw_group(
    pair: DecodedPair, shape: tuple[int, int, int, int], rng: np.random.Generator
) -> PairedGroup:
    """One of a pair's prompts and `shape[0]` windows, each with its own start, crop and flip."""
    prompt = pair.prompts[rng.integers(len(pair.prompts))]
    drawn = [_draw_window(pair, shape, rng) for _ in range(shape[0])]
    inputs, targets = (np.stack(side) for side in zip(*drawn, strict=True))
    return PairedGroup(PairedWindows(inputs, targets), prompt, pair.name)


def _draw_window(
    pair: DecodedPair, shape: tuple[int, int, int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same frames, crop and flip of both sides; a crop takes 1 / MARGIN to all of a side."""
    _, frames, height, width = shape
    first = rng.integers(len(pair.inputs) - frames)
    canvas = np.array(pair.inputs.shape[1:3])
    size = np.rint(canvas * rng.uniform(1 / MARGIN, 1)).astype(int)
    top, left = rng.integers(canvas - size + 1)
    flipped = rng.random() < 0.5

    def cut(side: np.ndarray) -> np.ndarray:
        part = side[first : first + frames + 1, top : top + size[0], left : left + size[1]]
        fitted = np.stack([fit_frame(frame, height, width, "stretch") for frame in part])
        return fitted[:, :, ::-1] if flipped else fitted

    return cut(pair.inputs), cut(pair.targets)


def _decode(path: Path, height: int, width: int) -> tuple[np.ndarray, float]:
    """All frames, fitted to the canvas, and their seconds."""
    canvas = round(MARGIN * height), round(MARGIN * width)
    with open_source(path) as source:
        frames = np.stack([fit_frame(frame, *canvas) for frame in source])
        return frames, len(frames) / source.fps
