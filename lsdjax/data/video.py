"""Video in and out through PyAV: files, folders of pictures and cameras in; H.264 files out.

Every frame is RGB, uint8, (height, width, 3), upright (display matrix and EXIF orientation applied)
and in square pixels. Memory stays constant: no more than a few frames are held at a time.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from lsdjax.core.errors import UserError
from lsdjax.data.frames import MAX_SIDE as MAX_SIDE
from lsdjax.data.frames import MIN_SIDE as MIN_SIDE
from lsdjax.data.frames import SHRINK, check_size, display_matrix, upright
from lsdjax.data.frames import fit_frame as fit_frame
from lsdjax.data.writer import VideoWriter as VideoWriter
from lsdjax.data.writer import reason

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts"}
)
FALLBACK_FPS = 30.0
IMAGE_FOLDER_FPS = 25.0

_UNSPECIFIED_COLORSPACE = 2  # AVCOL_SPC_UNSPECIFIED
# Formats whose header states a duration that can be believed; the others are estimated or absent.
_STATED_DURATION = frozenset({"mov", "mp4", "matroska", "webm", "avi"})


class FrameSource:
    """Frames of one source in presentation order; a context manager that can be iterated once.

    Attributes:
        name: what the user asked for, for messages.
        fps: average frames per second (the spacing of single frames may vary, see `timed`).
        width, height: displayed size in pixels, after rotation; every frame has it.
        frame_count: frames as stated by the header, or None where it says nothing.
        live: a camera, which has no end.

    Raises (while iterating): UserError where the file is damaged or ends before it should.
    """

    name: str
    fps: float
    width: int
    height: int
    frame_count: int | None
    live: bool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        for _, frame in self.timed():
            yield frame

    def timed(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield (seconds since the first frame, frame), the times as the source states them."""
        raise NotImplementedError

    def close(self) -> None:
        """Release the file or the camera; harmless when called twice."""


class _VideoSource(FrameSource):
    """A video file or a camera, decoded as it is read."""

    def __init__(self, name: str, container: InputContainer, *, live: bool) -> None:
        self.name = name
        self.live = live
        self._container = container
        try:
            if not container.streams.video:
                raise UserError(f"{name}: has no video in it")
            self._stream = container.streams.video[0]
            check_size(name, self._stream.codec_context.width, self._stream.codec_context.height)
            self._stream.thread_type = "AUTO"
            self.fps = _average_fps(self._stream)
            self._reformatter = VideoReformatter()
            self._decoded = self._decode()
            self._first = next(self._decoded)
        except BaseException:
            container.close()
            raise
        self._stored_size = self._first.width, self._first.height
        check_size(name, *self._stored_size)
        self.height, self.width = self._rgb(self._first).shape[:2]
        self.frame_count = None if live else self._stated_frames()

    def timed(self) -> Iterator[tuple[float, np.ndarray]]:
        origin = self._first.time or 0.0
        previous = -1.0 / self.fps
        frame: av.VideoFrame | None = self._first
        while frame is not None:
            time_s = previous + 1.0 / self.fps if frame.pts is None else frame.time - origin
            time_s = max(time_s, previous)
            yield time_s, self._rgb(frame)
            previous = time_s
            frame = next(self._decoded, None)

    def close(self) -> None:
        self._container.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Decode until the end.

        Errors before the first picture pass: a cut that missed its key frame begins with some.
        """
        count = 0
        start_s: float | None = None
        previous_s = end_s = longest_s = 0.0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except av.error.FFmpegError as error:
                if isinstance(error, av.error.InvalidDataError) and (self.live or count == 0):
                    continue
                where = f"damaged after frame {count}" if count else "cannot be read"
                raise UserError(f"{self.name}: {where} ({reason(error)})") from error
            if packet is None:
                break
            for frame in frames:
                assert isinstance(frame, av.VideoFrame)
                count += 1
                if frame.pts is not None:
                    start_s = frame.time if start_s is None else start_s
                    time_s = frame.time - start_s
                    longest_s = max(longest_s, time_s - previous_s)
                    end_s = time_s + (frame.duration or 0) * float(frame.time_base or 0)
                    previous_s = time_s
                yield frame
        if count == 0:
            raise UserError(f"{self.name}: no picture in it can be decoded")
        stated_s = self._stated_seconds()
        # The last frame may stay for as long as any other did, where its duration is not stored.
        if stated_s is not None and end_s < stated_s - max(0.5, 0.02 * stated_s, 2 * longest_s):
            raise UserError(
                f"{self.name}: truncated, it ends after {end_s:.2f} s "
                f"of the {stated_s:.2f} s that its header states"
            )

    def _rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """One decoded frame as upright RGB in square pixels, at the size of the first frame."""
        width, height = self._stored_size
        ratio = self._stream.sample_aspect_ratio
        if ratio and 0.1 < ratio < 10 and ratio != 1:
            width = min(MAX_SIDE, max(MIN_SIDE, round(width * float(ratio))))
        # By convention video that names no matrix is BT.709 from 720 lines on, BT.601 below.
        unspecified = frame.colorspace == _UNSPECIFIED_COLORSPACE
        guess_bt709 = unspecified and frame.height >= 720 and not self.live
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=int(Colorspace.ITU709) if guess_bt709 else None,
            interpolation=SHRINK,
        )
        return upright(rgb.to_ndarray(), display_matrix(frame))

    def _stated_frames(self) -> int | None:
        stated_s = self._stated_seconds()
        timed = None if stated_s is None else max(1, round(stated_s * self.fps))
        stored = self._stream.frames or None
        if stored and timed and timed < 0.9 * stored:  # an edit list hides the others
            return timed
        return stored or timed

    def _stated_seconds(self) -> float | None:
        if self.live or _STATED_DURATION.isdisjoint(self._container.format.name.split(",")):
            return None
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        tag = self._stream.metadata.get("DURATION")  # Matroska, "00:00:02.000000000"
        if tag and tag.count(":") == 2:
            hours, minutes, seconds = (float(part) for part in tag.split(":"))
            return 3600 * hours + 60 * minutes + seconds
        if self._container.duration and len(self._container.streams) == 1:
            return self._container.duration / av.time_base
        return None


class _FolderSource(FrameSource):
    """The pictures of a folder in the order of their names, all fitted to the size of the first."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self.live = False
        self.fps = IMAGE_FOLDER_FPS
        self._paths = list_images(folder)
        if not self._paths:
            raise UserError(f"{folder}: an empty folder, it holds no .jpg, .png or .webp picture")
        self.frame_count = len(self._paths)
        self.height, self.width = load_image(self._paths[0]).shape[:2]

    def timed(self) -> Iterator[tuple[float, np.ndarray]]:
        for index, path in enumerate(self._paths):
            yield index / self.fps, fit_frame(load_image(path), self.height, self.width)


