"""A slow link on one machine: a loopback proxy that passes bytes on at a given rate."""

import asyncio
import socket
from contextlib import suppress
from typing import Self

_PIECE_BYTES = 1500  # as packets
_BUFFER_BYTES = 32 << 10  # of the link itself, each way


class ThrottledProxy:
    """Stands before a server, for clients on this machine. Use as an async context manager."""

    def __init__(self, host: str, port: int, megabits: float) -> None:
        self._target = (host, port)
        self._bytes_per_s = megabits * 1e6 / 8
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(
            self._connected, sock=listener, limit=_BUFFER_BYTES
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._links, return_exceptions=True)

    def cut(self) -> None:
        """Breaks every connection, without a goodbye to either side."""
        for link in self._links:
            link.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        link.add_done_callback(self._links.discard)
        upstream = socket.socket()
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        upstream.setblocking(False)
        far_writer = None
        try:
            await asyncio.get_running_loop().sock_connect(upstream, self._target)
            far_reader, far_writer = await asyncio.open_connection(
                sock=upstream, limit=_BUFFER_BYTES
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, far_writer))
                group.create_task(self._pass_on(far_reader, writer))
        except (OSError, asyncio.CancelledError, ExceptionGroup):
            pass  # a link that is cut has nothing to say
        finally:
            for end in filter(None, (writer, far_writer)):
                end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        writer.transport.set_write_buffer_limits(high=_PIECE_BYTES)
        free_at_s = loop.time()
        while piece := await reader.read(_PIECE_BYTES):
            free_at_s = max(free_at_s, loop.time()) + len(piece) / self._bytes_per_s
            await asyncio.sleep(free_at_s - loop.time())
            writer.write(piece)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()
