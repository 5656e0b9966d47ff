"""The wire: a 32-byte frame header, JSON messages, close codes and limits. Standard library only.

Every binary message is a header and a payload; every text message is a JSON object with a `type`.
Little-endian header: u8 magic, version, type, codec; u16 flags, header length; u32 sequence,
revision; u64 capture time (µs, the client's monotonic clock); u32 server time (µs); u16 width,
height. A header longer than 32 bytes is legal: what follows the known fields is skipped.
"""

import json
import math
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
    """How a payload is coded; `h264` and `vp8` are reserved."""

    RGB24 = 0
    JPEG = 1
    WEBP = 2
    H264 = 3
    VP8 = 4


CODEC_NAMES = {"rgb24": Codec.RGB24, "jpeg": Codec.JPEG}


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
    """Header and payload as one binary message.

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


@dataclass(frozen=True)
class Hello:
    """A client's first message, checked: the codecs it can decode, in its order of preference."""

    codecs: tuple[Codec, ...]
    size: tuple[int, int] | None  # (width, height) that it will send
    fps: float | None


def parse_hello(message: dict[str, Any]) -> Hello:
    """The checked `hello`.

    Raises: ProtocolError 4400 for a bad field, 4426 for another version of the protocol.
    """

    def bad(what: str) -> ProtocolError:
        return ProtocolError(Close.BAD_HELLO, "bad_hello", f"bad hello: {what}")

    if message["type"] != "hello":
        raise bad(f"the first message must be a hello, got {_brief(message['type'])}")
    version = message.get("version")
    if not _is_int(version):
        raise bad(f"version must be an integer, got {_brief(version)}")
    if version != VERSION:
        raise ProtocolError(
            Close.VERSION, "version", f"protocol version {version}, this server speaks {VERSION}"
        )
    names = message.get("codecs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise bad(f"codecs must be a list of names, got {_brief(names)}")
    codecs = tuple(CODEC_NAMES[name] for name in names if name in CODEC_NAMES)
    if not codecs:
        raise bad(f"none of the codecs {_brief(names)} is known: expected jpeg or rgb24")
    size = message.get("size")
    if size is not None:
        if not (isinstance(size, list) and len(size) == 2 and all(map(_is_int, size))):
            raise bad(f"size must be [width, height], got {_brief(size)}")
        if not all(1 <= side <= 0xFFFF for side in size):
            raise bad(f"size must lie within 1..65535, got {_brief(size)}")
        size = (size[0], size[1])
    fps = message.get("fps")
    if fps is not None and not (_is_number(fps) and 0 < fps <= 1000):
        raise bad(f"fps must be a number within 0..1000, got {_brief(fps)}")
    return Hello(codecs, size, fps)


@dataclass(frozen=True)
class ParamsRequest:
    """The fields of a `params` message, checked; `clamped` when a value had to be moved."""

    values: dict[str, Any]
    clamped: bool


def parse_params(message: dict[str, Any], *, limits: Limits, steps: int) -> ParamsRequest:
    """What a `params` message asks for.

    Strength and seed are clamped into range; the number of steps is fixed while a server runs.

    Raises: ValueError, one line for the client, when a value cannot be used at all.
    """
    values: dict[str, Any] = {}
    clamped = False
    prompt = message.get("prompt")
    if prompt is not None:
        if not isinstance(prompt, str):
            raise ValueError(f"prompt must be a string, got {_brief(prompt)}")
        if len(prompt) > limits.max_prompt_chars:
            raise ValueError(
                f"the prompt has {len(prompt)} characters, at most {limits.max_prompt_chars} "
                "are accepted"
            )
        if not prompt.strip():
            raise ValueError("the prompt is empty: say what the picture should become")
        values["prompt"] = prompt
    strength = message.get("strength")
    if strength is not None:
        if not _is_number(strength):
            raise ValueError(f"strength must be a number within 0..1, got {_brief(strength)}")
        values["strength"] = min(1.0, max(0.0, float(strength)))
        clamped |= values["strength"] != strength
    seed = message.get("seed")
    if seed is not None:
        if not _is_int(seed):
            raise ValueError(f"seed must be an integer within 0..2147483647, got {_brief(seed)}")
        values["seed"] = min(2**31 - 1, max(0, seed))
        clamped |= values["seed"] != seed
    wanted_steps = message.get("steps")
    if wanted_steps is not None:
        if not _is_int(wanted_steps):
            raise ValueError(f"steps must be an integer, got {_brief(wanted_steps)}")
        clamped |= wanted_steps != steps
    return ParamsRequest(values, clamped)


def params_schema(limits: Limits, steps: int) -> dict[str, Any]:
    """What `params` may hold, as JSON Schema properties."""
    return {
        "prompt": {"type": "string", "minLength": 1, "maxLength": limits.max_prompt_chars},
        "strength": {"type": "number", "minimum": 0, "maximum": 1},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        "steps": {"type": "integer", "minimum": steps, "maximum": steps},
    }


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_int(value) and abs(value) < 2**63) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _brief(value: Any) -> str:
    """A value as it may be shown in an error message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
