"""What each path on the port answers, and who may open a stream on it."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.http11 import Request, Response

from lsdjax.core.errors import UserError
from lsdjax.serve import messages, metrics, protocol, web
from lsdjax.serve.admission import Seats
from lsdjax.serve.metrics import Metrics
from lsdjax.serve.options import ServeOptions
from lsdjax.serve.presets import PRESETS
from lsdjax.serve.protocol import Limits
from lsdjax.serve.status import Status

_MAX_SAMPLE_BYTES = 64 << 20
_SOCKET_PATHS = ("/", "/ws")


class Routes:
    """The HTTP side of one server.

    Raises: UserError when the sample clip that was asked for cannot be read.
    """

    def __init__(
        self,
        options: ServeOptions,
        limits: Limits,
        counters: Metrics,
        status: Status,
        seats: Seats,
    ) -> None:
        self._options = options
        self._limits = limits
        self._metrics = counters
        self._status = status
        self._seats = seats
        self._open_sockets: Callable[[], int] = lambda: 0
        self._local_only = _is_loopback(options.host)
        self._page = web.load_page()
        self._sample, self._sample_card = _load_sample(options.sample)

    def count_sockets(self, server: Server) -> None:
        """Counts the server's open sockets from now on, to refuse what is over the limit."""
        self._open_sockets = lambda: len(server.connections)

    def on_request(self, socket: ServerConnection, request: Request) -> Response | None:
        """The answer to a request; None lets a WebSocket upgrade go on."""
        path = request.path.partition("?")[0]
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return self._on_upgrade(path, request)
        if request.method not in ("GET", "HEAD"):
            return web.respond_text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        response = self._on_get(path, request)
        if request.method == "HEAD":
            response.body = b""
        return response

    def description(self) -> dict[str, Any]:
        """What both `welcome` and `/api/info` say of the model."""
        return {
            "limits": asdict(self._limits),
            "params_schema": messages.params_schema(
                self._limits, tuple(self._status.model.get("variants", ()))
            ),
            "model": self._status.model,
        }

    def _on_upgrade(self, path: str, request: Request) -> Response | None:
        if self._open_sockets() >= self._options.max_connections:
            self._metrics.rejected.labels("connections").inc()
            return web.respond_text(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
        if path not in _SOCKET_PATHS:
            return web.respond_text(HTTPStatus.NOT_FOUND, "streams are opened at /ws")
        origins = request.headers.get_all("Origin")
        hosts = request.headers.get_all("Host")
        allowed = len(origins) <= 1 and web.origin_allowed(
            origins[0] if origins else None,
            hosts[0] if hosts else None,
            self._options.origins,
            local_only=self._local_only,
        )
        if allowed:
            return None
        self._metrics.rejected.labels("origin").inc()
        shown = origins[0][:200]
        print(f"refused a page from {shown!r}; --origin {shown} would allow it", file=sys.stderr)
        return web.respond_text(HTTPStatus.FORBIDDEN, "this origin may not open streams here")

    def _on_get(self, path: str, request: Request) -> Response:
        match path:
            case "/healthz":
                return web.respond_text(HTTPStatus.OK, "ok")
            case "/readyz":
                ready = self._status.state == "ready"
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
                # Pages of other origins may ask: they are told of a refused upgrade nothing else.
                fields = {"access_control_allow_origin": "*"}
                return web.respond_json(status, self._status.as_json(), **fields)
            case "/metrics":
                return web.respond(HTTPStatus.OK, self._metrics.text(), metrics.CONTENT_TYPE)
            case "/api/info":
                return web.respond_json(HTTPStatus.OK, self._info())
            case "/sample.mp4" if self._sample is not None:
                return web.respond_file(self._sample, request)
            case _ if path in self._page:
                file = self._page[path]
                return web.respond(HTTPStatus.OK, file.body, file.content_type)
        return web.respond_text(HTTPStatus.NOT_FOUND, "there is nothing at this path")

    def _info(self) -> dict[str, Any]:
        card = self._status.card
        presets = card.get("presets") or [
            {"label": label, "prompt": prompt} for label, prompt in PRESETS
        ]
        sample = None
        if self._sample is not None:
            sample = {"url": "/sample.mp4", **self._sample_card}
        return {
            "version": package_version(),
            "protocol": protocol.VERSION,
            **self._status.as_json(),
            **self.description(),
            "card": card,
            "presets": presets,
            "sample": sample,
            "sessions": {
                "active": self._seats.taken,
                "queued": self._seats.waiting,
                "max": self._limits.max_sessions,
            },
            "needs_token": self._options.token_secret is not None,
        }


@cache
def package_version() -> str:
    """The installed version of lsdjax."""
    try:
        return version("lsdjax")
    except PackageNotFoundError:
        return "unknown"


def _load_sample(wanted: str | None) -> tuple[web.StaticFile | None, dict[str, Any]]:
    """The page's sample clip, and what `sample.json` beside the shipped one says of it."""
    if wanted is not None:
        path = Path(wanted)
        try:
            if path.stat().st_size > _MAX_SAMPLE_BYTES:
                raise UserError(f"sample clip {wanted} is over {_MAX_SAMPLE_BYTES >> 20} MiB")
            return web.load_file(path), {"caption": path.name}
        except OSError as error:
            raise UserError(f"cannot read sample clip {wanted}: {error.strerror}") from None
    assets = Path(str(files("lsdjax.assets")))
    if not (assets / "sample.mp4").is_file():
        return None, {}
    card = assets / "sample.json"
    fields = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
    return web.load_file(assets / "sample.mp4"), fields


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
