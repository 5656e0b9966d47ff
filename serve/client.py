"""A client for programs: send frames, receive transformed ones. Needs websockets and NumPy alone.

    async with LiveClient("ws://localhost:8765/ws", prompt="pencil sketch") as client:
        await client.send(frame)              # uint8 (h, w, 3); waits while the window is full
        output = await client.receive()       # acknowledges it; output.frame is uint8 (h, w, 3)

`SyncClient` is the same without asyncio, one frame in and one frame out.
"""

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from lsdjax.serve import frames, protocol
from lsdjax.serve.protocol import Codec, Flag, FrameHeader, Kind

_ANSWER_S = 30.0
_LOST_S = 2.0  # an unanswered frame no longer counts against the window after this long


class ServerError(ConnectionError):
    """The server said what is wrong, or the connection is gone: `code` names it."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


@dataclass(frozen=True)
class Output:
    """A transformed frame, uint8 (h, w, 3), made from input `seq`.

    `age_ms` is measured on this machine, from capture to decoded output; `server_ms` is the part
    of it that the server had the frame.
    """

    frame: np.ndarray
    seq: int
    revision: int
    flags: Flag
    age_ms: float
    server_ms: float


class LiveClient:
    """One session on a server. Use as an async context manager.

    Raises: ServerError when the server refuses the session or ends it.
    """

    def __init__(
        self,
        url: str,
        *,
        prompt: str | None = None,
        strength: float | None = None,
        seed: int | None = None,
        codecs: tuple[Codec, ...] = frames.SUPPORTED_CODECS,
        fps: float | None = None,
    ) -> None:
        self._url = url.replace("http", "ws", 1) if url.startswith("http") else url
        self._params = {"prompt": prompt, "strength": strength, "seed": seed}
        self._codecs = codecs
        self._fps = fps
        self._outputs: asyncio.Queue[Output] = asyncio.Queue()
        self._unanswered: deque[tuple[int, float]] = deque()  # (seq, sent at)
        self._acks: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._changed = asyncio.Event()
        self._failure: ServerError | None = None
        self._next_seq = self._next_id = 0
        self.welcome: dict[str, Any] = {}
        self.stats: dict[str, Any] = {}
        self.window = protocol.WINDOW

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the model's frames."""
        return self.welcome["model"]["height"], self.welcome["model"]["width"]

    @property
    def unanswered(self) -> int:
        """How many frames wait for an output or a drop."""
        while self._unanswered and time.monotonic() - self._unanswered[0][1] > _LOST_S:
            self._unanswered.popleft()
        return len(self._unanswered)

    @property
    def can_send(self) -> bool:
        """Whether the window is open."""
        return self.unanswered < self.window

    async def __aenter__(self) -> Self:
        try:
            self._socket = await connect(
                self._url,
                subprotocols=[Subprotocol(protocol.SUBPROTOCOL)],
                compression=None,
                max_size=16 << 20,
                close_timeout=2,
            )
        except (OSError, InvalidHandshake, TimeoutError) as error:
            raise ServerError("unreachable", f"cannot connect to {self._url}: {error}") from None
        names = [codec.name.lower() for codec in self._codecs]
        try:
            await self._socket.send(
                protocol.pack_json("hello", version=protocol.VERSION, codecs=names, fps=self._fps)
            )
            while not self.welcome:
                self._on_text(await self._socket.recv())
                if self._failure is not None:
                    raise self._failure
        except ConnectionClosed as error:
            raise self._failure or _closed(error) from None
        finally:
            if not self.welcome:
                await self._socket.close()
        self.window = self.welcome["window"]
        self._receiver = asyncio.create_task(self._receive())
        chosen = {name: value for name, value in self._params.items() if value is not None}
        if chosen:
            try:
                await self.set_params(**chosen)
            except BaseException:
                await self.__aexit__()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ConnectionClosed):
            await self._socket.send(protocol.pack_json("bye"))
        await self._socket.close()
        await asyncio.gather(self._receiver, return_exceptions=True)

    async def send(self, frame: np.ndarray, *, discontinuity: bool = False) -> int:
        """Sends a frame uint8 (h, w, 3) as soon as the window allows; its sequence number."""
        captured_us = time.monotonic_ns() // 1000
        while not self.can_send:
            self._changed.clear()
            await self._wait(self._changed.wait(), timeout_s=_LOST_S)
        codec = self._codecs[0]
        height, width, _ = frame.shape
        header = FrameHeader(
            kind=Kind.INPUT,
            codec=codec,
            flags=Flag.DISCONTINUITY if discontinuity else Flag.NONE,
            seq=self._next_seq,
            captured_us=captured_us,
            width=width,
            height=height,
        )
        self._next_seq += 1
        self._unanswered.append((header.seq, time.monotonic()))
        await self._send(protocol.pack_frame(header, frames.encode(frame, codec)))
        return header.seq

    async def receive(self) -> Output:
        """The next output; taking it acknowledges it."""
        while self._outputs.empty():
            self._changed.clear()
            await self._wait(self._changed.wait(), timeout_s=_ANSWER_S)
        output = self._outputs.get_nowait()
        await self._send(protocol.pack_json("ack", seq=output.seq))
        return output

    async def set_params(self, **params: Any) -> dict[str, Any]:
        """Changes prompt, strength or seed; the server's `params_ack`.

        Raises: ServerError "rejected" when the server refuses a value.
        """
        self._next_id += 1
        ack = self._acks[self._next_id] = asyncio.get_running_loop().create_future()
        await self._send(protocol.pack_json("params", id=self._next_id, **params))
        async with asyncio.timeout(_ANSWER_S):
            reply = await ack
        if reply["status"] == "rejected":
            raise ServerError("rejected", reply["message"])
        return reply

    async def command(self, kind: str, **fields: Any) -> None:
        """Sends any other text message: pause, resume, reset and so on."""
        await self._send(protocol.pack_json(kind, **fields))

    async def settle(self) -> dict[str, Any]:
        """Waits until every frame sent was answered or dropped; the server's final counters."""
        async with asyncio.timeout(_ANSWER_S):
            while self.stats.get("received") != self._next_seq or self.stats["in_flight"]:
                self._changed.clear()
                await self._wait(self._changed.wait(), timeout_s=_ANSWER_S)
        return self.stats

    async def _wait(self, awaitable: Any, *, timeout_s: float) -> None:
        if self._failure is not None:
            awaitable.close()
            raise self._failure
        try:
            await asyncio.wait_for(awaitable, timeout_s)
        except TimeoutError:
            if timeout_s >= _ANSWER_S:
                raise ServerError("timeout", f"no answer within {_ANSWER_S:.0f} s") from None
        if self._failure is not None and self._outputs.empty():
            raise self._failure

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise self._failure or _closed(error) from None

    async def _receive(self) -> None:
        try:
            async for message in self._socket:
                if isinstance(message, bytes):
                    self._on_output(message)
                else:
                    self._on_text(message)
                self._changed.set()
            failure = ServerError("closed", "the connection is closed")
        except ConnectionClosed as error:
            failure = _closed(error)
        self._failure = self._failure or failure
        self._changed.set()
        for ack in self._acks.values():
            if not ack.done():
                ack.set_exception(self._failure)

    def _on_output(self, message: bytes) -> None:
        header, payload = protocol.unpack_frame(message)
        frame = frames.decode(header, payload)
        self._answered(header.seq)
        self._outputs.put_nowait(
            Output(
                frame=frame,
                seq=header.seq,
                revision=header.revision,
                flags=header.flags,
                age_ms=1e-3 * (time.monotonic_ns() // 1000 - header.captured_us),
                server_ms=1e-3 * header.server_us,
            )
        )

    def _answered(self, seq: int | None) -> None:
        while self._unanswered and seq is not None and self._unanswered[0][0] <= seq:
            self._unanswered.popleft()

    def _on_text(self, message: str | bytes) -> None:
        assert isinstance(message, str)
        fields = protocol.parse_json(message)
        match fields["type"]:
            case "welcome":
                self.welcome = fields
            case "params_ack":
                ack = self._acks.pop(fields["id"], None)
                if ack is not None and not ack.done():
                    ack.set_result(fields)
            case "stats":
                self.stats = fields
                self.window = fields["window"]
                self._answered(fields["settled_seq"])
            case "error" if fields["code"] != "decode":
                self._failure = ServerError(
                    fields["code"], fields["message"], retryable=fields["retryable"]
                )


def _closed(error: ConnectionClosed) -> ServerError:
    received = error.rcvd
    why = f"{received.code} {received.reason}".strip() if received else "without a goodbye"
    return ServerError("closed", f"the connection was closed ({why})", retryable=True)


class SyncClient:
    """`LiveClient` without asyncio: one frame in, one frame out. Use as a context manager."""

    def __init__(self, url: str, **options: Any) -> None:
        self._url, self._options = url, options

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._client = self._run(self._open())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._client.__aexit__())
        finally:
            self._stop()

    def transform(self, frame: np.ndarray) -> np.ndarray | None:
        """The output for `frame`, uint8 (h, w, 3); None when the server dropped it."""
        return self._run(self._transform(frame))

    def set_params(self, **params: Any) -> dict[str, Any]:
        """As `LiveClient.set_params`."""
        return self._run(self._client.set_params(**params))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the model's frames."""
        return self._client.size

    async def _open(self) -> LiveClient:
        return await LiveClient(self._url, **self._options).__aenter__()

    async def _transform(self, frame: np.ndarray) -> np.ndarray | None:
        client = self._client
        seq = await client.send(frame)
        while client.unanswered or not client._outputs.empty():
            if not client._outputs.empty():
                output = await client.receive()
                if output.seq == seq:
                    return output.frame
                continue
            client._changed.clear()
            await client._wait(client._changed.wait(), timeout_s=_LOST_S)
        return None

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
