"""What a client sends, on its way into a slot: checked before it is decoded, then fitted."""

import numpy as np
import simplejpeg

from lsdjax.data.frames import fit_frame
from lsdjax.serve.frames import SUPPORTED_CODECS, DecodeError, Decoder
from lsdjax.serve.protocol import Close, Codec, FrameHeader, Limits, ProtocolError

_MAX_JPEG_SCANS = 16  # a small progressive file can ask for hundreds of passes over the picture
_START_OF_SCAN = b"\xff\xda"


def check_payload(header: FrameHeader, payload: memoryview, limits: Limits) -> None:
    """Refuses a payload by its size and its own header, before any of it is decoded.

    Raises: ProtocolError when the sizes are over the limits (1008), when they contradict the
        payload (1007) or when the codec is not supported (1003); DecodeError when the payload
        has no readable header.
    """
    if header.codec not in SUPPORTED_CODECS:
        raise ProtocolError(
            Close.UNSUPPORTED,
            "unsupported_codec",
            f"codec {header.codec.name.lower()} is not supported here",
            ref=header.seq,
        )
    width, height = header.width, header.height
    _check_size(width, height, limits, header.seq)
    if header.codec == Codec.RGB24:
        if len(payload) != 3 * width * height:
            raise _lie(
                header, f"{len(payload)} bytes, not the {3 * width * height} of an rgb24 frame"
            )
        return
    if header.codec == Codec.H264:
        return  # its size is known once it is decoded, within the limit that the decoder is given
    try:
        jpeg_height, jpeg_width = map(int, simplejpeg.decode_jpeg_header(payload)[:2])
    except ValueError as error:
        raise DecodeError(f"not a JPEG: {error}") from None
    _check_size(jpeg_width, jpeg_height, limits, header.seq)
    if (jpeg_width, jpeg_height) != (width, height):
        raise _lie(header, f"a JPEG of {jpeg_width}x{jpeg_height}")
    if bytes(payload).count(_START_OF_SCAN) > _MAX_JPEG_SCANS:
        raise DecodeError(f"a JPEG of more than {_MAX_JPEG_SCANS} scans")


def _check_size(width: int, height: int, limits: Limits, seq: int) -> None:
    if width < 1 or height < 1:
        raise ProtocolError(
            Close.BAD_DATA, "empty_frame", f"a frame of {width}x{height} has no pixels", ref=seq
        )
    too_wide = width > limits.max_width or height > limits.max_height
    if too_wide or width * height > limits.max_pixels:
        raise ProtocolError(
            Close.POLICY,
            "frame_too_large",
            f"a frame of {width}x{height} is over the limit of {limits.max_width}x"
            f"{limits.max_height} and {limits.max_pixels} pixels",
            ref=seq,
        )


def _lie(header: FrameHeader, found: str) -> ProtocolError:
    return ProtocolError(
        Close.BAD_DATA,
        "wrong_size",
        f"the header says {header.width}x{header.height}, the payload is {found}",
        ref=header.seq,
    )


def decode_into(
    decoder: Decoder, header: FrameHeader, payload: memoryview, out: np.ndarray
) -> None:
    """Decodes a checked payload, cropped around its centre and resized to `out`, uint8 (h, w, 3).

    Raises: DecodeError.
    """
    height, width, _ = out.shape
    if header.codec != Codec.JPEG:
        np.copyto(out, fit_frame(decoder.decode(header, payload), height, width))
        return
    fits = (header.height, header.width) == (height, width)
    # The codec can halve a large picture while it decodes, for a fraction of the cost.
    larger = header.height > height and header.width > width
    least = {"min_height": height, "min_width": width} if larger else {}
    try:
        frame = simplejpeg.decode_jpeg(
            payload, colorspace="RGB", buffer=out if fits else None, **least
        )
    except (ValueError, RuntimeError) as error:
        raise DecodeError(f"a broken JPEG: {error}") from None
    if not fits:
        np.copyto(out, fit_frame(frame, height, width))
