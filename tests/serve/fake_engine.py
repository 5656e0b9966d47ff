"""A model that costs nothing, for a real device process: what it paints depends on the prompt."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from lsdjax.core.errors import UserError

HEIGHT = int(os.environ.get("FAKE_HEIGHT", "48"))  # not square: swapped axes would show
WIDTH = int(os.environ.get("FAKE_WIDTH", "64"))
STEP_S = 1e-3 * float(os.environ.get("FAKE_STEP_MS", "1"))
_free_at_s = 0.0  # one device: steps follow one another


class FakeOutput:
    """As a device array: the wait is in the conversion."""

    def __init__(self, frame: np.ndarray, ready_s: float) -> None:
        self._frame, self._ready_s = frame, ready_s

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        time.sleep(max(0.0, self._ready_s - time.monotonic()))
        return self._frame


class FakeStream:
    def __init__(self, prompt: str, seed: int, strength: float) -> None:
        self.set_prompt(prompt)
        self.seed, self.strength, self.frame_index = seed, strength, 0
        self.steps, self.drift, self.motion_noise = 2, 0.0, False
        self.events: deque[Any] = deque()

    def set_prompt(self, prompt: str) -> None:
        if "unspeakable" in prompt:
            raise UserError("the prompt has no words that the model knows")
        self.prompt = prompt

    def reset(self) -> None:
        self.frame_index = 0

    def submit(self, frame: np.ndarray) -> FakeOutput:
        assert frame.shape == (HEIGHT, WIDTH, 3) and frame.dtype == np.uint8
        self.frame_index += 1
        if "crash" in self.prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if "fault" in self.prompt:
            raise ValueError("a fault")
        if "broken" in self.prompt:
            repair = {"frame_index": self.frame_index, "reason": "cache", "value": 2, "limit": 0}
            self.events.append(SimpleNamespace(**repair))
        step_s = 0.3 if "slow" in self.prompt else STEP_S
        if "negative" in self.prompt:
            painted = 255 - frame
        elif "index" in self.prompt:
            painted = np.full_like(frame, min(250, 10 * self.frame_index))
        elif "original" in self.prompt:
            painted = frame
        else:  # a sketch: edges of the luminance on paper
            grey = frame.mean(axis=2)
            edges = np.abs(np.diff(grey, axis=0, prepend=0)) + np.abs(
                np.diff(grey, axis=1, prepend=0)
            )
            painted = np.repeat(np.clip(250 - 5 * edges, 0, 255)[:, :, None], 3, 2)
        mixed = frame + self.strength * (painted.astype(np.float32) - frame)
        global _free_at_s
        _free_at_s = max(_free_at_s, time.monotonic()) + step_s
        return FakeOutput(mixed.astype(np.uint8), _free_at_s)


class FakeStreamer:
    size = (HEIGHT, WIDTH)
    trace_count = 1

    def __init__(self, steps: int | None) -> None:
        self.steps = steps or 2
        self.variants, self.batches = tuple(range(1, self.steps + 1)), (1,)

    def warm_up(self, progress: Callable[[str], None] | None = None) -> None:
        if progress is not None:
            progress(f"compiling the {self.steps}-step stream at {WIDTH}x{HEIGHT}")
        time.sleep(float(os.environ.get("FAKE_WARM_UP_S", "0")))

    def start(self, prompt: str, *, seed: int = 0, strength: float = 1.0) -> FakeStream:
        return FakeStream(prompt, seed, strength)


def make(
    checkpoint: str | None,
    steps: int | None,
    text_encoder: str | None,
    dtype: str | None,
    batch: int | None,
    progress: Callable[[str], None],
) -> tuple[FakeStreamer, dict[str, Any]]:
    progress("loading checkpoint")
    if checkpoint == "broken":
        raise UserError("checkpoint broken holds no model: expected config.json")
    if checkpoint == "bug":
        raise RuntimeError("a bug")
    return FakeStreamer(steps), {"name": "fake", "device": "cpu"}
