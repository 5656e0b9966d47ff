"""`lsdjax connect`: a webcam or a video to a server, and what comes back to a window or a file."""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.data.video import FrameSource, VideoWriter, fit_frame, open_source
from lsdjax.serve.client import LiveClient, ServerError
from lsdjax.serve.protocol import CODEC_NAMES

_WINDOW_PIXELS = 512
_REFRESH_MS = 15


@dataclass(frozen=True)
class ConnectOptions:
    """What goes where: `source` and `sink` are "webcam" and "window", or names of files."""

    source: str
    sink: str
    url: str
    prompt: str
    strength: float = 1.0
    seed: int = 0
    codec: str = "jpeg"
    fps: float | None = None
    token: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= 1.0:
            raise UserError(f"--strength must lie within 0..1, got {self.strength}")
        if self.fps is not None and not self.fps > 0:
            raise UserError(f"--fps must be above 0, got {self.fps}")
        if self.sink != "window" and Path(self.sink).exists() and not self.overwrite:
            raise UserError(f"{self.sink}: exists already (--overwrite replaces it)")


class Sink(Protocol):
    """Where pictures go, each with the time of the frame that it was made from."""

    def open(self, height: int, width: int, fps: float) -> None: ...
    def put(self, time_s: float, picture: np.ndarray) -> None: ...


class FileSink:
    """A video that appears when the stream has ended well. A context manager."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: VideoWriter | None = None
        self.count = 0

    def open(self, height: int, width: int, fps: float) -> None:
        """The size is the server's to say."""
        self._writer = VideoWriter(self._path, fps=fps, height=height, width=width)
        self._writer.__enter__()

    def put(self, time_s: float, picture: np.ndarray) -> None:
        """Writes one picture."""
        assert self._writer is not None
        self._writer.write(picture, time_s)
        self.count += 1

    def close(self, error: BaseException | None) -> None:
        """Keeps the file, or with an error leaves none."""
        if self._writer is not None:
            self._writer.__exit__(type(error) if error else None, error, None)


class WindowSink:
    """A window of the standard library's tkinter, which must live in the main thread."""

    def __init__(self) -> None:
        try:
            import tkinter

            self._root = tkinter.Tk(className="lsdjax")
        except (ImportError, RuntimeError) as error:
            raise UserError(f"no window can be opened ({error}): give --sink FILE.mp4") from None
        except Exception as error:  # tkinter.TclError: there is no display
            raise UserError(f"no window can be opened ({error}): give --sink FILE.mp4") from None
        self._make_photo = tkinter.PhotoImage
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._latest: np.ndarray | None = None
        self._shown: np.ndarray | None = None
        self._scale = 1

    def open(self, height: int, width: int, fps: float) -> None:
        """Small pictures are enlarged to about half a screen."""
        self._scale = max(1, _WINDOW_PIXELS // width)

    def put(self, time_s: float, picture: np.ndarray) -> None:
        """May be called from any thread."""
        self._latest = picture

    def run(self, ended: Callable[[], bool]) -> None:
        """Shows the latest picture until the window is closed or the stream has ended."""
        self._refresh(ended)
        self._root.mainloop()

    def _refresh(self, ended: Callable[[], bool]) -> None:
        picture = self._latest
        if ended():
            self._root.destroy()
            return
        if picture is not None and picture is not self._shown:
            self._shown = picture
            large = fit_frame(picture, *(self._scale * side for side in picture.shape[:2]))
            data = f"P6 {large.shape[1]} {large.shape[0]} 255 ".encode() + large.tobytes()
            self._photo = self._make_photo(data=data)  # tkinter keeps no reference of its own
            self._label.configure(image=self._photo)
        self._root.after(_REFRESH_MS, self._refresh, ended)


def connect(options: ConnectOptions) -> int:
    """Streams until the source ends, the window is closed, or Ctrl-C.

    Raises: UserError when source, sink or server cannot be used.
    """
    name = "0" if options.source == "webcam" else options.source
    with open_source(name) as source:
        try:
            if options.sink == "window":
                _to_window(options, source)
            else:
                _to_file(options, source)
        except ServerError as error:
            raise UserError(f"{options.url}: {error}") from None
    return 0


def _to_file(options: ConnectOptions, source: FrameSource) -> None:
    sink, stop = FileSink(options.sink), threading.Event()

    async def work() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError, ValueError):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stream(options, source, sink, stop.is_set)

    try:
        asyncio.run(work())
    except BaseException as error:
        sink.close(error)
        raise
    sink.close(None)
    print(f"{options.sink}: {sink.count} frames")


def _to_window(options: ConnectOptions, source: FrameSource) -> None:
    sink, stop = WindowSink(), threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(stream(options, source, sink, stop.is_set))
        except BaseException as error:
            failures.append(error)
        stop.set()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        sink.run(stop.is_set)
    finally:
        stop.set()
        worker.join()
    if failures:
        raise failures[0]


async def stream(
    options: ConnectOptions, source: FrameSource, sink: Sink, stopped: Callable[[], bool]
) -> None:
    """Sends frames at the speed of the source; one that finds the window closed is left out.

    Raises: ServerError.
    """
    loop = asyncio.get_running_loop()
    times_s: dict[int, float] = {}
    fps = options.fps or source.fps
    async with LiveClient(
        options.url,
        prompt=options.prompt,
        strength=options.strength,
        seed=options.seed,
        codecs=(CODEC_NAMES[options.codec],),
        fps=fps,
        token=options.token,
        on_notice=lambda text: print(f"lsdjax: {text}", file=sys.stderr),
    ) as client:
        sink.open(*client.size, fps)

        async def watch() -> None:
            while True:
                output = await client.receive()
                sink.put(times_s.pop(output.seq, 0.0), output.frame)

        watcher = asyncio.create_task(watch())
        frames, start_s, due_s = source.timed(), loop.time(), 0.0
        try:
            while not stopped() and not watcher.done():
                item = await loop.run_in_executor(None, next, frames, None)
                if item is None:
                    break
                time_s, frame = item
                if time_s < due_s - 0.5 / fps:
                    continue
                due_s = max(due_s, time_s) + 1 / fps
                if not source.live:
                    await asyncio.sleep(max(0.0, start_s + time_s - loop.time()))
                if client.can_send:
                    fitted = fit_frame(frame, *client.size)
                    times_s[await client.send(fitted)] = time_s
            await client.settle()
            while client.has_output and not watcher.done():
                await asyncio.sleep(0)
        finally:
            watcher.cancel()
            (result,) = await asyncio.gather(watcher, return_exceptions=True)
        if isinstance(result, Exception):
            raise result
