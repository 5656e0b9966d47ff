"""One WebSocket connection from its hello to its close code."""

import asyncio
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from lsdjax.serve import auth, frames, protocol
from lsdjax.serve.admission import Seats
from lsdjax.serve.auth import Grant
from lsdjax.serve.messages import Hello, parse_hello
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.protocol import Close, ProtocolError
from lsdjax.serve.routes import Routes
from lsdjax.serve.session import Session, SessionContext
from lsdjax.serve.status import Status

_HELLO_S = 5.0


@dataclass
class Reception:
    """Receives the connections of one server; `context` is there once the model is loaded."""

    metrics: Metrics
    status: Status
    routes: Routes
    seats: Seats
    secret: bytes | None
    context: SessionContext | None = None

    async def on_connection(self, socket: ServerConnection) -> None:
        """Serves one client; whatever happens ends in a close code."""
        try:
            await self._serve(socket)
            await socket.close(Close.OK)
        except ProtocolError as error:
            await _send_away(socket, error)
        except ConnectionClosed:
            pass
        except Exception:
            traceback.print_exc()
            text = "the server made a mistake; connect again"
            await _send_away(socket, ProtocolError(Close.FAULT, "fault", text))
        finally:
            code = socket.close_code or 1006
            known = code in (1006, *Close)
            self.metrics.closes.labels(str(int(code)) if known else "other").inc()

    async def _serve(self, socket: ServerConnection) -> None:
        hello = await _receive_hello(socket)
        try:
            grant = None if self.secret is None else self._check_token(socket, hello)
            self._refuse_unless_ready(resuming=hello.resume is not None)
            if hello.resume is not None:
                seat, session = await self.seats.resume(hello.resume, grant, socket)
                try:
                    await socket.send(self._welcome(session, resumed=True))
                except BaseException:
                    self.seats.hold(seat)
                    raise
            else:
                seat, session = await self._admit(socket, hello, grant)
        except ProtocolError as error:
            if error.code != "full":  # counted where it is decided
                self.metrics.rejected.labels(error.code).inc()
            raise
        await self._run(socket, hello, seat, session)

    def _check_token(self, socket: ServerConnection, hello: Hello) -> Grant:
        """What the client may; programs may send the token as a header as well."""
        assert self.secret is not None and socket.request is not None
        token = hello.token
        scheme, _, sent = socket.request.headers.get("Authorization", "").partition(" ")
        if token is None and scheme.lower() == "bearer":
            token = sent.strip()
        grant = auth.check_token(self.secret, token)
        if hello.resume is None:
            for session in self.seats.sessions.values():
                if session.grant is not None and session.grant.id == grant.id:
                    text = "this token has a session already; resume that, or wait for its end"
                    raise ProtocolError(Close.AUTH, "token_in_use", text)
        return grant

    def _refuse_unless_ready(self, *, resuming: bool) -> None:
        state = self.status.state
        if state == "ready" or (state == "restarting" and resuming):
            return
        if state in ("loading", "restarting"):
            text = f"the model is not ready yet: {self.status.last_message}"
            raise ProtocolError(Close.FULL, "not_ready", text)
        raise ProtocolError(Close.RESTART, "ending", "the server is shutting down")

    async def _admit(
        self, socket: ServerConnection, hello: Hello, grant: Grant | None
    ) -> tuple[int, Session]:
        """A seat with a fresh session, after a wait if need be."""
        assert self.context is not None
        ticket = self.seats.enter(hello.fps)
        try:
            await self.seats.patience(ticket)
            while not ticket.seat.done():
                ticket.moved.clear()
                text = protocol.pack_json("queue", **self.seats.describe(ticket))
                await socket.send(text)
                await _first(ticket.seat, ticket.moved.wait(), socket.wait_closed())
                if socket.close_code is not None:
                    raise ProtocolError(Close.OK, "left", "the client did not wait")
            seat = ticket.seat.result()
        except BaseException:
            self.seats.give_up(ticket)
            raise
        session = Session(self.context, seat, hello, grant)
        session.holder = socket
        try:
            await self.seats.open(seat, session)
            await socket.send(self._welcome(session, resumed=False))
        except BaseException:
            self.seats.leave(seat)
            raise
        return seat, session

    async def _run(
        self, socket: ServerConnection, hello: Hello, seat: int, session: Session
    ) -> None:
        """Serves an admitted client; a session whose connection was cut is held."""
        codec = next(codec for codec in hello.codecs if codec in frames.SUPPORTED_CODECS)
        timer = self._end_with_grant(session)
        held = False
        try:
            await socket.send(protocol.pack_json("started"))
            running = asyncio.ensure_future(session.run(socket, codec))
            await asyncio.sleep(0)
            self.seats.count()
            await running
        except ConnectionClosed as closed:
            held = _was_cut(closed) and self.status.state in ("ready", "restarting")
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if session.holder is not socket:
                pass  # it was resumed over another connection, perhaps while this one broke
            elif held:
                self.seats.hold(seat)
            else:
                self.seats.leave(seat)
            self.seats.count()

    def _end_with_grant(self, session: Session) -> asyncio.TimerHandle | None:
        if session.grant is None:
            return None
        error = ProtocolError(Close.AUTH, "token_expired", "the token's time is up")
        loop = asyncio.get_running_loop()
        return loop.call_later(session.ends_s - time.monotonic(), session.fail, error)

    def _welcome(self, session: Session, *, resumed: bool) -> str:
        return protocol.pack_json(
            "welcome",
            session_id=session.id,
            resume_token=session.resume_token,
            resumed=resumed,
            window=session.egress.window,
            params=session.params.effective,
            **self.routes.description(),
        )


