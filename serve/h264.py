"""H.264 as Annex-B access units, one a frame, without delay; BT.709, and tagged so. Needs PyAV.

swscale converts with BT.601 unless it is told otherwise, and browsers do not: pure green would come
back as 215 of 255.
"""

from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace

from lsdjax.serve.frames import DecodeError
from lsdjax.serve.protocol import FrameHeader

_BT709 = 1  # as the standard numbers matrix, primaries and transfer alike
_BT601 = (5, 6)
_UNSPECIFIED = 2
_FULL_RANGE = 2
_BITS_PER_PIXEL = 0.12  # a frame at 30 frames a second; 512x512 takes 0.9 Mb/s
_FPS = 30


class H264Encoder:
    """libx264 without look-ahead; `size` is (height, width), both even."""

    def __init__(self, height: int, width: int) -> None:
        self.size = (height, width)
        context = cast(VideoCodecContext, av.CodecContext.create("libx264", "w"))
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.framerate, context.time_base = Fraction(_FPS), Fraction(1, _FPS)
        context.bit_rate = max(300_000, int(_BITS_PER_PIXEL * _FPS * height * width))
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG.value
        context.thread_count = 1
        context.options = {"preset": "veryfast", "tune": "zerolatency", "g": "300"}
        self._context = context
        self._count = 0

    def encode(self, frame: np.ndarray, *, key: bool) -> tuple[bytes, bool]:
        """The access unit of a picture uint8 (h, w, 3), and whether it is a key frame."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format="yuv420p",
            src_colorspace=Colorspace.ITU709,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts = self._count
        picture.pict_type = PictureType.I if key else PictureType.NONE
        self._count += 1
        packets = self._context.encode(picture)
        return b"".join(map(bytes, packets)), any(packet.is_keyframe for packet in packets)


class H264Decoder:
    """Access units in, pictures out, each from its own; begins at a key frame."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._bt601 = self._full_range = False
        self._start()

    def assume(self, *, bt601: bool, full_range: bool) -> None:
        """How pictures are coloured that do not say so: those of browsers, which tell it aside."""
        self._bt601, self._full_range = bt601, full_range

    def _start(self) -> None:
        context = cast(VideoCodecContext, av.CodecContext.create("h264", "r"))
        context.options = {"max_pixels": str(self._max_pixels)}
        context.flags |= Flags.low_delay.value
        context.thread_count = 1
        self._context = context

    def decode(self, header: FrameHeader, payload: memoryview) -> np.ndarray:
        """The picture of an access unit, uint8 (h, w, 3).

        Raises: DecodeError when it holds none, or one of another size than the header says.
        """
        if not payload:  # to the decoder it would say that the stream has ended
            raise DecodeError("an empty H.264 access unit")
        try:
            pictures = self._context.decode(av.Packet(bytes(payload)))
        except (FFmpegError, ValueError) as error:
            self._start()
            raise DecodeError(f"broken H.264: {error}") from None
        if not pictures:
            raise DecodeError("an H.264 access unit without a picture")
        picture = pictures[-1]
        if (picture.width, picture.height) != (header.width, header.height):
            raise DecodeError(
                f"H.264 of {picture.width}x{picture.height}, the header says "
                f"{header.width}x{header.height}"
            )
        bt601, full = self._bt601, self._full_range
        if picture.colorspace != _UNSPECIFIED:
            bt601 = picture.colorspace in _BT601
        if picture.color_range:
            full = picture.color_range == _FULL_RANGE
        return picture.reformat(
            format="rgb24",
            src_colorspace=Colorspace.ITU601 if bt601 else Colorspace.ITU709,
            src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
        ).to_ndarray()
