"""The front process: asyncio and websockets, admission, HTTP. It never imports JAX."""

import asyncio
import errno
import logging
import signal
import ssl
import time
from contextlib import suppress
from socket import gaierror
from typing import Any

from websockets.asyncio.server import Server
from websockets.asyncio.server import serve as listen
from websockets.typing import Subprotocol

from lsdjax.core.errors import UserError
from lsdjax.serve import auth, protocol
from lsdjax.serve.admission import Seats
from lsdjax.serve.codecpool import CodecPool
from lsdjax.serve.connection import Reception
from lsdjax.serve.device import Device, DeviceSpec
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.options import ServeOptions
from lsdjax.serve.overload import Ladder
from lsdjax.serve.protocol import Close, Limits
from lsdjax.serve.routes import Routes, package_version
from lsdjax.serve.status import Status
from lsdjax.serve.supervisor import Supervisor

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
        limits = Limits(
            max_message_bytes=options.max_message_bytes,
            max_sessions=options.seats,
            deadline_ms=options.deadline_ms,
        )
        self._limits = limits
        self._metrics = Metrics(package_version())
        self._status = Status()
        self._ended = asyncio.Event()
        spec = DeviceSpec(
            engine=options.engine,
            checkpoint=options.checkpoint,
            plugins=options.plugins,
            steps=options.steps,
            text_encoder=options.text_encoder,
            dtype=options.dtype,
            batch=options.batch,
            seats=options.seats,
            deadline_s=1e-3 * limits.deadline_ms,
        )
        ladder = Ladder(options.overload_ratio)
        device = Device(spec, options.spare, self._on_device)
        self._seats = Seats(
            device,
            self._metrics,
            ladder,
            count=options.seats,
            queue=options.queue,
            resume_s=options.resume_seconds,
        )
        routes = Routes(options, limits, self._metrics, self._status, self._seats)
        self._routes = routes
        secret = None if options.token_secret is None else auth.load_secret(options.token_secret)
        self._reception = Reception(self._metrics, self._status, routes, self._seats, secret)
        self._codec_pool = CodecPool()
        self._supervisor = Supervisor(
            options=options,
            limits=limits,
            device=device,
            seats=self._seats,
            ladder=ladder,
            metrics=self._metrics,
            status=self._status,
            reception=self._reception,
            codec_pool=self._codec_pool,
            end=self._ended.set,
        )
        self._device = device

    def _on_device(self, event: dict[str, Any]) -> None:
        self._supervisor.on_device(event)

    async def run(self) -> int:
        """Listens, starts the device process, and serves until told to stop or until it dies."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)
        server = await self._listen()
        self._routes.count_sockets(server)
        self._supervisor.url = _url(self._options, server)
        await self._device.start()
        watches = [
            asyncio.create_task(self._watch_loop_lag()),
            asyncio.create_task(self._supervisor.watch()),
        ]
        try:
            await self._ended.wait()
            if self._status.state == "failed":
                await asyncio.sleep(0 if self._supervisor.failure else _ERROR_LINGER_S)
            else:
                self._supervisor.say("stopping")
                await self._drain()
        finally:
            for watch in watches:
                watch.cancel()
            server.close(code=Close.DRAIN)
            with suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), 2 * _DRAIN_S)
            await self._device.stop()
            self._codec_pool.shutdown()
        if self._supervisor.failure is not None:
            raise self._supervisor.failure
        return 1 if self._status.state == "failed" else 0

    async def _drain(self) -> None:
        """Says goodbye and finishes the frames in flight."""
        sessions = list(self._seats.sessions.values())
        for session in sessions:
            session.tell("goaway", deadline_ms=int(1e3 * _DRAIN_S))
            session.drain()
        end_s = time.monotonic() + _DRAIN_S
        await asyncio.sleep(0.05)  # lets the farewells out
        while time.monotonic() < end_s and not all(
            one.is_idle for one in sessions if one.is_attached
        ):
            await asyncio.sleep(0.02)

    async def _listen(self) -> Server:
        log = logging.getLogger("lsdjax.serve.websockets")
        log.setLevel(logging.ERROR)
        log.addFilter(_is_ours)
        host, port = self._options.host, self._options.port
        secure = _tls(self._options)
        try:
            return await listen(
                self._reception.on_connection,
                host,
                port,
                ssl=secure,
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

    async def _watch_loop_lag(self) -> None:
        while True:
            due_s = time.monotonic() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self._metrics.loop_lag.observe(max(0.0, time.monotonic() - due_s))


def _tls(options: ServeOptions) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        files = " and ".join(filter(None, [options.tls_cert, options.tls_key]))
        raise UserError(
            f"cannot use the TLS certificate in {files}: {error.strerror or error}"
        ) from None
    return context


def _is_ours(record: logging.LogRecord) -> bool:
    """A stranger's bad handshake is not this server's error."""
    return record.getMessage() != "opening handshake failed"


def _pick(offered: Any) -> Subprotocol | None:
    """Without the subprotocol the upgrade still succeeds, so that the client can be told why."""
    return Subprotocol(protocol.SUBPROTOCOL) if protocol.SUBPROTOCOL in offered else None


def _url(options: ServeOptions, server: Server) -> str:
    host = options.host
    scheme = "http" if options.tls_cert is None else "https"
    port = next(iter(server.sockets)).getsockname()[1]
    shown = "localhost" if host in ("", "0.0.0.0", "::", "127.0.0.1", "::1") else host
    return f"{scheme}://[{shown}]:{port}" if ":" in shown else f"{scheme}://{shown}:{port}"


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use by another program: choose one with --port"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} is not permitted: choose one from 1024 on with --port"
    if isinstance(error, gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on host {host!r}: it is not an address of this machine"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"
