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
    checkpoint: str | Path | None = None, *, steps: int | None = None, frames: int = 300
) -> dict[str, Any]:
    """Time `frames` stream steps, each from uint8 in to uint8 out on the host.

    Returns {"step_ms": {"p50", "p95"}, "dispatch_ms": {"p50", "p95"}, "fps", "steps", "size",
    "frames", "device"}. `dispatch_ms` is the host's time until the step is under way; on a CPU,
    where XLA may run small programs on the calling thread, it includes some of the step.

    Raises:
        UserError: a bad checkpoint, or fewer than 10 frames.
    """
    if frames < 10:
        raise UserError(f"{frames} frames; at least 10 are expected")
    streamer = Streamer(load_checkpoint(checkpoint), steps=steps)
    streamer.warm_up()
    stream = streamer.start("pencil sketch")
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (8, *streamer.size, 3), dtype=np.uint8)
    for index in range(10):
        np.asarray(stream.submit(inputs[index % 8]))
    step_ms, dispatch_ms = [], []
    for index in range(frames):
        began = time.perf_counter()
        picture = stream.submit(inputs[index % 8])
        dispatched = time.perf_counter()
        np.asarray(picture)
        step_ms.append(1e3 * (time.perf_counter() - began))
        dispatch_ms.append(1e3 * (dispatched - began))
    return {
        "step_ms": _percentiles(step_ms),
        "dispatch_ms": _percentiles(dispatch_ms),
        "fps": round(1e3 / float(np.mean(step_ms)), 2),
        "steps": streamer.steps,
        "size": list(streamer.size),
        "frames": frames,
        "device": jax.devices()[0].device_kind,
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
