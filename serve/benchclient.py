"""One client of a benchmark: a camera that never waits, a screen, and a clock."""

import asyncio
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsdjax.data.frames import fit_frame
from lsdjax.serve.client import LiveClient
from lsdjax.serve.protocol import CODEC_NAMES, DROP_REASONS, Flag

SETTLE_S = 1.0  # not measured: connections open and buffers fill
_CLIP_FRAMES = 300


@dataclass(frozen=True)
class Load:
    """What a client does: how many frames a second, in which codec, for how long.

    With `switch_every_s`, it changes between its two prompts so often.
    """

    fps: float
    codec: str
    seconds: float
    prompts: tuple[str, str]
    switch_every_s: float | None


@dataclass
class Tally:
    """What a client saw: ages, arrival times, and delays from asking for a prompt to its picture.

    `restarts_s` are arrivals of pictures that begin a new history; `broken_accounts` counts the
    seconds in which received was not sent + dropped + in flight.
    """

    ages_ms: list[float] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    restarts_s: list[float] = field(default_factory=list)
    effects_ms: list[float] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    broken_accounts: int = 0
    offered: int = 0
    reconnects: int = 0


class BenchClient:
    """One run of one client against a server."""

    def __init__(self, url: str, load: Load, phase: float) -> None:
        self._url, self._load, self._phase = url, load, phase
        self._awaited: tuple[float, int | None] | None = None  # (asked at, revision once known)
        self._made: list[tuple[int, float]] = []  # (revision, arrived at) while one is awaited
        self.tally = Tally()

    async def run(self, pictures: np.ndarray) -> Tally:
        """Streams, and counts."""
        load, tally = self._load, self.tally
        codecs = (CODEC_NAMES[load.codec],)
        async with LiveClient(
            self._url, prompt=load.prompts[0], fps=load.fps, codecs=codecs
        ) as client:
            fitted = []
            for picture in pictures:
                fitted.append(fit_frame(picture, *client.size))
                await asyncio.sleep(0)
            self._start_s = time.monotonic() + self._phase / load.fps
            self._end_s = self._start_s + SETTLE_S + load.seconds
            others = [self._watch(client), self._audit(client)]
            if load.switch_every_s is not None:
                others.append(self._switch(client))
            tasks = [asyncio.create_task(other) for other in others]
            try:
                await self._film(client, fitted)
                tally.stats = await client.settle()
                tally.reconnects = client.reconnects
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    raise result
        return tally

    async def _film(self, client: LiveClient, fitted: list[np.ndarray]) -> None:
        for index in itertools.count():
            due_s = self._start_s + index / self._load.fps
            if due_s >= self._end_s:
                return
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self.tally.offered += 1
            if client.can_send:  # a frame that finds the window closed is never captured
                await client.send(fitted[index % len(fitted)])

    async def _watch(self, client: LiveClient) -> None:
        while True:
            output = await client.receive()
            now = time.monotonic()
            if output.flags & Flag.DISCONTINUITY:
                self.tally.restarts_s.append(now)
            if self._start_s + SETTLE_S <= now < self._end_s:
                self.tally.ages_ms.append(output.age_ms)
                self.tally.arrivals_s.append(now)
            if self._awaited is not None:
                self._made.append((output.revision, now))
                self._look_for_effect()

    async def _switch(self, client: LiveClient) -> None:
        assert self._load.switch_every_s is not None
        await asyncio.sleep(max(0.0, self._start_s + SETTLE_S - time.monotonic()))
        for prompt in itertools.cycle(reversed(self._load.prompts)):
            self._made.clear()
            asked_s = time.monotonic()
            self._awaited = (asked_s, None)
            reply = await client.set_params(prompt=prompt)
            self._awaited = (asked_s, reply["rev"])
            self._look_for_effect()
            await asyncio.sleep(self._load.switch_every_s)

    def _look_for_effect(self) -> None:
        """The first picture of the revision may well come before the answer that names it."""
        if self._awaited is None:
            return
        asked_s, wanted = self._awaited
        if wanted is None:
            return
        for revision, at_s in self._made:
            if revision >= wanted:
                self.tally.effects_ms.append(1e3 * (at_s - asked_s))
                self._awaited = None
                return

    async def _audit(self, client: LiveClient) -> None:
        seen = None
        while True:
            stats = client.stats
            if stats and stats is not seen:
                seen = stats
                accounted = stats["sent"] + sum(stats["dropped"].values()) + stats["in_flight"]
                self.tally.broken_accounts += stats["received"] != accounted
            await asyncio.sleep(0.2)


def summarise(tallies: list[Tally], seconds: float) -> dict[str, Any]:
    """The figures of one run over all its clients.

    `jitter_ms` is the 95th percentile of how far intervals between pictures are off their median.
    """
    ages = sorted(age for tally in tallies for age in tally.ages_ms)
    effects = sorted(delay for tally in tallies for delay in tally.effects_ms)
    off: list[float] = []
    for tally in tallies:
        intervals = np.diff(tally.arrivals_s) if len(tally.arrivals_s) > 1 else np.zeros(0)
        off += list(1e3 * np.abs(intervals - np.median(intervals))) if len(intervals) else []
    stats = [tally.stats for tally in tallies]
    return {
        "sessions": len(tallies),
        "fps": round(sum(len(tally.ages_ms) for tally in tallies) / seconds / len(tallies), 2),
        "frame_age_ms": {f"p{p}": percentile(ages, p) for p in (50, 95, 99)}
        | {"max": percentile(ages, 100)},
        "jitter_ms": percentile(sorted(off), 95),
        "prompt_to_effect_ms": {f"p{p}": percentile(effects, p) for p in (50, 95)},
        "offered": sum(tally.offered for tally in tallies),
        "received": sum(one["received"] for one in stats),
        "sent": sum(one["sent"] for one in stats),
        "dropped": {name: sum(one["dropped"][name] for one in stats) for name in DROP_REASONS},
        "broken_accounts": sum(tally.broken_accounts for tally in tallies),
        "reconnects": sum(tally.reconnects for tally in tallies),
    }


def percentile(ascending: list[float], percent: int) -> float | None:
    """The nearest-rank percentile, to a tenth."""
    if not ascending:
        return None
    return round(ascending[min(len(ascending) - 1, len(ascending) * percent // 100)], 1)


def load_pictures(clip: str | None) -> np.ndarray:
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
