"""Bearer tokens that a server can check without keeping a list of them. Standard library only.

A token is `v1.<claims>.<signature>`: base64url of a JSON object and of its HMAC-SHA256 under the
server's secret. Claims: `id`, `exp` (seconds since 1970) and `max_s`, how long a session may last.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from lsdjax.core.errors import UserError
from lsdjax.serve.protocol import Close, ProtocolError

_PREFIX = "v1"
_MIN_SECRET_BYTES = 16


@dataclass(frozen=True)
class Grant:
    """What a valid token allows: until when (seconds since 1970), and how long a session lasts."""

    id: str
    expires_s: float
    max_s: float

    def remaining_s(self) -> float:
        """How long a session that starts now may last."""
        return min(self.max_s, self.expires_s - time.time())


def load_secret(path: str) -> bytes:
    """The secret in a file, without the white space around it.

    Raises: UserError when it cannot be read or is shorter than 16 bytes.
    """
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as error:
        raise UserError(f"cannot read the token secret {path}: {error.strerror}") from None
    if len(secret) < _MIN_SECRET_BYTES:
        raise UserError(
            f"the token secret {path} has {len(secret)} bytes, at least {_MIN_SECRET_BYTES} are "
            "expected: `openssl rand -hex 32` makes one"
        )
    return secret


def issue_token(secret: bytes, *, valid_s: float, max_s: float, name: str | None = None) -> str:
    """A token that is valid for `valid_s` from now, for sessions of at most `max_s`."""
    claims = {"id": name or secrets.token_hex(8), "exp": time.time() + valid_s, "max_s": max_s}
    body = _encode(json.dumps(claims, separators=(",", ":")).encode())
    return f"{_PREFIX}.{body}.{_encode(_sign(secret, body))}"


def check_token(secret: bytes, token: str | None) -> Grant:
    """What the token grants.

    Raises: ProtocolError 4401 when there is none, it was not issued here, or it has expired.
    """
    if token is None:
        raise _refused("no_token", "this server asks for a token")
    prefix, _, rest = token.partition(".")
    body, _, signature = rest.partition(".")
    if prefix != _PREFIX or not hmac.compare_digest(_decode(signature), _sign(secret, body)):
        raise _refused("bad_token", "the token was not issued for this server")
    claims = json.loads(_decode(body))  # signed, so it is what `issue_token` wrote
    grant = Grant(claims["id"], claims["exp"], claims["max_s"])
    if grant.expires_s <= time.time():
        raise _refused("token_expired", "the token has expired")
    return grant


def _sign(secret: bytes, body: str) -> bytes:
    return hmac.digest(secret, f"{_PREFIX}.{body}".encode(), hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):  # not base64, not even ASCII
        return b""


def _refused(code: str, message: str) -> ProtocolError:
    return ProtocolError(Close.AUTH, code, message)
