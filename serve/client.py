"""A client for programs: send frames, receive transformed ones. Needs websockets and NumPy alone.

    async with LiveClient("ws://localhost:8765/ws", prompt="pencil sketch") as client:
        await client.send(frame)              # uint8 (h, w, 3); waits while the window is full
        output = await client.receive()       # acknowledges it; output.frame is uint8 (h, w, 3)

A connection that is cut is opened again, and the session resumed; frames that were on their way are
lost. `SyncClient` (in `lsdjax.serve.sync`) is the same without asyncio.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from websockets.exceptions import ConnectionClosed

from lsdjax.serve import frames, protocol
from lsdjax.serve.clock import AgeSlope, ClockSync
from lsdjax.serve.link import Greeting, Link, ServerError, explain
from lsdjax.serve.protocol import Codec, Flag, FrameHeader, Kind

__all__ = ["LiveClient", "Output", "ServerError"]

_ANSWER_S = 30.0
_LOST_S = 2.0  # an unanswered frame no longer counts against the window after this long
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0
_TIME_EVERY_S = 0.625  # eight samples in five seconds
_MAX_PIXELS = 1 << 26


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

    Attributes:
        welcome, stats: the server's latest messages of these types.
        clock: the server's clock against this machine's.
        reconnects: how often the connection was opened again; `resumed` of them were resumed.

    Raises: ServerError when the server refuses the session or ends it for good.
    """

    def __init__(
        self,
        url: str,
        *,
        prompt: str | None = None,
        strength: float | None = None,
        seed: int | None = None,
        codecs: tuple[Codec, ...] = frames.STILL_CODECS,
        fps: float | None = None,
        token: str | None = None,
        retry_s: float = 30.0,
        on_notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`retry_s` is how long a lost server is looked for; `on_notice` hears what is to be said.

        `codecs` in the order of preference; the first is what is sent. `url` may be that of the
        page: then it is the server's only path for streams that is meant.
        """
        url = url.replace("http", "ws", 1) if url.startswith("http") else url
        self._url = url.rstrip("/") + ("" if url.rstrip("/").endswith("/ws") else "/ws")
        given = {"prompt": prompt, "strength": strength, "seed": seed}
        self._params = {name: value for name, value in given.items() if value is not None}
        self._greeting = Greeting(codecs, fps, token)
        self._retry_s = retry_s
        self._on_notice = on_notice
        self._outputs: asyncio.Queue[Output] = asyncio.Queue()
        self._unanswered: deque[tuple[int, float]] = deque()  # (seq, sent at)
        self._acks: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._changed = asyncio.Event()
        self._failure: ServerError | None = None
        self._last_error: dict[str, Any] | None = None
        self._next_seq = self._next_id = 0
        self._last_sent: int | None = None  # over the present connection
        self._link: Link | None = None
        self._age_slope = AgeSlope()
        self.clock = ClockSync()
        self.welcome: dict[str, Any] = {}
        self.stats: dict[str, Any] = {}
        self.window = protocol.WINDOW
        self.reconnects = self.resumed = 0

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
        """Whether there is a connection, and its window is open."""
        return self._link is not None and self.unanswered < self.window

    # -- connections -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        link = await Link.open(self._url, self._greeting, resume=None, on_queue=self._on_queue)
        self._adopt(link)
        self._tasks = [asyncio.create_task(self._live(link)), asyncio.create_task(self._ask_time())]
        if self._params:
            try:
                await self.set_params(**self._params)
            except BaseException:
                await self.__aexit__()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._retry_s = 0.0
        self._failure = self._failure or ServerError("closed", "the client is closed")
        if self._link is not None:
            with suppress(ConnectionClosed):
                await self._link.socket.send(protocol.pack_json("bye"))
            await self._link.socket.close()
        for task in self._tasks[1:] if self._link is not None else self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _adopt(self, link: Link) -> None:
        self._link = link
        self.welcome = link.welcome
        self.window = link.welcome["window"]
        self._unanswered.clear()
        self._last_sent = self._last_error = None
        self._encoder = frames.Encoder(self._greeting.codecs[0])
        self._decoder = frames.Decoder(_MAX_PIXELS)
        self._changed.set()

    async def _live(self, link: Link) -> None:
        """Receives, over one connection after the other, until the last is lost for good."""
        while True:
            failure = await self._receive(link)
            self._link = None
            self._fail_acks(failure)
            try:
                if not failure.retryable or self._failure is not None or self._retry_s <= 0:
                    raise failure
                self._on_notice(f"{failure}; connecting again")
                link = await self._connect_again(link.welcome["resume_token"])
            except ServerError as error:
                self._failure = self._failure or error
                self._changed.set()
                return
            self.reconnects += 1
            self.resumed += link.welcome["resumed"]
            self._adopt(link)
            if not link.welcome["resumed"] and self._params:
                self._next_id += 1  # nobody waits for the answer: it was given once
                with suppress(ServerError):
                    await self._send(protocol.pack_json("params", id=self._next_id, **self._params))

    async def _connect_again(self, resume: str | None) -> Link:
        """Another connection, with waits that grow.

        Raises: ServerError when that is refused, or after `retry_s`.
        """
        end_s, wait_s = time.monotonic() + self._retry_s, _FIRST_WAIT_S
        while True:
            try:
                return await Link.open(
                    self._url, self._greeting, resume=resume, on_queue=self._on_queue
                )
            except ServerError as error:
                if error.code == "resume_expired":
                    resume = None
                    continue
                if not error.retryable or time.monotonic() + wait_s > end_s:
                    raise
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))
            wait_s = min(_LONGEST_WAIT_S, 2 * wait_s)

    async def _receive(self, link: Link) -> ServerError:
        """Handles what comes until the connection ends; why it did."""
        try:
            async for message in link.socket:
                if isinstance(message, bytes):
                    self._on_output(message)
                else:
                    self._on_text(message)
                self._changed.set()
        except ConnectionClosed as closed:
            return explain(closed, self._last_error)
        if self._last_error is not None:
            return ServerError(self._last_error["code"], self._last_error["message"])
        code = link.socket.close_code
        # The server's own 1001 is a goodbye for now; 1000 ends it.
        return ServerError("closed", "the connection is closed", retryable=code == 1001)

    async def _ask_time(self) -> None:
        while True:
            with suppress(ServerError):
                if self._link is not None:
                    await self._send(protocol.pack_json("time", t0=time.monotonic_ns() // 1000))
            await asyncio.sleep(_TIME_EVERY_S)

    # -- frames ------------------------------------------------------------------------------

    async def send(self, frame: np.ndarray, *, discontinuity: bool = False) -> int:
        """Sends a frame uint8 (h, w, 3) as soon as the window allows; its sequence number."""
        captured_us = time.monotonic_ns() // 1000
        while not self.can_send:
            self._changed.clear()
            await self._wait(self._changed.wait(), timeout_s=_LOST_S)
        height, width, _ = frame.shape
        payload, key = self._encoder.encode(frame)
        header = FrameHeader(
            kind=Kind.INPUT,
            codec=self._encoder.codec,
            flags=(Flag.DISCONTINUITY if discontinuity else Flag.NONE)
            | (Flag.KEY if key else Flag.NONE),
            seq=self._next_seq,
            captured_us=captured_us,
            width=width,
            height=height,
        )
        self._next_seq += 1
        self._last_sent = header.seq
        self._unanswered.append((header.seq, time.monotonic()))
        try:
            await self._send(protocol.pack_frame(header, payload))
        except ServerError:
            if self._failure is not None or self._retry_s <= 0:
                raise  # else it is lost, as what was on its way is
        return header.seq

    async def receive(self) -> Output:
        """The next output; taking it acknowledges it."""
        while self._outputs.empty():
            self._changed.clear()
            await self._wait(self._changed.wait(), timeout_s=_ANSWER_S)
        output = self._outputs.get_nowait()
        with suppress(ServerError):  # what there is to take, may be taken
            await self._send(protocol.pack_json("ack", seq=output.seq))
        return output

    def _on_output(self, message: bytes) -> None:
        header, payload = protocol.unpack_frame(message)
        frame = self._decoder.decode(header, payload)
        self._answered(header.seq)
        age_ms = 1e-3 * (time.monotonic_ns() // 1000 - header.captured_us)
        output = Output(
            frame=frame,
            seq=header.seq,
            revision=header.revision,
            flags=header.flags,
            age_ms=age_ms,
            server_ms=1e-3 * header.server_us,
        )
        self._outputs.put_nowait(output)
        if alarm := self._age_slope.add(time.monotonic(), age_ms):
            self._on_notice(alarm)

    def _answered(self, seq: int | None) -> None:
        while self._unanswered and seq is not None and self._unanswered[0][0] <= seq:
            self._unanswered.popleft()

    # -- messages ----------------------------------------------------------------------------

    async def set_params(self, **params: Any) -> dict[str, Any]:
        """Changes prompt, strength, seed, steps and so on; the server's `params_ack`.

        Raises: ServerError "rejected" when the server refuses a value.
        """
        self._next_id += 1
        ack = self._acks[self._next_id] = asyncio.get_running_loop().create_future()
        await self._send(protocol.pack_json("params", id=self._next_id, **params))
        async with asyncio.timeout(_ANSWER_S):
            reply = await ack
        if reply["status"] == "rejected":
            raise ServerError("rejected", reply["message"])
        self._params |= params
        return reply

    async def command(self, kind: str, **fields: Any) -> None:
        """Sends any other text message: pause, resume, reset and so on."""
        await self._send(protocol.pack_json(kind, **fields))

    @property
    def has_output(self) -> bool:
        """Whether `receive` returns at once."""
        return not self._outputs.empty()

    async def wait_for_change(self, seconds: float) -> None:
        """Waits until something arrives, or for so long. Raises: ServerError."""
        self._changed.clear()
        await self._wait(self._changed.wait(), timeout_s=seconds)

    async def settle(self) -> dict[str, Any]:
        """Waits until every frame sent was answered or dropped; the server's final counters."""
        async with asyncio.timeout(_ANSWER_S):
            while not self.stats or self.stats["in_flight"] or not self._is_settled():
                self._changed.clear()
                await self._wait(self._changed.wait(), timeout_s=_ANSWER_S)
        return self.stats

    def _is_settled(self) -> bool:
        settled = self.stats["settled_seq"]
        return self._last_sent is None or (settled is not None and settled >= self._last_sent)

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
        link = self._link
        if link is None:
            raise self._failure or ServerError("lost", "there is no connection", retryable=True)
        try:
            await link.socket.send(message)
        except ConnectionClosed as closed:
            raise self._failure or explain(closed, self._last_error) from None

    def _fail_acks(self, failure: ServerError) -> None:
        acks, self._acks = self._acks, {}
        for ack in acks.values():
            if not ack.done():
                ack.set_exception(failure)

    def _on_queue(self, message: dict[str, Any]) -> None:
        self._on_notice(f"waiting for a place: {message['position']} of {message['size']}")

    def _on_text(self, message: str | bytes) -> None:
        assert isinstance(message, str)
        fields = protocol.parse_json(message)
        match fields["type"]:
            case "params_ack":
                ack = self._acks.pop(fields["id"], None)
                if ack is not None and not ack.done():
                    ack.set_result(fields)
            case "stats":
                self.stats = fields
                self.window = fields["window"]
                self._answered(fields["settled_seq"])
            case "time":
                t0, t1, t2 = (1e-6 * fields[name] for name in ("t0", "t1", "t2"))
                if alarm := self.clock.add(t0, t1, t2, time.monotonic()):
                    self._on_notice(alarm)
            case "notice":
                self._on_notice(fields["message"])
            case "goaway":
                self._on_notice("the server is stopping")
            case "error" if fields["code"] == "decode":
                self._encoder.ask_for_key()
            case "error":
                self._last_error = fields
