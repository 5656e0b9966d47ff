"""What a server must survive: dead and hung workers, slow links, floods, clients that vanish."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from wire import (
    HEIGHT,
    HELLO,
    WIDTH,
    ending,
    input_frame,
    invariant,
    next_json,
    next_output,
    raw,
    run,
)

from lsdjax.serve.client import LiveClient
from lsdjax.serve.footprint import children
from lsdjax.serve.protocol import (
    Codec,
    Flag,
    FrameHeader,
    Kind,
    pack_frame,
    pack_json,
    unpack_frame,
)
from lsdjax.serve.proxy import ThrottledProxy

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
BLACK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def worker_of(server: Any) -> int:
    """The process id of a server's device process."""
    (child,) = children(server.process.pid)
    return child


async def frames_until(
    connection: ClientConnection, seq: int, arrived: Callable[[FrameHeader, bytes], bool]
) -> tuple[int, list[dict[str, Any]]]:
    """Sends a frame whenever there is nothing to read, until one arrives; and what was said."""
    said: list[dict[str, Any]] = []
    while True:
        await connection.send(input_frame(seq))
        seq += 1
        with suppress(TimeoutError):
            while True:
                message = await asyncio.wait_for(connection.recv(), 0.1)
                if isinstance(message, str):
                    said.append(json.loads(message))
                    continue
                header, payload = unpack_frame(message)
                await connection.send(pack_json("ack", seq=header.seq))
                if arrived(header, bytes(payload[:3])):
                    return seq, said


async def settled(connection: ClientConnection, received: int) -> dict[str, Any]:
    """Acknowledges what comes until all that was sent is accounted for; the counters then."""
    while True:
        message = await connection.recv()
        if isinstance(message, bytes):
            await connection.send(pack_json("ack", seq=unpack_frame(message)[0].seq))
            continue
        stats = json.loads(message)
        if stats["type"] == "stats" and stats["received"] >= received and not stats["in_flight"]:
            assert invariant(stats)
            return stats


# -- the worker ----------------------------------------------------------------------------------


@linux
def test_a_killed_worker_comes_back_on_the_same_socket_with_the_same_parameters(
    start_server: Callable[..., Any],
) -> None:
    server = start_server()

    async def work() -> None:
        async with raw(server) as connection, raw(server) as other:
            await connection.send(pack_json("params", id=1, prompt="negative", strength=0.5))
            await next_json(connection, "params_ack")
            seq, _ = await frames_until(connection, 0, lambda *_: True)
            first = worker_of(server)
            os.kill(first, signal.SIGKILL)
            # 50 becomes 127 under half a negative; the stream begins anew
            seq, said = await frames_until(
                connection,
                seq,
                lambda header, pixel: bool(header.flags & Flag.DISCONTINUITY) and pixel[0] == 127,
            )
            notices = [(one["reason"], one["degraded"]) for one in said if one["type"] == "notice"]
            assert notices == [("device_lost", True), ("device_back", False)]
            assert worker_of(server) != first
            await settled(connection, seq)
            _, said = await frames_until(other, 0, lambda *_: True)
            assert {"notice"} <= {one["type"] for one in said}

    run(work())
    assert server.get("/readyz")[0] == 200
    assert "lsd_device_restarts_total 1.0" in server.get("/metrics")[2].decode()
    status, output, errors = server.end()
    assert status == 0 and "SIGKILL" in output and "Traceback" not in output + errors


@linux
def test_a_spare_worker_takes_over_and_another_one_waits_for_its_turn(
    start_server: Callable[..., Any],
) -> None:
    server = start_server({"spare": "loaded"})

    async def running_and_spare() -> list[int]:
        while len(found := children(server.process.pid)) != 2:
            assert server.process.poll() is None
            await asyncio.sleep(0.05)
        return found

    def begins_anew(header: FrameHeader, pixel: bytes) -> bool:
        return bool(header.flags & Flag.DISCONTINUITY) and pixel[0] == 127

    async def outlive(*killed: int) -> None:
        """One session; a second loss within it would be held against it."""
        async with raw(server) as connection:
            await connection.send(pack_json("params", id=1, prompt="negative", strength=0.5))
            await next_json(connection, "params_ack")
            seq, _ = await frames_until(connection, 0, lambda *_: True)
            for worker in killed:
                os.kill(worker, signal.SIGKILL)
            await frames_until(connection, seq, begins_anew)

    async def work() -> None:
        running, spare = await running_and_spare()
        await outlive(running)
        assert children(server.process.pid)[0] == spare
        running, spare = await running_and_spare()
        await outlive(spare, running)
        assert not {running, spare} & set(await running_and_spare())
        running, spare = await running_and_spare()
        os.kill(spare, signal.SIGKILL)  # nothing else happens: it is replaced for its own sake
        while spare in (found := await running_and_spare()):
            await asyncio.sleep(0.05)
        assert found[0] == running

    run(work())
    status, output, errors = server.end()
    assert status == 0 and "Traceback" not in output + errors
    assert output.count("the device process is back") == 2


