"""Run many streams for thousands of frames and keep what tells of drift, in constant memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from tqdm import tqdm

from lsdjax.core.errors import UserError
from lsdjax.data.styles import TEACHERS
from lsdjax.evals import metrics
from lsdjax.evals.lights import Contents, light_scenes

LEAD_IN = 16
"""Frames at the start whose input is always there."""
MILESTONES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
WINDOW = 50
"""Frames before a milestone that are looked at together."""
SMALLEST_SIZE = 32
MAX_ROLLOUTS = 1000

_EVERY = 10
_SAMPLES = 20
_SHORTEST_SEGMENT = 20
_SCENES, _INPUTS = 0, 1


@dataclass(frozen=True)
class Setting:
    """What streams get to know of the truth.

    presence: the probability that a frame has its input, after the first 16, which always have.
    reseed_every: every so many frames the past is replaced by the truth; never where None.
    """

    presence: float = 1.0
    reseed_every: int | None = None


SETTINGS: dict[str, Setting] = {
    "intact": Setting(),
    "reseeded": Setting(reseed_every=8),
    "quarter": Setting(presence=0.25),
    "none": Setting(presence=0.0),
}


@dataclass(frozen=True)
class DriftPlan:
    """How long is watched, how many streams, and which of their frames are looked at closely.

    Streams are numbered seed by seed: stream i is rollout i % rollouts of seed first_seed + i //
    rollouts. Seeds differ in scenes, noise and gaps of the input; all settings share them.
    `segments` is at most what was asked for: a segment has at least 20 frames, and frames beyond
    the last whole segment are not run.
    """

    size: tuple[int, int]
    style: str = "original"
    frames: int = 10_000
    seeds: int = 3
    rollouts: int = 8
    segments: int = 50
    first_seed: int = 0

    def __post_init__(self) -> None:
        if self.style not in TEACHERS:
            raise UserError(f"unknown style {self.style!r}; known are {list(TEACHERS)}")
        if self.frames < 100:
            raise UserError(f"{self.frames} frames; at least 100 are expected")
        if self.seeds < 1 or not 1 <= self.rollouts <= MAX_ROLLOUTS:
            raise UserError(
                f"seeds={self.seeds}, rollouts={self.rollouts}; at least 1 seed and 1 to "
                f"{MAX_ROLLOUTS} rollouts are expected"
            )
        if self.segments < 2:
            raise UserError(f"{self.segments} segments; at least 2 are expected")
        if min(self.size) < SMALLEST_SIZE:
            raise UserError(
                f"a model of {self.size[1]}x{self.size[0]} pixels; drift is measured from "
                f"{SMALLEST_SIZE}x{SMALLEST_SIZE} on"
            )
        segments = min(self.segments, self.frames // _SHORTEST_SEGMENT)
        object.__setattr__(self, "segments", segments)
        object.__setattr__(self, "frames", self.frames // segments * segments)

    @property
    def streams(self) -> int:
        return self.seeds * self.rollouts

    @property
    def segment_frames(self) -> int:
        return self.frames // self.segments

    @property
    def stream_seeds(self) -> list[int]:
        """The seed of each stream's noise and events."""
        return [
            MAX_ROLLOUTS * seed + rollout
            for seed in range(self.first_seed, self.first_seed + self.seeds)
            for rollout in range(self.rollouts)
        ]

    @property
    def shows_the_scene(self) -> bool:
        """Does the teacher show the lights as they are, so that they can be counted?"""
        return TEACHERS[self.style].kind in ("identity", "generative")

    def scenes(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What the streams are given and should show, frame by frame: see `light_scenes`."""
        keys = jnp.stack([jax.random.key(seed) for seed in self.stream_seeds])
        scenes = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, _SCENES)
        return light_scenes(self.style, scenes, keys, self.size)

    def inputs_there(self, setting: Setting) -> Iterator[np.ndarray]:
        """Which streams have their input, frame by frame without end: (streams,) bool."""
        draws = [np.random.default_rng((seed, _INPUTS)) for seed in self.stream_seeds]
        index = 0
        while True:
            uniform = np.array([draw.random() for draw in draws])
            yield (uniform < setting.presence) | (index < LEAD_IN)
            index += 1

    @property
    def grid(self) -> np.ndarray:
        """Frames looked at closely, as many in every segment: (segments, samples)."""
        samples = min(_SAMPLES, self.segment_frames // _EVERY)
        within = np.arange(samples) * self.segment_frames // samples
        return np.arange(self.segments)[:, None] * self.segment_frames + within

    @property
    def milestones(self) -> dict[int, np.ndarray]:
        """Frames looked at closely before each milestone: {frame: (samples,)}."""
        return {
            end: np.arange(end - WINDOW, end, _EVERY) for end in MILESTONES if end <= self.frames
        }

    @property
    def sampled(self) -> np.ndarray:
        """All frames looked at closely, in order; their number does not grow with the run."""
        return np.unique(np.concatenate([self.grid.ravel(), *self.milestones.values()]))

    @property
    def shown(self) -> tuple[int, ...]:
        """Frames of the contact sheet."""
        last = self.frames - 1
        return (*(i for i in (0, LEAD_IN, *MILESTONES) if i < last), last)


class StreamModel(Protocol):
    """What is measured: streams side by side, such as `lsdjax.stream.rollout.Rollout`."""

    def restart(self) -> None: ...

    def step(self, frames: np.ndarray, input_level: np.ndarray) -> ArrayLike: ...

    def reseed(self, pictures: np.ndarray) -> None: ...


@dataclass(frozen=True)
class Watched:
    """What was seen of one setting.

    Means over each segment, (segments, streams): psnr_db, colour_bias, sharpness, motion; the last
    two of the truth as well. At `DriftPlan.sampled`, (samples, streams, ...): ssim, features,
    counts, masses. pictures: the frames of the contact sheet and the truth, uint8 (h, w, 3).
    """

    psnr_db: np.ndarray
    colour_bias: np.ndarray
    sharpness: np.ndarray
    motion: np.ndarray
    true_sharpness: np.ndarray
    true_motion: np.ndarray
    ssim: np.ndarray
    features: np.ndarray
    counts: np.ndarray
    masses: np.ndarray
    pictures: list[tuple[np.ndarray, np.ndarray]]


def watch(
    model: StreamModel, plan: DriftPlan, setting: Setting, contents: Contents, bar: tqdm
) -> Watched:
    """Run `model` from its first frame to the plan's last under one setting."""
    model.restart()
    sampled, shown_frames = set(plan.sampled.tolist()), set(plan.shown)
    chosen = int(np.argmax(contents.counts.sum(axis=1)))
    segments, rows, samples, pictures = [], [], [], []
    before: tuple[ArrayLike, np.ndarray] | None = None
    frames = zip(range(plan.frames), plan.scenes(), plan.inputs_there(setting), strict=False)
    for index, (given, target), there in frames:
        if setting.reseed_every and before and index % setting.reseed_every == 0:
            model.reseed(_to_uint8(before[1]))
        given = np.where(there[:, None, None, None], given, 0).astype(np.uint8)
        shown = model.step(given, 1.0 - there.astype(np.float32))
        before = before or (shown, target)
        rows.append(_statistics(shown, before[0], target, before[1]))
        before = (shown, target)
        if index in sampled:
            picture = np.asarray(shown, np.float32) / 255
            close = metrics.ssim_each(picture, target), metrics.features_each(picture)
            samples.append((*close, *contents.read(picture)))
        if index in shown_frames:
            pictures.append((np.asarray(shown)[chosen], _to_uint8(target[chosen])))
        if len(rows) == plan.segment_frames:
            segments.append(_segment(np.stack(jax.device_get(rows))))
            rows = []
            bar.update(plan.segment_frames)
    means = {name: np.stack([segment[name] for segment in segments]) for name in segments[0]}
    ssim, features, counts, masses = (np.stack(each) for each in zip(*samples, strict=True))
    return Watched(
        **means, ssim=ssim, features=features, counts=counts, masses=masses, pictures=pictures
    )


def _to_uint8(frames: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(frames * 255), 0, 255).astype(np.uint8)


@jax.jit
def _statistics(
    shown: jax.Array, before: jax.Array, target: jax.Array, target_before: jax.Array
) -> jax.Array:
    """PSNR, then `_describe` of the pictures, uint8, and of the targets: (streams, 11)."""
    shown, before = (frames.astype(jnp.float32) / 255 for frames in (shown, before))
    error = jnp.mean((shown - target) ** 2, axis=(1, 2, 3))
    psnr = -10 * jnp.log10(jnp.maximum(error, 1e-6))
    found = (psnr[:, None], _describe(shown, before), _describe(target, target_before))
    return jnp.concatenate(found, axis=1)


def _describe(frames: jax.Array, before: jax.Array) -> jax.Array:
    """Means by channel, `metrics.sharpness`, mean change since the last frame: (streams, 5)."""
    luma = frames @ jnp.array([0.299, 0.587, 0.114], frames.dtype)
    edge = jnp.pad(luma, ((0, 0), (1, 1), (1, 1)), mode="edge")
    beside = edge[:, :-2, 1:-1] + edge[:, 2:, 1:-1] + edge[:, 1:-1, :-2] + edge[:, 1:-1, 2:]
    sharpness = jnp.mean((beside - 4 * luma) ** 2, axis=(1, 2))
    motion = jnp.mean(jnp.abs(frames - before), axis=(1, 2, 3))
    return jnp.concatenate([jnp.mean(frames, axis=(1, 2)), jnp.stack([sharpness, motion], 1)], 1)


def _segment(statistics: np.ndarray) -> dict[str, np.ndarray]:
    """Means over a segment's frames: (frames, streams, 11) -> (streams,) each."""
    mean = np.mean(statistics, axis=0, dtype=np.float64)
    shown, true = mean[:, 1:6], mean[:, 6:11]
    return {
        "psnr_db": mean[:, 0],
        "colour_bias": 255 * np.max(np.abs(shown[:, :3] - true[:, :3]), axis=1),
        "sharpness": shown[:, 3],
        "motion": 255 * shown[:, 4],
        "true_sharpness": true[:, 3],
        "true_motion": 255 * true[:, 4],
    }
