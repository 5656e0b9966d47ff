"""What is coded at once, and what is handed to a thread."""

import math

import pytest

from lsdjax.serve.codecpool import CodecPool
from lsdjax.serve.protocol import Codec


@pytest.mark.parametrize(
    ("codec", "pixels", "sessions", "quick"),
    [
        (Codec.JPEG, 512 * 512, 1, True),
        (Codec.JPEG, 512 * 512, 2, False),
        (Codec.JPEG, 128 * 128, 16, True),
        (Codec.JPEG, 640 * 480, 1, False),
        (Codec.RGB24, 512 * 512, 4, True),
        (Codec.RGB24, math.inf, 1, False),
        (Codec.H264, 1, 1, False),  # its frames build on each other, and cost ten times as much
    ],
)
def test_only_what_keeps_nobody_waiting_is_coded_at_once(
    codec: Codec, pixels: float, sessions: int, quick: bool
) -> None:
    pool = CodecPool()
    pool.sessions = sessions
    assert pool.is_quick(codec, pixels) == quick
    pool.shutdown()
