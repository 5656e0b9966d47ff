"""H.264 files that appear only when they are complete."""

import contextlib
import os
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import numpy as np

from lsdjax.core.errors import UserError

_BT709 = 1  # AVCOL_SPC_BT709, AVCOL_PRI_BT709 and AVCOL_TRC_BT709 alike
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
# Without B-frames the order of storage is that of time, so that stated durations are exact even
# where the spacing of frames varies.
_ENCODER = {"crf": "18", "preset": "veryfast", "bf": "0"}
_TICKS = 90_000  # a second, in the time base of the files


class VideoWriter:
    """Writes RGB frames to an H.264 file (yuv420p, BT.709, CRF 18) that appears only when complete.

    A context manager: frames go to a temporary file beside `path`, which takes its name when the
    block ends well and vanishes when it ends in an exception (or without a frame). Sides of odd
    length are padded by repeating the last row or column, for 4:2:0 video has none.
    """

    def __init__(self, path: str | Path, *, fps: float, height: int, width: int) -> None:
        """Prepare to write frames of (height, width); `fps` is the nominal rate.

        Raises:
            UserError: the folder is missing or cannot be written to, or the name ends in no
                container for video.
        """
        self.path = Path(path)
        self._height, self._width, self._fps = height, width, fps
        self._last_tick = -1
        self._frames = 0
        suffix = self.path.suffix.lower()
        if suffix not in (".mp4", ".m4v", ".mov", ".mkv"):
            raise UserError(f"{self.path}: the output's name must end in .mp4, .mov or .mkv")
        try:
            handle, temporary = tempfile.mkstemp(
                prefix=f".{self.path.stem}.", suffix=suffix, dir=self.path.parent
            )
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error
        os.close(handle)
        self._temporary = Path(temporary)
        try:
            options = {"movflags": "+faststart"} if suffix != ".mkv" else {}
            self._container = av.open(f"file:{temporary}", "w", options=options)
            rate = Fraction(fps).limit_denominator(1001)
            self._stream = self._container.add_stream("libx264", rate=rate, options=_ENCODER)
            self._stream.height = height + height % 2
            self._stream.width = width + width % 2
            self._stream.pix_fmt = "yuv420p"
            context = self._stream.codec_context
            context.time_base = Fraction(1, _TICKS)
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED_RANGE
        except BaseException:
            self._temporary.unlink(missing_ok=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, frame: np.ndarray, time_s: float | None = None) -> None:
        """Append one frame, uint8 (height, width, 3), at a time or else at the nominal rate.

        Raises:
            UserError: the disk is full or the file cannot be written any more.
        """
        if frame.dtype != np.uint8 or frame.shape != (self._height, self._width, 3):
            expected = (self._height, self._width, 3)
            raise ValueError(
                f"this video takes uint8 frames {expected}, not {frame.dtype} {frame.shape}"
            )
        if self._height % 2 or self._width % 2:
            edges = (0, self._height % 2), (0, self._width % 2), (0, 0)
            frame = np.pad(frame, edges, mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        seconds = self._frames / self._fps if time_s is None else time_s
        self._last_tick = max(self._last_tick + 1, round(seconds * _TICKS))
        picture.pts = self._last_tick
        picture.time_base = Fraction(1, _TICKS)
        self._frames += 1
        self._mux(picture)

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._frames == 0:
            self.abort()
            raise UserError(f"{self.path}: not written, there was no frame to write")
        try:
            self._mux(None)
            self._container.close()
            self._temporary.chmod(0o666 & ~_umask())
            self._temporary.replace(self.path)
        except OSError as error:
            self.abort()
            raise UserError(f"{self.path}: cannot be written ({reason(error)})") from error

    def abort(self) -> None:
        """Throw away what was written; `path` stays as it was."""
        with contextlib.suppress(OSError, ValueError):  # an unfinished header; it goes anyway
            self._container.close()
        self._temporary.unlink(missing_ok=True)

    def _mux(self, picture: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(picture):
                self._container.mux(packet)
        except av.error.FFmpegError as error:
            raise UserError(f"{self.path}: cannot be written ({reason(error)})") from error


def reason(error: BaseException) -> str:
    """What an error of the system or of FFmpeg says, as part of a sentence."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()).lower().rstrip(".")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
