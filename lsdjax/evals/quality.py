"""Does a checkpoint do what its prompts say? Whole clips, streamed, against the teachers."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.core.errors import UserError
from lsdjax.data.phrases import PHRASES
from lsdjax.data.styles import TEACHERS
from lsdjax.data.teacher import Teacher, TeacherState, init_state
from lsdjax.data.video import fit_frame, list_videos, open_source
from lsdjax.evals import metrics
from lsdjax.evals.sheets import write_picture_sheet
from lsdjax.stream.session import Streamer

logger = logging.getLogger(__name__)


class TeacherStream:
    """One teacher followed frame by frame, uint8 in and [0, 1] out."""

    def __init__(self, name: str, size: tuple[int, int], seed: int = 0) -> None:
        self._render = _jitted(TEACHERS[name])
        self._state = init_state(1, *size)
        self._key = jax.random.key(seed)

    def render(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The input that the model is given and the picture that it should show."""
        source = (frame.astype(np.float32) / 255.0)[None, None]
        inputs, targets, self._state = self._render(source, self._state, self._key)
        return np.asarray(inputs)[0, 0], np.asarray(targets)[0, 0]


@functools.cache
def _jitted(teacher: Teacher) -> Callable[..., tuple[jax.Array, jax.Array, TeacherState]]:
    return jax.jit(teacher.render)


def to_uint8(frame: np.ndarray) -> np.ndarray:
    """[0, 1] to uint8, rounded."""
    return np.clip(np.rint(frame * 255.0), 0, 255).astype(np.uint8)


def read_clip(path: Path, size: tuple[int, int], limit: int | None) -> Iterator[np.ndarray]:
    """The frames of a clip at the model's size, at most `limit` of them."""
    with open_source(path) as source:
        for index, frame in enumerate(source):
            if limit is not None and index >= limit:
                return
            yield fit_frame(frame, *size)