def open_source(source: str | Path) -> FrameSource:
    """Open a video file, a folder of pictures (jpg, png, webp) or a camera by its index ("0").

    The size is checked in the header, before anything is decoded; the first frame is then decoded,
    so that a file without a single good picture is refused here.

    Raises:
        UserError: one line that names the source, where it is missing, empty, no video, damaged
            before its first picture, or a side is not within MIN_SIDE to MAX_SIDE pixels.
    """
    name = str(source)
    path = Path(name)
    if path.is_dir():
        return _FolderSource(path)
    if name.isdecimal() and not path.exists():
        return _open_camera(int(name))
    return _VideoSource(name, _open_container(path), live=False)


def load_image(path: str | Path) -> np.ndarray:
    """Read one picture as upright RGB uint8 (height, width, 3).

    Raises:
        UserError: it is missing, no picture, damaged or of a refused size.
    """
    with _VideoSource(str(path), _open_container(Path(path)), live=False) as picture:
        return next(iter(picture))


def list_images(folder: str | Path) -> list[Path]:
    """The pictures directly in a folder, sorted by name.

    Raises:
        UserError: no such folder.
    """
    return _list_files(Path(folder), IMAGE_SUFFIXES)


def list_videos(folder: str | Path) -> list[Path]:
    """The video files directly in a folder, sorted by name.

    Raises:
        UserError: no such folder.
    """
    return _list_files(Path(folder), VIDEO_SUFFIXES)


def _list_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def _open_container(path: Path) -> InputContainer:
    try:
        return av.open(f"file:{path}")  # else a colon in a name would be taken for a protocol
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file or folder") from error
    except PermissionError as error:
        raise UserError(f"{path}: no permission to read it") from error
    except av.error.FFmpegError as error:
        if path.is_file() and path.stat().st_size == 0:
            raise UserError(f"{path}: an empty file") from error
        if _is_iso_media(path):
            raise UserError(
                f"{path}: truncated or still being written, its index is missing"
            ) from error
        raise UserError(
            f"{path}: neither a video nor a picture that can be read ({reason(error)})"
        ) from error


def _open_camera(index: int) -> FrameSource:
    if sys.platform == "darwin":
        device, kind = str(index), "avfoundation"
    else:
        device, kind = f"/dev/video{index}", "v4l2"
        if not Path(device).exists():
            raise UserError(f"{index}: no such camera ({device} does not exist)")
    try:
        container = av.open(device, format=kind)
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(f"{index}: the camera does not open ({reason(error)})") from error
    return _VideoSource(f"camera {index}", container, live=True)


def _is_iso_media(path: Path) -> bool:
    """Whether a file begins as MP4 and QuickTime files do."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == b"ftyp"
    except OSError:
        return False


def _average_fps(stream: VideoStream) -> float:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0.1 <= rate <= 1000:
            return float(rate)
    return FALLBACK_FPS
