"""The overload ladder, alone and in a server whose steps get slow."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import input_frame, next_json, raw, run

from lsdjax.serve import throttle
from lsdjax.serve.overload import PATIENCE, RUNGS, Ladder
from lsdjax.serve.protocol import Flag, pack_json, unpack_frame

RATIO = 1.5
SLOW, FAST = (3.0, 1.0), (1.0, 1.0)  # (slowdown, busy)


def look(ladder: Ladder, what: tuple[float, float], times: int = 1) -> None:
    for _ in range(times):
        ladder.tick(*what, throttled=False)


def test_five_slow_looks_go_up_a_rung_and_five_good_ones_down() -> None:
    ladder = Ladder(RATIO)
    for height in range(1, len(RUNGS) + 1):
        look(ladder, SLOW, PATIENCE - 1)
        assert ladder.height == height - 1
        rung = ladder.tick(*SLOW, throttled=False)
        assert ladder.height == height and rung is RUNGS[height - 1]
    look(ladder, SLOW, 3 * PATIENCE)
    assert ladder.height == len(RUNGS)
    for height in reversed(range(len(RUNGS))):
        look(ladder, FAST, PATIENCE - 1)
        assert ladder.height == height + 1
        assert ladder.tick(*FAST, throttled=False) is RUNGS[height]
        assert ladder.height == height
    assert ladder.tick(*FAST, throttled=False) is None


def test_what_each_rung_gives_up() -> None:
    ladder = Ladder(RATIO)
    seen = []
    for ladder.height in range(5):
        seen.append(
            (
                ladder.skips_post_processing,
                ladder.rate_share < 1,
                ladder.takes_fewer_steps,
                not ladder.admits,
            )
        )
    assert seen == [tuple(index < height for index in range(4)) for height in range(5)]


def test_a_wavering_load_moves_nothing() -> None:
    ladder = Ladder(RATIO)
    for _ in range(10):
        look(ladder, SLOW, PATIENCE - 1)
        look(ladder, FAST)
    assert ladder.height == 0


def test_slow_steps_of_a_device_with_time_to_spare_are_no_overload() -> None:
    ladder = Ladder(RATIO)
    look(ladder, (3.0, 0.5), 5 * PATIENCE)
    assert ladder.height == 0


def test_a_device_that_throttles_itself_is_eased_whatever_its_speed() -> None:
    ladder = Ladder(RATIO)
    for _ in range(PATIENCE):
        ladder.tick(1.0, 0.1, throttled=True)
    assert ladder.height == 1


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1), st.booleans()), max_size=80))
def test_the_ladder_moves_by_one_rung_and_never_faster_than_its_patience(
    looks: list[tuple[float, float, bool]],
) -> None:
    ladder = Ladder(RATIO)
    since = PATIENCE
    for slowdown, busy, throttled in looks:
        before = ladder.height
        rung = ladder.tick(slowdown, busy, throttled=throttled)
        since += 1
        assert 0 <= ladder.height <= len(RUNGS)
        assert abs(ladder.height - before) == (rung is not None)
        if rung is not None:
            assert since >= PATIENCE
            since = 0


class FakeNvml:
    """A driver whose device gives the reasons that the test says."""

    reasons = 0

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: Any) -> int:
        return index

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, device: Any, reasons: Any) -> int:
        reasons._obj.value = self.reasons
        return 0


def test_heat_is_throttling_and_an_idle_clock_or_a_missing_driver_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(throttle.ctypes, "CDLL", missing)
    assert not throttle.Throttle().read()
    monkeypatch.setattr(throttle.ctypes, "CDLL", lambda name: FakeNvml())
    device = throttle.Throttle()
    for reasons, expected in ((0, False), (0x1, False), (0x4, False), (0x20, True), (0x48, True)):
        monkeypatch.setattr(FakeNvml, "reasons", reasons)
        assert device.read() == expected


def test_a_server_whose_steps_get_slow_says_what_it_gives_up_and_takes_it_back(
    start_server: Callable[..., Any],
) -> None:
    server = start_server({"overload_ratio": 10.0}, FAKE_STEP_MS="5")

    async def work() -> None:
        async with raw(server) as connection:
            seq = 0
            degraded = False

            async def until(reason: str, degraded_now: bool) -> dict[str, Any]:
                nonlocal seq, degraded
                while True:
                    await connection.send(input_frame(seq))
                    seq += 1
                    message = await connection.recv()
                    while isinstance(message, str):
                        notice = json.loads(message)
                        wanted = {"reason": f"overload:{reason}", "degraded": degraded_now}
                        if wanted.items() <= notice.items():
                            return notice
                        message = await connection.recv()
                    header, _ = unpack_frame(message)
                    degraded |= bool(header.flags & Flag.DEGRADED)
                    await connection.send(pack_json("ack", seq=header.seq))

            await connection.send(pack_json("params", id=1, prompt="slow original"))  # 300 ms
            for seq in range(2):  # one more in flight than is waited for: the device is never idle
                await connection.send(input_frame(seq))
            seq += 1
            await until("post_processing", True)
            assert "lsd_overload_rung 1.0" in server.get("/metrics")[2].decode()
            await until("input_rate", True)
            assert not degraded
            await until("fewer_steps", True)
            await connection.send(pack_json("params", id=2, prompt="original"))
            notice = await until("post_processing", False)
            assert "faster again" in notice["message"]
            assert degraded  # while fewer steps were taken
            await next_json(connection, "stats")

    run(work())
    assert "lsd_overload_rung 0.0" in server.get("/metrics")[2].decode()
