"""The step loop alone, in this process, against a model whose steps end when the test says so."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from lsdjax.core.errors import UserError
from lsdjax.serve.slots import SLOTS_PER_SEAT, Slots, create_memory
from lsdjax.serve.steploop import StepLoop

HEIGHT, WIDTH, SEATS = 2, 3, 3
TIMEOUT_S = 120


class Gate:
    """A step's result: it is there once `open` is called."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture, self.opened = picture, threading.Event()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        assert self.opened.wait(TIMEOUT_S)
        return self.picture


class GatedStream:
    def __init__(self, streamer: "GatedStreamer", prompt: str, seed: int, strength: float) -> None:
        self.streamer, self.prompt, self.seed, self.strength = streamer, prompt, seed, strength
        self.resets = 0
        self.steps, self.drift, self.motion_noise = 1, 0.0, False
        self.events: deque[Any] = deque()

    def set_prompt(self, prompt: str) -> None:
        if prompt == "bad":
            raise UserError("a bad prompt")
        self.prompt = prompt

    def reset(self) -> None:
        self.resets += 1

    def submit(self, frame: np.ndarray) -> Any:
        gate = Gate(frame.copy())
        if self.streamer.free_running:
            gate.opened.set()
        self.streamer.gates.append((self.prompt, gate))
        return gate


class GatedStreamer:
    size, steps, trace_count = (HEIGHT, WIDTH), 1, 1
    variants, batches = (1, 2), (1, 2)

    def __init__(self) -> None:
        self.gates: list[tuple[str, Gate]] = []
        self.free_running = True

    def warm_up(self, progress: Callable[[str], None] | None = None) -> None: ...

    def start(self, prompt: str, *, seed: int = 0, strength: float = 1.0) -> GatedStream:
        return GatedStream(self, prompt, seed, strength)

    def submit_batch(self, streams: Sequence[GatedStream], frames: Sequence[np.ndarray]) -> Any:
        gate = Gate(np.stack(frames))
        if self.free_running:
            gate.opened.set()
        self.gates.append(("+".join(stream.prompt for stream in streams), gate))
        return gate


class Bench:
    """A running loop with its events."""

    def __init__(self) -> None:
        self.streamer = GatedStreamer()
        self.slots = Slots(create_memory(), SEATS, HEIGHT, WIDTH)
        self.events: list[dict[str, Any]] = []
        self.loop = StepLoop(self.streamer, self.slots, 600.0, lambda **e: self.events.append(e))
        self.loop.calibrated = {(steps, 1): 1e-4 for steps in (1, 2)}  # no batches
        self.streamer.gates.clear()
        self.streamer.free_running = False
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.thread.start()

    def open_seat(self, seat: int, prompt: str) -> None:
        self.loop.post({"op": "open", "seat": seat, "revision": 0, "values": {"prompt": prompt}})
        self.wait_event("opened", seat=seat)

    def frame(self, seat: int, slot: int, seq: int, **fields: Any) -> None:
        self.slots.inputs[seat, slot] = seq
        message = {"op": "frame", "seat": seat, "slot": slot, "seq": seq, "discontinuity": False}
        self.loop.post(message | {"received_s": time.monotonic()} | fields)

    def wait_event(self, kind: str, **fields: Any) -> dict[str, Any]:
        wanted = {"event": kind} | fields
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [event for event in self.events if wanted.items() <= event.items()]
            return bool(found)

        wait_until(there)
        return found[0]

    def wait_steps(self, count: int) -> None:
        wait_until(lambda: len(self.streamer.gates) >= count)

    def end_step(self, index: int) -> None:
        self.streamer.gates[index][1].opened.set()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    for _, gate in bench.streamer.gates:
        gate.opened.set()
    bench.streamer.free_running = True
    bench.loop.post({"op": "stop"})
    bench.thread.join(TIMEOUT_S)
    assert not bench.thread.is_alive()


def test_the_next_step_is_dispatched_while_one_runs_and_the_rest_waits(bench: Bench) -> None:
    bench.open_seat(0, "a")
    for seq in range(4):
        bench.frame(0, slot=seq, seq=seq)
        if seq < 2:
            bench.wait_steps(seq + 1)
    bench.wait_event("drop", slot=2, reason="superseded")
    assert len(bench.streamer.gates) == 2
    assert not any(event["event"] == "out" for event in bench.events)
    bench.end_step(0)
    bench.wait_event("out", slot=0)
    bench.wait_steps(3)
    for index in (1, 2):
        bench.end_step(index)
    bench.wait_event("out", slot=3)
    assert (bench.slots.outputs[0, 3] == 3).all()


