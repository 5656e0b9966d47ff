"""How a stream behaves: which style a prompt selects, how a switch looks, what hours do to it."""

import gc
import itertools
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.core.errors import UserError
from lsdjax.data.phrases import PHRASES
from lsdjax.data.styles import TEACHERS
from lsdjax.data.video import list_videos
from lsdjax.evals import metrics
from lsdjax.evals.phrasings import HELD_OUT
from lsdjax.evals.quality import TeacherStream, read_clip
from lsdjax.stream.session import Streamer


def _clips(folder: str | Path, only: tuple[str, ...]) -> list[Path]:
    paths = [path for path in list_videos(Path(folder)) if not only or path.stem in only]
    if not paths:
        raise UserError(f"no videos in {str(folder)!r}; a folder of clips is expected")
    return paths


def select_styles(
    checkpoint: str | Path | None = None,
    *,
    clips: str | Path,
    only: tuple[str, ...] = (),
    steps: int | None = None,
    frames: int = 30,
    phrasings: Mapping[str, tuple[str, ...]] = HELD_OUT,
) -> dict[str, Any]:
    """Does a phrasing that was never trained on select the right style?

    Each phrasing streams the first `frames` frames of every clip; the style whose teacher is
    nearest to the output by PSNR over all of them is the one selected. A generative teacher is
    compared on its own degraded input, so each case is judged among the pictures that the teachers
    would make of what the model was given.

    Returns {"accuracy", "bare", "in_sentences", "cases", "wrong": [...]}. The first half of each
    style's phrasings counts as bare.
    """
    streamer = Streamer(load_checkpoint(checkpoint), steps=steps)
    streamer.warm_up()
    paths = _clips(clips, only)
    footage = [list(read_clip(path, streamer.size, frames)) for path in paths]
    plain = [_targets_of(clip, streamer.size) for clip in footage]
    right: dict[bool, list[bool]] = {True: [], False: []}
    wrong = []
    cases = [(n, i, text) for n, texts in phrasings.items() for i, text in enumerate(texts)]
    for name, number, text in tqdm(cases, unit="prompt", disable=None):
        # On an intact input the generative teachers all show the original: one stands for all.
        candidates = [n for n in TEACHERS if n == name or TEACHERS[n].kind != "generative"]
        scores = dict.fromkeys(candidates, 0.0)
        for clip, targets in zip(footage, plain, strict=True):
            teacher = TeacherStream(name, streamer.size)
            stream = streamer.start(text)
            for index, frame in enumerate(clip):
                given, wanted = teacher.render(frame)
                shown = np.asarray(stream.submit(_bytes(given))) / 255.0
                for style in candidates:
                    target = wanted if style == name else targets[style][index]
                    if TEACHERS[name].kind == "generative" and style == "original":
                        target = given
                    scores[style] += metrics.psnr(shown, target)
        chosen = max(scores, key=lambda style: scores[style])
        bare = number < len(phrasings[name]) // 2
        right[bare].append(chosen == name)
        if chosen != name:
            wrong.append({"prompt": text, "style": name, "selected": chosen})
    both = right[True] + right[False]
    return {
        "accuracy": round(float(np.mean(both)), 4),
        "bare": round(float(np.mean(right[True])), 4),
        "in_sentences": round(float(np.mean(right[False])), 4),
        "cases": len(both),
        "clips": [path.name for path in paths],
        "wrong": wrong,
    }


def _bytes(frame: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(frame * 255), 0, 255).astype(np.uint8)


def _targets_of(clip: list[np.ndarray], size: tuple[int, int]) -> dict[str, list[np.ndarray]]:
    teachers = {name: TeacherStream(name, size) for name in TEACHERS}
    return {name: [t.render(frame)[1] for frame in clip] for name, t in teachers.items()}