def evaluate(
    checkpoint: str | Path | None = None,
    *,
    clips: str | Path,
    steps: int | None = None,
    styles: Sequence[str] | None = None,
    only: Sequence[str] = (),
    max_frames: int | None = None,
    drop: float = 0.0,
    out: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    text_encoder: str | None = None,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Stream every clip of the folder `clips` through every style and compare with the teacher.

    only: stems of the clips to take, all where empty. max_frames: per clip. seed: of the stream's
    noise and of the teachers' chance. out: a folder for the sheet. Returns {"styles": {name:
    {"kind", "psnr_db", "ssim", ...}}, ...}; figures are means over frames, then over clips. The raw
    input's PSNR stands beside each as `input_psnr_db`. Generative styles also have `frechet`,
    `frechet_input` (named features) and `sharpness_ratio`; snow has `snow_share_ratio`.

    drop: each input frame but the first is withheld with this probability, and figures are those of
    the withheld ones alone; `held_psnr_db` is what repeating the teacher's last picture would get.

    Raises:
        UserError: no clips, an unknown style, `drop` not in [0, 1), a bad checkpoint or not its
            text encoder.
    """
    if not 0 <= drop < 1:
        raise UserError(f"drop={drop}; a share in [0, 1) is expected")
    loaded = load_checkpoint(checkpoint)
    streamer = Streamer(loaded, steps=steps, text_encoder=text_encoder, dtype=dtype)
    paths = [path for path in list_videos(Path(clips)) if not only or path.stem in only]
    if not paths:
        raise UserError(f"no videos in {str(clips)!r}; a folder of clips is expected")
    names = list(styles or TEACHERS)
    if unknown := [name for name in names if name not in TEACHERS]:
        raise UserError(f"unknown styles {unknown}; known are {list(TEACHERS)}")
    streamer.warm_up()
    result: dict[str, Any] = {}
    pictures: dict[str, list[list[np.ndarray]]] = {}
    bar = tqdm(total=len(names) * len(paths), unit="clip", disable=None if progress else True)
    for name in names:
        measured = []
        pictures[name] = []
        for path in paths:
            clip, picture = _measure(streamer, name, path, max_frames, drop, seed)
            measured.append(clip)
            pictures[name].append(picture)
            bar.set_postfix_str(f"{name} {clip['psnr_db']:.1f} dB")
            bar.update()
        result[name] = _summary(name, measured)
    bar.close()
    stateless = [v["psnr_db"] for v in result.values() if v["kind"] == "stateless"]
    report = {
        "styles": result,
        "stateless_mean_psnr_db": round(float(np.mean(stateless)), 2) if stateless else None,
        "steps": streamer.steps,
        "size": list(streamer.size),
        "clips": [path.name for path in paths],
        "features": metrics.FEATURES,
    }
    if out is not None:
        write_picture_sheet(Path(out) / "styles.png", pictures)
    return report


def _measure(
    streamer: Streamer, name: str, path: Path, limit: int | None, drop: float, seed: int
) -> tuple[dict[str, Any], list[np.ndarray]]:
    teacher = TeacherStream(name, streamer.size, seed)
    stream = streamer.start(PHRASES[name][0], seed=seed)
    rows: list[dict[str, float]] = []
    seen, wanted, picture = [], [], []
    rng, held = np.random.default_rng(seed), None
    for frame in read_clip(path, streamer.size, limit):
        given, target = teacher.render(frame)
        given_frame = to_uint8(given)
        withheld = held is not None and rng.random() < drop
        answer = stream.submit(None if withheld else given_frame)
        shown = np.asarray(answer).astype(np.float32) / 255.0
        if not withheld:
            held = target
        if drop and not withheld:
            continue
        row = {
            "psnr_db": metrics.psnr(shown, target),
            "ssim": metrics.ssim(shown, target),
            "input_psnr_db": metrics.psnr(given, target),
        }
        if withheld and held is not None:
            row["held_psnr_db"] = metrics.psnr(held, target)
        if TEACHERS[name].kind == "generative":
            seen.append((metrics.features(shown), metrics.features(given)))
            wanted.append(metrics.features(target))
            row["sharpness"] = metrics.sharpness(shown)
            row["target_sharpness"] = metrics.sharpness(target)
        if name == "snow":
            row["snow"] = metrics.snow_share(shown, given)
            row["target_snow"] = metrics.snow_share(target, given)
        rows.append(row)
        if len(rows) <= 12:
            picture = [given_frame, to_uint8(target), to_uint8(shown)]
    if not rows:
        raise UserError(f"no frame of {path.name!r} was withheld at drop={drop}; more are needed")
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return means | {"features": (seen, wanted)}, picture


def _summary(name: str, clips: list[dict[str, Any]]) -> dict[str, Any]:
    kind = TEACHERS[name].kind

    def mean(key: str, digits: int) -> float:
        return round(float(np.mean([clip[key] for clip in clips])), digits)

    summary: dict[str, Any] = {
        "kind": kind,
        "psnr_db": mean("psnr_db", 2),
        "ssim": mean("ssim", 4),
        "input_psnr_db": mean("input_psnr_db", 2),
    }
    if "held_psnr_db" in clips[0]:
        summary["held_psnr_db"] = mean("held_psnr_db", 2)
    if kind == "generative":
        shown = np.array([f[0] for clip in clips for f in clip["features"][0]])
        given = np.array([f[1] for clip in clips for f in clip["features"][0]])
        wanted = np.array([f for clip in clips for f in clip["features"][1]])
        if len(wanted) > 1:
            summary["frechet"] = round(metrics.frechet(shown, wanted), 4)
            summary["frechet_input"] = round(metrics.frechet(given, wanted), 4)
        summary["sharpness_ratio"] = round(mean("sharpness", 9) / mean("target_sharpness", 9), 3)
    if name == "snow":
        summary["snow_share"] = mean("snow", 4)
        summary["snow_share_teacher"] = mean("target_snow", 4)
        summary["snow_share_ratio"] = round(mean("snow", 9) / max(mean("target_snow", 9), 1e-9), 3)
    return summary
