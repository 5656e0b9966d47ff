"""The step loop of the device process: whose frame is stepped next, and when.

Each session ("seat") has one waiting frame, the latest, and one stream. All frames may grow equally
old, so the one that has waited longest has the earliest deadline: it is stepped first, together
with others that wait where a batch was measured to be worth it. The next step is dispatched shortly
before the one in flight is expected to end, so that the host's work overlaps the device's while the
frame that is picked is still the newest. A second thread waits for the results.
"""

import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.serve.slots import Slots
from lsdjax.serve.streams import Seat, StreamerLike, calibrate

_HEAD_START_S = 0.002  # how long before the expected end of a step the next one is dispatched
_CONTROLS_PER_STEP = 4  # encoding a prompt is bounded work between steps
_ENCODE_S = 0.002  # what the front still has to do after a step, for the deadline
_MAX_FAULTS = 3  # in a row: then the session ends


@dataclass(slots=True, eq=False)
class _Job:
    """A frame that waits in a slot, and then its step."""

    seat: int
    slot: int
    seq: int
    received_s: float
    waiting_since_s: float  # when the first of the frames that it superseded arrived
    discontinuity: bool
    owner: Seat | None = None
    revision: int = 0
    degraded: bool = False
    frame: np.ndarray | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    """Jobs in the device; `output` is what the model returned, then an array or an exception."""

    jobs: list[_Job]
    steps: int
    started_s: float
    output: Any = None
    ended_s: float | None = None


@dataclass
class _Work:
    """What waits for the loop, under its condition."""

    controls: deque[dict[str, Any]] = field(default_factory=deque)
    frames: dict[int, _Job] = field(default_factory=dict)
    stopping: bool = False