def prompt_switch(
    checkpoint: str | Path | None = None,
    *,
    clips: str | Path,
    only: tuple[str, ...] = (),
    steps: int | None = None,
    before: int = 30,
    after: int = 30,
) -> dict[str, Any]:
    """A switch between every style and the next one, on one clip each in turn.

    Returns per pair `frames_to_effect` (frames until the output is nearer to the new teacher than
    to the old one, 1 = at once) and `behind_db`: how much nearer to the new teacher a stream that
    started with the new prompt at the same frame is, `after` frames later; then the worst of both.
    """
    streamer = Streamer(load_checkpoint(checkpoint), steps=steps)
    streamer.warm_up()
    paths = _clips(clips, only)
    names = [name for name in TEACHERS if TEACHERS[name].kind != "generative"]
    pairs = []
    for number, (old, new) in enumerate(itertools.pairwise([*names, names[0]])):
        clip = list(read_clip(paths[number % len(paths)], streamer.size, None))
        looped = list(itertools.islice(bounce(clip), before + after + 1))
        stream = streamer.start(PHRASES[old][0])
        for frame in looped[:before]:
            np.asarray(stream.submit(frame))
        stream.set_prompt(PHRASES[new][0])
        fresh = streamer.start(PHRASES[new][0])
        teachers = {name: TeacherStream(name, streamer.size) for name in (old, new)}
        effect, gap = None, 0.0
        for index, frame in enumerate(looped[before:]):
            shown, started = (np.asarray(s.submit(frame)) / 255.0 for s in (stream, fresh))
            targets = {name: t.render(frame)[1] for name, t in teachers.items()}
            scores = {name: metrics.psnr(shown, target) for name, target in targets.items()}
            if effect is None and scores[new] > scores[old]:
                effect = index + 1
            gap = metrics.psnr(started, targets[new]) - scores[new]
        pairs.append(
            {"from": old, "to": new, "frames_to_effect": effect, "behind_db": round(gap, 3)}
        )
    effects = [pair["frames_to_effect"] for pair in pairs]
    return {
        "worst_frames_to_effect": None if None in effects else max(effects),
        "worst_behind_db": max(pair["behind_db"] for pair in pairs),
        "pairs": pairs,
    }


def bounce(clip: list[np.ndarray]) -> Iterator[np.ndarray]:
    """A clip played forth and back without end, so that no cut disturbs the stream."""
    order = clip + clip[-2:0:-1]
    return itertools.cycle(order)


def endurance(
    checkpoint: str | Path | None = None,
    *,
    clip: str | Path,
    style: str = "watercolour",
    frames: int = 20_000,
    steps: int | None = None,
) -> dict[str, Any]:
    """One stream on a looped clip for `frames` frames: memory, step time, finiteness and quality.

    Quality is the PSNR to the teacher over frames 100 to 1,100 and over the last 1,000. Memory is
    the process's resident size, by thousand frames, after the first thousand. Nothing breaks, so
    every one of the `repairs` is a false alarm.
    """
    if frames < 2200 or style not in TEACHERS:
        raise UserError(
            f"frames={frames}, style={style!r}; at least 2200 and a known style expected"
        )
    streamer = Streamer(load_checkpoint(checkpoint), steps=steps)
    streamer.warm_up()
    source = bounce(list(read_clip(Path(clip), streamer.size, None)))
    stream, teacher = streamer.start(PHRASES[style][0]), TeacherStream(style, streamer.size)
    scores: list[float] = []
    step_ms: list[float] = []
    resident_mb: list[float] = []
    extremes, remembers = 0, TEACHERS[style].kind == "stateful"
    for index in tqdm(range(frames), unit="frame", disable=None):
        frame = next(source)
        judged = 100 <= index < 1100 or index >= frames - 1000
        # A teacher with a memory has to follow every frame; the others only where they judge.
        wanted = teacher.render(frame)[1] if judged or remembers else None
        began = time.perf_counter()
        shown = np.asarray(stream.submit(frame))
        step_ms.append(1e3 * (time.perf_counter() - began))
        if judged and wanted is not None:
            scores.append(metrics.psnr(shown / 255.0, wanted))
        extremes += shown.min() == shown.max()
        if index % 1000 == 999:
            gc.collect()
            resident_mb.append(_resident_mb())
    thousands = [float(np.median(step_ms[i : i + 1000])) for i in range(0, frames - 999, 1000)]
    early, late = float(np.mean(scores[:1000])), float(np.mean(scores[1000:]))
    return {
        "style": style,
        "frames": frames,
        "psnr_db": {"early": round(early, 3), "late": round(late, 3)},
        "psnr_change_db": round(late - early, 3),
        "resident_mb": [round(value, 1) for value in resident_mb],
        "resident_change": round(max(resident_mb[1:]) / min(resident_mb[1:]) - 1, 4),
        "step_ms_by_thousand": [round(value, 2) for value in thousands],
        "flat_frames": int(extremes),
        "repairs": dict(Counter(event.reason for event in stream.events)),
        "finite": bool(np.isfinite(np.asarray(stream.history)).all()),
    }


def _resident_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:  # not Linux: the peak is the best that the standard library knows
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
