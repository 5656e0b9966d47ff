"""Watches the device process: hears what it says, starts another when it dies, eases its load."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lsdjax.core.errors import UserError
from lsdjax.serve.admission import Seats
from lsdjax.serve.codecpool import CodecPool
from lsdjax.serve.connection import Reception
from lsdjax.serve.device import Device, describe_exit
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.options import ServeOptions
from lsdjax.serve.overload import RUNGS, TICK_S, Ladder, Rung
from lsdjax.serve.protocol import Close, Limits, ProtocolError
from lsdjax.serve.session import SessionContext
from lsdjax.serve.status import Status
from lsdjax.serve.throttle import Throttle

_LOOKS = 4  # looked at together: two seconds hold several steps, even slow ones
_FRUITLESS = 4  # more ends than this without a picture between them end the server


@dataclass
class _Steps:
    """What the steps between two looks took."""

    seconds: float = 0.0
    count: int = 0
    busy_s: float = 0.0
    slowdown: float = 0.0
    drift: float = 0.0


@dataclass
class Supervisor:
    """The front's hold on its device process.

    Attributes:
        failure: why nothing can be served at all, where a user can mend it.
        url: where the server is.
    """

    options: ServeOptions
    limits: Limits
    device: Device
    seats: Seats
    ladder: Ladder
    metrics: Metrics
    status: Status
    reception: Reception
    codec_pool: CodecPool
    end: Callable[[], None]
    failure: UserError | None = None
    url: str = ""
    _steps: _Steps = field(default_factory=_Steps)
    _recent: deque[_Steps] = field(default_factory=lambda: deque(maxlen=_LOOKS))
    _ends: int = 0
    _restart: asyncio.Task[None] | None = None
    _spare: asyncio.Task[None] | None = None
    _throttle: Throttle = field(default_factory=Throttle)

    def say(self, text: str) -> None:
        """One line of the log."""
        _print(f"{self.status.elapsed_s:6.1f} s  {text}")

    def on_device(self, event: dict[str, Any]) -> None:
        """Takes a message of the device process."""
        match event["event"]:
            case "progress":
                self.status.progress(event["message"])
                self.say(event["message"])
            case "ready":
                self._on_ready(event)
            case "warning":
                self.say(f"warning: {event['message']}")
            case "waiting":
                self.say("a spare process waits for its turn")
            case "failed":
                if event["user"]:
                    self.failure = UserError(event["message"])
                self._fail(event["message"])
            case "exit":
                self._on_exit(f"the device process ended ({describe_exit(event['status'])})")
            case _:
                self._note(event)
                self.seats.on_device(event)

    def _note(self, event: dict[str, Any]) -> None:
        """Counts what concerns more than a seat."""
        if event["event"] == "repair":
            self.metrics.repairs.labels(event["reason"]).inc()
            self.say(
                f"seat {event['seat']}: repaired at frame {event['frame_index']}: "
                f"{event['reason']} {event['value']:.3g}, limit {event['limit']:.3g}"
            )
        elif event["event"] == "out":
            steps = self._steps
            steps.drift = max(steps.drift, event["drift"])
            if event["repeated"]:
                self.metrics.repeated.inc()
            elif event["step_s"] > 0:
                self._ends = 0
                steps.count += 1
                steps.busy_s += event["step_s"]
                steps.slowdown += event["slowdown"]
            if event["degraded"]:
                self.metrics.degraded.inc()

    # -- beginnings and ends -----------------------------------------------------------------

    def _on_ready(self, event: dict[str, Any]) -> None:
        is_first = self.reception.context is None
        self.device.open_slots(event["height"], event["width"])
        self.reception.context = SessionContext(
            device=self.device,
            metrics=self.metrics,
            codec_pool=self.codec_pool,
            limits=self.limits,
            ladder=self.ladder,
            variants=tuple(event["variants"]),
        )
        if self.options.max_sessions is None:
            self.seats.step_s = 1e-3 * event["step_ms"]
        self.status.ready(event)
        self.say(
            f"{event['steps']}-step stream at {event['width']}x{event['height']}, "
            f"{event['step_ms']:.1f} ms a step"
        )
        if is_first:
            _print(f"ready: {self.url}")
        else:
            self._tell_device_limits()
            self.seats.on_device_back()
            self.say("the device process is back")
        self._spare = asyncio.ensure_future(self.device.start_spare())

    def _on_exit(self, text: str) -> None:
        if self.status.state in ("failed", "stopping"):
            return
        self._ends += 1
        if self.reception.context is None or self._ends > _FRUITLESS:
            self._fail(text)
            return
        self.say(f"error: {text}; starting another")
        self.metrics.restarts.inc()
        self.status.state = "restarting"
        self.seats.on_device_lost()
        self._restart = asyncio.ensure_future(self.device.start())

    def _fail(self, text: str) -> None:
        if self.status.state in ("failed", "stopping"):
            return
        self.status.state = "failed"
        if self.failure is None:
            self.say(f"error: {text}")
        self.seats.fail_all(
            ProtocolError(Close.FAULT, "device_lost", "the model has stopped; the server ends")
        )
        self.end()

    # -- watching ----------------------------------------------------------------------------

    async def watch(self) -> None:
        """Looks twice a second for steps that do not end, and for steps that got slow."""
        last_s = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            if self.status.state != "ready":
                continue
            self._end_hung_step()
            now = time.monotonic()
            self._look_at_load(now - last_s)
            last_s = now

    def _end_hung_step(self) -> None:
        ages = [one.ingress.oldest_in_device_s() for one in self.seats.sessions.values()]
        oldest_s = min((at_s for at_s in ages if at_s is not None), default=None)
        if oldest_s is not None and time.monotonic() - oldest_s > self.options.step_timeout_s:
            self.say(f"error: a step took over {self.options.step_timeout_s:g} s")
            self.device.kill()

    def _look_at_load(self, seconds: float) -> None:
        steps, self._steps = self._steps, _Steps()
        steps.seconds = seconds
        self._recent.append(steps)
        count = sum(each.count for each in self._recent)
        throttled = self._throttle.read()
        self.metrics.throttled.set(throttled)
        self.metrics.drift.set(steps.drift)
        before = self.ladder.height
        rung = self.ladder.tick(
            sum(each.slowdown for each in self._recent) / count if count else 0.0,
            sum(each.busy_s for each in self._recent) / sum(each.seconds for each in self._recent),
            throttled=throttled,
        )
        if rung is not None:
            self._announce(rung, worse=self.ladder.height > before)

    def _announce(self, rung: Rung, *, worse: bool) -> None:
        height = self.ladder.height
        self.metrics.rung.set(height)
        self.say(f"overload: {'up' if worse else 'down'} to rung {height} of {len(RUNGS)}")
        self._tell_device_limits()
        for session in self.seats.sessions.values():
            session.limit_rate(self.ladder.rate_share)
            text = rung.message if worse else "the device is faster again"
            session.notice(f"overload:{rung.reason}", text, degraded=height > 0)
        self.seats.look_again()

    def _tell_device_limits(self) -> None:
        assert self.reception.context is not None
        fewest = self.reception.context.variants[0]
        most = fewest if self.ladder.takes_fewer_steps else None
        self.device.send(op="limit_steps", most=most)


def _print(line: str) -> None:
    with suppress(OSError):  # nobody reads any more; the server goes on
        print(line, flush=True)
