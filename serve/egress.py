"""The way out of a session: a one-slot mailbox, gated by the client's acknowledgements."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection

from lsdjax.serve import frames, protocol
from lsdjax.serve.ledger import Frame, Ledger
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.protocol import Codec, Flag, FrameHeader, Kind

InPool = Callable[..., Awaitable[Any]]


class Egress:
    """Sends the latest output whenever fewer than `window` frames are unacknowledged.

    Awaiting `send` alone is no latency policy: buffers on the way hold seconds of frames.
    """

    def __init__(
        self,
        socket: ServerConnection,
        outputs: np.ndarray,
        codec: Codec,
        ledger: Ledger,
        metrics: Metrics,
        deadline_ms: float,
    ) -> None:
        self._socket = socket
        self._outputs = outputs
        self._codec = codec
        self._ledger = ledger
        self._metrics = metrics
        self._deadline_ms = deadline_ms
        self._box: Frame | None = None
        self._unacknowledged: deque[int] = deque()
        self._changed = asyncio.Event()

    @property
    def window(self) -> int:
        """How many frames may be sent and not acknowledged."""
        far = self._socket.latency > protocol.FAR_RTT_S
        return protocol.WINDOW_FAR if far else protocol.WINDOW

    def offer(self, frame: Frame) -> Frame | None:
        """Puts an output into the mailbox; the one that it pushes out, if any."""
        older, self._box = self._box, frame
        if older is not None:
            frame.discontinuity |= older.discontinuity
        self._changed.set()
        return older

    def acknowledge(self, seq: Any) -> None:
        """The client has drawn this frame, and has done with those before it."""
        if seq in self._unacknowledged:
            while self._unacknowledged.popleft() != seq:
                pass
            self._changed.set()

    async def run(self, in_pool: InPool, free: Callable[[Frame], None]) -> None:
        """Encodes and sends; `free` takes a frame's slot back once it is encoded."""
        while True:
            while self._box is None or len(self._unacknowledged) >= self.window:
                self._changed.clear()
                await self._changed.wait()
            frame, self._box = self._box, None
            started_s = time.monotonic()
            payload = await in_pool(frames.encode, self._outputs[frame.slot], self._codec)
            free(frame)
            encoded_s = time.monotonic()
            age_s = encoded_s - frame.received_s
            self._unacknowledged.append(frame.header.seq)
            await self._socket.send(protocol.pack_frame(self._header(frame, age_s), payload))
            self._ledger.sent(frame, age_s)
            if 1e3 * age_s > self._deadline_ms:
                self._metrics.deadline_misses.inc()
            self._metrics.stage.labels("encode").observe(encoded_s - started_s)
            self._metrics.stage.labels("send").observe(time.monotonic() - encoded_s)

    def _header(self, frame: Frame, age_s: float) -> FrameHeader:
        _, height, width, _ = self._outputs.shape
        return FrameHeader(
            kind=Kind.OUTPUT,
            codec=self._codec,
            flags=Flag.KEY | (Flag.DISCONTINUITY if frame.discontinuity else Flag.NONE),
            seq=frame.header.seq,
            revision=frame.revision,
            captured_us=frame.header.captured_us,
            server_us=min(0xFFFFFFFF, int(1e6 * age_s)),
            width=width,
            height=height,
        )
