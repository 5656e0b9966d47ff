"""The step loop of the device process: which session's frame is stepped next, and when.

Each session ("seat") has one waiting frame, the latest, and one stream. The loop steps the session
that has waited longest, and dispatches the next step shortly before the one in flight is expected
to end, so that the host's work overlaps the device's while the frame that is picked is still the
newest. A second thread waits for the results. Nothing here knows of JAX.
"""

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.serve.slots import Slots

_HEAD_START_S = 0.002  # how long before the expected end of a step the next one is dispatched
_CONTROLS_PER_STEP = 4  # encoding a prompt is bounded work between steps
_CALIBRATION_STEPS = 5
_ENCODE_S = 0.002  # what the front still has to do after a step, for the deadline


class StreamLike(Protocol):
    """A session's stream, as `lsdjax.stream.session.Stream` is one.

    events: its repairs, see `lsdjax.stream.controllers.RepairEvent`; whoever reads takes them.
    """

    prompt: str
    seed: int
    events: deque[Any]

    @property
    def strength(self) -> float: ...
    @strength.setter
    def strength(self, value: float) -> None: ...
    def submit(self, frame: np.ndarray) -> Any: ...
    def set_prompt(self, prompt: str) -> None: ...
    def reset(self) -> None: ...


class StreamerLike(Protocol):
    """A model that is ready to stream, as `lsdjax.stream.session.Streamer` is one."""

    size: tuple[int, int]
    steps: int

    @property
    def trace_count(self) -> int: ...
    def warm_up(self, progress: Callable[[str], None] | None = None) -> None: ...
    def start(self, prompt: str, *, seed: int = 0, strength: float = 1.0) -> StreamLike: ...


@dataclass(slots=True, eq=False)
class _Job:
    """A frame that waits in a slot, and then its step."""

    seat: int
    slot: int
    seq: int
    received_s: float
    waiting_since_s: float  # when the first of the frames that it superseded arrived
    discontinuity: bool
    owner: "_Seat | None" = None
    revision: int = 0
    picked_s: float = 0.0
    started_s: float = 0.0
    ended_s: float | None = None
    output: Any = None  # what the stream returned; once it has ended, an array or the exception


@dataclass(slots=True, eq=False)
class _Seat:
    """A session as the device process knows it."""

    stream: StreamLike
    revision: int = 0
    last_seq: int = -1
    discontinuity: bool = True


