"""How long a stream step takes on this machine, alone."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.core.errors import UserError
from lsdjax.stream.session import Streamer


def bench_stream(
    checkpoint: str | Path | None = None,
    *,
    steps: int | None = None,
    frames: int = 300,
    beside: str | Path | None = None,
    beside_steps: int | None = None,
) -> dict[str, Any]:
    """Time `frames` stream steps, each from uint8 in to uint8 out on the host.

    Returns {"step_ms": {"p50", "p95"}, "dispatch_ms": {"p50", "p95"}, "fps", "steps", "size",
    "frames", "device"}. `dispatch_ms` is the host's time until the step is under way; on a CPU,
    where XLA may run small programs on the calling thread, it includes some of the step. `fps` is
    that of a stream which begins a frame before it reads the last one, as a server's does.

    beside: another checkpoint, which takes turns with the first, 50 frames each. Its figures
    follow under "beside", and "speedup" is how many times as many frames a second the first makes.

    Raises:
        UserError: a bad checkpoint, fewer than 10 frames, or steps of one that is not given.
    """
    if frames < 10:
        raise UserError(f"{frames} frames; at least 10 are expected")
    if beside is None and beside_steps is not None:
        raise UserError(f"beside_steps={beside_steps}, and no checkpoint beside to take them")
    timed = [_Timed(Streamer(load_checkpoint(checkpoint), steps=steps))]
    if beside is not None:
        timed.append(_Timed(Streamer(load_checkpoint(beside), steps=beside_steps)))
    for done in range(0, frames, _TURN):
        for each in timed:
            each.take(min(_TURN, frames - done))
    first, *others = ({**each.figures(), "frames": frames} for each in timed)
    first["device"] = jax.devices()[0].device_kind
    for other in others:
        first |= {"beside": other, "speedup": round(first["fps"] / other["fps"], 3)}
    return first


_TURN = 50


class _Timed:
    """The times of one stream's steps, one by one and with a frame under way."""

    def __init__(self, streamer: Streamer) -> None:
        streamer.warm_up()
        self._streamer, self._stream = streamer, streamer.start("pencil sketch")
        rng = np.random.default_rng(0)
        self._inputs = rng.integers(0, 256, (8, *streamer.size, 3), dtype=np.uint8)
        self._step, self._dispatch, self._flow = [], [], []

    def take(self, frames: int) -> None:
        for index in range(-5, frames):
            began = time.perf_counter()
            picture = self._stream.submit(self._inputs[index % 8])
            dispatched = time.perf_counter()
            np.asarray(picture)
            if index >= 0:
                self._step.append(1e3 * (time.perf_counter() - began))
                self._dispatch.append(1e3 * (dispatched - began))
        last = self._stream.submit(self._inputs[0])
        began = time.perf_counter()
        for index in range(frames):
            following = self._stream.submit(self._inputs[index % 8])
            np.asarray(last)
            last = following
        self._flow.append((frames, time.perf_counter() - began))
        np.asarray(last)

    def figures(self) -> dict[str, Any]:
        frames, seconds = map(sum, zip(*self._flow, strict=True))
        return {
            "step_ms": _percentiles(self._step),
            "dispatch_ms": _percentiles(self._dispatch),
            "fps": round(frames / seconds, 2),
            "steps": self._streamer.steps,
            "size": list(self._streamer.size),
        }


class StepTime(NamedTuple):
    """Milliseconds of a stream step: of the one in the middle, and of the fastest."""

    median: float
    fastest: float


def compare_streams(streamers: Sequence[Streamer], *, frames: int = 100) -> list[StepTime]:
    """How long a stream step of each takes, from uint8 in to uint8 out.

    They take turns, a frame each: whatever else the machine does falls on all of them alike.

    Raises:
        UserError: fewer than 10 frames.
    """
    if frames < 10:
        raise UserError(f"{frames} frames to time; at least 10 are expected")
    streams, rng = [], np.random.default_rng(0)
    for streamer in streamers:
        streamer.warm_up()
        inputs = rng.integers(0, 256, (8, *streamer.size, 3), dtype=np.uint8)
        streams.append((streamer.start("pencil sketch"), inputs, []))
    for index in range(frames + 5):
        for stream, inputs, times in streams:
            began = time.perf_counter()
            np.asarray(stream.submit(inputs[index % 8]))
            times.append(1e3 * (time.perf_counter() - began))
    return [StepTime(float(np.median(times[5:])), float(min(times[5:]))) for _, _, times in streams]


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 3) for p in (50, 95)}
