"""A model that costs nothing, for `lsdjax bench serve --instant`: a frame comes out as it went in.

What remains of a frame's age is what the protocol, the codecs and the processes cost.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lsdjax.core.errors import UserError

SIZE = "512x512"


class InstantStream:
    """As `lsdjax.stream.session.Stream`."""

    drift, motion_noise = 0.0, False

    def __init__(self, prompt: str, seed: int, strength: float) -> None:
        self.prompt, self.seed, self.strength, self.steps = prompt, seed, strength, 1
        self.events: deque[Any] = deque()

    def submit(self, frame: np.ndarray) -> np.ndarray:
        return frame

    def set_prompt(self, prompt: str) -> None:
        self.prompt = prompt

    def reset(self) -> None: ...


class InstantStreamer:
    """As `lsdjax.stream.session.Streamer`."""

    steps, variants, batches, trace_count = 1, (1,), (1,), 1

    def __init__(self, height: int, width: int) -> None:
        self.size = (height, width)

    def warm_up(self, progress: Callable[[str], None] | None = None) -> None: ...

    def start(self, prompt: str, *, seed: int = 0, strength: float = 1.0) -> InstantStream:
        return InstantStream(prompt, seed, strength)

    def submit_batch(self, streams: Sequence[Any], frames: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(frames)


def make(
    checkpoint: str | None,
    steps: int | None,
    text_encoder: str | None,
    dtype: str | None,
    batch: int | None,
    progress: Callable[[str], None],
) -> tuple[InstantStreamer, dict[str, Any]]:
    """The factory of the model; in place of a checkpoint it is told a size, WIDTHxHEIGHT.

    Raises: UserError for what is no size.
    """
    width, _, height = (checkpoint or SIZE).partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) * int(height) > 0):
        raise UserError(f"{checkpoint} is no size: one like {SIZE} is expected")
    return InstantStreamer(int(height), int(width)), {"name": "instant", "device": "none"}
