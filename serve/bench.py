"""`lsdjax bench serve`: what a client in another process sees of a server, as numbers.

Importing this module imports neither JAX nor websockets.
"""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lsdjax.core.errors import UserError
from lsdjax.serve.options import DEFAULT_ENGINE, SpareKind

INSTANT_ENGINE = "lsdjax.serve.instant:make"
_CODECS = ("jpeg", "rgb24", "h264")
_RAW_MESSAGE_BYTES = 4 << 20
_SPARE_SEATS = 20  # for those that vanish and those that do not read


@dataclass(frozen=True)
class BenchServeOptions:
    """What to measure: without `url`, a server is started in another process for it.

    `sessions` are the numbers of simultaneous clients, one run each; every client offers `fps`
    frames a second for `seconds`, from `clip` or, without one, from a moving test picture, and
    changes its prompt every `switch` seconds. With `instant`, the model costs nothing and makes
    pictures of `size`; with `link`, clients are behind a link of so many Mb/s; with `minutes`, each
    run takes that long and the server's memory and files are looked at every second. With `kill`,
    the device process is killed midway; `spare` is what another one has done that waits for that.
    With `disconnects`, so many other clients vanish abruptly during the run, while ten more read
    nothing.
    """

    url: str | None = None
    checkpoint: str | None = None
    plugin: tuple[str, ...] = ()
    steps: int | None = None
    sessions: tuple[int, ...] = (1,)
    seconds: float = 10.0
    minutes: float | None = None
    fps: float = 30.0
    codec: str = "jpeg"
    instant: bool = False
    size: str = "512x512"
    link: float | None = None
    switch: float | None = 2.0
    kill: bool = False
    spare: SpareKind = "imported"
    disconnects: int = 0
    clip: str | None = None
    prompt: str = "pencil sketch"
    other_prompt: str = "photographic negative"
    json: bool = False
    engine: str = DEFAULT_ENGINE

    def __post_init__(self) -> None:
        if not self.sessions or min(self.sessions) < 1:
            raise UserError(f"sessions must be at least 1, got {list(self.sessions)}")
        for name in ("seconds", "fps", "minutes", "link", "switch"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} must be above 0, got {value}")
        if self.codec not in _CODECS:
            raise UserError(f"codec must be one of {', '.join(_CODECS)}, got {self.codec}")
        for name in ("instant", "kill"):
            if self.url is not None and getattr(self, name):
                raise UserError(f"--{name} is for a server that is started here, not for --url")
        if self.disconnects < 0:
            raise UserError(f"disconnects must be at least 0, got {self.disconnects}")

    @property
    def duration_s(self) -> float:
        """How long a run takes."""
        return self.seconds if self.minutes is None else 60 * self.minutes


def bench_serve(options: BenchServeOptions) -> dict[str, Any]:
    """Runs the clients; {"runs": [{"sessions", "fps", "frame_age_ms", "received", …}]}.

    `fps` is the mean over the sessions of the outputs that a client got per second; frame age runs
    from capture to decoded output, on the client's clock; prompt-to-effect from the request to the
    first picture under the new prompt. Offered, received, sent and dropped are counts: what is not
    received found the client's window closed. Prints a table unless `json` is set.

    Raises: UserError when the server cannot be started or reached.
    """
    from lsdjax.serve.link import ServerError

    runs = []
    with _server(options) as (url, process):
        for sessions in options.sessions:
            try:
                runs.append(asyncio.run(_run(url, process, sessions, options)))
            except ServerError as error:
                raise UserError(f"bench serve at {url}: {error}") from None
    if not options.json:
        print(as_table(runs))
    return {"runs": runs}


@contextmanager
def _server(options: BenchServeOptions) -> Iterator[tuple[str, int | None]]:
    """The URL of the given server, or URL and process id of one that lives with the context."""
    if options.url is not None:
        yield options.url, None
        return
    spec = {
        "port": 0,
        "checkpoint": options.size if options.instant else options.checkpoint,
        "plugins": options.plugin,
        "steps": options.steps,
        "spare": options.spare,
        "max_sessions": max(options.sessions) + (_SPARE_SEATS if options.disconnects else 0),
        "resume_seconds": 1.0 if options.disconnects else 30.0,
        "max_message_bytes": _RAW_MESSAGE_BYTES,
        "engine": INSTANT_ENGINE if options.instant else options.engine,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "lsdjax.serve", json.dumps(spec)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if options.json else None,
        text=True,
    )
    url = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            url = line.removeprefix("ready: ").strip() if line.startswith("ready: ") else url
            # Until it waits, or cannot, a spare process makes the machine another one.
            if url and (options.spare == "none" or "spare process" in line):
                yield url, process.pid
                return
            if not options.json:
                print(line, end="", file=sys.stderr, flush=True)
        reason = process.stderr.read().strip() if process.stderr is not None else ""
        last = reason.splitlines()[-1].removeprefix("lsdjax: ") if reason else "see above"
        raise UserError(f"the server did not start: {last}")
    finally:
        process.terminate()
        process.communicate()