def test_a_result_is_published_when_it_is_there_however_long_it_was_expected_to_take(
    bench: Bench,
) -> None:
    bench.loop.slowdown = 1e9
    bench.open_seat(0, "a")
    bench.frame(0, slot=0, seq=0)
    bench.wait_steps(1)
    bench.end_step(0)
    bench.wait_event("out", slot=0)


def test_the_session_that_has_waited_longest_is_next(bench: Bench) -> None:
    for seat, prompt in enumerate("abc"):
        bench.open_seat(seat, prompt)
    bench.frame(0, slot=0, seq=0)
    bench.wait_steps(1)
    bench.loop.slowdown = 1e9  # nothing is dispatched ahead
    bench.frame(1, slot=0, seq=0)
    bench.frame(2, slot=0, seq=0)
    bench.frame(1, slot=1, seq=1)  # takes the place of its first frame, and its turn
    for index in range(3):
        bench.wait_steps(index + 1)
        bench.end_step(index)
    bench.wait_event("out", seat=2)
    assert [prompt for prompt, _ in bench.streamer.gates] == ["a", "b", "c"]


def test_nothing_is_heard_of_a_step_whose_session_has_closed(bench: Bench) -> None:
    bench.open_seat(0, "a")
    bench.frame(0, slot=0, seq=0)
    bench.wait_steps(1)
    bench.loop.post({"op": "close", "seat": 0})
    bench.wait_event("closed")
    bench.open_seat(0, "b")
    bench.slots.outputs[0] = 99
    bench.end_step(0)
    bench.frame(0, slot=1, seq=0)
    bench.wait_steps(2)
    bench.end_step(1)
    bench.wait_event("out", slot=1)
    assert not any(event["event"] == "out" and event["slot"] == 0 for event in bench.events)
    assert (bench.slots.outputs[0, 0] == 99).all()


def test_params_name_the_first_frame_that_they_hold_for(bench: Bench) -> None:
    bench.open_seat(0, "a")
    bench.frame(0, slot=0, seq=7)
    bench.wait_steps(1)
    bench.loop.post({"op": "params", "seat": 0, "revision": 1, "values": {"prompt": "b"}})
    assert bench.wait_event("params", revision=1)["first_seq"] == 8
    bench.loop.post({"op": "params", "seat": 0, "revision": 2, "values": {"prompt": "bad"}})
    assert bench.wait_event("rejected", revision=2)["message"] == "a bad prompt"
    bench.frame(0, slot=1, seq=9)
    bench.end_step(0)
    bench.wait_steps(2)
    bench.end_step(1)
    assert bench.wait_event("out", slot=0)["revision"] == 0
    assert bench.wait_event("out", slot=1)["revision"] == 1
    assert bench.streamer.gates[1][0] == "b"


def fail_a_step(bench: Bench, index: int) -> None:
    bench.wait_steps(index + 1)
    bench.streamer.gates[index][1].picture = None  # type: ignore[assignment]
    bench.end_step(index)


def test_a_failed_step_shows_its_input_and_the_third_in_a_row_is_a_fault(bench: Bench) -> None:
    bench.open_seat(0, "a")
    for index in range(3):
        bench.frame(0, slot=index, seq=index + 5)
        fail_a_step(bench, index)
        if index < 2:
            out = bench.wait_event("out", slot=index)
            assert out["degraded"] and not out["repeated"]
            assert (bench.slots.outputs[0, index] == index + 5).all()
    assert bench.wait_event("fault", slot=2)["seat"] == 0


def test_a_good_step_forgives_the_faults_before_it(bench: Bench) -> None:
    bench.open_seat(0, "a")
    for index in range(5):
        bench.frame(0, slot=index, seq=index)
        if index == 2:
            bench.wait_steps(3)
            bench.end_step(2)
        else:
            fail_a_step(bench, index)
        out = bench.wait_event("out", slot=index)
        assert out["degraded"] == (index != 2)
    assert not any(event["event"] == "fault" for event in bench.events)


