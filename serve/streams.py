"""A session as the device process knows it: its stream, what it asked for, what it was last shown.

Nothing here knows of JAX: a model is anything that behaves as `StreamerLike`.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

_CALIBRATION_STEPS = 5
_STILL_BLOCK = 8  # pixels a side: a camera's noise averages out over so many
_STILL_LIMIT = 4.0  # of 255, for the block that changed most
_MAX_REPEATS = 15  # half a second at 30 frames a second


class StreamLike(Protocol):
    """A session's stream, as `lsdjax.stream.session.Stream` is one.

    events: its repairs, see `lsdjax.stream.controllers.RepairEvent`; whoever reads takes them.
    """

    prompt: str
    seed: int
    motion_noise: bool
    events: deque[Any]

    @property
    def drift(self) -> float: ...
    @property
    def strength(self) -> float: ...
    @strength.setter
    def strength(self, value: float) -> None: ...
    @property
    def steps(self) -> int: ...
    @steps.setter
    def steps(self, value: int) -> None: ...
    def submit(self, frame: np.ndarray) -> Any: ...
    def set_prompt(self, prompt: str) -> None: ...
    def reset(self) -> None: ...


class StreamerLike(Protocol):
    """A model that is ready to stream, as `lsdjax.stream.session.Streamer` is one."""

    size: tuple[int, int]
    steps: int
    variants: tuple[int, ...]
    batches: tuple[int, ...]

    @property
    def trace_count(self) -> int: ...
    def warm_up(self, progress: Callable[[str], None] | None = None) -> None: ...
    def start(self, prompt: str, *, seed: int = 0, strength: float = 1.0) -> Any: ...
    def submit_batch(self, streams: Sequence[Any], frames: Sequence[np.ndarray]) -> Any: ...


class Seat:
    """One session's stream and what it was asked for."""

    def __init__(self, streamer: StreamerLike, values: dict[str, Any], revision: int) -> None:
        self._streamer = streamer
        self._steps = values.get("steps") or streamer.steps
        self._skip_still = bool(values.get("skip_still"))
        self.stream: StreamLike = streamer.start(
            values["prompt"], seed=values.get("seed", 0), strength=values.get("strength", 1.0)
        )
        self.stream.motion_noise = bool(values.get("motion_noise"))
        self.revision = revision
        self.last_seq = -1
        self.discontinuity = True
        self.faults = 0  # in a row
        self.in_device = 0
        self._shown: tuple[np.ndarray, np.ndarray] | None = None  # (blocks, picture)
        self._repeats = 0

    @property
    def effective(self) -> dict[str, Any]:
        """What holds now."""
        stream = self.stream
        return {
            "prompt": stream.prompt,
            "strength": stream.strength,
            "seed": stream.seed,
            "steps": self._steps,
            "skip_still": self._skip_still,
            "motion_noise": stream.motion_noise,
        }

    def apply(self, values: dict[str, Any], revision: int) -> None:
        """Takes a client's parameters. Raises: UserError for a prompt that the model refuses."""
        stream = self.stream
        if "prompt" in values and values["prompt"] != stream.prompt:
            stream.set_prompt(values["prompt"])
        if "strength" in values:
            stream.strength = values["strength"]
        if "motion_noise" in values and values["motion_noise"] != stream.motion_noise:
            stream.motion_noise = values["motion_noise"]
        self._steps = values.get("steps", self._steps)
        self._skip_still = values.get("skip_still", self._skip_still)
        if "seed" in values and values["seed"] != stream.seed:
            self._start(seed=values["seed"])
        self.revision = revision
        self._shown = None

    def reset(self) -> None:
        """The next frame is the first of a new history."""
        self.stream.reset()
        self.discontinuity = True
        self._shown = None

    def replace(self) -> None:
        """Another stream in the place of one whose step failed: its state may be gone."""
        self._start(seed=self.stream.seed)
        self._shown = None

    def _start(self, *, seed: int) -> None:
        old = self.stream
        self.stream = self._streamer.start(old.prompt, seed=seed, strength=old.strength)
        self.stream.motion_noise = old.motion_noise
        self.discontinuity = True

    def limit_steps(self, most: int | None) -> bool:
        """Sets the steps of the next frame; whether they are fewer than were asked for."""
        steps = self._steps if most is None else min(most, self._steps)
        if self.stream.steps != steps:
            self.stream.steps = steps
        return steps < self._steps

    def repeat(self, frame: np.ndarray) -> np.ndarray | None:
        """The picture of the last frame where this one shows the same; at most half a second."""
        if not self._skip_still or self._shown is None or self.in_device:
            return None
        blocks, picture = self._shown
        if self._repeats >= _MAX_REPEATS or _change(_blocks(frame), blocks) > _STILL_LIMIT:
            return None
        self._repeats += 1
        return picture

    def remember(self, frame: np.ndarray, picture: np.ndarray) -> None:
        """A frame and what became of it, for `repeat`."""
        self._repeats = 0
        self._shown = (_blocks(frame), picture) if self._skip_still else None


def _blocks(frame: np.ndarray) -> np.ndarray:
    """Means over squares of pixels: (h, w, 3) -> (h', w', 3)."""
    side = max(1, min(_STILL_BLOCK, *frame.shape[:2]))
    h, w = (length // side * side for length in frame.shape[:2])
    return frame[:h, :w].reshape(h // side, side, w // side, side, 3).mean(axis=(1, 3))


def _change(blocks: np.ndarray, others: np.ndarray) -> float:
    return float(np.abs(blocks - others).max())


def calibrate(streamer: StreamerLike) -> dict[tuple[int, int], float]:
    """The median seconds of a step for each (steps, streams at once) that is worth using.

    A batch that does not save a tenth over one stream after the other is left out.
    """
    frame = np.zeros((*streamer.size, 3), np.uint8)
    found: dict[tuple[int, int], float] = {}
    for steps in streamer.variants:
        for size in streamer.batches:
            streams = [streamer.start("keep the original") for _ in range(size)]
            for stream in streams:
                stream.steps = steps
            times = []
            for _ in range(_CALIBRATION_STEPS):
                start = time.perf_counter()
                if size == 1:
                    np.asarray(streams[0].submit(frame))
                else:
                    np.asarray(streamer.submit_batch(streams, [frame] * size))
                times.append(time.perf_counter() - start)
            median = sorted(times)[len(times) // 2]
            if size == 1 or median < 0.9 * size * found[steps, 1]:
                found[steps, size] = median
    return found
