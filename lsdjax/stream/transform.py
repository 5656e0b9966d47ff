"""A stream over the frames of a source: what `lsdjax stream` runs between reading and writing."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lsdjax.data.video import fit_frame

if TYPE_CHECKING:
    from lsdjax.stream.session import Stream
    from lsdjax.stream.wan import WanStream


def transform(
    timed: Iterable[tuple[float, np.ndarray]],
    stream: "Stream",
    size: tuple[int, int],
    *,
    prompts: Mapping[int, str],
    how: Literal["crop", "stretch"],
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Run frames through a stream; the next is read and fitted while the device makes the last.

    Takes (seconds, uint8 RGB frame of any size), yields (seconds, fitted frame, output), both uint8
    (height, width, 3) of `size`. `prompts` maps a frame's index to the prompt from there on.
    """
    pending: tuple[float, np.ndarray, Any] | None = None
    for index, (time_s, frame) in enumerate(timed):
        if index and index in prompts:
            stream.set_prompt(prompts[index])
        fitted = fit_frame(frame, *size, how=how)
        result = stream.submit(fitted)
        if pending is not None:
            yield pending[0], pending[1], np.asarray(pending[2])
        pending = time_s, fitted, result
    if pending is not None:
        yield pending[0], pending[1], np.asarray(pending[2])


def transform_steps(
    timed: Iterable[tuple[float, np.ndarray]],
    stream: "WanStream",
    size: tuple[int, int],
    *,
    prompts: Mapping[int, str],
    how: Literal["crop", "stretch"],
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """As `transform`, for a stream whose steps take several frames.

    A prompt holds from the first step on whose frames are all from there. What is left over at the
    end is filled up with its last frame, and only as many frames come out as came in.
    """
    waiting: list[tuple[float, np.ndarray]] = []
    start = 0

    def step() -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
        nonlocal start
        begun = [index for index in prompts if 0 < index <= start]
        if begun and prompts[max(begun)] != stream.prompt:
            stream.set_prompt(prompts[max(begun)])
        shown = [frame for _, frame in waiting]
        shown += shown[-1:] * (stream.frames_per_step - len(shown))
        made = np.asarray(stream.submit(np.stack(shown)))
        start += len(waiting)
        yield from ((*pair, picture) for pair, picture in zip(waiting, made, strict=False))
        waiting.clear()

    for time_s, frame in timed:
        waiting.append((time_s, fit_frame(frame, *size, how=how)))
        if len(waiting) == stream.frames_per_step:
            yield from step()
    if waiting:
        yield from step()