@linux
def test_a_spare_worker_that_has_only_imported_loads_when_its_turn_comes(
    start_server: Callable[..., Any],
) -> None:
    server = start_server({"spare": "imported"})

    async def work() -> None:
        async with raw(server) as connection:
            seq, _ = await frames_until(connection, 0, lambda *_: True)
            while len(workers := children(server.process.pid)) != 2:
                await asyncio.sleep(0.05)
            os.kill(workers[0], signal.SIGKILL)
            await frames_until(
                connection, seq, lambda header, _: Flag.DISCONTINUITY in header.flags
            )
            assert children(server.process.pid)[0] == workers[1]

    run(work())
    said = [line["message"] for line in server.get_json("/readyz")["progress"]]
    assert said.count("loading checkpoint") == 2
    assert "Traceback" not in "".join(server.end()[1:])


def test_a_session_that_kills_the_worker_twice_is_ended_and_the_others_go_on(
    start_server: Callable[..., Any],
) -> None:
    server = start_server()

    async def work() -> None:
        async with raw(server) as bystander:
            await bystander.send(pack_json("params", id=1, prompt="original"))
            await next_json(bystander, "params_ack")
            async with raw(server) as poison:
                await poison.send(pack_json("params", id=1, prompt="crash"))
                await next_json(poison, "params_ack")
                await poison.send(input_frame(0))
                notice = await next_json(poison, "notice")
                assert notice["reason"] == "device_lost" and notice["degraded"]
                while (await next_json(poison, "notice"))["reason"] != "device_back":
                    pass
                await poison.send(input_frame(1))
                error, code = await ending(poison)
                assert code == 1011 and error is not None and error["code"] == "device_lost"
            await frames_until(bystander, 0, lambda header, pixel: pixel[0] == 50)

    run(work())
    assert server.process.poll() is None


@linux
def test_a_worker_that_hangs_is_replaced(start_server: Callable[..., Any]) -> None:
    server = start_server({"step_timeout_s": 1.0})

    async def work() -> None:
        async with raw(server) as connection:
            seq, _ = await frames_until(connection, 0, lambda *_: True)
            worker = worker_of(server)
            os.kill(worker, signal.SIGSTOP)
            await frames_until(
                connection, seq, lambda header, _: bool(header.flags & Flag.DISCONTINUITY)
            )
            assert worker_of(server) != worker

    run(work())


def test_a_worker_that_never_stays_up_ends_the_server(start_server: Callable[..., Any]) -> None:
    server = start_server()

    async def work() -> None:
        while server.process.poll() is None:
            await asyncio.sleep(0.2)  # while it starts another it takes nobody new
            with suppress(ConnectionClosed, OSError):
                async with raw(server) as connection:
                    await connection.send(pack_json("params", id=1, prompt="crash"))
                    for seq in range(2):
                        await connection.send(input_frame(seq))
                        while (await next_json(connection, "notice"))["reason"] != "device_back":
                            pass

    run(work())
    status, output, errors = server.wait_end()
    assert status == 1 and "Traceback" not in output + errors


# -- the front -----------------------------------------------------------------------------------


@linux
def test_a_stalled_front_catches_up(start_server: Callable[..., Any]) -> None:
    server = start_server()

    async def work() -> None:
        async with raw(server) as connection:
            seq, _ = await frames_until(connection, 0, lambda *_: True)
            server.process.send_signal(signal.SIGSTOP)
            for _ in range(30):
                await connection.send(input_frame(seq))
                seq += 1
            await asyncio.sleep(1.0)
            server.process.send_signal(signal.SIGCONT)
            last = seq
            seq, _ = await frames_until(connection, seq, lambda header, _: header.seq >= last)
            stats = await settled(connection, seq)
            assert stats["dropped"]["superseded"] + stats["dropped"]["egress"] > 0

    run(work())
    assert b'lsd_event_loop_lag_seconds_bucket{le="0.5"}' in server.get("/metrics")[2]


