"""One client: two one-slot, latest-wins mailboxes around the device process, and its messages."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from lsdjax.serve import intake, protocol
from lsdjax.serve.device import Device
from lsdjax.serve.egress import Egress
from lsdjax.serve.frames import DecodeError
from lsdjax.serve.ledger import Frame, Ledger, RateLimit
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.protocol import Close, Codec, Flag, Kind, Limits, ProtocolError
from lsdjax.serve.slots import SLOTS_PER_SEAT

_STATS_S = 1.0
_TEXTS_PER_S, _TEXT_BURST = 300, 600
_UNSENT_TEXTS = 256
_DECODE_FAILURES = 30  # in a row: not a glitch any more


@dataclass(frozen=True)
class SessionContext:
    """What the sessions of one server share."""

    device: Device
    metrics: Metrics
    codec_pool: Executor
    limits: Limits
    steps: int


class Session:
    """The admitted client of one seat."""

    def __init__(
        self,
        socket: ServerConnection,
        context: SessionContext,
        seat: int,
        codec: Codec,
        effective: dict[str, Any],
    ) -> None:
        assert context.device.slots is not None
        self._socket = socket
        self._context = context
        self._seat = seat
        self._effective = effective
        self._inputs = context.device.slots.inputs[seat]
        self._free_slots = list(range(SLOTS_PER_SEAT))
        self._ledger = Ledger(context.metrics)
        self.egress = Egress(
            socket,
            context.device.slots.outputs[seat],
            codec,
            self._ledger,
            context.metrics,
            context.limits.deadline_ms,
        )
        self._inbox: Frame | None = None
        self._in_device: dict[int, Frame] = {}
        self._inbox_changed = asyncio.Event()
        self._paused = False
        self._revision = 0
        self._params_ids: dict[int, tuple[Any, bool]] = {}
        self._decode_failures = 0
        self._decode_error: tuple[int, str] | None = None
        self._frame_rate = RateLimit(context.limits.max_fps, context.limits.max_fps)
        self._text_rate = RateLimit(_TEXTS_PER_S, _TEXT_BURST)
        self._texts: asyncio.Queue[str] = asyncio.Queue(_UNSENT_TEXTS)
        self._stats_due = asyncio.Event()
        self._codec_jobs: set[asyncio.Future[Any]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_ending(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._socket.state is not State.OPEN

    async def run(self) -> None:
        """Serves the client until it leaves.

        Raises: ProtocolError when it must be sent away; ConnectionClosed.
        """
        work = (self._receive, self._feed, self._send_frames, self._send_texts, self._report)
        tasks: list[asyncio.Future[None]] = [asyncio.create_task(part()) for part in work]
        try:
            done, _ = await asyncio.wait(
                [self._failed, *tasks], return_when=asyncio.FIRST_COMPLETED
            )
            for task in sorted(done, key=lambda task: task is not self._failed):
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            # A codec thread that still writes must not write into the next session's slot.
            await asyncio.gather(*tasks, *self._codec_jobs, return_exceptions=True)
            for frame in self._ledger.live:
                self._ledger.dropped(frame, "egress")

    def fail(self, error: ProtocolError) -> None:
        """Ends the session from outside."""
        if not self._failed.done():
            self._failed.set_exception(error)

    def tell(self, kind: str, **fields: Any) -> None:
        """Queues a text message."""
        try:
            self._texts.put_nowait(protocol.pack_json(kind, **fields))
        except asyncio.QueueFull:
            self.fail(ProtocolError(Close.POLICY, "not_reading", "the client does not read"))

    # -- from the client ---------------------------------------------------------------------

    async def _receive(self) -> None:
        async for message in self._socket:
            if isinstance(message, bytes):
                self._on_frame(message)
            elif not self._on_text(message):
                return

    def _on_frame(self, message: bytes) -> None:
        header, payload = protocol.unpack_frame(message)
        if header.kind != Kind.INPUT:
            raise ProtocolError(
                Close.UNSUPPORTED, "unknown_type", "only input frames (type 1) are accepted"
            )
        frame = Frame(header, payload, time.monotonic())
        frame.discontinuity = bool(header.flags & Flag.DISCONTINUITY)
        self._ledger.open(frame)
        if not self._frame_rate.take():
            self._drop(frame, "rate")
            return
        try:
            intake.check_payload(header, payload, self._context.limits)
        except DecodeError as error:
            self._decode_failed(frame, error)
            return
        except ProtocolError:
            self._drop(frame, "decode")
            raise
        if self._inbox is not None:
            frame.discontinuity |= self._inbox.discontinuity
            self._drop(self._inbox, "superseded")
        self._inbox = frame
        self._inbox_changed.set()

    def _on_text(self, text: str) -> bool:
        """Handles a JSON message; False when the client says goodbye."""
        if not self._text_rate.take():
            raise ProtocolError(
                Close.RATE, "rate", f"more than {_TEXTS_PER_S} text messages a second"
            )
        message = protocol.parse_json(text, max_bytes=self._context.limits.max_text_bytes)
        match message["type"]:
            case "ack":
                self.egress.acknowledge(message.get("seq"))
            case "params":
                self._on_params(message)
            case "time":
                self._on_time(message.get("t0"), time.monotonic_ns() // 1000)
            case "pause":
                self._paused = True
            case "resume":
                self._paused = False
                self._inbox_changed.set()
            case "reset":
                self._context.device.send(op="reset", seat=self._seat)
            case "request_key":
                pass  # every frame of these codecs is a key frame
            case "bye":
                return False
            case _:
                self._context.metrics.ignored.inc()
        return True

    def _on_time(self, t0: Any, t1: int) -> None:
        if isinstance(t0, int | float) and math.isfinite(t0):
            self.tell("time", t0=t0, t1=t1, t2=time.monotonic_ns() // 1000)

    def _on_params(self, message: dict[str, Any]) -> None:
        ref = message.get("id")
        if not isinstance(ref, str | int) or len(str(ref)) > 64:
            text = "params needs an id: a string or an integer of at most 64 characters"
            self.tell("error", code="bad_params", message=text, retryable=False, ref=None)
            return
        try:
            request = protocol.parse_params(
                message, limits=self._context.limits, steps=self._context.steps
            )
        except ValueError as error:
            self._acknowledge_params(ref, self._revision, "rejected", message=str(error))
            return
        self._revision += 1
        self._params_ids[self._revision] = (ref, request.clamped)
        self._context.device.send(
            op="params", seat=self._seat, revision=self._revision, values=request.values
        )

    def _acknowledge_params(self, ref: Any, revision: int, status: str, **fields: Any) -> None:
        self.tell(
            "params_ack",
            id=ref,
            rev=revision,
            status=status,
            effective=self._effective,
            **{"first_seq": None, **fields},
        )

    # -- to and from the device --------------------------------------------------------------

    async def _feed(self) -> None:
        """Decodes the latest frame into a free slot and rings the bell."""
        while True:
            while self._inbox is None or self._paused or not self._free_slots:
                self._inbox_changed.clear()
                await self._inbox_changed.wait()
            frame, self._inbox = self._inbox, None
            slot = self._free_slots.pop()
            started_s = time.monotonic()
            try:
                await self._in_codec_pool(
                    intake.decode_into, frame.header, frame.payload, self._inputs[slot]
                )
            except DecodeError as error:
                self._free_slots.append(slot)
                self._decode_failed(frame, error)
                continue
            self._observe("decode", time.monotonic() - started_s)
            self._decode_failures = 0
            frame.slot = slot
            frame.payload = memoryview(b"")
            self._in_device[slot] = frame
            self._context.device.send(
                op="frame",
                seat=self._seat,
                slot=slot,
                seq=frame.header.seq,
                received_s=frame.received_s,
                discontinuity=frame.discontinuity,
            )

    def on_device(self, event: dict[str, Any]) -> None:
        """Handles an event of this seat."""
        match event["event"]:
            case "out":
                frame = self._in_device.pop(event["slot"])
                frame.revision = event["revision"]
                frame.discontinuity = event["discontinuity"]
                self._ledger.stepped(event["step_s"])
                self._observe("queue", event["queue_s"])
                self._observe("step", event["step_s"])
                pushed_out = self.egress.offer(frame)
                if pushed_out is not None:
                    self._drop(pushed_out, "egress")
            case "drop":
                self._drop(self._in_device.pop(event["slot"]), event["reason"])
            case "fault":
                self._drop(self._in_device.pop(event["slot"]), "egress")
                text = "the model failed on a frame; connect again"
                self.fail(ProtocolError(Close.FAULT, "step_failed", text))
            case "params":
                self._effective = event["effective"] | {"steps": self._context.steps}
                ref, clamped = self._params_ids.pop(event["revision"])
                self._acknowledge_params(
                    ref,
                    event["revision"],
                    "clamped" if clamped else "applied",
                    first_seq=event["first_seq"],
                )
            case "rejected":
                ref, _ = self._params_ids.pop(event["revision"], (None, False))
                self._acknowledge_params(
                    ref, event["revision"], "rejected", message=event["message"]
                )

    async def _in_codec_pool[T](self, work: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._context.codec_pool, work, *arguments)
        self._codec_jobs.add(job)
        job.add_done_callback(self._codec_jobs.discard)
        return await asyncio.shield(job)

    def _drop(self, frame: Frame, reason: str) -> None:
        self._free(frame)
        self._ledger.dropped(frame, reason)
        if not self._ledger.live:
            self._stats_due.set()

    def _free(self, frame: Frame) -> None:
        if frame.slot >= 0:
            self._free_slots.append(frame.slot)
            frame.slot = -1
            self._inbox_changed.set()

    def _decode_failed(self, frame: Frame, error: DecodeError) -> None:
        self._decode_error = (frame.header.seq, str(error))
        self._drop(frame, "decode")
        self._decode_failures += 1
        if self._decode_failures >= _DECODE_FAILURES:
            text = f"{self._decode_failures} frames in a row cannot be decoded: {error}"
            raise ProtocolError(Close.BAD_DATA, "decode", text, ref=frame.header.seq)

    # -- to the client -----------------------------------------------------------------------

    async def _send_frames(self) -> None:
        await self.egress.run(self._in_codec_pool, self._free)

    async def _send_texts(self) -> None:
        while True:
            await self._socket.send(await self._texts.get())

    async def _report(self) -> None:
        """Sends `stats` once a second, and at once when drops leave the client without an answer.

        A client holds a place in its window for every frame; where all that it sent were dropped,
        it learns from `settled_seq` that it may send again.
        """
        while True:
            self._stats_due.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stats_due.wait(), _STATS_S)
            if self._decode_error is not None:
                (seq, text), self._decode_error = self._decode_error, None
                self.tell("error", code="decode", message=text, retryable=True, ref=seq)
            self.tell("stats", window=self.egress.window, **self._ledger.stats())

    def _observe(self, stage: str, seconds: float) -> None:
        self._context.metrics.stage.labels(stage).observe(seconds)
