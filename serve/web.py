"""The HTTP side of the port: the page, the sample clip, health, metrics, and who may connect."""

import json
import mimetypes
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

PAGE = Path(__file__).parent / "page"
_TYPES = {".js": "text/javascript", ".html": "text/html", ".css": "text/css"}
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


@dataclass(frozen=True)
class StaticFile:
    """A file kept in memory."""

    body: bytes
    content_type: str


def load_page() -> dict[str, StaticFile]:
    """The page's files by their path on the server."""
    files = {
        f"/{path.name}": StaticFile(path.read_bytes(), _content_type(path))
        for path in sorted(PAGE.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }
    files["/"] = files["/index.html"]
    return files


def load_file(path: Path) -> StaticFile:
    """One file. Raises: OSError."""
    return StaticFile(path.read_bytes(), _content_type(path))


def _content_type(path: Path) -> str:
    guess = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    guess = guess or "application/octet-stream"
    return f"{guess}; charset=utf-8" if guess.startswith("text/") else guess


def respond(status: HTTPStatus, body: bytes, content_type: str, **headers: str) -> Response:
    """A complete response; the connection ends after it. Header names are given in snake_case."""
    fields = {
        "Date": formatdate(usegmt=True),
        "Connection": "close",
        "Content-Length": str(len(body)),
        "Content-Type": content_type,
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
    } | {name.replace("_", "-").title(): value for name, value in headers.items()}
    return Response(status.value, status.phrase, Headers(fields), body)


def respond_text(status: HTTPStatus, text: str) -> Response:
    """A plain text response."""
    return respond(status, f"{text}\n".encode(), "text/plain; charset=utf-8")


def respond_json(status: HTTPStatus, value: Any, **headers: str) -> Response:
    """A JSON response."""
    return respond(status, json.dumps(value).encode(), "application/json", **headers)


def respond_file(file: StaticFile, request: Request) -> Response:
    """A file, or the one range of it that the request asks for (RFC 9110, section 14)."""
    size = len(file.body)
    wanted = _parse_range(request.headers.get("Range"), size)
    if wanted is None:
        return respond(HTTPStatus.OK, file.body, file.content_type, accept_ranges="bytes")
    start, stop = wanted
    if start >= stop:
        return respond(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", file.content_type,
            content_range=f"bytes */{size}",
        )  # fmt: skip
    return respond(
        HTTPStatus.PARTIAL_CONTENT, file.body[start:stop], file.content_type,
        accept_ranges="bytes", content_range=f"bytes {start}-{stop - 1}/{size}",
    )  # fmt: skip


def _parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open range of bytes in a Range header; None for the whole file; empty when bad."""
    unit, _, ranges = (header or "").partition("=")
    first, dash, last = ranges.strip().partition("-")
    known = unit.strip() == "bytes" and dash and "," not in ranges
    if not known or not all(part.isdecimal() or not part for part in (first, last)):
        return None  # a server may ignore a range that it does not understand
    if len(first) > 18 or len(last) > 18 or not (first or last):
        return None
    if not first:
        return max(0, size - int(last)), size
    return int(first), size if not last else min(size, int(last) + 1)


def origin_allowed(
    origin: str | None, host: str | None, allowed: tuple[str, ...], *, local_only: bool
) -> bool:
    """Whether a page from `origin` may open a stream.

    Programs send no origin and may. Pages may when they come from this machine, from the host that
    they connect to, or from an allowed origin ("*" allows all). A server that listens on this
    machine only does not take the Host header's word: a foreign name that resolves to 127.0.0.1
    would pass.
    """
    if origin is None or "*" in allowed:
        return True
    origin = origin.rstrip("/").lower()
    if origin in {entry.rstrip("/").lower() for entry in allowed}:
        return True
    try:
        parts = urlsplit(origin)
        origin_host = parts.hostname
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not origin_host:
        return False
    if origin_host in _LOCAL:
        return True
    return not local_only and parts.netloc == (host or "").lower()