class StepLoop:
    """The sessions of one model. `post` may be called from another thread than `run`."""

    def __init__(
        self, streamer: StreamerLike, slots: Slots, deadline_s: float, send: Callable[..., None]
    ) -> None:
        self._streamer = streamer
        self._slots = slots
        self._deadline_s = deadline_s
        self._send = send
        self._changed = threading.Condition()
        self._controls: deque[dict[str, Any]] = deque()
        self._waiting: dict[int, _Job] = {}
        self._stopping = False
        self._seats: dict[int, _Seat] = {}
        self._free_at_s = 0.0
        self.step_s = _calibrate(streamer)  # from here on a moving average
        self._traces = streamer.trace_count
        self._dispatched: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        threading.Thread(target=self._fetch, name="fetch", daemon=True).start()

    def post(self, message: dict[str, Any]) -> None:
        """Takes a message of the front; a frame pushes out the one that waits before it."""
        operation = message["op"]
        if operation == "frame":
            now = time.monotonic()
            job = _Job(
                seat=message["seat"],
                slot=message["slot"],
                seq=message["seq"],
                received_s=message["received_s"],
                waiting_since_s=now,
                discontinuity=message["discontinuity"],
            )
            with self._changed:
                older = self._waiting.get(job.seat)
                if older is not None:
                    job.waiting_since_s = older.waiting_since_s
                    job.discontinuity |= older.discontinuity
                self._waiting[job.seat] = job
                self._changed.notify()
            if older is not None:
                self._drop(older, "superseded")
            return
        with self._changed:
            if operation == "stop":
                self._stopping = True
            else:
                self._controls.append(message)
            self._changed.notify()

    def run(self) -> None:
        """Steps until told to stop."""
        current: _Job | None = None  # in the device
        ahead: _Job | None = None  # dispatched behind it
        while not self._stopping:
            with self._changed:
                while not self._has_work(current, ahead):
                    self._changed.wait(self._patience_s(current, ahead))
                count = min(_CONTROLS_PER_STEP, len(self._controls))
                controls = [self._controls.popleft() for _ in range(count)]
            for message in controls:
                self._control(message)
            if current is not None and current.ended_s is not None:
                self._publish(current, current.ended_s)
                current, ahead = ahead, None
            if current is None:
                current = self._dispatch_next()
            elif ahead is None and self._is_nearly_over(current):
                ahead = self._dispatch_next()

    def _has_work(self, current: _Job | None, ahead: _Job | None) -> bool:
        if self._stopping or self._controls:
            return True
        if current is None:
            return bool(self._waiting)
        if current.ended_s is not None:
            return True
        return ahead is None and bool(self._waiting) and self._is_nearly_over(current)

    def _patience_s(self, current: _Job | None, ahead: _Job | None) -> float | None:
        """How long nothing has to be done unless the condition is notified."""
        if current is None or ahead is not None or not self._waiting:
            return None
        return max(0.0, self._due_s(current) - time.monotonic())

    def _is_nearly_over(self, job: _Job) -> bool:
        return time.monotonic() >= self._due_s(job)

    def _due_s(self, job: _Job) -> float:
        return max(job.started_s, self._free_at_s) + self.step_s - _HEAD_START_S

    def _fetch(self) -> None:
        """Waits for each dispatched step in turn."""
        while True:
            job = self._dispatched.get()
            try:
                job.output = np.asarray(job.output)
            except Exception as error:
                job.output = error
            with self._changed:
                job.ended_s = time.monotonic()
                self._changed.notify()

    def _dispatch_next(self) -> _Job | None:
        """Starts the step of the session that has waited longest; None when there is none."""
        while True:
            with self._changed:
                if not self._waiting:
                    return None
                job = min(self._waiting.values(), key=lambda waiting: waiting.waiting_since_s)
                del self._waiting[job.seat]
            seat = self._seats.get(job.seat)
            if seat is None:
                continue  # the front frees the slots of a closed seat by itself
            now = time.monotonic()
            try:
                seat.last_seq = job.seq
                if job.discontinuity:
                    seat.stream.reset()
                    seat.discontinuity = True
                # Where a step alone misses the deadline, dropping cannot help: late is normal.
                deadline_s = max(self._deadline_s, 2 * self.step_s + _ENCODE_S)
                if now - job.received_s + self.step_s + _ENCODE_S > deadline_s:
                    self._drop(job, "deadline")
                    continue
                # A copy, because the device may read the memory that it is given in place.
                frame = self._slots.inputs[job.seat, job.slot].copy()
                job.output = seat.stream.submit(frame)
            except Exception as error:
                self._fault(job, error)
                continue
            job.owner = seat
            job.discontinuity = seat.discontinuity
            seat.discontinuity = False
            job.revision = seat.revision
            job.picked_s = job.started_s = now
            self._dispatched.put(job)
            return job

    def _publish(self, job: _Job, ended_s: float) -> None:
        """Hands a finished step's picture over."""
        step_s = ended_s - max(job.started_s, self._free_at_s)
        self._free_at_s = ended_s
        self.step_s += 0.1 * (step_s - self.step_s)
        if self._seats.get(job.seat) is not job.owner:
            return  # closed meanwhile; the slot may be another session's by now
        if isinstance(job.output, Exception):
            self._fault(job, job.output)
            return
        np.copyto(self._slots.outputs[job.seat, job.slot], job.output)
        self._tell_repairs(job.seat, self._seats[job.seat].stream)
        self._send(
            event="out",
            seat=job.seat,
            slot=job.slot,
            revision=job.revision,
            discontinuity=job.discontinuity,
            queue_s=job.picked_s - job.received_s,
            step_s=step_s,
        )
        if self._streamer.trace_count != self._traces:
            self._traces = self._streamer.trace_count
            self._send(event="warning", message="the stream step was traced again after warm-up")

    def _tell_repairs(self, seat: int, stream: StreamLike) -> None:
        while stream.events:
            repair = stream.events.popleft()
            self._send(
                event="repair",
                seat=seat,
                frame_index=repair.frame_index,
                reason=repair.reason,
                value=repair.value,
                limit=repair.limit,
            )

    def _drop(self, job: _Job, reason: str) -> None:
        self._send(event="drop", seat=job.seat, slot=job.slot, reason=reason)

    def _fault(self, job: _Job, error: Exception) -> None:
        traceback.print_exception(error)
        self._send(event="fault", seat=job.seat, slot=job.slot, message=type(error).__name__)

    def _control(self, message: dict[str, Any]) -> None:
        index, operation = message["seat"], message["op"]
        seat = self._seats.get(index)
        try:
            if operation == "open":
                stream = self._streamer.start(message["prompt"])
                self._seats[index] = _Seat(stream)
                self._send(event="opened", seat=index, effective=_effective(stream))
            elif operation == "close":
                with self._changed:
                    self._waiting.pop(index, None)
                self._seats.pop(index, None)
                self._send(event="closed", seat=index)
            elif operation == "params" and seat is not None:
                self._apply(seat, message)
            elif operation == "reset" and seat is not None:
                seat.stream.reset()
                seat.discontinuity = True
        except UserError as error:
            self._reject(message, str(error))
        except Exception as error:
            traceback.print_exception(error)
            self._reject(message, f"the server failed to apply it ({type(error).__name__})")

    def _apply(self, seat: _Seat, message: dict[str, Any]) -> None:
        values = message["values"]
        stream = seat.stream
        if "prompt" in values and values["prompt"] != stream.prompt:
            stream.set_prompt(values["prompt"])
        if "strength" in values:
            stream.strength = values["strength"]
        if "seed" in values and values["seed"] != stream.seed:
            seat.stream = stream = self._streamer.start(
                stream.prompt, seed=values["seed"], strength=stream.strength
            )
            seat.discontinuity = True
        seat.revision = message["revision"]
        with self._changed:
            job = self._waiting.get(message["seat"])
        self._send(
            event="params",
            seat=message["seat"],
            revision=seat.revision,
            effective=_effective(stream),
            first_seq=seat.last_seq + 1 if job is None else job.seq,
        )

    def _reject(self, message: dict[str, Any], text: str) -> None:
        self._send(
            event="rejected",
            seat=message["seat"],
            revision=message.get("revision"),
            message=text,
        )


def _effective(stream: StreamLike) -> dict[str, Any]:
    return {"prompt": stream.prompt, "strength": stream.strength, "seed": stream.seed}


def _calibrate(streamer: StreamerLike) -> float:
    """The median time of a step, in seconds."""
    height, width = streamer.size
    frame = np.zeros((height, width, 3), np.uint8)
    stream = streamer.start("keep the original")
    times = []
    for _ in range(_CALIBRATION_STEPS):
        start = time.perf_counter()
        np.asarray(stream.submit(frame))
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
