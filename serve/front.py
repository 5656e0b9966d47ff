"""The front process: asyncio and websockets, admission, HTTP. It never imports JAX."""

import asyncio
import errno
import logging
import secrets
import signal
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from socket import gaierror
from typing import Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from lsdjax.core.errors import UserError
from lsdjax.serve import frames, protocol
from lsdjax.serve.admission import Seats
from lsdjax.serve.device import Device, DeviceSpec, describe_exit
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.options import ServeOptions
from lsdjax.serve.presets import DEFAULT_PROMPT
from lsdjax.serve.protocol import Close, Hello, Limits, ProtocolError
from lsdjax.serve.routes import Routes, package_version
from lsdjax.serve.session import Session, SessionContext
from lsdjax.serve.status import Status

_CODEC_THREADS = 2
_HELLO_S = 5.0
_DRAIN_S = 2.0
_LAG_EVERY_S = 0.25
_ERROR_LINGER_S = 1.0  # /readyz says 503 for this long before the process ends


def run_front(options: ServeOptions) -> int:
    """Serves until a signal; the exit status.

    Raises: UserError.
    """
    return asyncio.run(Front(options).run())


class Front:
    """One server: its port, its device process and its sessions."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._limits = Limits(max_sessions=options.seats, deadline_ms=options.deadline_ms)
        self._metrics = Metrics(package_version())
        self._status = Status()
        spec = DeviceSpec(
            engine=options.engine,
            checkpoint=options.checkpoint,
            plugins=options.plugins,
            steps=options.steps,
            text_encoder=options.text_encoder,
            seats=options.seats,
            deadline_s=1e-3 * self._limits.deadline_ms,
        )
        self._device = Device(spec, self._on_device)
        self._seats = Seats(self._device, options.seats)
        self._routes = Routes(options, self._limits, self._metrics, self._status, self._seats)
        self._codec_pool = ThreadPoolExecutor(_CODEC_THREADS, thread_name_prefix="codec")
        self._failure: UserError | None = None

    async def run(self) -> int:
        """Listens, starts the device process, and serves until told to stop or until it dies."""
        self._ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        server = await self._listen()
        self._url = _url(self._options.host, server)
        await self._device.start()
        lag = asyncio.create_task(self._watch_loop_lag())
        try:
            await self._ended.wait()
            if self._status.state == "failed":
                await asyncio.sleep(0 if self._failure else _ERROR_LINGER_S)
            else:
                self._say("stopping")
                for session in self._seats.sessions.values():
                    session.tell("goaway", deadline_ms=int(1e3 * _DRAIN_S))
                await asyncio.sleep(0.05)  # lets the farewells out
        finally:
            lag.cancel()
            server.close(code=Close.DRAIN)
            with suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), 2 * _DRAIN_S)
            await self._device.stop()
            self._codec_pool.shutdown(wait=False, cancel_futures=True)
        if self._failure is not None:
            raise self._failure
        return 1 if self._status.state == "failed" else 0

    async def _listen(self) -> Server:
        log = logging.getLogger("lsdjax.serve.websockets")
        log.setLevel(logging.ERROR)
        log.addFilter(_is_ours)
        host, port = self._options.host, self._options.port
        try:
            return await listen(
                self._on_connection,
                host,
                port,
                select_subprotocol=lambda _, offered: _pick(offered),
                compression=None,
                process_request=self._routes.on_request,
                server_header=None,
                open_timeout=5,
                ping_interval=5,
                ping_timeout=5,
                close_timeout=2,
                max_size=self._limits.max_message_bytes,
                max_queue=2,
                write_limit=64 << 10,
                logger=log,
            )
        except OSError as error:
            raise UserError(_cannot_listen(host, port, error)) from None

    def _on_signal(self) -> None:
        if self._status.state != "failed":
            self._status.state = "stopping"
        self._ended.set()

    def _say(self, text: str) -> None:
        _print(f"{self._status.elapsed_s:6.1f} s  {text}")

    # -- the device process ------------------------------------------------------------------

    def _on_device(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "progress":
                self._status.progress(event["message"])
                self._say(event["message"])
            case "ready":
                self._on_ready(event)
            case "warning":
                self._say(f"warning: {event['message']}")
            case "repair":
                self._metrics.repairs.labels(event["reason"]).inc()
                self._say(
                    f"seat {event['seat']}: repaired at frame {event['frame_index']}: "
                    f"{event['reason']} {event['value']:.3g}, limit {event['limit']:.3g}"
                )
            case "failed":
                if event["user"]:
                    self._failure = UserError(event["message"])
                self._on_failed(event["message"])
            case "exit":
                self._on_failed(f"the device process ended ({describe_exit(event['status'])})")
            case _:
                self._seats.on_device(event)

    def _on_ready(self, event: dict[str, Any]) -> None:
        self._device.open_slots(event["height"], event["width"])
        self._context = SessionContext(
            device=self._device,
            metrics=self._metrics,
            codec_pool=self._codec_pool,
            limits=self._limits,
            steps=event["steps"],
        )
        self._status.ready(event)
        self._say(
            f"{event['steps']}-step stream at {event['width']}x{event['height']}, "
            f"{event['step_ms']:.1f} ms a step"
        )
        _print(f"ready: {self._url}")

    def _on_failed(self, text: str) -> None:
        if self._status.state in ("failed", "stopping"):
            return
        self._status.state = "failed"
        if self._failure is None:
            self._say(f"error: {text}")
        self._seats.fail_all(
            ProtocolError(Close.FAULT, "device_lost", "the model has stopped; the server ends")
        )
        self._ended.set()

    async def _watch_loop_lag(self) -> None:
        while True:
            due_s = time.monotonic() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self._metrics.loop_lag.observe(max(0.0, time.monotonic() - due_s))

    # -- a connection ------------------------------------------------------------------------

    async def _on_connection(self, socket: ServerConnection) -> None:
        try:
            await self._serve_client(socket)
            await socket.close(Close.OK)
        except ProtocolError as error:
            await self._send_away(socket, error)
        except ConnectionClosed:
            pass
        except Exception:
            traceback.print_exc()
            await self._send_away(
                socket,
                ProtocolError(Close.FAULT, "fault", "the server made a mistake; connect again"),
            )
        finally:
            code = socket.close_code or 1006
            known = code in (1006, *Close)
            self._metrics.closes.labels(str(int(code)) if known else "other").inc()

    async def _serve_client(self, socket: ServerConnection) -> None:
        hello = await _receive_hello(socket)
        self._refuse_unless_ready()
        try:
            seat, effective = await self._seats.take(DEFAULT_PROMPT)
        except ProtocolError as error:
            self._metrics.rejected.labels(error.code).inc()
            raise
        codec = next(codec for codec in hello.codecs if codec in frames.SUPPORTED_CODECS)
        effective |= {"steps": self._context.steps}
        session = Session(socket, self._context, seat, codec, effective)
        self._seats.sessions[seat] = session
        self._metrics.sessions.labels("active").set(len(self._seats.sessions))
        try:
            await socket.send(self._welcome(session, effective))
            await socket.send(protocol.pack_json("started"))
            await session.run()
        finally:
            self._seats.leave(seat)
            self._metrics.sessions.labels("active").set(len(self._seats.sessions))

    def _refuse_unless_ready(self) -> None:
        if self._status.state == "ready":
            return
        self._metrics.rejected.labels("not_ready").inc()
        if self._status.state == "loading":
            text = f"the model is not ready yet: {self._status.last_message}"
            raise ProtocolError(Close.FULL, "not_ready", text)
        raise ProtocolError(Close.RESTART, "ending", "the server is shutting down")

    def _welcome(self, session: Session, effective: dict[str, Any]) -> str:
        return protocol.pack_json(
            "welcome",
            session_id=secrets.token_hex(8),
            resume_token=secrets.token_hex(16),
            resumed=False,
            window=session.egress.window,
            params=effective,
            **self._routes.description(),
        )

    async def _send_away(self, socket: ServerConnection, error: ProtocolError) -> None:
        try:
            await socket.send(
                protocol.pack_json(
                    "error",
                    code=error.code,
                    message=error.message,
                    retryable=error.close in (Close.FULL, Close.RESTART, Close.TIMEOUT),
                    ref=error.ref,
                )
            )
            await socket.close(error.close, _short(error.message))
        except ConnectionClosed:
            pass


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
    hello = protocol.parse_hello(protocol.parse_json(message))
    if not set(hello.codecs) & set(frames.SUPPORTED_CODECS):
        names = ", ".join(codec.name.lower() for codec in frames.SUPPORTED_CODECS)
        raise ProtocolError(Close.BAD_HELLO, "bad_hello", f"this server's codecs are {names}")
    return hello


def _print(line: str) -> None:
    with suppress(OSError):  # nobody reads any more; the server goes on
        print(line, flush=True)


def _is_ours(record: logging.LogRecord) -> bool:
    """A stranger's bad handshake is not this server's error."""
    return record.getMessage() != "opening handshake failed"


def _pick(offered: Any) -> Subprotocol | None:
    """Without the subprotocol the upgrade still succeeds, so that the client can be told why."""
    return Subprotocol(protocol.SUBPROTOCOL) if protocol.SUBPROTOCOL in offered else None


def _short(text: str) -> str:
    """A close reason: at most 123 bytes."""
    return text.encode()[:123].decode(errors="ignore")


def _url(host: str, server: Server) -> str:
    port = next(iter(server.sockets)).getsockname()[1]
    shown = "localhost" if host in ("", "0.0.0.0", "::", "127.0.0.1", "::1") else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use by another program: choose one with --port"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} is not permitted: choose one from 1024 on with --port"
    if isinstance(error, gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on host {host!r}: it is not an address of this machine"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"