def test_a_server_that_is_told_to_stop_finishes_what_is_in_flight(
    start_server: Callable[..., Any],
) -> None:
    server = start_server(FAKE_STEP_MS="100")

    async def work() -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(raw(server)) for _ in range(3)]
            for client in clients:
                seq, _ = await frames_until(client, 0, lambda *_: True)
                await settled(client, seq)
                await client.send(input_frame(100))
            await asyncio.sleep(0.05)
            server.process.send_signal(signal.SIGTERM)
            for client in clients:
                seen: list[str | int] = []
                try:
                    while True:
                        message = await client.recv()
                        kind = json.loads(message)["type"] if isinstance(message, str) else "frame"
                        seen.append(kind)
                        with suppress(ConnectionClosed):  # there may be more to read
                            if kind == "frame":
                                await client.send(pack_json("ack", seq=100))
                            if kind == "goaway":
                                await client.send(input_frame(101))  # too late
                except ConnectionClosed as closed:
                    assert closed.rcvd is not None
                    seen.append(closed.rcvd.code)
                assert "goaway" in seen and seen[-1] == 1001
                assert seen.count("frame") == 1

    run(work())
    status, _, errors = server.wait_end()
    assert (status, errors) == (0, "")


# -- clients -------------------------------------------------------------------------------------


