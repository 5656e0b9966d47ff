"""Payloads to pictures and back, for server and client alike.

NumPy, simplejpeg where it is installed (without it only rgb24 is offered) and, for H.264, PyAV.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from lsdjax.serve.protocol import Codec, FrameHeader

if TYPE_CHECKING:
    from lsdjax.serve.h264 import H264Decoder, H264Encoder

try:
    import simplejpeg
except ImportError:  # a client can do with raw frames
    simplejpeg = None

STILL_CODECS = (Codec.RGB24,) if simplejpeg is None else (Codec.JPEG, Codec.RGB24)
"""Each payload is a picture by itself, in the order of preference."""

SUPPORTED_CODECS = (*STILL_CODECS, Codec.H264) if find_spec("av") else STILL_CODECS
JPEG_QUALITY = 90
_COARSE_COLOUR_PIXELS = 1 << 17
"""From here on colours have half the resolution, as in video. At 512 x 512 that costs real pictures
1 to 2 of 44 dB and saves 40 % of the time, of encoding and decoding, and a quarter of the bytes. At
128 x 128 it would cost 3 to 4 of 38 dB."""


class DecodeError(ValueError):
    """One payload cannot be decoded; the next one may well be."""


class Decoder:
    """The payloads of one sender, in their order, to pictures."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._h264: H264Decoder | None = None
        self._bt601 = self._full_range = False

    def assume_colour(self, *, bt601: bool, full_range: bool) -> None:
        """How H.264 is coloured that does not say so: the matrix of BT.601, all 256 levels."""
        self._bt601, self._full_range = bt601, full_range

    def decode(self, header: FrameHeader, payload: memoryview) -> np.ndarray:
        """The picture in a checked payload: uint8 (h, w, 3), at the size in the header.

        Raises: DecodeError.
        """
        if header.codec == Codec.RGB24:
            return np.frombuffer(payload, np.uint8).reshape(header.height, header.width, 3)
        if header.codec == Codec.H264:
            if self._h264 is None:
                from lsdjax.serve.h264 import H264Decoder

                self._h264 = H264Decoder(self._max_pixels)
            self._h264.assume(bt601=self._bt601, full_range=self._full_range)
            return self._h264.decode(header, payload)
        assert simplejpeg is not None
        try:
            return simplejpeg.decode_jpeg(payload, colorspace="RGB")
        except (ValueError, RuntimeError) as error:
            raise DecodeError(f"a broken JPEG: {error}") from None


class Encoder:
    """Pictures of one sender, in their order, to payloads of one codec."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._h264: H264Encoder | None = None
        self._key_wanted = True

    def ask_for_key(self) -> None:
        """The next payload can be decoded without those before it."""
        self._key_wanted = True

    def encode(self, frame: np.ndarray) -> tuple[bytes | memoryview, bool]:
        """The payload of a picture uint8 (h, w, 3), and whether it stands by itself.

        A raw payload is a view of the picture, as long as that stays as it is.
        """
        if self.codec == Codec.RGB24:
            return memoryview(np.ascontiguousarray(frame)).cast("B"), True
        if self.codec == Codec.H264:
            if self._h264 is None or self._h264.size != frame.shape[:2]:
                from lsdjax.serve.h264 import H264Encoder

                self._h264 = H264Encoder(frame.shape[0], frame.shape[1])
            key, self._key_wanted = self._key_wanted, False
            return self._h264.encode(frame, key=key)
        assert simplejpeg is not None
        height, width, _ = frame.shape
        payload = simplejpeg.encode_jpeg(
            np.ascontiguousarray(frame),
            quality=JPEG_QUALITY,
            colorspace="RGB",
            colorsubsampling="444" if height * width < _COARSE_COLOUR_PIXELS else "420",
        )
        return payload, True