def test_those_that_wait_are_stepped_together_where_that_was_measured_to_pay(bench: Bench) -> None:
    bench.loop.calibrated[1, 2] = 1e-4
    for seat, prompt in enumerate("abc"):
        bench.open_seat(seat, prompt)
    bench.frame(0, slot=0, seq=9)
    bench.wait_steps(1)
    bench.loop.slowdown = 1e9  # nothing is dispatched ahead
    for seat in (2, 0, 1):
        bench.frame(seat, slot=1, seq=20 + seat)
    bench.end_step(0)
    bench.wait_steps(2)
    bench.end_step(1)
    bench.wait_steps(3)
    bench.end_step(2)
    bench.wait_event("out", seat=1)
    assert [prompts for prompts, _ in bench.streamer.gates] == ["a", "c+a", "b"]
    for seat in range(3):
        bench.wait_event("out", seat=seat, slot=1)
        assert (bench.slots.outputs[seat, 1] == 20 + seat).all()


def test_sessions_of_other_steps_are_not_stepped_together(bench: Bench) -> None:
    bench.loop.calibrated |= {(1, 2): 1e-4, (2, 2): 1e-4}
    for seat, prompt in enumerate("abc"):
        bench.open_seat(seat, prompt)
    bench.loop.post({"op": "params", "seat": 1, "revision": 1, "values": {"steps": 2}})
    assert bench.wait_event("params", seat=1)["effective"]["steps"] == 2
    bench.frame(0, slot=0, seq=0)
    bench.wait_steps(1)
    bench.loop.slowdown = 1e9
    for seat in range(3):
        bench.frame(seat, slot=1, seq=1)
    for index in range(3):
        bench.wait_steps(index + 1)
        bench.end_step(index)
    bench.wait_event("out", seat=1)
    assert [prompts for prompts, _ in bench.streamer.gates] == ["a", "a+c", "b"]


def test_under_a_limit_frames_take_fewer_steps_and_say_so(bench: Bench) -> None:
    bench.open_seat(0, "a")
    bench.loop.post({"op": "params", "seat": 0, "revision": 1, "values": {"steps": 2}})
    for index, most in enumerate((1, None)):
        bench.loop.post({"op": "limit_steps", "most": most})
        bench.loop.post({"op": "reset", "seat": 0})
        bench.frame(0, slot=index, seq=index)
        bench.wait_steps(index + 1)
        bench.end_step(index)
        assert bench.wait_event("out", slot=index)["degraded"] == (most == 1)
    assert bench.wait_event("params")["effective"]["steps"] == 2


def test_a_still_scene_costs_no_steps_where_that_was_asked_for(bench: Bench) -> None:
    bench.open_seat(0, "a")
    still = {"op": "params", "seat": 0, "revision": 1, "values": {"skip_still": True}}
    bench.loop.post(still)
    for index, seq in enumerate((50, 51, 90)):  # a frame is as bright as its number
        bench.frame(0, slot=index, seq=seq)
        if index != 1:
            bench.wait_steps(1 + index // 2)
            bench.end_step(index // 2)
        out = bench.wait_event("out", slot=index)
        assert out["repeated"] == (index == 1)
    assert (bench.slots.outputs[0, 1] == 50).all()
    bench.loop.post(still | {"revision": 2, "values": {"strength": 0.5}})
    bench.wait_event("params", revision=2)
    bench.frame(0, slot=3, seq=90)  # what is shown would have changed
    bench.wait_steps(3)
    bench.end_step(2)
    assert not bench.wait_event("out", slot=3)["repeated"]


def test_motion_noise_outlives_the_stream_that_it_was_asked_of(bench: Bench) -> None:
    bench.open_seat(0, "a")
    values = ({"motion_noise": True}, {"seed": 5}, {"motion_noise": False})
    for revision, (asked, expected) in enumerate(zip(values, (True, True, False), strict=True), 1):
        bench.loop.post({"op": "params", "seat": 0, "revision": revision, "values": asked})
        effective = bench.wait_event("params", revision=revision)["effective"]
        assert effective["motion_noise"] is expected


def test_a_second_trace_is_reported(bench: Bench) -> None:
    bench.open_seat(0, "a")
    bench.streamer.trace_count = 2
    bench.frame(0, slot=0, seq=0)
    bench.wait_steps(1)
    bench.end_step(0)
    assert "traced again" in bench.wait_event("warning")["message"]


def test_slots_hold_what_a_session_can_have_in_flight() -> None:
    slots = Slots(create_memory(), SEATS, HEIGHT, WIDTH)
    assert slots.inputs.shape == slots.outputs.shape == (SEATS, SLOTS_PER_SEAT, HEIGHT, WIDTH, 3)
    slots.inputs[1, 2] = 1
    assert slots.outputs.sum() == 0