class StepLoop:
    """The sessions of one model. `post` may be called from another thread than `run`.

    Attributes:
        calibrated: seconds of a step at start-up, by (steps, streams at once).
        slowdown: the moving average of a step's time over the calibrated one.
    """

    def __init__(
        self, streamer: StreamerLike, slots: Slots, deadline_s: float, send: Callable[..., None]
    ) -> None:
        self._streamer = streamer
        self._slots = slots
        self._deadline_s = deadline_s
        self._send = send
        self._changed = threading.Condition()
        self._work = _Work()
        self._seats: dict[int, Seat] = {}
        self._max_steps: int | None = None
        self._free_at_s = 0.0
        self.calibrated = calibrate(streamer)
        self.slowdown = 1.0
        self._traces = streamer.trace_count
        self._dispatched: queue.SimpleQueue[_Batch] = queue.SimpleQueue()
        threading.Thread(target=self._fetch, name="fetch", daemon=True).start()

    def post(self, message: dict[str, Any]) -> None:
        """Takes a message of the front; a frame pushes out the one that waits before it."""
        if message["op"] == "frame":
            self._post_frame(message)
            return
        with self._changed:
            if message["op"] == "stop":
                self._work.stopping = True
            else:
                self._work.controls.append(message)
            self._changed.notify()

    def _post_frame(self, message: dict[str, Any]) -> None:
        job = _Job(
            seat=message["seat"],
            slot=message["slot"],
            seq=message["seq"],
            received_s=message["received_s"],
            waiting_since_s=time.monotonic(),
            discontinuity=message["discontinuity"],
        )
        with self._changed:
            older = self._work.frames.get(job.seat)
            if older is not None:
                job.waiting_since_s = older.waiting_since_s
                job.discontinuity |= older.discontinuity
            self._work.frames[job.seat] = job
            self._changed.notify()
        if older is not None:
            self._drop(older, "superseded")

    def run(self) -> None:
        """Steps until told to stop."""
        current: _Batch | None = None  # in the device
        ahead: _Batch | None = None  # dispatched behind it
        while not self._work.stopping:
            with self._changed:
                while not self._has_work(current, ahead):
                    self._changed.wait(self._patience_s(current, ahead))
                count = min(_CONTROLS_PER_STEP, len(self._work.controls))
                controls = [self._work.controls.popleft() for _ in range(count)]
            for message in controls:
                self._control(message)
            if current is not None and current.ended_s is not None:
                self._publish(current, current.ended_s)
                current, ahead = ahead, None
            if current is None:
                current = self._dispatch_next()
            elif ahead is None and self._is_nearly_over(current):
                ahead = self._dispatch_next()

    def _has_work(self, current: _Batch | None, ahead: _Batch | None) -> bool:
        if self._work.stopping or self._work.controls:
            return True
        if current is None:
            return bool(self._work.frames)
        if current.ended_s is not None:
            return True
        return ahead is None and bool(self._work.frames) and self._is_nearly_over(current)

    def _patience_s(self, current: _Batch | None, ahead: _Batch | None) -> float | None:
        """How long nothing has to be done unless the condition is notified."""
        if current is None or ahead is not None or not self._work.frames:
            return None
        return max(0.0, self._due_s(current) - time.monotonic())

    def _is_nearly_over(self, batch: _Batch) -> bool:
        return time.monotonic() >= self._due_s(batch)

    def _due_s(self, batch: _Batch) -> float:
        expected_s = self._expected_s(batch.steps, len(batch.jobs))
        return max(batch.started_s, self._free_at_s) + expected_s - _HEAD_START_S

    def _expected_s(self, steps: int, streams: int = 1) -> float:
        return self.slowdown * self.calibrated[steps, streams]

    def _fetch(self) -> None:
        """Waits for each dispatched step in turn."""
        while True:
            batch = self._dispatched.get()
            try:
                batch.output = np.asarray(batch.output)
            except Exception as error:
                batch.output = error
            with self._changed:
                batch.ended_s = time.monotonic()
                self._changed.notify()

    # -- one step ----------------------------------------------------------------------------

    def _dispatch_next(self) -> _Batch | None:
        """Starts the step of those that have waited longest; None when nobody waits."""
        while jobs := self._pick():
            now = time.monotonic()
            ready = [job for job in jobs if self._prepare(job, now)]
            if len(ready) < len(jobs):  # the rest may be of no size that is compiled
                for job in ready[1:]:
                    self._put_back(job)
                ready = ready[:1]
            if ready and (batch := self._submit(ready, now)) is not None:
                return batch
        return None

    def _pick(self) -> list[_Job]:
        """Takes the frames of one step out of the waiting ones, the earliest deadline first."""
        picked: list[_Job] = []
        with self._changed:
            frames = self._work.frames
            for index in [index for index in frames if index not in self._seats]:
                del frames[index]  # the front frees the slots of a closed seat by itself
            for job in sorted(frames.values(), key=lambda waiting: waiting.waiting_since_s):
                job.owner = self._seats[job.seat]
                job.degraded = job.owner.limit_steps(self._max_steps)
                if not picked or job.owner.stream.steps == picked[0].owner.stream.steps:  # type: ignore[union-attr]
                    picked.append(job)
            if picked:
                steps = picked[0].owner.stream.steps  # type: ignore[union-attr]
                sizes = [size for count, size in self.calibrated if count == steps]
                picked = picked[: max(size for size in sizes if size <= len(picked))]
            for job in picked:
                del frames[job.seat]
        return picked

    def _put_back(self, job: _Job) -> None:
        with self._changed:
            newer = self._work.frames.setdefault(job.seat, job)
        if newer is not job:
            self._drop(job, "superseded")

    def _prepare(self, job: _Job, now: float) -> bool:
        """Whether a frame is to be stepped: it is not too late, and shows something new."""
        seat = job.owner
        assert seat is not None
        seat.last_seq = job.seq
        if job.discontinuity:
            seat.reset()
            job.discontinuity = False
        # Where a step alone misses the deadline, dropping cannot help: late is normal.
        step_s = self._expected_s(seat.stream.steps)
        deadline_s = max(self._deadline_s, 2 * step_s + _ENCODE_S)
        if now - job.received_s + step_s + _ENCODE_S > deadline_s:
            self._drop(job, "deadline")
            return False
        # A copy, because the device may read the memory that it is given in place.
        job.frame = frame = self._slots.inputs[job.seat, job.slot].copy()
        job.revision = seat.revision
        repeated = seat.repeat(frame)
        if repeated is not None:
            self._hand_over(job, repeated, 0.0, 0.0, repeated=True)
            return False
        return True

    def _submit(self, jobs: list[_Job], now: float) -> _Batch | None:
        seats = [job.owner for job in jobs if job.owner is not None]
        frames = [job.frame for job in jobs if job.frame is not None]
        batch = _Batch(jobs, seats[0].stream.steps, now)
        try:
            if len(jobs) == 1:
                batch.output = seats[0].stream.submit(frames[0])
            else:
                streams = [seat.stream for seat in seats]
                batch.output = self._streamer.submit_batch(streams, frames)
        except Exception as error:
            self._fault(batch, error)
            return None
        for job, seat in zip(jobs, seats, strict=True):
            job.discontinuity, seat.discontinuity = seat.discontinuity, False
            seat.in_device += 1
        self._dispatched.put(batch)
        return batch

    def _publish(self, batch: _Batch, ended_s: float) -> None:
        """Hands the pictures of a finished step over."""
        step_s = ended_s - max(batch.started_s, self._free_at_s)
        self._free_at_s = ended_s
        slowdown = step_s / self.calibrated[batch.steps, len(batch.jobs)]
        self.slowdown += 0.1 * (slowdown - self.slowdown)
        for job in batch.jobs:
            if job.owner is not None:
                job.owner.in_device -= 1
        if isinstance(batch.output, Exception):
            self._fault(batch, batch.output)
            return
        pictures = [batch.output] if len(batch.jobs) == 1 else batch.output
        for job, picture in zip(batch.jobs, pictures, strict=True):
            if self._seats.get(job.seat) is not job.owner:
                continue  # closed meanwhile; the slot may be another session's by now
            assert job.owner is not None and job.frame is not None
            job.owner.faults = 0
            job.owner.remember(job.frame, picture)
            self._tell_repairs(job)
            self._hand_over(job, picture, step_s, slowdown, started_s=batch.started_s)
        if self._streamer.trace_count != self._traces:
            self._traces = self._streamer.trace_count
            self._send(event="warning", message="the stream step was traced again after warm-up")

    def _hand_over(
        self,
        job: _Job,
        picture: np.ndarray,
        step_s: float,
        slowdown: float,
        *,
        started_s: float | None = None,
        repeated: bool = False,
    ) -> None:
        assert job.owner is not None
        np.copyto(self._slots.outputs[job.seat, job.slot], picture)
        self._send(
            event="out",
            seat=job.seat,
            slot=job.slot,
            revision=job.revision,
            discontinuity=job.discontinuity,
            degraded=job.degraded,
            repeated=repeated,
            queue_s=(time.monotonic() if started_s is None else started_s) - job.received_s,
            step_s=step_s,
            slowdown=slowdown,
            drift=round(job.owner.stream.drift, 3),
        )

    def _tell_repairs(self, job: _Job) -> None:
        assert job.owner is not None
        events = job.owner.stream.events
        while events:
            repair = events.popleft()
            self._send(
                event="repair",
                seat=job.seat,
                frame_index=repair.frame_index,
                reason=repair.reason,
                value=repair.value,
                limit=repair.limit,
            )

    def _drop(self, job: _Job, reason: str) -> None:
        self._send(event="drop", seat=job.seat, slot=job.slot, reason=reason)

    def _fault(self, batch: _Batch, error: Exception) -> None:
        """Shows the inputs of a step that failed; ends a session whose steps go on failing."""
        traceback.print_exception(error)
        for job in batch.jobs:
            seat = job.owner
            if seat is None or self._seats.get(job.seat) is not seat:
                continue
            seat.faults += 1
            if seat.faults >= _MAX_FAULTS:
                self._send(
                    event="fault", seat=job.seat, slot=job.slot, message=type(error).__name__
                )
                continue
            seat.replace()
            job.degraded = True
            self._hand_over(job, self._slots.inputs[job.seat, job.slot], 0.0, 0.0)

    # -- between steps -----------------------------------------------------------------------

    def _control(self, message: dict[str, Any]) -> None:
        operation = message["op"]
        if operation == "limit_steps":
            self._max_steps = message["most"]
            return
        index = message["seat"]
        seat = self._seats.get(index)
        try:
            if operation == "open":
                seat = self._seats[index] = Seat(
                    self._streamer, message["values"], message["revision"]
                )
                self._send(event="opened", seat=index, effective=seat.effective)
            elif operation == "close":
                with self._changed:
                    self._work.frames.pop(index, None)
                self._seats.pop(index, None)
                self._send(event="closed", seat=index)
            elif operation == "params" and seat is not None:
                self._apply(seat, message)
            elif operation == "reset" and seat is not None:
                seat.reset()
        except UserError as error:
            self._reject(message, str(error))
        except Exception as error:
            traceback.print_exception(error)
            self._reject(message, f"the server failed to apply it ({type(error).__name__})")

    def _apply(self, seat: Seat, message: dict[str, Any]) -> None:
        seat.apply(message["values"], message["revision"])
        with self._changed:
            job = self._work.frames.get(message["seat"])
        self._send(
            event="params",
            seat=message["seat"],
            revision=seat.revision,
            effective=seat.effective,
            first_seq=seat.last_seq + 1 if job is None else job.seq,
        )

    def _reject(self, message: dict[str, Any], text: str) -> None:
        self._send(
            event="rejected",
            seat=message["seat"],
            revision=message.get("revision"),
            message=text,
        )
