"""What waits for the step loop: of each session the latest frame, and what it has to do between."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsdjax.serve.streams import Seat


@dataclass(slots=True, eq=False)
class Job:
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

    @classmethod
    def from_message(cls, message: dict[str, Any]) -> "Job":
        """A frame that the front rang the bell for."""
        return cls(
            seat=message["seat"],
            slot=message["slot"],
            seq=message["seq"],
            received_s=message["received_s"],
            waiting_since_s=time.monotonic(),
            discontinuity=message["discontinuity"],
        )


@dataclass(slots=True, eq=False)
class Batch:
    """Jobs in the device; `output` is what the model returned, then an array or an exception."""

    jobs: list[Job]
    steps: int
    started_s: float
    output: Any = None
    ended_s: float | None = None


class Inbox:
    """Filled by the thread that hears the front, emptied by the one that steps.

    Attributes:
        changed: notified whenever there is something new; its lock guards all the rest.
        controls: messages that are no frames, in their order.
        frames: the waiting frame of each session.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.controls: deque[dict[str, Any]] = deque()
        self.frames: dict[int, Job] = {}
        self.stopping = False

    def post(self, message: dict[str, Any]) -> None:
        """Takes a message that is no frame."""
        with self.changed:
            if message["op"] == "stop":
                self.stopping = True
            else:
                self.controls.append(message)
            self.changed.notify()

    def post_frame(self, job: Job) -> Job | None:
        """Takes a frame; the one that it pushes out, whose turn it inherits."""
        with self.changed:
            older = self.frames.get(job.seat)
            if older is not None:
                job.waiting_since_s = older.waiting_since_s
                job.discontinuity |= older.discontinuity
            self.frames[job.seat] = job
            self.changed.notify()
        return older

    def take_controls(self, most: int) -> list[dict[str, Any]]:
        """The next messages; the caller holds the lock."""
        return [self.controls.popleft() for _ in range(min(most, len(self.controls)))]

    def pick(
        self, seats: Mapping[int, Seat], most_steps: int | None, sizes: Iterable[tuple[int, int]]
    ) -> list[Job]:
        """Takes the frames of one step out of the waiting ones, the earliest deadline first.

        They take equally many steps, and are as many as one of `sizes`, (steps, streams at once).
        """
        with self.changed:
            for index in [index for index in self.frames if index not in seats]:
                del self.frames[index]  # the front frees the slots of a closed seat by itself
            waiting = sorted(self.frames.values(), key=lambda job: job.waiting_since_s)
            if not waiting:
                return []
            for job in waiting:
                job.owner = seats[job.seat]
                job.degraded = job.owner.limit_steps(most_steps)
            steps = seats[waiting[0].seat].stream.steps
            alike = [job for job in waiting if seats[job.seat].stream.steps == steps]
            fitting = [size for count, size in sizes if count == steps and size <= len(alike)]
            picked = alike[: max(fitting)]
            for job in picked:
                del self.frames[job.seat]
        return picked

    def put_back(self, job: Job) -> bool:
        """Lets a frame that was picked wait again; False when there is a newer one by now."""
        with self.changed:
            return self.frames.setdefault(job.seat, job) is job

    def discard(self, seat: int) -> None:
        """Forgets the frame of a session that is closed."""
        with self.changed:
            self.frames.pop(seat, None)

    def waiting_seq(self, seat: int) -> int | None:
        """The number of the frame of a session that waits."""
        with self.changed:
            job = self.frames.get(seat)
            return None if job is None else job.seq
