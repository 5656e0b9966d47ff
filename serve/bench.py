"""`lsdjax bench serve`: what a client in another process sees of a server, as numbers.

Importing this module imports neither JAX nor websockets.
"""

import asyncio
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.serve.options import DEFAULT_ENGINE
from lsdjax.serve.protocol import DROP_REASONS

_SETTLE_S = 1.0  # not measured: connections open and buffers fill
_CLIP_FRAMES = 300


@dataclass(frozen=True)
class BenchServeOptions:
    """What to measure: without `url`, a server is started in another process for it.

    `sessions` are the numbers of simultaneous clients, one run each; every client offers `fps`
    frames a second for `seconds`, from `clip` or, without one, from a moving test picture.
    """

    url: str | None = None
    checkpoint: str | None = None
    plugin: tuple[str, ...] = ()
    steps: int | None = None
    sessions: tuple[int, ...] = (1,)
    seconds: float = 10.0
    fps: float = 30.0
    clip: str | None = None
    prompt: str = "pencil sketch"
    json: bool = False
    engine: str = DEFAULT_ENGINE

    def __post_init__(self) -> None:
        if not self.sessions or min(self.sessions) < 1:
            raise UserError(f"sessions must be at least 1, got {list(self.sessions)}")
        for name in ("seconds", "fps"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} must be above 0, got {value}")


@dataclass
class _Tally:
    """What one client saw."""

    ages_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    stats: dict[str, Any] = field(default_factory=dict)


def bench_serve(options: BenchServeOptions) -> dict[str, Any]:
    """Runs the clients; {"runs": [{"sessions", "fps", "frame_age_ms", "received", …}]}.

    `fps` is the mean over the sessions of the outputs that a client got per second; frame age runs
    from capture to decoded output, on the client's clock; received, sent and dropped are the
    server's counts. Prints a table unless `json` is set.

    Raises: UserError when the server cannot be started or reached.
    """
    from lsdjax.serve.client import ServerError

    runs = []
    with _server(options) as url:
        for sessions in options.sessions:
            try:
                runs.append(asyncio.run(_run(url, sessions, options)))
            except ServerError as error:
                raise UserError(f"bench serve at {url}: {error}") from None
    if not options.json:
        print(_table(runs))
    return {"runs": runs}


@contextmanager
def _server(options: BenchServeOptions) -> Iterator[str]:
    """The URL of the given server, or of one that lives as long as the context."""
    if options.url is not None:
        yield options.url.rstrip("/") + ("" if options.url.rstrip("/").endswith("/ws") else "/ws")
        return
    spec = {
        "port": 0,
        "checkpoint": options.checkpoint,
        "plugins": options.plugin,
        "steps": options.steps,
        "max_sessions": max(options.sessions),
        "engine": options.engine,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "lsdjax.serve", json.dumps(spec)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if options.json else None,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready: "):
                yield line.removeprefix("ready: ").strip() + "/ws"
                return
            if not options.json:
                print(line, end="", file=sys.stderr, flush=True)
        reason = process.stderr.read().strip() if process.stderr is not None else ""
        last = reason.splitlines()[-1].removeprefix("lsdjax: ") if reason else "see above"
        raise UserError(f"the server did not start: {last}")
    finally:
        process.terminate()
        process.communicate()


async def _run(url: str, sessions: int, options: BenchServeOptions) -> dict[str, Any]:
    pictures = _pictures(options.clip)
    tallies = await asyncio.gather(
        *(_client(url, pictures, index / sessions, options) for index in range(sessions))
    )
    ages = sorted(age for tally in tallies for age in tally.ages_ms)
    stats = [tally.stats for tally in tallies]
    return {
        "sessions": sessions,
        "fps": round(sum(len(t.ages_ms) / t.seconds for t in tallies) / sessions, 2),
        "frame_age_ms": {f"p{p}": _percentile(ages, p) for p in (50, 95, 99)},
        "received": sum(s["received"] for s in stats),
        "sent": sum(s["sent"] for s in stats),
        "dropped": {reason: sum(s["dropped"][reason] for s in stats) for reason in DROP_REASONS},
    }


async def _client(
    url: str, pictures: np.ndarray, phase: float, options: BenchServeOptions
) -> _Tally:
    """One client: a camera that never waits, and a screen."""
    from lsdjax.data.frames import fit_frame
    from lsdjax.serve.client import LiveClient

    tally = _Tally()
    async with LiveClient(url, prompt=options.prompt, fps=options.fps) as client:
        fitted = []
        for picture in pictures:
            fitted.append(fit_frame(picture, *client.size))
            await asyncio.sleep(0)
        period_s = 1 / options.fps
        start_s = time.monotonic() + phase * period_s
        measured_from_s, end_s = start_s + _SETTLE_S, start_s + _SETTLE_S + options.seconds

        async def film() -> None:
            for index in itertools.count():
                due_s = start_s + index * period_s
                if due_s >= end_s:
                    return
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                if client.can_send:  # a frame that finds the window closed is never captured
                    await client.send(fitted[index % len(fitted)])

        async def watch() -> None:
            while True:
                output = await client.receive()
                if measured_from_s <= time.monotonic() < end_s:
                    tally.ages_ms.append(output.age_ms)

        watcher = asyncio.create_task(watch())
        try:
            await film()
            tally.stats = await client.settle()
        finally:
            watcher.cancel()
            results = await asyncio.gather(watcher, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]
    tally.seconds = options.seconds
    return tally


def _pictures(clip: str | None) -> np.ndarray:
    """Frames to send, uint8 (t, h, w, 3): the start of a clip, or drifting discs on a gradient."""
    if clip is not None:
        from lsdjax.data.video import open_source

        with open_source(clip) as source:
            return np.stack(list(itertools.islice(source, _CLIP_FRAMES)))
    size, count = 256, 90
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    frames = np.empty((count, size, size, 3), np.uint8)
    for index in range(count):
        turn = 2 * math.pi * index / count
        picture = np.stack([x, y, 1 - x], axis=-1)
        for disc in range(3):
            angle = turn + disc * 2.1
            cx, cy = 0.5 + 0.3 * math.cos(angle), 0.5 + 0.3 * math.sin(2 * angle)
            inside = (x - cx) ** 2 + (y - cy) ** 2 < 0.02
            picture[inside] = np.eye(3, dtype=np.float32)[disc]
        frames[index] = 255 * picture
    return frames


def _percentile(ascending: list[float], percent: int) -> float | None:
    if not ascending:
        return None
    return round(ascending[min(len(ascending) - 1, len(ascending) * percent // 100)], 1)


def _table(runs: list[dict[str, Any]]) -> str:
    lines = [
        f"{'sessions':>8} {'fps':>7} {'age p50':>9} {'p95':>7} {'p99':>7} {'received':>9} "
        f"{'sent':>7}  dropped"
    ]
    for run in runs:
        age = {name: "-" if ms is None else f"{ms:.1f}" for name, ms in run["frame_age_ms"].items()}
        drops = ", ".join(f"{n} {reason}" for reason, n in run["dropped"].items() if n) or "none"
        lines.append(
            f"{run['sessions']:>8} {run['fps']:>7.1f} {age['p50']:>9} {age['p95']:>7} "
            f"{age['p99']:>7} {run['received']:>9} {run['sent']:>7}  {drops}"
        )
    return "\n".join(lines)
