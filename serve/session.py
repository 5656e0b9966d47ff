"""One client's session: two one-slot mailboxes around the device process, and its messages.

A session outlives its connection: one that was cut may be resumed over another.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from lsdjax.serve import messages, protocol
from lsdjax.serve.auth import Grant
from lsdjax.serve.codecpool import CodecPool
from lsdjax.serve.device import Device
from lsdjax.serve.egress import Egress
from lsdjax.serve.ingress import Ingress
from lsdjax.serve.ledger import Frame, Ledger, RateLimit
from lsdjax.serve.messages import Hello
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.overload import Ladder
from lsdjax.serve.paramlog import ParamLog
from lsdjax.serve.post import Finish
from lsdjax.serve.protocol import Close, Codec, Flag, Limits, ProtocolError

_STATS_S = 1.0
_STATS_PAUSE_S = 0.01
_TEXTS_PER_S, _TEXT_BURST = 300, 600
_UNSENT_TEXTS = 256
_BT601_NAMES = ("smpte170m", "bt470bg")  # as WebCodecs calls it
_MAX_CRASHES = 2  # of the device process while it had a frame of this session


@dataclass(frozen=True)
class SessionContext:
    """What the sessions of one server share."""

    device: Device
    metrics: Metrics
    codec_pool: CodecPool
    limits: Limits
    ladder: Ladder
    variants: tuple[int, ...]


class Session:
    """The admitted client of one seat.

    Attributes:
        resume_token: who shows it may take the session over; it changes each time.
        grant: what its bearer token allows, where the server asks for one; `ends_s` is when its
            time is up, however often the session is resumed.
        fps: frames a second that the client means to send.
        holder: the connection that the session belongs to; the one before it must let go.
    """

    def __init__(
        self, context: SessionContext, seat: int, hello: Hello, grant: Grant | None
    ) -> None:
        assert context.device.slots is not None
        self._context = context
        self._seat = seat
        self.id = secrets.token_hex(8)
        self.resume_token = ""
        self.rotate_token()
        self.grant = grant
        self.ends_s = math.inf if grant is None else time.monotonic() + grant.remaining_s()
        self.fps = hello.fps
        self.holder: ServerConnection | None = None
        self.params = ParamLog()
        self._ledger = Ledger(context.metrics)
        self.ingress = Ingress(
            context.device.slots.inputs[seat],
            self._ledger,
            context.metrics,
            context.limits,
            self._ring,
        )
        self.egress = Egress(
            context.device.slots.outputs[seat],
            self._ledger,
            context.metrics,
            context.ladder,
            context.limits.deadline_ms,
        )
        self.limit_rate(context.ladder.rate_share)
        self._text_rate = RateLimit(_TEXTS_PER_S, _TEXT_BURST)
        self._texts: asyncio.Queue[str] = asyncio.Queue(_UNSENT_TEXTS)
        self._stats_due = asyncio.Event()
        self._codec_jobs: set[asyncio.Future[Any]] = set()
        self._socket: ServerConnection | None = None
        self._failed: asyncio.Future[None] | None = None
        self._left = asyncio.Event()
        self._crashes = 0

    # -- its connection ----------------------------------------------------------------------

    @property
    def is_attached(self) -> bool:
        """Whether a client is connected."""
        return self._socket is not None

    @property
    def is_ending(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._socket is not None and self._socket.state is not State.OPEN

    def rotate_token(self) -> str:
        """Makes a new resume token; the one before it is worth nothing any more."""
        self.resume_token = secrets.token_hex(16)
        return self.resume_token

    async def take_over(self) -> None:
        """Sends the present client away, because another one shows the resume token."""
        if self._socket is None:
            return
        text = "the session goes on over another connection"
        self.fail(ProtocolError(Close.TAKEN_OVER, "taken_over", text))
        await self._left.wait()

    async def run(self, socket: ServerConnection, codec: Codec) -> None:
        """Serves the client until it leaves.

        Raises: ProtocolError when it must be sent away; ConnectionClosed.
        """
        self._socket = socket
        self._left.clear()
        self._failed = asyncio.get_running_loop().create_future()
        self._texts = asyncio.Queue(_UNSENT_TEXTS)
        self.egress.attach(socket, codec)
        work = (self._receive, self._feed, self._send_frames, self._send_texts, self._report)
        tasks: list[asyncio.Future[None]] = [asyncio.create_task(part()) for part in work]
        self._context.codec_pool.sessions += 1
        try:
            done, _ = await asyncio.wait(
                [self._failed, *tasks], return_when=asyncio.FIRST_COMPLETED
            )
            for task in sorted(done, key=lambda task: task is not self._failed):
                task.result()
        finally:
            self._context.codec_pool.sessions -= 1
            for task in tasks:
                task.cancel()
            # A codec thread that still writes must not write into the next session's slot.
            await asyncio.gather(*tasks, *self._codec_jobs, return_exceptions=True)
            if not self._failed.cancel() and not self._failed.cancelled():
                self._failed.exception()  # it came too late to matter
            self._socket = self._failed = None
            self.egress.detach()
            self.ingress.detach()
            self._left.set()

    def close(self) -> None:
        """Accounts for the frames that the device process still has: nobody waits for them."""
        for frame in self._ledger.live:
            self._ledger.dropped(frame, "egress")

    def fail(self, error: ProtocolError) -> None:
        """Ends the connection from outside."""
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    def tell(self, kind: str, **fields: Any) -> None:
        """Queues a text message; nobody hears it while no client is connected."""
        if self._socket is None:
            return
        try:
            self._texts.put_nowait(protocol.pack_json(kind, **fields))
        except asyncio.QueueFull:
            self.fail(ProtocolError(Close.POLICY, "not_reading", "the client does not read"))

    def notice(self, reason: str, message: str, *, degraded: bool) -> None:
        """Says that the service got worse or, with `degraded` False, that it is as it should be."""
        self.tell("notice", degraded=degraded, reason=reason, message=message)

    def limit_rate(self, share: float) -> None:
        """Takes this part of the client's frame rate; with 1, whatever the limits allow."""
        self.ingress.limit_rate(self._context.limits.max_fps if share >= 1 else share * self.fps)

    def drain(self) -> None:
        """Takes no further frames; those in flight are finished."""
        self.ingress.draining = True

    @property
    def is_idle(self) -> bool:
        """Whether no frame is in flight."""
        return not self._ledger.live

    # -- from the client ---------------------------------------------------------------------

    async def _receive(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            if isinstance(message, bytes):
                self.ingress.on_message(message)
                if not self._ledger.live:  # it was left out, and no other frame will tell
                    self._stats_due.set()
            elif not self._on_text(message):
                return

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
                self.ingress.paused = True
            case "resume":
                self.ingress.paused = False
                self.ingress.changed.set()
            case "reset":
                self._context.device.send(op="reset", seat=self._seat)
            case "request_key":
                self.egress.ask_for_key()
            case "colour":
                self.ingress.assume_colour(
                    bt601=message.get("matrix") in _BT601_NAMES,
                    full_range=message.get("full_range") is True,
                )
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
            request = messages.parse_params(
                message, limits=self._context.limits, variants=self._context.variants
            )
        except ValueError as error:
            self.tell("params_ack", **self.params.refused(ref, str(error)))
            return
        revision = self.params.ask(ref, request)
        self._context.device.send(
            op="params", seat=self._seat, revision=revision, values=self.params.wanted(revision)
        )

    # -- to and from the device --------------------------------------------------------------

    def _ring(self, frame: Frame) -> None:
        self._context.device.send(
            op="frame",
            seat=self._seat,
            slot=frame.slot,
            seq=frame.header.seq,
            received_s=frame.received_s,
            discontinuity=frame.discontinuity,
        )

    def opening(self) -> dict[str, Any]:
        """What the device process needs to know to open this session's stream (again)."""
        revision, values = self.params.present
        return {"op": "open", "seat": self._seat, "values": values, "revision": revision}

    def on_device(self, event: dict[str, Any]) -> None:
        """Handles an event of this seat."""
        match event["event"]:
            case "out":
                self._on_output(event)
            case "drop":
                self.ingress.drop(self.ingress.came_back(event["slot"]), event["reason"])
                if not self._ledger.live:
                    self._stats_due.set()
            case "fault":
                self.ingress.drop(self.ingress.came_back(event["slot"]), "egress")
                text = "the model failed on several frames in a row; connect again"
                self.fail(ProtocolError(Close.FAULT, "step_failed", text))
            case "params" if event["revision"] in self.params.unanswered:
                ack, post = self.params.applied(
                    event["revision"], event["effective"], event["first_seq"]
                )
                self.egress.finish_from(event["revision"], Finish(**post))
                self.tell("params_ack", **ack)
            case "rejected":
                if event["revision"] is not None:
                    self.tell(
                        "params_ack", **self.params.failed(event["revision"], event["message"])
                    )
            case "repair":
                text = f"the stream had drifted and was mended at frame {event['frame_index']}"
                self.notice(f"repair:{event['reason']}", text, degraded=False)
            case "opened":
                self._on_device_back()

    def _on_output(self, event: dict[str, Any]) -> None:
        frame = self.ingress.came_back(event["slot"])
        frame.revision = event["revision"]
        for flag in (Flag.DISCONTINUITY, Flag.DEGRADED, Flag.REPEATED):
            if event[str(flag.name).lower()]:
                frame.flags |= flag
        if not event["repeated"]:
            self._ledger.stepped(event["step_s"])
            self._context.metrics.stage.labels("step").observe(event["step_s"])
        self._context.metrics.stage.labels("queue").observe(event["queue_s"])
        pushed_out = self.egress.offer(frame)
        if pushed_out is not None:
            self.ingress.drop(pushed_out, "egress")

    def on_device_lost(self) -> None:
        """The device process has died; another one is on its way."""
        had_frame = self.ingress.oldest_in_device_s() is not None
        self._crashes += had_frame
        self.ingress.lost_device()
        if self._crashes >= _MAX_CRASHES:
            text = "the model stopped twice on this session's frames"
            self.fail(ProtocolError(Close.FAULT, "device_lost", text))
        self.notice("device_lost", "the model has stopped and is being restarted", degraded=True)
        self._stats_due.set()

    def _on_device_back(self) -> None:
        for revision in self.params.unanswered:
            self._context.device.send(
                op="params", seat=self._seat, revision=revision, values=self.params.wanted(revision)
            )
        self.ingress.up = True
        self.ingress.changed.set()
        self.notice("device_back", "the model runs again", degraded=False)

    async def _in_codec_pool[T](
        self, codec: Codec, pixels: float, work: Callable[..., T], *arguments: Any
    ) -> T:
        if self._context.codec_pool.is_quick(codec, pixels):
            return work(*arguments)
        job = self._context.codec_pool.submit(work, *arguments)
        self._codec_jobs.add(job)
        job.add_done_callback(self._codec_jobs.discard)
        return await asyncio.shield(job)

    async def _feed(self) -> None:
        await self.ingress.feed(self._in_codec_pool)

    # -- to the client -----------------------------------------------------------------------

    async def _send_frames(self) -> None:
        await self.egress.run(self._in_codec_pool, self.ingress.free)

    async def _send_texts(self) -> None:
        assert self._socket is not None
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
            error, self.ingress.decode_error = self.ingress.decode_error, None
            if error is not None:
                seq, text = error
                self.tell("error", code="decode", message=text, retryable=True, ref=seq)
            self.tell("stats", window=self.egress.window, **self._ledger.stats())
            await asyncio.sleep(_STATS_PAUSE_S)
