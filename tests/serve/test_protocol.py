"""The wire, without sockets."""

import json
import subprocess
import sys

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from lsdjax.serve import frames, intake, protocol
from lsdjax.serve.messages import parse_hello, parse_params
from lsdjax.serve.protocol import (
    Close,
    Codec,
    Flag,
    FrameHeader,
    Kind,
    Limits,
    ProtocolError,
    pack_frame,
    parse_json,
    unpack_frame,
)

LIMITS = Limits()
HELLO_FIELDS = ["version", "codecs", "size", "fps", "token", "resume"]
PARAMS = [
    "prompt", "strength", "seed", "steps", "skip_still", "motion_noise", "stabilise", "sharpen",
    "scale",
]  # fmt: skip


def headers() -> st.SearchStrategy[FrameHeader]:
    u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
    return st.builds(
        FrameHeader,
        kind=st.sampled_from(Kind),
        codec=st.sampled_from(Codec),
        flags=st.integers(0, 15).map(Flag),
        seq=u32,
        revision=u32,
        captured_us=u64,
        server_us=u32,
        width=u16,
        height=u16,
    )


@given(headers(), st.binary(max_size=100))
def test_a_frame_survives_the_wire(header: FrameHeader, payload: bytes) -> None:
    message = pack_frame(header, payload)
    assert len(message) == 32 + len(payload)
    unpacked, view = unpack_frame(message)
    assert unpacked == header
    assert bytes(view) == payload


def test_header_layout_is_the_documented_one() -> None:
    header = FrameHeader(
        Kind.OUTPUT, Codec.JPEG, seq=0x01020304, width=0x0506, height=0x0708,
        flags=Flag.DISCONTINUITY, revision=9, captured_us=0x1122334455667788, server_us=10,
    )  # fmt: skip
    assert pack_frame(header, b"").hex(" ") == (
        "56 01 02 01 02 00 20 00 04 03 02 01 09 00 00 00 "
        "88 77 66 55 44 33 22 11 0a 00 00 00 06 05 08 07"
    )


def test_a_longer_header_is_skipped() -> None:
    message = bytearray(pack_frame(FrameHeader(Kind.INPUT, Codec.JPEG, 1, 2, 3), b"xxxxPAYLOAD"))
    message[6] = 36
    assert bytes(unpack_frame(bytes(message))[1]) == b"PAYLOAD"


@given(st.binary(max_size=64))
def test_no_bytes_crash_the_parser(message: bytes) -> None:
    try:
        unpack_frame(message)
    except ProtocolError as error:
        assert error.close in (Close.UNSUPPORTED, Close.PROTOCOL, Close.VERSION)


@given(st.binary(min_size=31, max_size=64))
def test_no_bytes_after_the_magic_crash_the_checks(rest: bytes) -> None:
    try:
        header, payload = unpack_frame(b"\x56\x01" + rest)
        intake.check_payload(header, payload, LIMITS)
    except (ProtocolError, frames.DecodeError):
        pass


@given(st.text(max_size=200))
def test_no_text_crashes_the_json_parser(text: str) -> None:
    try:
        assert isinstance(parse_json(text)["type"], str)
    except ProtocolError as error:
        assert error.close == Close.BAD_DATA


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(HELLO_FIELDS), json_values))
def test_no_hello_crashes_the_parser(fields: dict[str, object]) -> None:
    try:
        parse_hello({"type": "hello", **fields})
    except ProtocolError as error:
        assert error.close in (Close.BAD_HELLO, Close.VERSION)


@given(st.dictionaries(st.sampled_from(PARAMS), json_values))
def test_params_are_usable_or_refused_in_words(fields: dict[str, object]) -> None:
    try:
        request = parse_params(fields, limits=LIMITS, variants=(1, 2))
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert 0 <= request.values.get("strength", 0) <= 1
        assert 0 <= request.values.get("seed", 0) < 2**31
        assert request.values.get("steps", 1) in (1, 2)
        assert 1 <= request.values.get("scale", 1) <= 4
        json.dumps(request.values, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "close"),
    [
        ("{", Close.BAD_DATA),
        ("[" * 60_000, Close.BAD_DATA),
        ("[1]", Close.BAD_DATA),
        ('{"type": 3}', Close.BAD_DATA),
        (json.dumps({"type": "x" * 70_000}), Close.TOO_BIG),
    ],
)
def test_text_that_is_no_message_is_refused(text: str, close: Close) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_json(text)
    assert caught.value.close == close


