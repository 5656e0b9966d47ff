"""The step loop of the device process: whose frame is stepped next, and when.

Each session ("seat") has one waiting frame, the latest, and one stream. All frames may grow equally
old, so the one that has waited longest has the earliest deadline: it is stepped first, together
with others that wait where a batch was measured to be worth it. The next step is dispatched shortly
before the one in flight is expected to end, so that the host's work overlaps the device's while the
frame that is picked is still the newest. A second thread waits for the results and hands them over.
"""

import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.serve.jobs import Batch, Inbox, Job
from lsdjax.serve.slots import Slots
from lsdjax.serve.streams import Seat, StreamerLike, calibrate

_HEAD_START_S = 0.002  # how long before the expected end of a step the next one is dispatched
_CONTROLS_PER_STEP = 4  # encoding a prompt is bounded work between steps
_ENCODE_S = 0.002  # what the front still has to do after a step, for the deadline
_MAX_FAULTS = 3  # in a row: then the session ends


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
        self._inbox = Inbox()
        self._turn = threading.Lock()  # of the two threads: who holds it may touch the seats
        self._seats: dict[int, Seat] = {}
        self._max_steps: int | None = None
        self._free_at_s = 0.0
        self.calibrated = calibrate(streamer)
        self.slowdown = 1.0
        self._traces = streamer.trace_count
        self._dispatched: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        threading.Thread(target=self._fetch, name="fetch", daemon=True).start()

    def post(self, message: dict[str, Any]) -> None:
        """Takes a message of the front; a frame pushes out the one that waits before it."""
        if message["op"] != "frame":
            self._inbox.post(message)
        elif (older := self._inbox.post_frame(Job.from_message(message))) is not None:
            self._drop(older, "superseded")

    def run(self) -> None:
        """Steps until told to stop."""
        current: Batch | None = None  # in the device
        ahead: Batch | None = None  # dispatched behind it
        while not self._inbox.stopping:
            with self._inbox.changed:
                while not self._has_work(current, ahead):
                    self._inbox.changed.wait(self._patience_s(current, ahead))
                controls = self._inbox.take_controls(_CONTROLS_PER_STEP)
            with self._turn:
                for message in controls:
                    self._control(message)
                if current is not None and current.ended_s is not None:
                    current, ahead = ahead, None
                if current is None:
                    current = self._dispatch_next()
                elif ahead is None and self._is_nearly_over(current):
                    ahead = self._dispatch_next()

    def _has_work(self, current: Batch | None, ahead: Batch | None) -> bool:
        if self._inbox.stopping or self._inbox.controls:
            return True
        if current is None:
            return bool(self._inbox.frames)
        if current.ended_s is not None:
            return True
        return ahead is None and bool(self._inbox.frames) and self._is_nearly_over(current)

    def _patience_s(self, current: Batch | None, ahead: Batch | None) -> float | None:
        """How long nothing has to be done unless the condition is notified."""
        if current is None or ahead is not None or not self._inbox.frames:
            return None
        return max(0.0, self._due_s(current) - time.monotonic())

    def _is_nearly_over(self, batch: Batch) -> bool:
        return time.monotonic() >= self._due_s(batch)

    def _due_s(self, batch: Batch) -> float:
        expected_s = self._expected_s(batch.steps, len(batch.jobs))
        return max(batch.started_s, self._free_at_s) + expected_s - _HEAD_START_S

    def _expected_s(self, steps: int, streams: int = 1) -> float:
        return self.slowdown * self.calibrated[steps, streams]

    def _fetch(self) -> None:
        """Waits for each dispatched step in turn, and publishes it."""
        while True:
            batch = self._dispatched.get()
            try:
                batch.output = np.asarray(batch.output)
            except Exception as error:
                batch.output = error
            ended_s = time.monotonic()
            with self._turn:
                self._publish(batch, ended_s)
            with self._inbox.changed:
                batch.ended_s = ended_s
                self._inbox.changed.notify()

    # -- one step ----------------------------------------------------------------------------

    def _dispatch_next(self) -> Batch | None:
        """Starts the step of those that have waited longest; None when nobody waits."""
        while jobs := self._inbox.pick(self._seats, self._max_steps, self.calibrated):
            now = time.monotonic()
            ready = [job for job in jobs if self._prepare(job, now)]
            if len(ready) < len(jobs):  # the rest may be of no size that is compiled
                for job in ready[1:]:
                    if not self._inbox.put_back(job):
                        self._drop(job, "superseded")
                ready = ready[:1]
            if ready and (batch := self._submit(ready, now)) is not None:
                return batch
        return None

    def _prepare(self, job: Job, now: float) -> bool:
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

    def _submit(self, jobs: list[Job], now: float) -> Batch | None:
        seats = [job.owner for job in jobs if job.owner is not None]
        frames = [job.frame for job in jobs if job.frame is not None]
        batch = Batch(jobs, seats[0].stream.steps, now)
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

    def _publish(self, batch: Batch, ended_s: float) -> None:
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
        job: Job,
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

    def _tell_repairs(self, job: Job) -> None:
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

    def _drop(self, job: Job, reason: str) -> None:
        self._send(event="drop", seat=job.seat, slot=job.slot, reason=reason)

    def _fault(self, batch: Batch, error: Exception) -> None:
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
                self._inbox.discard(index)
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
        waiting_seq = self._inbox.waiting_seq(message["seat"])
        self._send(
            event="params",
            seat=message["seat"],
            revision=seat.revision,
            effective=seat.effective,
            first_seq=seat.last_seq + 1 if waiting_seq is None else waiting_seq,
        )

    def _reject(self, message: dict[str, Any], text: str) -> None:
        self._send(
            event="rejected",
            seat=message["seat"],
            revision=message.get("revision"),
            message=text,
        )
