"""Payloads to pictures and back, for server and client alike.

NumPy, and simplejpeg where it is installed (without it only rgb24 is offered).
"""

import numpy as np

from lsdjax.serve.protocol import Codec, FrameHeader

try:
    import simplejpeg
except ImportError:  # a client can do with raw frames
    simplejpeg = None

SUPPORTED_CODECS = (Codec.RGB24,) if simplejpeg is None else (Codec.JPEG, Codec.RGB24)
JPEG_QUALITY = 90


class DecodeError(ValueError):
    """One payload cannot be decoded; the next one may well be."""


def decode(header: FrameHeader, payload: memoryview) -> np.ndarray:
    """The picture in a checked payload: uint8 (h, w, 3), at the size in the header.

    Raises: DecodeError.
    """
    if header.codec == Codec.RGB24:
        return np.frombuffer(payload, np.uint8).reshape(header.height, header.width, 3)
    assert simplejpeg is not None
    try:
        return simplejpeg.decode_jpeg(payload, colorspace="RGB")
    except (ValueError, RuntimeError) as error:
        raise DecodeError(f"a broken JPEG: {error}") from None


def encode(frame: np.ndarray, codec: Codec) -> bytes:
    """The payload of a picture uint8 (h, w, 3)."""
    if codec == Codec.RGB24:
        return frame.tobytes()
    assert simplejpeg is not None
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(frame), quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="444"
    )
