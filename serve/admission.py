"""Who gets a seat in the device process, who waits for one, and how it passes to the next.

A newcomer is admitted while a seat is free and the calibrated step time leaves the device a little
headroom at everybody's frame rate. Then comes a queue, first come first served, then 1013.
"""

import asyncio
import time
from collections import deque
from typing import Any

from websockets.asyncio.server import ServerConnection

from lsdjax.serve.auth import Grant
from lsdjax.serve.device import Device
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.overload import Ladder
from lsdjax.serve.protocol import Close, ProtocolError
from lsdjax.serve.session import Session

_HEADROOM = 0.85  # of the device's time is given away
# A reloaded page asks for a seat at the moment in which it leaves one, or just before.
_GRACE_S = 0.5
_HAND_OVER_S = 5.0
_OPEN_S = 30.0
_REMEMBERED_STAYS = 20


class Ticket:
    """A place in the queue. `seat` is there once it is this one's turn."""

    def __init__(self, fps: float) -> None:
        self.fps = fps
        self.seat: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.moved = asyncio.Event()


class Seats:
    """The seats of one device process, the sessions that hold them, and the queue.

    Attributes:
        sessions: by seat, those whose client is connected and those that may be resumed.
        step_s: the calibrated time of a step; None admits by the number of seats alone.
    """

    def __init__(
        self, device: Device, metrics: Metrics, ladder: Ladder, *, count: int, queue: int,
        resume_s: float,
    ) -> None:  # fmt: skip
        self._device = device
        self._metrics = metrics
        self._ladder = ladder
        self._queue_limit = queue
        self._resume_s = resume_s
        self._free = list(range(count))
        self._closing: set[int] = set()
        self._load: dict[int, float] = {}  # frames a second, by seat
        self._waiting: deque[Ticket] = deque()
        self._opening: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._held: dict[int, asyncio.TimerHandle] = {}
        self._since: dict[int, float] = {}
        self._stays: deque[float] = deque(maxlen=_REMEMBERED_STAYS)
        self.sessions: dict[int, Session] = {}
        self.step_s: float | None = None

    @property
    def taken(self) -> int:
        """How many seats are held."""
        return len(self._load)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiting)

    # -- the queue ---------------------------------------------------------------------------

    def enter(self, fps: float) -> Ticket:
        """A ticket, perhaps with a seat at once."""
        ticket = Ticket(fps)
        self._waiting.append(ticket)
        self._advance()
        return ticket

    def give_up(self, ticket: Ticket) -> None:
        """The holder does not wait any more; a seat that it was given goes to the next."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        elif ticket.seat.done() and ticket.seat.exception() is None:
            self._load.pop(ticket.seat.result(), None)
            self._free.append(ticket.seat.result())
        self._advance()

    async def patience(self, ticket: Ticket) -> None:
        """Waits as long as one may who finds the queue full: a moment, or until one has left.

        Raises: ProtocolError 1013 for whom there is no place.
        """
        start_s = time.monotonic()
        while not ticket.seat.done() and self.position(ticket) > self._queue_limit:
            waited_s = time.monotonic() - start_s
            if waited_s > (_HAND_OVER_S if self._is_one_leaving() else _GRACE_S):
                self._metrics.rejected.labels("full").inc()
                raise ProtocolError(Close.FULL, "full", "the server is full; try again in a moment")
            await asyncio.wait([ticket.seat], timeout=0.02)

    def position(self, ticket: Ticket) -> int:
        """1 for the next one; 0 with a seat."""
        return self._waiting.index(ticket) + 1 if ticket in self._waiting else 0

    def describe(self, ticket: Ticket) -> dict[str, Any]:
        """The fields of a `queue` message; how long it takes is a guess from earlier stays."""
        position = self.position(ticket)
        eta_s = None
        if self._stays and self._load:
            typical_s = sorted(self._stays)[len(self._stays) // 2]
            eta_s = round(position * typical_s / len(self._load), 1)
        return {"position": position, "size": len(self._waiting), "eta_s": eta_s}

    def _advance(self) -> None:
        while self._waiting and self._fits(self._waiting[0].fps):
            ticket = self._waiting.popleft()
            seat = self._free.pop(0)
            self._load[seat] = ticket.fps
            ticket.seat.set_result(seat)
        for ticket in self._waiting:
            ticket.moved.set()
        self._metrics.sessions.labels("queued").set(len(self._waiting))

    def look_again(self) -> None:
        """Something outside changed that decides who is admitted."""
        self._advance()

    def _fits(self, fps: float) -> bool:
        if not self._free or not self._ladder.admits:
            return False
        if self.step_s is None or not self._load:
            return True
        return (sum(self._load.values()) + fps) * self.step_s <= _HEADROOM

    def _is_one_leaving(self) -> bool:
        return bool(self._closing) or any(one.is_ending for one in self.sessions.values())

    # -- seats -------------------------------------------------------------------------------

    async def open(self, seat: int, session: Session) -> None:
        """A fresh stream for a session on a seat that was just given to it.

        Raises: ProtocolError when the device process cannot start one.
        """
        self.sessions[seat] = session
        self._since[seat] = time.monotonic()
        opened = self._opening[seat] = asyncio.get_running_loop().create_future()
        self._device.send(**session.opening())
        try:
            async with asyncio.timeout(_OPEN_S):
                session.params.opened(await opened)
        except TimeoutError:
            raise ProtocolError(
                Close.FAULT, "device_slow", "the model did not answer; try again"
            ) from None
        finally:
            del self._opening[seat]
            self.count()

    def leave(self, seat: int) -> None:
        """Gives a seat back; it is free again once the device process has let go of it."""
        session = self.sessions.pop(seat, None)
        if session is None:
            return
        session.close()
        if (timer := self._held.pop(seat, None)) is not None:
            timer.cancel()
        self._stays.append(time.monotonic() - self._since.pop(seat))
        self._closing.add(seat)
        self._device.send(op="close", seat=seat)
        self.count()

    def hold(self, seat: int) -> None:
        """Keeps the seat of a client whose connection was cut, for a while."""
        loop = asyncio.get_running_loop()
        self._held[seat] = loop.call_later(self._resume_s, self.leave, seat)
        self.count()

    async def resume(
        self, token: str, grant: Grant | None, holder: ServerConnection
    ) -> tuple[int, Session]:
        """The session that the token belongs to, for another connection; its last is sent away.

        Raises: ProtocolError 4410 for a token that is not, or no longer, worth anything; 4401 when
            the session was begun with another bearer token.
        """
        for seat, session in self.sessions.items():
            if session.resume_token == token and seat not in self._opening:
                break
        else:
            raise ProtocolError(
                Close.RESUME_EXPIRED, "resume_expired", "there is no session to resume; start anew"
            )
        if (grant and grant.id) != (session.grant and session.grant.id):
            raise ProtocolError(Close.AUTH, "not_yours", "this session is another token's")
        session.rotate_token()
        session.holder = holder
        if (timer := self._held.pop(seat, None)) is not None:
            timer.cancel()
        await session.take_over()
        return seat, session

    def count(self) -> None:
        """Updates the gauge of sessions."""
        attached = sum(one.is_attached for one in self.sessions.values())
        self._metrics.sessions.labels("active").set(attached)
        self._metrics.sessions.labels("detached").set(len(self.sessions) - attached)

    # -- the device process ------------------------------------------------------------------

    def on_device(self, event: dict[str, Any]) -> None:
        """Passes an event of the device process on to the seat that it is about."""
        seat = event["seat"]
        opening = self._opening.get(seat)
        if event["event"] == "closed":
            self._closed(seat)
        elif opening is not None:
            if not opening.done() and event["event"] == "opened":
                opening.set_result(event["effective"])
            elif not opening.done():
                opening.set_exception(
                    ProtocolError(Close.FAULT, "cannot_start", event.get("message", ""))
                )
        elif (session := self.sessions.get(seat)) is not None:
            session.on_device(event)

    def _closed(self, seat: int) -> None:
        if seat in self._closing:
            self._closing.discard(seat)
            self._load.pop(seat, None)
            self._free.append(seat)
            self._advance()

    def on_device_lost(self) -> None:
        """The device process has died."""
        lost = ProtocolError(Close.FULL, "not_ready", "the model is being restarted; try again")
        for opening in self._opening.values():
            if not opening.done():
                opening.set_exception(lost)
        for session in list(self.sessions.values()):
            session.on_device_lost()

    def on_device_back(self) -> None:
        """Opens every session's stream in the new device process, where nothing is open yet."""
        for seat in list(self._closing):
            self._closed(seat)
        for session in self.sessions.values():
            self._device.send(**session.opening())

    def fail_all(self, error: ProtocolError) -> None:
        """Ends every connection."""
        for session in self.sessions.values():
            session.fail(error)
        for opening in self._opening.values():
            if not opening.done():
                opening.set_exception(error)
        for ticket in self._waiting:
            if not ticket.seat.done():
                ticket.seat.set_exception(error)
