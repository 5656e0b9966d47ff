"""The wire: a 32-byte frame header, JSON messages, close codes and limits. Standard library only.

Every binary message is a header and a payload; every text message is a JSON object with a `type`.
Little-endian header: u8 magic, version, type, codec; u16 flags, header length; u32 sequence,
revision; u64 capture time (µs, the client's monotonic clock); u32 server time (µs); u16 width,
height. A header longer than 32 bytes is legal: what follows the known fields is skipped.
"""

import json
import struct
from dataclasses import asdict, dataclass
from enum import IntEnum, IntFlag
from typing import Any

SUBPROTOCOL = "lsd.v1"
VERSION = 1
MAGIC = 0x56
WINDOW = 2
WINDOW_FAR = 3  # when the round trip exceeds FAR_RTT_S
FAR_RTT_S = 0.060
DROP_REASONS = ("superseded", "deadline", "decode", "egress", "rate")

_HEADER = struct.Struct("<BBBBHHIIQIHH")
HEADER_BYTES = _HEADER.size
assert HEADER_BYTES == 32


class Kind(IntEnum):
    """What a binary message carries."""

    INPUT = 1
    OUTPUT = 2


class Codec(IntEnum):
    """How a payload is coded; `webp` and `vp8` are reserved."""

    RGB24 = 0
    JPEG = 1
    WEBP = 2
    H264 = 3
    VP8 = 4


CODEC_NAMES = {"rgb24": Codec.RGB24, "jpeg": Codec.JPEG, "h264": Codec.H264}


class Flag(IntFlag):
    """Header flags; unknown bits are ignored."""

    NONE = 0
    KEY = 1
    DISCONTINUITY = 2
    DEGRADED = 4
    REPEATED = 8


class Close(IntEnum):
    """WebSocket close codes that this protocol uses."""

    OK = 1000
    DRAIN = 1001
    PROTOCOL = 1002
    UNSUPPORTED = 1003
    BAD_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    FAULT = 1011
    RESTART = 1012
    FULL = 1013
    BAD_HELLO = 4400
    AUTH = 4401
    TIMEOUT = 4408
    TAKEN_OVER = 4409
    RESUME_EXPIRED = 4410
    VERSION = 4426
    RATE = 4429


class ProtocolError(Exception):
    """The other side broke the protocol: what to tell it, and how to close the connection."""

    def __init__(self, close: Close, code: str, message: str, *, ref: Any = None) -> None:
        super().__init__(message)
        self.close = close
        self.code = code
        self.message = message
        self.ref = ref


@dataclass(frozen=True)
class Limits:
    """What a server accepts; sent to the client in `welcome`."""

    max_message_bytes: int = 1 << 20
    max_text_bytes: int = 64 << 10
    max_width: int = 4096
    max_height: int = 4096
    max_pixels: int = 8_847_360  # 4096 x 2160
    max_prompt_chars: int = 2000
    max_fps: int = 120
    max_sessions: int = 4
    deadline_ms: int = 100

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The fields of a binary message's header (times in µs, width and height in pixels)."""

    kind: Kind
    codec: Codec
    seq: int
    width: int
    height: int
    flags: Flag = Flag.NONE
    revision: int = 0
    captured_us: int = 0
    server_us: int = 0


def pack_frame(header: FrameHeader, payload: bytes | bytearray | memoryview) -> bytes:
    """Header and payload, a copy of it, as one binary message.

    Raises: struct.error when a field does not fit its width.
    """
    head = _HEADER.pack(
        MAGIC, VERSION, header.kind, header.codec, header.flags, HEADER_BYTES,
        header.seq, header.revision, header.captured_us, header.server_us,
        header.width, header.height,
    )  # fmt: skip
    return b"".join((head, payload))


def unpack_frame(message: bytes) -> tuple[FrameHeader, memoryview]:
    """A binary message's header and payload.

    Raises: ProtocolError, with the close code, for anything that is not a frame of this version.
    """
    if len(message) < HEADER_BYTES or message[0] != MAGIC:
        raise ProtocolError(
            Close.UNSUPPORTED,
            "not_a_frame",
            f"a binary message of {len(message)} bytes is not a frame: expected a 32-byte header "
            "that starts with 0x56",
        )
    (_, version, kind, codec, flags, header_bytes, seq, revision, captured_us, server_us,
     width, height) = _HEADER.unpack_from(message)  # fmt: skip
    if version != VERSION:
        raise ProtocolError(
            Close.VERSION, "version", f"frame version {version}, this side speaks {VERSION}"
        )
    if kind not in (Kind.INPUT, Kind.OUTPUT):
        raise ProtocolError(Close.UNSUPPORTED, "unknown_type", f"unknown binary type {kind}")
    if codec > Codec.VP8:
        raise ProtocolError(Close.UNSUPPORTED, "unknown_codec", f"unknown codec {codec}")
    if not HEADER_BYTES <= header_bytes <= len(message):
        raise ProtocolError(
            Close.PROTOCOL,
            "header_length",
            f"header length {header_bytes} in a message of {len(message)} bytes",
        )
    header = FrameHeader(
        kind=Kind(kind), codec=Codec(codec), seq=seq, width=width, height=height,
        flags=Flag(flags & 0xF), revision=revision, captured_us=captured_us, server_us=server_us,
    )  # fmt: skip
    return header, memoryview(message)[header_bytes:]


def pack_json(kind: str, **fields: Any) -> str:
    """A text message."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":"), allow_nan=False)


def parse_json(text: str, *, max_bytes: int = Limits.max_text_bytes) -> dict[str, Any]:
    """A text message as a dict with a string under "type".

    Raises: ProtocolError for text that is too long, not JSON, or not such an object.
    """
    if len(text) > max_bytes or len(text.encode()) > max_bytes:
        raise ProtocolError(
            Close.TOO_BIG, "text_too_long", f"a text message is over {max_bytes} bytes"
        )
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(
            Close.BAD_DATA, "not_json", "a text message is not valid JSON"
        ) from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ProtocolError(
            Close.BAD_DATA, "no_type", 'a text message must be a JSON object with a string "type"'
        )
    return message