async def _receive_hello(socket: ServerConnection) -> Hello:
    if socket.subprotocol != protocol.SUBPROTOCOL:
        raise ProtocolError(
            Close.BAD_HELLO, "bad_hello", f"the subprotocol {protocol.SUBPROTOCOL} is required"
        )
    try:
        message = await asyncio.wait_for(socket.recv(), _HELLO_S)
    except TimeoutError:
        raise ProtocolError(Close.TIMEOUT, "timeout", f"no hello within {_HELLO_S:.0f} s") from None
    if isinstance(message, bytes):
        raise ProtocolError(
            Close.BAD_HELLO, "bad_hello", "the first message must be a hello, got a binary one"
        )
    hello = parse_hello(protocol.parse_json(message))
    if not set(hello.codecs) & set(frames.SUPPORTED_CODECS):
        names = ", ".join(codec.name.lower() for codec in frames.SUPPORTED_CODECS)
        raise ProtocolError(Close.BAD_HELLO, "bad_hello", f"this server's codecs are {names}")
    return hello


def _was_cut(closed: ConnectionClosed) -> bool:
    """Whether a connection ended with no goodbye from either side, or with no answer to a ping."""
    return closed.rcvd is None and (closed.sent is None or closed.sent.code == Close.FAULT)


async def _first(*waits: Any) -> None:
    """Waits until one of them is done."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, wait in zip(tasks, waits, strict=True):
            if task is not wait:  # a future of somebody else's goes on
                task.cancel()


async def _send_away(socket: ServerConnection, error: ProtocolError) -> None:
    retryable = error.close in (Close.FULL, Close.RESTART, Close.TIMEOUT, Close.FAULT)
    with suppress(ConnectionClosed):
        await socket.send(
            protocol.pack_json(
                "error",
                code=error.code,
                message=error.message,
                retryable=retryable,
                ref=error.ref,
            )
        )
        await socket.close(error.close, _short(error.message))


def _short(text: str) -> str:
    """A close reason: at most 123 bytes."""
    return text.encode()[:123].decode(errors="ignore")
