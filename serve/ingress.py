"""The way into a session: a one-slot, latest-wins mailbox, a decoder, and the device's slots."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from lsdjax.serve import intake, protocol
from lsdjax.serve.codecpool import InPool
from lsdjax.serve.frames import DecodeError, Decoder
from lsdjax.serve.ledger import Frame, Ledger, RateLimit
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.protocol import Close, Codec, Flag, FrameHeader, Kind, Limits, ProtocolError
from lsdjax.serve.slots import SLOTS_PER_SEAT

_DECODE_FAILURES = 30  # in a row: not a glitch any more
_H264_WAITING = 8  # frames that build on each other cannot be left out before they are decoded


class Ingress:
    """Takes input frames, decodes the latest into a free slot, and knows what the device holds.

    Attributes:
        paused: frames wait, the latest of them.
        up: set while the device process has this session open.
        draining: nothing more is taken.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        ledger: Ledger,
        metrics: Metrics,
        limits: Limits,
        ring: Callable[[Frame], None],
    ) -> None:
        self._inputs = inputs
        self._ledger = ledger
        self._metrics = metrics
        self._limits = limits
        self._ring = ring
        self._free_slots = list(range(SLOTS_PER_SEAT))
        self._inbox: deque[Frame] = deque()
        self._in_device: dict[int, Frame] = {}
        self._decoder = Decoder(limits.max_pixels)
        self._rate = RateLimit(limits.max_fps, limits.max_fps)
        self._failures = 0
        self._needs_key = False
        self.changed = asyncio.Event()
        self.paused = self.draining = False
        self.up = True
        self.decode_error: tuple[int, str] | None = None

    def assume_colour(self, *, bt601: bool, full_range: bool) -> None:
        """How H.264 is coloured that does not say so itself."""
        self._decoder.assume_colour(bt601=bt601, full_range=full_range)

    def limit_rate(self, fps: float) -> None:
        """Takes at most so many frames a second from now on."""
        self._rate.change(fps, max(2.0, min(fps, self._limits.max_fps)))

    def oldest_in_device_s(self) -> float | None:
        """When the frame was received that has been longest in the device process."""
        return min((frame.received_s for frame in self._in_device.values()), default=None)

    def on_message(self, message: bytes) -> None:
        """Takes a binary message.

        Raises: ProtocolError for what is no input frame within the limits.
        """
        header, payload = protocol.unpack_frame(message)
        if header.kind != Kind.INPUT:
            raise ProtocolError(
                Close.UNSUPPORTED, "unknown_type", "only input frames (type 1) are accepted"
            )
        frame = Frame(header, payload, time.monotonic())
        frame.discontinuity = bool(header.flags & Flag.DISCONTINUITY)
        self._ledger.open(frame)
        if self.draining or not self._rate.take():
            self._leave_out(frame, "rate")
            return
        try:
            intake.check_payload(header, payload, self._limits)
        except DecodeError as error:
            self._decode_failed(frame, error)
            return
        except ProtocolError:
            self.drop(frame, "decode")
            raise
        if header.codec == Codec.H264:
            self._queue_h264(frame)
        else:
            while self._inbox:
                self._supersede(self._inbox.popleft(), frame)
        self._inbox.append(frame)
        self.changed.set()

    def _queue_h264(self, frame: Frame) -> None:
        if len(self._inbox) < _H264_WAITING:
            return
        while self._inbox:
            self._supersede(self._inbox.popleft(), frame)
        self._needs_key = True

    def _supersede(self, older: Frame, newer: Frame) -> None:
        newer.discontinuity |= older.discontinuity
        self._leave_out(older, "superseded")

    def _leave_out(self, frame: Frame, reason: str) -> None:
        """Drops a frame that was not decoded."""
        self._needs_key |= frame.header.codec == Codec.H264
        self.drop(frame, reason)

    async def feed(self, in_pool: InPool) -> None:
        """Decodes the latest frame into a free slot and rings the bell.

        Raises: ProtocolError when nothing of what comes can be decoded.
        """
        while True:
            while not self._inbox or self.paused or not self.up or not self._free_slots:
                self.changed.clear()
                await self.changed.wait()
            frame = self._inbox.popleft()
            if self._needs_key and frame.header.codec == Codec.H264:
                if not frame.header.flags & Flag.KEY:
                    self._decode_failed(frame, DecodeError("a key frame is needed"))
                    continue
                self._needs_key = False
            frame.slot = slot = self._free_slots.pop()
            started_s = time.monotonic()
            try:
                await in_pool(
                    frame.header.codec,
                    self._work(frame.header),
                    intake.decode_into,
                    self._decoder,
                    frame.header,
                    frame.payload,
                    self._inputs[slot],
                )
            except DecodeError as error:
                self._needs_key = frame.header.codec == Codec.H264
                self._decode_failed(frame, error)
                continue
            self._metrics.stage.labels("decode").observe(time.monotonic() - started_s)
            self._failures = 0
            frame.payload = memoryview(b"")
            if self._inbox and self._inbox[0].header.codec == Codec.H264:
                self._inbox[0].discontinuity |= frame.discontinuity
                self.drop(frame, "superseded")
            elif not self.up:
                self.drop(frame, "deadline")
            else:
                self._in_device[slot] = frame
                self._ring(frame)

    def _work(self, header: FrameHeader) -> float:
        """The pixels to decode; to fit them to the slot as well is no quick work."""
        height, width = self._inputs.shape[1:3]
        fits = (header.height, header.width) == (height, width)
        return height * width if fits else math.inf

    def came_back(self, slot: int) -> Frame:
        """The frame that the device process has done with."""
        return self._in_device.pop(slot)

    def lost_device(self) -> None:
        """The device process is gone, and what it held: nothing is fed until `up`."""
        self.up = False
        for slot in list(self._in_device):
            self.drop(self._in_device.pop(slot), "deadline")

    def detach(self) -> None:
        """Drops what is not with the device process: the client is gone."""
        self._inbox.clear()
        held = set(self._in_device.values())
        for frame in self._ledger.live:
            if frame not in held:
                self.drop(frame, "egress")
        self._needs_key = True
        self._failures = 0

    def drop(self, frame: Frame, reason: str) -> None:
        """Ends a frame for a reason."""
        self.free(frame)
        self._ledger.dropped(frame, reason)

    def free(self, frame: Frame) -> None:
        """Takes a frame's slot back."""
        if frame.slot >= 0:
            self._free_slots.append(frame.slot)
            frame.slot = -1
            self.changed.set()

    def _decode_failed(self, frame: Frame, error: DecodeError) -> None:
        self.decode_error = (frame.header.seq, str(error))
        self.drop(frame, "decode")
        self._failures += 1
        if self._failures >= _DECODE_FAILURES:
            text = f"{self._failures} frames in a row cannot be decoded: {error}"
            raise ProtocolError(Close.BAD_DATA, "decode", text, ref=frame.header.seq)