def test_hello_takes_the_codecs_that_are_known_in_their_order() -> None:
    hello = parse_hello({"type": "hello", "version": 1, "codecs": ["av1", "rgb24", "jpeg"]})
    assert hello.codecs == (Codec.RGB24, Codec.JPEG)


def test_out_of_range_params_are_clamped() -> None:
    request = parse_params({"strength": 3, "seed": -1}, limits=LIMITS, variants=(1, 2))
    assert request.values == {"strength": 1.0, "seed": 0}
    assert request.clamped
    assert parse_params({"steps": 9}, limits=LIMITS, variants=(1, 2)).clamped
    assert not parse_params({"steps": 2, "strength": 1}, limits=LIMITS, variants=(1, 2)).clamped


def test_a_jpeg_survives_and_a_raw_frame_is_exact() -> None:
    y, x = np.mgrid[0:48, 0:64]
    picture = np.stack([2 * x, 3 * y, x + y], axis=-1).astype(np.uint8)
    for codec, tolerance in ((Codec.RGB24, 0), (Codec.JPEG, 12)):
        payload = memoryview(frames.Encoder(codec).encode(picture)[0])
        header = FrameHeader(Kind.INPUT, codec, 0, width=64, height=48)
        intake.check_payload(header, payload, LIMITS)
        decoded = frames.Decoder(LIMITS.max_pixels).decode(header, payload).astype(int)
        assert np.abs(decoded - picture).max() <= tolerance


def test_sizes_are_checked_before_decoding() -> None:
    small = memoryview(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)))
    for width, height, close in (
        (17, 16, Close.BAD_DATA),
        (0, 16, Close.BAD_DATA),
        (20_000, 20_000, Close.POLICY),
    ):
        header = FrameHeader(Kind.INPUT, Codec.JPEG, 0, width, height)
        with pytest.raises(ProtocolError) as caught:
            intake.check_payload(header, small, LIMITS)
        assert caught.value.close == close


def test_a_jpeg_bomb_is_refused_by_its_own_header() -> None:
    bomb = bytearray(simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)))
    at = bomb.index(b"\xff\xc0") + 5  # start of frame: length, precision, then height and width
    bomb[at : at + 4] = (20_000).to_bytes(2, "big") * 2
    header = FrameHeader(Kind.INPUT, Codec.JPEG, 0, 128, 128)
    with pytest.raises(ProtocolError) as caught:
        intake.check_payload(header, memoryview(bomb), LIMITS)
    assert caught.value.close == Close.POLICY


def test_a_jpeg_of_many_scans_is_refused() -> None:
    payload = simplejpeg.encode_jpeg(np.zeros((16, 16, 3), np.uint8)) + b"\xff\xda\0" * 20
    header = FrameHeader(Kind.INPUT, Codec.JPEG, 0, 16, 16)
    with pytest.raises(frames.DecodeError, match="scans"):
        intake.check_payload(header, memoryview(payload), LIMITS)


@pytest.mark.parametrize("codec", [Codec.RGB24, Codec.JPEG])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (300, 2), (48, 64), (480, 640), (40, 500)])
def test_any_size_is_fitted_to_the_slot(codec: Codec, height: int, width: int) -> None:
    picture = np.full((height, width, 3), (7, 77, 177), np.uint8)
    header = FrameHeader(Kind.INPUT, codec, 0, width, height)
    out = np.empty((48, 64, 3), np.uint8)
    intake.decode_into(
        frames.Decoder(LIMITS.max_pixels),
        header,
        memoryview(frames.Encoder(codec).encode(picture)[0]),
        out,
    )
    assert np.abs(out.astype(int) - (7, 77, 177)).max() <= 4


@pytest.mark.parametrize("module", ["server", "protocol", "client", "front", "bench", "frames"])
def test_module_never_imports_jax(module: str) -> None:
    code = f"import sys, lsdjax.serve.{module}; print(sorted({{'jax', 'flax'}} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["server", "bench", "protocol"])
def test_options_are_light_to_import(module: str) -> None:
    code = f"import sys, lsdjax.serve.{module}; print('websockets' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_protocol_speaks_the_documented_drop_reasons() -> None:
    assert protocol.DROP_REASONS == ("superseded", "deadline", "decode", "egress", "rate")