async def _run(
    url: str, process: int | None, sessions: int, options: BenchServeOptions
) -> dict[str, Any]:
    from lsdjax.serve.benchclient import BenchClient, Load, load_pictures, summarise
    from lsdjax.serve.churn import misbehave
    from lsdjax.serve.footprint import watch
    from lsdjax.serve.proxy import ThrottledProxy

    load = Load(
        fps=options.fps,
        codec=options.codec,
        seconds=options.duration_s,
        prompts=(options.prompt, options.other_prompt),
        switch_every_s=options.switch,
    )
    pictures = load_pictures(options.clip)
    samples: list[tuple[float, int]] = []
    async with AsyncExitStack() as stack:
        if options.link is not None:
            parts = urlsplit(url)
            proxy = ThrottledProxy(parts.hostname or "127.0.0.1", parts.port or 80, options.link)
            url = f"ws://127.0.0.1:{(await stack.enter_async_context(proxy)).port}"
        clients = [BenchClient(url, load, index / sessions) for index in range(sessions)]
        watcher = None if process is None else asyncio.create_task(watch(process, samples))
        killer = asyncio.create_task(_kill_worker(process, load.seconds / 2, options.kill))
        churn = asyncio.create_task(misbehave(_socket_url(url), options.disconnects))
        try:
            tallies = await asyncio.gather(*(client.run(pictures) for client in clients))
            await churn
        finally:
            for task in filter(None, (watcher, killer, churn)):
                task.cancel()
    run = summarise(tallies, load.seconds)
    if options.kill:
        killed_s = await killer
        back_s = [[at_s for at_s in one.restarts_s if at_s > killed_s] for one in tallies]
        run["recovery_ms"] = [
            round(1e3 * (at_s[0] - killed_s)) if at_s else None for at_s in back_s
        ]
    if options.minutes is not None or options.disconnects:
        run |= soak_figures(samples, tallies[0].arrivals_s, tallies[0].ages_ms)
    return run


async def _kill_worker(process: int | None, after_s: float, wanted: bool) -> float:
    """Kills the device process of a server after a while; when that was."""
    from lsdjax.serve.benchclient import SETTLE_S
    from lsdjax.serve.footprint import children

    if not wanted or process is None:
        return math.inf
    await asyncio.sleep(SETTLE_S + after_s)
    try:
        worker = children(process)[0]  # the oldest; a spare one was started later
    except (OSError, IndexError):
        raise UserError("--kill needs Linux: the device process cannot be found") from None
    killed_s = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    return killed_s


def _socket_url(url: str) -> str:
    return url.rstrip("/").removesuffix("/ws").replace("http", "ws", 1) + "/ws"


def soak_figures(
    samples: list[tuple[float, int]], arrivals_s: list[float], ages_ms: list[float]
) -> dict[str, Any]:
    """What a long run has to show: the same at its end as at its beginning.

    Memory (MB, both processes) and open files as the means of the second and of the last tenth of
    the run (the first is warm-up), frame age as the median of the first and of the last tenth.
    """
    tenth = max(1, len(samples) // 10)
    begin, end = samples[tenth : 2 * tenth] or samples[-1:], samples[-tenth:]
    figures: dict[str, Any] = {}
    for name, index in (("memory_mb", 0), ("open_files", 1)):
        means = [
            round(sum(one[index] for one in part) / len(part), 1) if part else None
            for part in (begin, end)
        ]
        figures[name] = dict(zip(("begin", "end"), means, strict=True))
    tenth = max(1, len(arrivals_s) // 10)
    parts = {"begin": sorted(ages_ms[:tenth]), "end": sorted(ages_ms[-tenth:])}
    figures["frame_age_ms_median"] = {
        name: round(ages[len(ages) // 2], 1) if ages else None for name, ages in parts.items()
    }
    return figures


def as_table(runs: list[dict[str, Any]]) -> str:
    """The runs for a person to read."""
    lines = [
        f"{'sessions':>8} {'fps':>6} {'age p50':>8} {'p95':>7} {'p99':>7} {'max':>7} "
        f"{'jitter':>7} {'effect':>7} {'offered':>8} {'sent':>7}  dropped"
    ]
    for run in runs:
        age = [_shown(run["frame_age_ms"][name]) for name in ("p50", "p95", "p99", "max")]
        drops = ", ".join(f"{n} {reason}" for reason, n in run["dropped"].items() if n) or "none"
        lines.append(
            f"{run['sessions']:>8} {run['fps']:>6.1f} {age[0]:>8} {age[1]:>7} {age[2]:>7} "
            f"{age[3]:>7} {_shown(run['jitter_ms']):>7} "
            f"{_shown(run['prompt_to_effect_ms']['p50']):>7} {run['offered']:>8} "
            f"{run['sent']:>7}  {drops}"
        )
        if run["broken_accounts"] or run["reconnects"]:
            lines.append(
                f"{'':>8} accounts that did not add up: {run['broken_accounts']}, "
                f"reconnections: {run['reconnects']}"
            )
        if "recovery_ms" in run:
            lines.append(f"{'':>8} ms from the kill to the next picture: {run['recovery_ms']}")
        for name in ("memory_mb", "open_files", "frame_age_ms_median"):
            if name in run:
                begin, end = run[name]["begin"], run[name]["end"]
                lines.append(f"{'':>8} {name}: {begin} at the beginning, {end} at the end")
    return "\n".join(lines)


def _shown(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:.1f}"
