"""What the tests of the server share: bare connections, and frames and messages over them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from lsdjax.serve.protocol import Codec, FrameHeader, Kind, pack_frame, unpack_frame

HEIGHT, WIDTH = 48, 64
TIMEOUT_S = 180
HELLO = {"type": "hello", "version": 1, "codecs": ["rgb24"]}


def run[T](work: Awaitable[T]) -> T:
    """Runs a test's coroutine; nothing may hang."""

    async def bounded() -> T:
        async with asyncio.timeout(TIMEOUT_S):
            return await work

    return asyncio.run(bounded())


@asynccontextmanager
async def raw(
    server: Any, hello: dict[str, Any] | None = HELLO, **options: Any
) -> AsyncIterator[ClientConnection]:
    """A bare connection; with the default hello, one that is welcomed and started."""
    options = {"subprotocols": [Subprotocol("lsd.v1")], "compression": None} | options
    async with connect(server.socket_url, **options) as connection:
        if hello is not None:
            await connection.send(json.dumps(hello))
            await next_json(connection, "welcome")  # perhaps after a wait in the queue
            assert (await next_json(connection))["type"] == "started"
        yield connection


async def next_json(connection: ClientConnection, kind: str | None = None) -> dict[str, Any]:
    """The next text message (of a kind)."""
    while True:
        message = await connection.recv()
        if isinstance(message, str):
            fields = json.loads(message)
            if kind in (None, fields["type"]):
                return fields


async def next_output(connection: ClientConnection) -> tuple[FrameHeader, np.ndarray]:
    while True:
        message = await connection.recv()
        if isinstance(message, bytes):
            header, payload = unpack_frame(message)
            picture = np.frombuffer(payload, np.uint8).reshape(header.height, header.width, 3)
            return header, picture


async def ending(connection: ClientConnection) -> tuple[dict[str, Any] | None, int]:
    """The error that the server sends and the code that it closes with."""
    error = None
    try:
        while True:
            message = await connection.recv()
            if isinstance(message, str) and json.loads(message)["type"] == "error":
                error = json.loads(message)
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return error, closed.rcvd.code


def input_frame(seq: int, picture: np.ndarray | None = None, **fields: Any) -> bytes:
    picture = np.full((HEIGHT, WIDTH, 3), 50, np.uint8) if picture is None else picture
    header = FrameHeader(
        Kind.INPUT, Codec.RGB24, seq, width=picture.shape[1], height=picture.shape[0], **fields
    )
    return pack_frame(header, picture.tobytes())


def invariant(stats: dict[str, Any]) -> bool:
    return stats["received"] == (
        stats["sent"] + sum(stats["dropped"].values()) + stats["in_flight"]
    )
