"""One connection of a client to a server: hello, welcome, frames out, frames and messages in."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from lsdjax.serve import protocol
from lsdjax.serve.protocol import Close, Codec

_FINAL = {
    Close.OK, Close.PROTOCOL, Close.UNSUPPORTED, Close.BAD_DATA, Close.POLICY, Close.TOO_BIG,
    Close.BAD_HELLO, Close.AUTH, Close.TAKEN_OVER, Close.VERSION, Close.RATE,
}  # fmt: skip


class ServerError(ConnectionError):
    """The server said what is wrong, or the connection is gone: `code` names it."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


@dataclass(frozen=True)
class Greeting:
    """What a client says of itself."""

    codecs: tuple[Codec, ...]
    fps: float | None = None
    token: str | None = None

    def hello(self, resume: str | None) -> str:
        """The first message."""
        return protocol.pack_json(
            "hello",
            version=protocol.VERSION,
            codecs=[codec.name.lower() for codec in self.codecs],
            fps=self.fps,
            token=self.token,
            resume=resume,
        )


class Link:
    """A connection that was welcomed; `welcome` is what the server said."""

    def __init__(self, socket: ClientConnection, welcome: dict[str, Any]) -> None:
        self.socket = socket
        self.welcome = welcome

    @classmethod
    async def open(
        cls,
        url: str,
        greeting: Greeting,
        *,
        resume: str | None,
        on_queue: Callable[[dict[str, Any]], None],
    ) -> "Link":
        """Connects, says hello, and waits for a place if need be.

        Raises: ServerError.
        """
        try:
            socket = await connect(
                url,
                subprotocols=[Subprotocol(protocol.SUBPROTOCOL)],
                compression=None,
                max_size=64 << 20,
                close_timeout=2,
            )
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
            text = f"cannot connect to {url}: {error}"
            raise ServerError("unreachable", text, retryable=True) from None
        link, error = cls(socket, {}), None
        try:
            await socket.send(greeting.hello(resume))
            while not link.welcome:
                message = json.loads(await socket.recv(decode=True))
                if message["type"] == "welcome":
                    link.welcome = message
                elif message["type"] == "queue":
                    on_queue(message)
                elif message["type"] == "error":
                    error = message
        except ConnectionClosed as closed:
            raise explain(closed, error) from None
        finally:
            if not link.welcome:
                await socket.close()
        return link


def explain(closed: ConnectionClosed, error: dict[str, Any] | None) -> ServerError:
    """Why a connection was closed: what the server said of it, or else the close code."""
    received = closed.rcvd
    # A server's own goodbye is 1001; without any, the connection was cut.
    retryable = received is None or received.code not in _FINAL
    if error is not None:
        return ServerError(
            error["code"], error["message"], retryable=retryable or error["retryable"]
        )
    why = f"{received.code} {received.reason}".strip() if received else "without a goodbye"
    return ServerError("closed", f"the connection was closed ({why})", retryable=retryable)
