"""The server over real sockets, with a real device process that runs the fake model."""

import asyncio
import json
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import simplejpeg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin
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

from lsdjax.serve.client import LiveClient, ServerError
from lsdjax.serve.protocol import (
    Codec,
    Flag,
    FrameHeader,
    Kind,
    pack_frame,
    pack_json,
    unpack_frame,
)
from lsdjax.serve.sync import SyncClient

# -- hello ---------------------------------------------------------------------------------------


def test_hello_is_answered_with_what_a_client_needs(server: Any) -> None:
    async def work() -> dict[str, Any]:
        async with raw(server, None) as connection:
            await connection.send(json.dumps(HELLO))
            return await next_json(connection)

    welcome = run(work())
    assert welcome["type"] == "welcome"
    assert welcome["window"] == 2
    assert (welcome["model"]["width"], welcome["model"]["height"]) == (WIDTH, HEIGHT)
    assert welcome["limits"]["max_message_bytes"] == 1 << 20
    assert {"prompt", "strength", "seed", "steps"} <= set(welcome["params_schema"])
    assert set(welcome["params_schema"]) == set(welcome["params"])
    assert welcome["model"]["variants"] == [1, 2] and not welcome["resumed"]
    assert len(welcome["resume_token"]) == 32 and welcome["session_id"]
    assert welcome["params"]["prompt"]


@pytest.mark.parametrize(
    ("first", "close"),
    [
        (json.dumps({"type": "params", "id": 1}), 4400),
        (json.dumps({"type": "hello", "version": "1", "codecs": ["jpeg"]}), 4400),
        (json.dumps({"type": "hello", "version": 1, "codecs": ["av1"]}), 4400),
        (json.dumps({"type": "hello", "version": 1, "codecs": "jpeg"}), 4400),
        (json.dumps({"type": "hello", "version": 1, "codecs": ["jpeg"], "size": [0, 1]}), 4400),
        (json.dumps({"type": "hello", "version": 2, "codecs": ["jpeg"]}), 4426),
        (input_frame(0), 4400),
        ("hello", 1007),
    ],
)
def test_a_bad_hello_is_explained(server: Any, first: str | bytes, close: int) -> None:
    async def work() -> tuple[dict[str, Any] | None, int]:
        async with raw(server, None) as connection:
            await connection.send(first)
            return await ending(connection)

    error, code = run(work())
    assert code == close
    assert error is not None and "Traceback" not in error["message"] and error["message"]


def test_a_client_without_the_subprotocol_is_told(server: Any) -> None:
    async def work() -> tuple[dict[str, Any] | None, int]:
        async with raw(server, None, subprotocols=None) as connection:
            return await ending(connection)

    error, code = run(work())
    assert code == 4400
    assert error is not None and "lsd.v1" in error["message"]


# -- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [Codec.RGB24, Codec.JPEG])
def test_frames_flow_and_every_one_is_accounted_for(server: Any, codec: Codec) -> None:
    async def work() -> None:
        async with LiveClient(server.url, prompt="negative", codecs=(codec,)) as client:
            assert client.size == (HEIGHT, WIDTH)
            for index in range(30):
                shade = 8 * index
                seq = await client.send(np.full((HEIGHT, WIDTH, 3), shade, np.uint8))
                output = await client.receive()
                assert output.seq == seq == index
                assert np.abs(output.frame.astype(int) - (255 - shade)).max() <= 3
                assert output.age_ms >= output.server_ms > 0
            stats = await client.settle()
            assert stats["received"] == stats["sent"] == 30
            assert invariant(stats) and stats["in_flight"] == 0

    run(work())


def test_frames_of_another_size_are_fitted(server: Any) -> None:
    async def work() -> None:
        wide = np.zeros((HEIGHT, 3 * WIDTH, 3), np.uint8)
        wide[:, WIDTH : 2 * WIDTH] = 200
        for codec in (Codec.RGB24, Codec.JPEG):
            async with LiveClient(server.url, prompt="original", codecs=(codec,)) as client:
                await client.send(wide)
                picture = (await client.receive()).frame
                assert picture.shape == (HEIGHT, WIDTH, 3)
                assert np.abs(picture[:, 2:-2].astype(int) - 200).max() <= 3

    run(work())


