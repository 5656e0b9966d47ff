"""The way out of a session: a one-slot mailbox, gated by the client's acknowledgements."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection

from lsdjax.serve import protocol
from lsdjax.serve.codecpool import InPool
from lsdjax.serve.frames import Encoder
from lsdjax.serve.ledger import Frame, Ledger
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.overload import Ladder
from lsdjax.serve.post import Finish, Finisher
from lsdjax.serve.protocol import Codec, Flag, FrameHeader, Kind


class Egress:
    """Sends the latest output whenever fewer than `window` frames are unacknowledged.

    Awaiting `send` alone is no latency policy: buffers on the way hold seconds of frames.
    """

    def __init__(
        self,
        outputs: np.ndarray,
        ledger: Ledger,
        metrics: Metrics,
        ladder: Ladder,
        deadline_ms: float,
    ) -> None:
        self._outputs = outputs
        self._ledger = ledger
        self._metrics = metrics
        self._ladder = ladder
        self._deadline_ms = deadline_ms
        self._finisher = Finisher()
        self._finishes: deque[tuple[int, Finish]] = deque([(0, Finish())])  # from a revision on
        self._box: Frame | None = None
        self._unacknowledged: deque[int] = deque()
        self._changed = asyncio.Event()
        self._socket: ServerConnection | None = None
        self._encoder = Encoder(Codec.RGB24)

    def attach(self, socket: ServerConnection, codec: Codec) -> None:
        """Sends to this client from now on."""
        self._socket = socket
        self._encoder = Encoder(codec)
        self._unacknowledged.clear()

    def detach(self) -> None:
        """The client is gone, and with it who waited for an output."""
        self._socket = self._box = None

    @property
    def window(self) -> int:
        """How many frames may be sent and not acknowledged."""
        far = self._socket is not None and self._socket.latency > protocol.FAR_RTT_S
        return protocol.WINDOW_FAR if far else protocol.WINDOW

    def finish_from(self, revision: int, how: Finish) -> None:
        """Finishes pictures of this revision and later ones so."""
        self._finishes.append((revision, how))

    def ask_for_key(self) -> None:
        """The next frame can be decoded without those before it."""
        self._encoder.ask_for_key()

    def offer(self, frame: Frame) -> Frame | None:
        """Puts an output into the mailbox; the one that it pushes out, if any."""
        if self._socket is None:
            return frame
        older, self._box = self._box, frame
        if older is not None:
            frame.flags |= older.flags & Flag.DISCONTINUITY
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
        socket = self._socket
        assert socket is not None
        while True:
            while self._box is None or len(self._unacknowledged) >= self.window:
                self._changed.clear()
                await self._changed.wait()
            frame, self._box = self._box, None
            started_s = time.monotonic()
            codec, how = self._encoder.codec, self._finish(frame)
            pixels = math.prod(self._outputs.shape[1:3]) if how is None else math.inf
            payload, shape = await in_pool(codec, pixels, self._finish_and_encode, frame, how)
            encoded_s = time.monotonic()
            age_s = encoded_s - frame.received_s
            message = protocol.pack_frame(self._stamp(shape, frame, age_s), payload)
            free(frame)  # a raw payload lies in its slot
            self._unacknowledged.append(frame.header.seq)
            await socket.send(message)
            self._ledger.sent(frame, age_s)
            if 1e3 * age_s > self._deadline_ms:
                self._metrics.deadline_misses.inc()
            self._metrics.stage.labels("encode").observe(encoded_s - started_s)
            self._metrics.stage.labels("send").observe(time.monotonic() - encoded_s)

    def _finish(self, frame: Frame) -> Finish | None:
        """What is to be done to a picture; None where that is nothing."""
        while len(self._finishes) > 1 and self._finishes[1][0] <= frame.revision:
            self._finishes.popleft()
        how = self._finishes[0][1]
        return None if how.does_nothing or self._ladder.skips_post_processing else how

    def _finish_and_encode(
        self, frame: Frame, how: Finish | None
    ) -> tuple[bytes | memoryview, tuple[bool, int, int]]:
        """In the codec pool: the payload; whether it is a key, width and height."""
        picture = self._outputs[frame.slot]
        if how is not None:
            discontinuity = bool(frame.flags & Flag.DISCONTINUITY)
            picture = self._finisher.apply(picture, how, discontinuity=discontinuity)
        payload, key = self._encoder.encode(picture)
        return payload, (key, picture.shape[1], picture.shape[0])

    def _stamp(self, shape: tuple[bool, int, int], frame: Frame, age_s: float) -> FrameHeader:
        key, width, height = shape
        return FrameHeader(
            kind=Kind.OUTPUT,
            codec=self._encoder.codec,
            flags=frame.flags | (Flag.KEY if key else Flag.NONE),
            seq=frame.header.seq,
            revision=frame.revision,
            captured_us=frame.header.captured_us,
            server_us=min(0xFFFFFFFF, int(1e6 * age_s)),
            width=width,
            height=height,
        )
