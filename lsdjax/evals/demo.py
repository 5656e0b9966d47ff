"""The moving picture of the README: `python -m lsdjax.evals.demo`."""

import itertools
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from lsdjax.checkpoint.export import SHIPPED, load_checkpoint
from lsdjax.evals.behaviour import bounce
from lsdjax.evals.quality import read_clip
from lsdjax.stream.session import Streamer

PROMPTS = (
    "pencil sketch",
    "thermal camera",
    "cartoon",
    "blueprint",
    "comic book halftone print",
    "neon edges",
    "watercolour painting",
    "night vision",
)
FRAMES_EACH = 14
FPS = 12
ENLARGE = 2


def write_animation(path: Path, frames: Iterable[np.ndarray], fps: int) -> None:
    """Write an endless animated WebP, whole or not at all; frames uint8 (h, w, 3)."""
    temporary = path.with_name(f".{path.name}.partial")
    with av.open(str(temporary), "w", format="webp", options={"loop": "0"}) as container:
        stream = container.add_stream("libwebp_anim", rate=fps, options={"quality": "70"})
        assert isinstance(stream, VideoStream)
        for index, frame in enumerate(frames):
            if index == 0:
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    temporary.replace(path)


def main() -> None:
    """Stream the sample clip under one prompt after the other, beside the input."""
    streamer = Streamer(load_checkpoint())
    clip = bounce(list(read_clip(SHIPPED / "sample.mp4", streamer.size, None)))
    stream = streamer.start(PROMPTS[0])
    pictures = []
    for prompt in PROMPTS:
        stream.set_prompt(prompt)
        for frame in itertools.islice(clip, FRAMES_EACH):
            pair = np.concatenate([frame, np.asarray(stream.submit(frame))], axis=1)
            pictures.append(pair.repeat(ENLARGE, axis=0).repeat(ENLARGE, axis=1))
    write_animation(SHIPPED / "demo.webp", pictures, FPS)


if __name__ == "__main__":
    main()
