"""What narrower arithmetic costs a checkpoint's pictures: bfloat16, and blocks with fp8 products.

    python -m lsdjax.evals.rounding --clips FOLDER --out docs/fp8.json

Each stream runs beside the float32 one on the same input. fp8 is not the kernels but their
contract, in float32 around the products: what rounding to e4m3 costs, on any machine.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.core.errors import UserError
from lsdjax.data.phrases import PHRASES
from lsdjax.data.styles import TEACHERS
from lsdjax.data.video import list_videos
from lsdjax.evals.metrics import psnr
from lsdjax.evals.quality import TeacherStream, read_clip, to_uint8
from lsdjax.pallas import dispatch
from lsdjax.stream.session import Streamer

KINDS = {
    "float32": ("float32", "xla"),
    "bfloat16": ("bfloat16", "xla"),
    "fp8": ("float32", "reference in fp8"),
}
"""Of streams: their type, and what their blocks run on."""


def compare(
    clips: Path,
    *,
    checkpoint: str | None = None,
    only: tuple[str, ...] = (),
    frames: int = 24,
    styles: tuple[str, ...] = tuple(TEACHERS),
) -> dict[str, Any]:
    """PSNR in dB of each kind of stream to the teacher and to float32, means over clips and frames.

    Raises:
        UserError: no clips, or a bad checkpoint.
    """
    paths = [path for path in list_videos(clips) if not only or path.stem in only]
    if not paths:
        raise UserError(f"no videos in {str(clips)!r}; a folder of clips is expected")
    loaded = load_checkpoint(checkpoint)
    streamers = {name: Streamer(loaded, dtype=dtype) for name, (dtype, _) in KINDS.items()}
    found = {}
    for style in styles:
        each = [_one(streamers, style, path, frames) for path in paths]
        found[style] = {key: round(float(np.mean([e[key] for e in each])), 2) for key in each[0]}
    means = [list(values.values()) for values in found.values()]
    mean = dict(zip(next(iter(found.values())), np.mean(means, axis=0).round(2), strict=True))
    return {
        "checkpoint": loaded.digest(),
        "clips": [path.name for path in paths],
        "frames": frames,
        "mean_db": {key: float(value) for key, value in mean.items()},
        "styles_db": found,
    }


def _one(streamers: dict[str, Streamer], style: str, path: Path, frames: int) -> dict[str, float]:
    size = streamers["float32"].size
    teacher = TeacherStream(style, size)
    pairs = [teacher.render(frame) for frame in read_clip(path, size, frames)]
    shown = {}
    for name, streamer in streamers.items():
        with dispatch.only("blocks", KINDS[name][1]):  # compiled at the first frame
            stream = streamer.start(PHRASES[style][0])
            made = [np.asarray(stream.submit(to_uint8(given))) for given, _ in pairs]
        shown[name] = [picture / np.float32(255) for picture in made]
    means = {}
    for name, pictures in shown.items():
        to_teacher = [psnr(p, target) for p, (_, target) in zip(pictures, pairs, strict=True)]
        means[f"{name}_to_teacher"] = float(np.mean(to_teacher))
        if name != "float32":
            alike = [psnr(p, q) for p, q in zip(pictures, shown["float32"], strict=True)]
            means[f"{name}_to_float32"] = float(np.mean(alike))
    return means


def main(arguments: list[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="lsdjax.evals.rounding")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--only", action="append", default=[], metavar="CLIP")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    found = compare(
        options.clips,
        checkpoint=options.checkpoint,
        only=tuple(options.only),
        frames=options.frames,
    )
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["mean_db"]))


if __name__ == "__main__":
    main()