def test_a_prompt_change_at_every_frame_is_answered_every_time(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            acks: list[dict[str, Any]] = []
            for seq in range(40):
                name = ("original", "negative")[seq % 2]
                await connection.send(pack_json("params", id=seq, prompt=name))
                await connection.send(input_frame(seq))
                while True:
                    message = await connection.recv()
                    if isinstance(message, bytes):
                        break
                    fields = json.loads(message)
                    if fields["type"] == "params_ack":
                        acks.append(fields)
                header, payload = unpack_frame(message)
                assert payload[0] == (50 if header.revision % 2 else 205)
                await connection.send(pack_json("ack", seq=header.seq))
            while len(acks) < 40:
                acks.append(await next_json(connection, "params_ack"))
            assert [ack["id"] for ack in acks] == list(range(40))
            firsts = [ack["first_seq"] for ack in acks]
            assert firsts == sorted(firsts)
            assert all(ack["effective"]["prompt"] in ("original", "negative") for ack in acks)

    run(work())


@pytest.mark.parametrize("garbage", [None, {}, [], "x", 1e300, -1, True, "9" * 5000])
def test_garbage_in_params_is_refused_and_the_stream_goes_on(server: Any, garbage: Any) -> None:
    names = (
        "prompt", "strength", "seed", "steps", "skip_still", "motion_noise", "stabilise", "sharpen",
        "scale",
    )  # fmt: skip

    async def work() -> None:
        async with raw(server) as connection:
            for name in names:
                await connection.send(pack_json("params", id=name, **{name: garbage}))
                ack = await next_json(connection, "params_ack")
                assert ack["id"] == name
                assert ack["status"] in ("applied", "clamped", "rejected")
                assert len(ack.get("message", "")) < 200
            for ref in ([], {}, None, "x" * 65, 1.5):
                await connection.send(pack_json("params", id=ref, strength=1))
                assert (await next_json(connection, "error"))["code"] == "bad_params"
            await frames_until(connection, 0, lambda *_: True)

    run(work())


def test_what_a_client_asks_for_is_done_to_its_pictures(server: Any) -> None:
    async def work() -> None:
        async with LiveClient(server.url, prompt="original", codecs=(Codec.RGB24,)) as client:
            ack = await client.set_params(scale=2, sharpen=0.5, steps=1, skip_still=True)
            assert ack["effective"]["scale"] == 2 and ack["effective"]["steps"] == 1
            for index in range(3):
                await client.send(BLACK)
                output = await client.receive()
                assert output.frame.shape == (2 * HEIGHT, 2 * WIDTH, 3)
                assert bool(output.flags & Flag.REPEATED) == (index > 0)

    run(work())


def test_h264_goes_both_ways(server: Any) -> None:
    async def work() -> None:
        async with LiveClient(server.url, prompt="negative", codecs=(Codec.H264,)) as client:
            for index in range(10):
                shade = 20 + 20 * index
                await client.send(np.full((HEIGHT, WIDTH, 3), shade, np.uint8))
                output = await client.receive()
                assert np.abs(output.frame.astype(int) - (255 - shade)).max() <= 6
                assert bool(output.flags & Flag.KEY) == (index == 0)
            await client.command("request_key")
            await client.send(BLACK)
            assert (await client.receive()).flags & Flag.KEY

    run(work())


def test_broken_h264_asks_for_a_key_frame_and_goes_on(server: Any) -> None:
    from lsdjax.serve.frames import Encoder

    async def work() -> None:
        encoder = Encoder(Codec.H264)
        async with raw(server) as connection:

            async def send(seq: int, payload: bytes | memoryview, flags: Flag) -> None:
                header = FrameHeader(Kind.INPUT, Codec.H264, seq, WIDTH, HEIGHT, flags=flags)
                await connection.send(pack_frame(header, payload))

            await send(0, encoder.encode(BLACK)[0], Flag.KEY)
            await next_output(connection)
            await send(1, b"nothing of the kind", Flag.NONE)
            assert (await next_json(connection, "error"))["code"] == "decode"
            await send(2, encoder.encode(BLACK)[0], Flag.NONE)
            assert "key frame" in (await next_json(connection, "error"))["message"]
            encoder.ask_for_key()
            await send(3, encoder.encode(BLACK)[0], Flag.KEY)
            assert (await next_output(connection))[0].seq == 3

    run(work())


def test_a_slow_link_delays_no_frame_by_more_than_the_window(server: Any) -> None:
    """At 4 Mb/s, frames of 9 KB at up to 100 a second are more than the link can carry."""

    async def work() -> None:
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        async with (
            ThrottledProxy("127.0.0.1", server.port, 4) as proxy,
            LiveClient(
                f"ws://127.0.0.1:{proxy.port}", prompt="original", codecs=(Codec.RGB24,)
            ) as client,
        ):
            behind = []
            sent = 0
            for _ in range(150):
                if client.can_send:  # as a camera: what finds the window closed is not captured
                    sent = await client.send(noise)
                await asyncio.sleep(0.01)
                while client.has_output:
                    behind.append(sent - (await client.receive()).seq)
            stats = await client.settle()
            assert invariant(stats) and stats["in_flight"] == 0
            assert len(behind) > 5
            assert max(behind) <= 3  # no queue has grown anywhere

    run(work())


def test_a_client_that_does_not_read_is_cut_off_and_costs_the_others_nothing(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as bystander, raw(server, ping_interval=None) as lazy:
            lazy.transport.pause_reading()
            with suppress(ConnectionClosed):
                for number in range(600):  # each is answered, and nobody reads the answers
                    await lazy.send(pack_json("time", t0=number))
                    await lazy.send(pack_json("params", id="x" * 64, prompt="y" * 1900))
                    if number % 50 == 0:
                        await asyncio.sleep(0.2)
            await frames_until(bystander, 0, lambda *_: True)
            lazy.transport.abort()

    run(work())
    assert server.get("/healthz")[0] == 200


def test_abrupt_disconnects_leave_nothing_behind(start_server: Callable[..., Any]) -> None:
    server = start_server({"max_sessions": 4, "resume_seconds": 0.0})

    def open_files() -> int:
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    async def work() -> None:
        async with raw(server) as bystander:
            await frames_until(bystander, 0, lambda *_: True)
            before = open_files()
            for number in range(30):
                async with raw(server) as connection:
                    await connection.send(input_frame(number))
                    connection.transport.abort()
            seq, _ = await frames_until(bystander, 1, lambda *_: True)
            while server.get_json("/api/info")["sessions"]["active"] > 1:
                await asyncio.sleep(0.1)
            assert open_files() <= before + 2
            stats = await settled(bystander, seq)
            assert stats["sent"] > 0 and stats["received"] == seq

    run(work())


def test_too_many_sockets_are_refused(start_server: Callable[..., Any]) -> None:
    server = start_server({"max_sessions": 1, "queue": 0})

    async def work() -> None:
        async with AsyncExitStack() as stack:
            with pytest.raises(Exception, match="503"):
                for _ in range(80):
                    await stack.enter_async_context(raw(server, None))
        async with raw(server, HELLO) as connection:
            await frames_until(connection, 0, lambda *_: True)

    run(work())
