"""Hostile clients, all at once: each gets its close code, and nobody else loses a frame."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import simplejpeg
from websockets.exceptions import ConnectionClosed
from wire import HEIGHT, WIDTH, ending, input_frame, next_output, raw, run

from lsdjax.serve.client import LiveClient
from lsdjax.serve.protocol import (
    HEADER_BYTES,
    WINDOW,
    WINDOW_FAR,
    Codec,
    FrameHeader,
    Kind,
    pack_frame,
    pack_json,
)

FUZZED = 24
HELD = 'lsd_sessions{state="detached"} 1.0'


async def outlast(server: Any, over: asyncio.Event) -> None:
    """Streams frame by frame until the others are done: every frame is answered, none dropped."""
    picture, count = np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0
    async with LiveClient(server.url, prompt="original", codecs=(Codec.RGB24,)) as client:
        while not over.is_set():
            assert await client.send(picture) == count
            assert (await client.receive()).seq == count
            count += 1
            await asyncio.sleep(0.02)  # below the rate that is allowed
        stats = await client.settle()
        assert stats["received"] == stats["sent"] == count and client.reconnects == 0


async def send_and_leave(server: Any, *messages: str | bytes) -> int:
    """Sends, says goodbye if it may; the close code."""
    async with raw(server) as connection:
        with suppress(ConnectionClosed):
            for message in (*messages, pack_json("bye")):
                await connection.send(message)
        return (await ending(connection))[1]


async def send_fuzzed_headers(server: Any) -> None:
    random = np.random.default_rng(0)
    for _ in range(FUZZED):
        message = bytearray(input_frame(0))
        for place in random.integers(0, HEADER_BYTES, 2):
            message[place] = random.integers(0, 256)
        code = await send_and_leave(server, bytes(message))
        assert code in (1000, 1002, 1003, 1007, 1008, 4426), (code, message[:HEADER_BYTES].hex())


async def lie_and_flood(server: Any) -> None:
    jpeg = simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8))
    bomb = bytearray(jpeg)
    at = bomb.index(b"\xff\xc0") + 5  # start of frame: length, precision, then height and width
    bomb[at : at + 4] = (20_000).to_bytes(2, "big") * 2
    for payload, code in ((bytes(bomb), 1008), (jpeg, 1007)):
        header = FrameHeader(Kind.INPUT, Codec.JPEG, 0, WIDTH, HEIGHT)
        assert await send_and_leave(server, pack_frame(header, payload)) == code
    assert await send_and_leave(server, *[pack_json("ack", seq=1)] * 3000) == 4429
    assert await send_and_leave(server, bytes((1 << 20) + 1)) == 1009


async def never_acknowledge(server: Any) -> None:
    async with raw(server) as connection:
        for seq in range(20):
            await connection.send(input_frame(seq))
            if seq < WINDOW:
                await next_output(connection)
        outputs = WINDOW
        await connection.send(pack_json("bye"))
        with suppress(ConnectionClosed):
            while True:
                outputs += isinstance(await connection.recv(), bytes)
        assert outputs <= WINDOW_FAR


async def open_half(server: Any) -> None:
    """A request that never ends, an upgrade without a hello, and a peer that is not there."""
    async with raw(server, ping_interval=None) as deaf, raw(server, None) as mute:
        reader, writer = await asyncio.open_connection("localhost", server.port)
        writer.write(b"GET /ws HTTP/1.1\r\n")
        deaf.transport.pause_reading()  # so that pings are not answered
        error, code = await ending(mute)
        assert code == 4408 and error is not None and error["retryable"]
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        while HELD not in (await asyncio.to_thread(server.get, "/metrics"))[2].decode():
            await asyncio.sleep(0.2)
        deaf.transport.resume_reading()
        assert (await ending(deaf))[1] == 1011


def test_hostile_clients_get_their_codes_and_cost_the_others_no_frame(
    start_server: Callable[..., Any],
) -> None:
    server = start_server({"max_sessions": 8})

    async def work() -> None:
        over = asyncio.Event()
        bystanders = [asyncio.create_task(outlast(server, over)) for _ in range(2)]
        hostile = (send_fuzzed_headers, lie_and_flood, never_acknowledge, open_half)
        try:
            await asyncio.gather(*(each(server) for each in hostile))
        finally:
            over.set()
            await asyncio.gather(*bystanders)

    run(work())
    status, output, errors = server.end()
    assert (status, errors) == (0, "") and "Traceback" not in output
