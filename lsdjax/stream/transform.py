"""A stream over the frames of a source: what `lsdjax stream` runs between reading and writing."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lsdjax.data.video import fit_frame

if TYPE_CHECKING:
    from lsdjax.stream.session import Stream


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
