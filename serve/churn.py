"""Clients that behave badly, for `lsdjax bench serve --disconnects`: they vanish, or never read."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from lsdjax.serve import protocol
from lsdjax.serve.protocol import Codec, FrameHeader, Kind

_NON_READERS = 10
_PICTURE = bytes(64 * 64 * 3)
_AT_ONCE = 8


def _frame(seq: int) -> bytes:
    header = FrameHeader(Kind.INPUT, Codec.RGB24, seq, width=64, height=64)
    return protocol.pack_frame(header, _PICTURE)


def _connect(url: str) -> connect:
    return connect(url, subprotocols=[Subprotocol(protocol.SUBPROTOCOL)], compression=None)


async def _say_hello(connection: ClientConnection) -> None:
    await connection.send(protocol.pack_json("hello", version=protocol.VERSION, codecs=["rgb24"]))


async def _vanish(url: str, seq: int) -> None:
    """Connects, sends a little, and is gone: before the hello, before the welcome, or streaming."""
    with suppress(ConnectionClosed, InvalidHandshake, OSError, TimeoutError):
        async with _connect(url) as connection:
            until = random.randrange(3)
            if until > 0:
                await _say_hello(connection)
            if until > 1:
                async with asyncio.timeout(2.0):
                    while '"started"' not in str(await connection.recv()):
                        pass
                await connection.send(_frame(seq))
            connection.transport.abort()


async def misbehave(url: str, disconnects: int) -> None:
    """So many abrupt disconnects, while ten clients ask much and read nothing; 0 is nobody."""
    if not disconnects:
        return
    async with AsyncExitStack() as stack:
        for _ in range(_NON_READERS):
            with suppress(ConnectionClosed, InvalidHandshake, OSError):
                lazy = await stack.enter_async_context(_connect(url))
                await _say_hello(lazy)
                lazy.transport.pause_reading()
                for number in range(50):
                    await lazy.send(protocol.pack_json("time", t0=number))
                stack.callback(lazy.transport.abort)
        for first in range(0, disconnects, _AT_ONCE):
            count = min(_AT_ONCE, disconnects - first)
            await asyncio.gather(*(_vanish(url, first + index) for index in range(count)))