def test_a_client_that_never_acknowledges_gets_the_window_and_no_more(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            outputs: list[int] = []
            stats: dict[str, Any] = {"received": 0}
            for seq in range(40):
                await connection.send(input_frame(seq))
                await asyncio.sleep(0.01)
            while stats["received"] < 40 or stats["in_flight"] > 1:
                message = await connection.recv()
                if isinstance(message, bytes):
                    outputs.append(unpack_frame(message)[0].seq)
                elif json.loads(message)["type"] == "stats":
                    stats = json.loads(message)
            assert len(outputs) == stats["sent"] == 2
            assert invariant(stats)
            dropped = stats["dropped"]
            assert stats["in_flight"] == 1  # the latest output, which waits for an acknowledgement
            assert dropped["egress"] + dropped["superseded"] == 40 - 2 - 1
            await connection.send(pack_json("ack", seq=outputs[-1]))
            header, _ = await next_output(connection)
            assert header.seq == 39

    run(work())


def test_a_burst_is_superseded_by_its_latest_frame(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            for seq in range(30):
                await connection.send(input_frame(seq))
            last = -1
            stats: dict[str, Any] = {"received": 0, "in_flight": 1}
            while stats["received"] < 30 or stats["in_flight"]:
                message = await connection.recv()
                if isinstance(message, bytes):
                    last = unpack_frame(message)[0].seq
                    await connection.send(pack_json("ack", seq=last))
                elif json.loads(message)["type"] == "stats":
                    stats = json.loads(message)
                    assert invariant(stats)
            assert last == 29
            assert stats["settled_seq"] == 29

    run(work())


def test_late_frames_are_dropped_and_the_client_may_send_again(
    start_server: Callable[..., Any],
) -> None:
    server = start_server({"deadline_ms": 100})

    async def work() -> None:
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        async with LiveClient(server.url, prompt="original") as client:
            await client.command("pause")
            await client.send(picture)
            await asyncio.sleep(0.5)  # over the deadline
            await client.command("resume")
            stats = await client.settle()
            assert stats["dropped"]["deadline"] == 1
            assert invariant(stats)
            assert client.unanswered == 0
            while client.stats["sent"] == 0:  # on a busy machine others may be late as well
                await client.send(picture)
                await client.settle()

    run(work())


def test_a_model_slower_than_the_deadline_still_streams(start_server: Callable[..., Any]) -> None:
    server = start_server({"deadline_ms": 1}, FAKE_STEP_MS="500")

    async def work() -> None:
        async with LiveClient(server.url, prompt="original") as client:
            while client.stats.get("sent", 0) == 0:
                await client.send(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
                await client.settle()

    run(work())


def test_pause_holds_frames_back_and_resume_lets_them_through(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            await connection.send(pack_json("pause"))
            await connection.send(input_frame(0))
            stats = await next_json(connection, "stats")
            while stats["received"] == 0:
                stats = await next_json(connection, "stats")
            assert stats["sent"] == 0 and stats["in_flight"] == 1
            await connection.send(pack_json("resume"))
            header, _ = await next_output(connection)
            assert header.seq == 0

    run(work())


# -- parameters ----------------------------------------------------------------------------------


def test_a_prompt_change_says_from_which_frame_on_and_keeps_its_word(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            await connection.send(pack_json("params", id="a", prompt="original"))
            assert (await next_json(connection, "params_ack"))["status"] == "applied"
            first_seq, revision, changed = None, None, 0
            for seq in range(60):
                await connection.send(input_frame(seq))
                if seq == 20:
                    await connection.send(pack_json("params", id="b", prompt="negative"))
                while True:
                    message = await connection.recv()
                    if isinstance(message, bytes):
                        break
                    fields = json.loads(message)
                    if fields["type"] == "params_ack":
                        assert fields["id"] == "b" and fields["effective"]["prompt"] == "negative"
                        first_seq, revision = fields["first_seq"], fields["rev"]
                header, payload = unpack_frame(message)
                await connection.send(pack_json("ack", seq=header.seq))
                is_new = payload[0] == 205
                changed += is_new
                assert is_new == (header.revision == 2)
                if first_seq is not None:
                    assert is_new == (header.seq >= first_seq)
                    assert not is_new or header.revision == revision
            assert changed > 30

    run(work())


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"prompt": ""}, "empty"),
        ({"prompt": "x" * 2001}, "2001 characters"),
        ({"prompt": 7}, "string"),
        ({"strength": "much"}, "number"),
        ({"seed": 1.5}, "integer"),
        ({"prompt": "unspeakable"}, "no words"),
    ],
)
def test_bad_params_are_rejected_in_words_and_change_nothing(
    server: Any, params: dict[str, Any], words: str
) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            await connection.send(pack_json("params", id=1, prompt="negative"))
            await next_json(connection, "params_ack")
            await connection.send(pack_json("params", id=2, **params))
            ack = await next_json(connection, "params_ack")
            assert ack["id"] == 2 and ack["status"] == "rejected"
            assert words in ack["message"]
            assert ack["effective"]["prompt"] == "negative"
            await connection.send(input_frame(0))
            _, picture = await next_output(connection)
            assert (picture == 205).all()

    run(work())


def test_values_out_of_range_are_clamped(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            await connection.send(pack_json("params", id=1, strength=4, steps=50))
            ack = await next_json(connection, "params_ack")
            assert ack["status"] == "clamped"
            assert ack["effective"]["strength"] == 1.0 and ack["effective"]["steps"] == 2

    run(work())


def test_strength_mixes_the_input_back_in(server: Any) -> None:
    async def work() -> None:
        async with LiveClient(server.url, prompt="negative", strength=0.0) as client:
            await client.send(np.full((HEIGHT, WIDTH, 3), 40, np.uint8))
            assert abs(float((await client.receive()).frame.mean()) - 40) < 3

    run(work())


@pytest.mark.parametrize("way", ["reset", "seed", "flag"])
def test_a_restarted_stream_is_flagged(server: Any, way: str) -> None:
    async def work() -> None:
        async with LiveClient(server.url, prompt="index", codecs=(Codec.RGB24,)) as client:
            picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            seen = []
            for index in range(6):
                if index == 3 and way == "reset":
                    await client.command("reset")
                if index == 3 and way == "seed":
                    await client.set_params(seed=7)
                await client.send(picture, discontinuity=index == 3 and way == "flag")
                output = await client.receive()
                seen.append((int(output.frame[0, 0, 0]), bool(output.flags & Flag.DISCONTINUITY)))
            assert [frame for frame, _ in seen] == [10, 20, 30, 10, 20, 30]
            assert [flag for _, flag in seen] == [True, False, False, True, False, False]

    run(work())


def test_time_is_answered(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            await connection.send(pack_json("time", t0=123))
            reply = await next_json(connection, "time")
            assert reply["t0"] == 123 and reply["t1"] <= reply["t2"]

    run(work())


# -- what a server must survive ------------------------------------------------------------------


def _jpeg_bomb() -> bytes:
    bomb = bytearray(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)))
    at = bomb.index(b"\xff\xc0") + 5
    bomb[at : at + 4] = (20_000).to_bytes(2, "big") * 2
    return pack_frame(FrameHeader(Kind.INPUT, Codec.JPEG, 0, WIDTH, HEIGHT), bytes(bomb))


def _frame(payload: bytes, **fields: Any) -> bytes:
    defaults = {"kind": Kind.INPUT, "codec": Codec.RGB24, "seq": 0, "width": 8, "height": 8}
    return pack_frame(FrameHeader(**(defaults | fields)), payload)


@pytest.mark.parametrize(
    ("message", "close"),
    [
        (b"", 1003),
        (b"garbage", 1003),
        (b"\x00" * 64, 1003),
        (b"\x56\x01\x07\x00" + bytes(60), 1003),  # an unknown type
        (b"\x56\x02\x01\x00" + bytes(60), 4426),  # another version
        (_frame(b"", kind=Kind.OUTPUT), 1003),
        (_frame(b"", codec=Codec.VP8), 1003),
        (_frame(bytes(10)), 1007),  # too few bytes
        (_frame(bytes(8 * 8 * 3 + 1)), 1007),
        (_frame(b"", width=0), 1007),
        (_frame(b"", width=65_535, height=65_535), 1008),
        (_jpeg_bomb(), 1008),
        (bytes((1 << 20) + 1), 1009),
        ("no json", 1007),
        ("[" * 50_000, 1007),
        ('"text"', 1007),
        (json.dumps({"type": "params", "id": 1, "prompt": "x" * 100_000}), 1009),
    ],
)
def test_what_breaks_the_protocol_ends_that_session_alone(
    server: Any, message: str | bytes, close: int
) -> None:
    async def work() -> None:
        async with raw(server) as bystander, raw(server) as connection:
            await connection.send(message)
            error, code = await ending(connection)
            assert code == close
            if close != 1009 or isinstance(message, str):  # the library closes over-long ones
                assert error is not None and error["message"] and not error["retryable"]
            await bystander.send(input_frame(0))
            assert (await next_output(bystander))[0].seq == 0

    run(work())


def test_a_broken_jpeg_costs_one_frame_only(server: Any) -> None:
    async def work() -> None:
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        good = simplejpeg.encode_jpeg(noise)
        fields = {"codec": Codec.JPEG, "width": WIDTH, "height": HEIGHT}
        async with raw(server) as connection:
            for seq, broken in enumerate((b"no jpeg", good[: len(good) // 2])):
                await connection.send(_frame(broken, seq=seq, **fields))
                error = await next_json(connection, "error")  # else the next could supersede it
                assert (error["code"], error["ref"]) == ("decode", seq) and error["retryable"]
            await connection.send(_frame(good, seq=2, **fields))
            header, _ = await next_output(connection)
            assert header.seq == 2
            stats = await next_json(connection, "stats")
            while stats["sent"] == 0:
                stats = await next_json(connection, "stats")
            assert stats["dropped"]["decode"] == 2 and invariant(stats)

    run(work())


def test_endless_garbage_ends_the_session(server: Any) -> None:
    async def work() -> tuple[dict[str, Any] | None, int]:
        async with raw(server) as connection:
            for seq in range(40):
                try:
                    await connection.send(_frame(b"x", seq=seq, codec=Codec.JPEG))
                except ConnectionClosed:
                    break
            return await ending(connection)

    error, code = run(work())
    assert code == 1007
    assert error is not None and error["code"] == "decode"


def test_a_flood_of_frames_is_thinned_and_a_flood_of_texts_ends_the_session(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            tiny = np.zeros((1, 1, 3), np.uint8)
            for seq in range(600):
                await connection.send(input_frame(seq, tiny))
            stats = await next_json(connection, "stats")
            while stats["received"] < 600:
                stats = await next_json(connection, "stats")
            assert stats["dropped"]["rate"] > 0 and invariant(stats)
        async with raw(server) as connection:
            with suppress(ConnectionClosed):
                for _ in range(3000):
                    await connection.send(pack_json("ack", seq=1))
            assert (await ending(connection))[1] == 4429

    run(work())


def test_unknown_json_is_ignored(server: Any) -> None:
    async def work() -> None:
        async with raw(server) as connection:
            await connection.send(pack_json("dance", with_whom="nobody"))
            await connection.send(pack_json("ack"))
            await connection.send(pack_json("ack", seq=[]))
            await connection.send(pack_json("time", t0="now"))
            await connection.send(input_frame(0))
            await next_output(connection)

    run(work())


def test_a_wrong_origin_is_forbidden_before_the_upgrade(server: Any) -> None:
    async def attempt(origin: str, **headers: str) -> int:
        try:
            async with raw(
                server, None, origin=Origin(origin), additional_headers=headers
            ) as connection:
                assert connection.response is not None
                return connection.response.status_code
        except InvalidStatus as error:
            return error.response.status_code

    assert run(attempt("http://localhost:1234")) == 101
    assert run(attempt(server.url)) == 101
    for origin in ("http://evil.example", "null", "http://localhost.evil.example", "file://"):
        assert run(attempt(origin)) == 403


def test_an_allowed_origin_may_connect(start_server: Callable[..., Any]) -> None:
    server = start_server({"origins": ["https://friend.example"]})

    async def work() -> None:
        async with raw(server, HELLO, origin=Origin("https://friend.example")):
            pass

    run(work())


# -- admission and ends --------------------------------------------------------------------------


def test_a_full_server_says_so_and_a_seat_is_handed_on(start_server: Callable[..., Any]) -> None:
    server = start_server({"max_sessions": 1, "queue": 0})

    async def work() -> None:
        async with LiveClient(server.url):
            with pytest.raises(ServerError, match="full") as caught:
                async with LiveClient(server.url):
                    pass
            assert caught.value.code == "full" and caught.value.retryable
            async with raw(server, None) as connection:
                await connection.send(json.dumps(HELLO))
                error, code = await ending(connection)
                assert code == 1013 and error is not None and error["retryable"]
        for _ in range(10):  # a reloaded page
            async with LiveClient(server.url) as client:
                await client.send(np.zeros((HEIGHT, WIDTH, 3), np.uint8))

    run(work())
    assert b'lsd_sessions_rejected_total{reason="full"} 2.0' in server.get("/metrics")[2]


def test_a_client_that_says_bye_is_let_go(server: Any) -> None:
    async def work() -> tuple[dict[str, Any] | None, int]:
        async with raw(server) as connection:
            await connection.send(pack_json("bye"))
            return await ending(connection)

    assert run(work()) == (None, 1000)


def test_a_failed_step_shows_the_input_and_faults_in_a_row_end_that_session_alone(
    server: Any,
) -> None:
    async def work() -> None:
        async with LiveClient(server.url, prompt="original") as bystander:
            async with raw(server) as connection:
                await connection.send(pack_json("params", id=1, prompt="fault"))
                for seq in range(2):
                    await connection.send(input_frame(seq))
                    header, picture = await next_output(connection)
                    assert header.flags & Flag.DEGRADED and (picture == 50).all()
                    await connection.send(pack_json("ack", seq=seq))
                await connection.send(input_frame(2))
                error, code = await ending(connection)
                assert code == 1011 and error is not None and error["code"] == "step_failed"
            await bystander.send(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
            await bystander.receive()

    run(work())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_cleanly(start_server: Callable[..., Any], number: int) -> None:
    server = start_server()

    async def work() -> list[str | int]:
        async with raw(server) as connection:
            await connection.send(input_frame(0))
            await next_output(connection)
            server.process.send_signal(number)
            seen: list[str | int] = []
            try:
                while True:
                    message = await connection.recv()
                    if isinstance(message, str):
                        seen.append(json.loads(message)["type"])
            except ConnectionClosed as closed:
                assert closed.rcvd is not None
                seen.append(closed.rcvd.code)
            return seen

    seen = run(work())
    assert "goaway" in seen and seen[-1] == 1001
    status, _, errors = server.wait_end()
    assert status == 0
    assert errors == ""


def test_a_signal_while_loading_ends_it_too(start_server: Callable[..., Any]) -> None:
    server = start_server(ready=False, FAKE_WARM_UP_S="600")
    assert server.process.stdout is not None
    while "compiling" not in server.process.stdout.readline():
        pass
    status, _, errors = server.end(signal.SIGINT)
    assert (status, errors) == (0, "")


def test_a_busy_port_is_one_line(start_server: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, output, errors = start_server({"port": port}, ready=False).wait_end()
    assert status == 2
    assert output == ""
    assert errors.count("\n") == 1 and str(port) in errors and "in use" in errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"checkpoint": "broken"}, "config.json"),
        ({"sample": "/nowhere/clip.mp4"}, "/nowhere/clip.mp4"),
        ({"host": "203.0.113.1"}, "203.0.113.1"),
        ({"port": 70_000}, "70000"),
        ({"max_sessions": 0}, "max-sessions"),
        ({"origins": ["example.org"]}, "example.org"),
        ({"tls_cert": "/nowhere/cert.pem"}, "/nowhere/cert.pem"),
        ({"token_secret": "/nowhere/secret"}, "/nowhere/secret"),
    ],
)
def test_a_users_mistake_is_one_line(
    start_server: Callable[..., Any], options: dict[str, Any], words: str
) -> None:
    status, _, errors = start_server(options, ready=False).wait_end()
    assert status == 2
    assert errors.startswith("lsdjax: ") and errors.count("\n") == 1 and words in errors


def test_the_sync_client_transforms_frame_by_frame(server: Any) -> None:
    with SyncClient(server.url, prompt="negative", codecs=(Codec.RGB24,)) as client:
        picture = np.full((HEIGHT, WIDTH, 3), 5, np.uint8)
        first = client.transform(picture)
        client.set_params(prompt="original")
        second = client.transform(picture)
    assert first is not None and (first == 250).all()
    assert second is not None and (second == 5).all()


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(ServerError, match="cannot connect"):
        SyncClient("ws://127.0.0.1:9/ws").__enter__()
