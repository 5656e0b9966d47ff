"""Who gets a seat in the device process, and how it passes from one client to the next."""

import asyncio
from contextlib import suppress
from typing import Any

from lsdjax.serve.device import Device
from lsdjax.serve.protocol import Close, ProtocolError
from lsdjax.serve.session import Session

# A reloaded page asks for a seat at the moment in which it leaves one, or just before.
_GRACE_S = 0.5
_HAND_OVER_S = 5.0
_OPEN_S = 10.0


class Seats:
    """The seats of one device process, and the sessions that hold them."""

    def __init__(self, device: Device, count: int) -> None:
        self._device = device
        self._free = list(range(count))
        self._closing: set[int] = set()
        self._changed = asyncio.Condition()
        self._opening: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.sessions: dict[int, Session] = {}

    @property
    def taken(self) -> int:
        """How many seats are held by a client."""
        return len(self.sessions) + len(self._opening)

    async def take(self, prompt: str) -> tuple[int, dict[str, Any]]:
        """A seat with a fresh stream in it, and that stream's parameters.

        Raises: ProtocolError 1013 when all seats are taken.
        """
        async with self._changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await self._changed.wait_for(lambda: self._free)
            with suppress(TimeoutError):
                async with asyncio.timeout(_HAND_OVER_S):
                    await self._changed.wait_for(lambda: self._free or not self._is_one_leaving())
            if not self._free:
                raise ProtocolError(Close.FULL, "full", "the server is full; try again in a moment")
            seat = self._free.pop(0)
        opened = self._opening[seat] = asyncio.get_running_loop().create_future()
        self._device.send(op="open", seat=seat, prompt=prompt)
        try:
            async with asyncio.timeout(_OPEN_S):
                return seat, await opened
        except TimeoutError:
            self.leave(seat)
            raise ProtocolError(
                Close.FAULT, "device_slow", "the model did not answer; try again"
            ) from None
        except BaseException:
            self.leave(seat)
            raise
        finally:
            del self._opening[seat]

    def leave(self, seat: int) -> None:
        """Gives a seat back; it is free again once the device process has let go of it."""
        self.sessions.pop(seat, None)
        self._closing.add(seat)
        self._device.send(op="close", seat=seat)

    def _is_one_leaving(self) -> bool:
        return bool(self._closing) or any(one.is_ending for one in self.sessions.values())

    async def _released(self, seat: int) -> None:
        async with self._changed:
            self._closing.discard(seat)
            self._free.append(seat)
            self._changed.notify_all()

    def on_device(self, event: dict[str, Any]) -> None:
        """Passes an event of the device process on to the seat that it is about."""
        seat = event["seat"]
        opening = self._opening.get(seat)
        if event["event"] == "closed":
            self._release = asyncio.ensure_future(self._released(seat))
        elif opening is not None:
            if not opening.done() and event["event"] == "opened":
                opening.set_result(event["effective"])
            elif not opening.done():
                opening.set_exception(
                    ProtocolError(Close.FAULT, "cannot_start", event.get("message", ""))
                )
        elif (session := self.sessions.get(seat)) is not None:
            session.on_device(event)

    def fail_all(self, error: ProtocolError) -> None:
        """Ends every session."""
        for session in self.sessions.values():
            session.fail(error)
        for opening in self._opening.values():
            if not opening.done():
                opening.set_exception(error)
