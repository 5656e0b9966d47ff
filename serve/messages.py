"""What a client asks for in JSON, checked: its `hello` and its `params`. Standard library only."""

import math
from dataclasses import dataclass
from typing import Any

from lsdjax.serve.protocol import CODEC_NAMES, VERSION, Close, Codec, Limits, ProtocolError

MAX_SCALE = 4
DEFAULT_FPS = 30.0
_MAX_TOKEN_CHARS = 2048
_SEED_LIMIT = 2**31 - 1

# name -> default; what the device process follows, and what is done to a picture after it
DEVICE_DEFAULTS: dict[str, Any] = {
    "strength": 1.0, "seed": 0, "skip_still": False, "motion_noise": False,
}  # fmt: skip
POST_DEFAULTS: dict[str, Any] = {"stabilise": 0.0, "sharpen": 0.0, "scale": 1}


@dataclass(frozen=True)
class Hello:
    """A client's first message, checked: the codecs it can decode, in its order of preference.

    `token` is a bearer token, `resume` the resume token of a session that was interrupted; `fps`
    is what the client means to send.
    """

    codecs: tuple[Codec, ...]
    size: tuple[int, int] | None  # (width, height) that it will send
    fps: float
    token: str | None
    resume: str | None


def parse_hello(message: dict[str, Any]) -> Hello:
    """The checked `hello`.

    Raises: ProtocolError 4400 for a bad field, 4426 for another version of the protocol.
    """
    if message["type"] != "hello":
        raise _bad_hello(f"the first message must be a hello, got {_brief(message['type'])}")
    version = message.get("version")
    if not _is_int(version):
        raise _bad_hello(f"version must be an integer, got {_brief(version)}")
    if version != VERSION:
        raise ProtocolError(
            Close.VERSION, "version", f"protocol version {version}, this server speaks {VERSION}"
        )
    names = message.get("codecs")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _bad_hello(f"codecs must be a list of names, got {_brief(names)}")
    codecs = tuple(CODEC_NAMES[name] for name in names if name in CODEC_NAMES)
    if not codecs:
        known = ", ".join(CODEC_NAMES)
        raise _bad_hello(f"none of the codecs {_brief(names)} is known: expected one of {known}")
    fps = message.get("fps")
    if fps is not None and not (_is_number(fps) and 0 < fps <= 1000):
        raise _bad_hello(f"fps must be a number within 0..1000, got {_brief(fps)}")
    return Hello(
        codecs=codecs,
        size=_parse_size(message.get("size")),
        fps=DEFAULT_FPS if fps is None else float(fps),
        token=_parse_token(message, "token"),
        resume=_parse_token(message, "resume"),
    )


def _parse_size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    if not (isinstance(size, list) and len(size) == 2 and all(map(_is_int, size))):
        raise _bad_hello(f"size must be [width, height], got {_brief(size)}")
    if not all(1 <= side <= 0xFFFF for side in size):
        raise _bad_hello(f"size must lie within 1..65535, got {_brief(size)}")
    return size[0], size[1]


def _parse_token(message: dict[str, Any], name: str) -> str | None:
    token = message.get(name)
    if token is None or (isinstance(token, str) and len(token) <= _MAX_TOKEN_CHARS):
        return token
    # The value is a secret, or an attempt at one: it is not repeated.
    raise _bad_hello(f"{name} must be a string of at most {_MAX_TOKEN_CHARS} characters")


def _bad_hello(what: str) -> ProtocolError:
    return ProtocolError(Close.BAD_HELLO, "bad_hello", f"bad hello: {what}")


@dataclass(frozen=True)
class ParamsRequest:
    """The fields of a `params` message, checked; `clamped` when a value had to be moved."""

    values: dict[str, Any]
    clamped: bool


def parse_params(
    message: dict[str, Any], *, limits: Limits, variants: tuple[int, ...]
) -> ParamsRequest:
    """What a `params` message asks for.

    Numbers are clamped into range; `steps` becomes the nearest of `variants`, the numbers of
    denoising steps that are compiled.

    Raises: ValueError, one line for the client, when a value cannot be used at all.
    """
    values: dict[str, Any] = {}
    wanted = {name: message[name] for name in _READERS if message.get(name) is not None}
    for name, value in wanted.items():
        values[name] = _READERS[name](name, value)
    if "steps" in values:
        values["steps"] = min(variants, key=lambda steps: abs(steps - values["steps"]))
    prompt = message.get("prompt")
    if prompt is not None:
        values["prompt"] = _check_prompt(prompt, limits)
    clamped = any(values[name] != value for name, value in wanted.items())
    return ParamsRequest(values, clamped)


def _check_prompt(prompt: Any, limits: Limits) -> str:
    if not isinstance(prompt, str):
        raise ValueError(f"prompt must be a string, got {_brief(prompt)}")
    if len(prompt) > limits.max_prompt_chars:
        raise ValueError(
            f"the prompt has {len(prompt)} characters, at most {limits.max_prompt_chars} "
            "are accepted"
        )
    if not prompt.strip():
        raise ValueError("the prompt is empty: say what the picture should become")
    return prompt


def _read_fraction(name: str, value: Any) -> float:
    if not _is_number(value):
        raise ValueError(f"{name} must be a number within 0..1, got {_brief(value)}")
    return min(1.0, max(0.0, float(value)))


def _read_seed(name: str, value: Any) -> int:
    if not _is_int(value):
        raise ValueError(f"{name} must be an integer within 0..{_SEED_LIMIT}, got {_brief(value)}")
    return min(_SEED_LIMIT, max(0, value))


def _read_scale(name: str, value: Any) -> int:
    if not _is_int(value):
        raise ValueError(f"{name} must be an integer within 1..{MAX_SCALE}, got {_brief(value)}")
    return min(MAX_SCALE, max(1, value))


def _read_steps(name: str, value: Any) -> int:
    if not _is_int(value):
        raise ValueError(f"{name} must be an integer, got {_brief(value)}")
    return value


def _read_switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {_brief(value)}")
    return value


_READERS = {
    "strength": _read_fraction,
    "seed": _read_seed,
    "steps": _read_steps,
    "skip_still": _read_switch,
    "motion_noise": _read_switch,
    "stabilise": _read_fraction,
    "sharpen": _read_fraction,
    "scale": _read_scale,
}


def params_schema(limits: Limits, variants: tuple[int, ...]) -> dict[str, Any]:
    """What `params` may hold, as JSON Schema properties."""
    fraction = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "prompt": {"type": "string", "minLength": 1, "maxLength": limits.max_prompt_chars},
        "strength": fraction,
        "seed": {"type": "integer", "minimum": 0, "maximum": _SEED_LIMIT},
        "steps": {"type": "integer", "enum": list(variants)},
        "skip_still": {"type": "boolean"},
        "motion_noise": {"type": "boolean"},
        "stabilise": fraction,
        "sharpen": fraction,
        "scale": {"type": "integer", "minimum": 1, "maximum": MAX_SCALE},
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
