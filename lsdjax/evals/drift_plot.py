"""Drift as pictures: curves of one or more results over each other, and frames of a rollout."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsdjax.evals.drift_report import METRICS

LABELS = {
    "psnr_db": "PSNR, dB",
    "ssim": "SSIM",
    "frechet": "Fréchet distance",
    "colour_bias": "colour bias, /255",
    "sharpness": "sharpness",
    "motion": "motion, /255",
    "count_error": "error in count",
    "mass_error": "error in mass",
    "kept": "lights kept",
}
_TILE = 96
"""Height in pixels, about, of a frame of the contact sheet: enlarged or shrunk to it."""
_BLANK, _MARGIN, _HEAD = 4, 84, 22


def plot_drift(results: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """Draw results of `measure_drift`: a row a metric, a column a setting, a line a named result.

    The line is the mean over the seeds, the band from the least to the greatest. Dashed grey is
    what the truth gets. Metrics that no result has are left out. A PNG, whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = list(dict.fromkeys(name for each in results.values() for name in each["settings"]))
    rows = [row for row in (*METRICS, "kept") if any(_has(r, row) for r in results.values())]
    figure = Figure(
        figsize=(1 + 2.5 * len(settings), 0.8 + 1.35 * len(rows)), dpi=80, layout="constrained"
    )
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), len(settings), sharex="row", sharey="row", squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        axes[0].set_ylabel(LABELS[row], fontsize=8)
        for axis, setting in zip(axes, settings, strict=True):
            _panel(axis, results, setting, row)
    for axis, setting in zip(grid[0], settings, strict=True):
        axis.set_title(setting, fontsize=10)
    for axis in grid[-1]:
        axis.set_xlabel("frame", fontsize=8)
    lines = {line.get_label(): line for axis in grid.flat for line in axis.lines}
    lines = {name: line for name, line in lines.items() if not str(name).startswith("_")}
    figure.legend(
        list(lines.values()), list(lines), loc="outside upper center", ncols=4, fontsize=8
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    figure.savefig(temporary, format="png")
    temporary.replace(path)


def _has(result: Mapping[str, Any], row: str) -> bool:
    return any(_points(each, row) is not None for each in result["settings"].values())


def _points(
    setting: Mapping[str, Any], row: str, segment_frames: int = 1
) -> tuple[np.ndarray, np.ndarray] | None:
    """Frames (points,) and values (seeds, points) of one panel's line; None: undefined."""
    if row == "kept":
        kept = setting["kept"]
        if not kept:
            return None
        values = np.array([each["by_seed"] for each in kept.values()]).T
        return np.array([int(frame) for frame in kept]), values
    if setting["metrics"][row] is None:
        return None
    values = np.array(setting["metrics"][row]["curves"], float)
    return (np.arange(values.shape[1]) + 0.5) * segment_frames, values


def _panel(axis: Any, results: Mapping[str, Mapping[str, Any]], setting: str, row: str) -> None:
    axis.tick_params(labelsize=7)
    axis.grid(linewidth=0.4, alpha=0.5)
    if row == "kept":
        axis.set_xscale("log")
        axis.tick_params(which="minor", labelbottom=False)
        axis.set_ylim(-0.05, 1.05)
    drawn = False
    for number, (name, result) in enumerate(results.items()):
        if setting not in result["settings"]:
            continue
        found = _points(result["settings"][setting], row, result["segment_frames"])
        if found is None:
            continue
        frames, values = found
        drawn, colour = True, f"C{number % 10}"
        marker = "o" if row == "kept" else None
        mean = values.mean(axis=0)
        axis.plot(frames, mean, color=colour, linewidth=1.2, marker=marker, ms=3, label=name)
        axis.fill_between(
            frames, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0
        )
        if row in result["truth"]:
            truth = float(np.mean(result["truth"][row]))
            axis.axhline(truth, color="0.4", linewidth=0.9, linestyle="--", label="truth")
    if not drawn:
        text = "no true frame to\ncompare with"
        axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", fontsize=8)


def write_drift_sheet(
    path: str | Path,
    frames: Sequence[int],
    pictures: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
) -> None:
    """One rollout at `frames`: the truth in the first row, then a row a setting.

    pictures: setting -> [(shown, truth)], uint8 (h, w, 3), one pair for each of `frames`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {"truth": [truth for _, truth in next(iter(pictures.values()))]}
    rows |= {name: [shown for shown, _ in pairs] for name, pairs in pictures.items()}
    rows = {name: [_to_tile(picture) for picture in strip] for name, strip in rows.items()}
    height, width = rows["truth"][0].shape[:2]
    high, wide = height + _BLANK, width + _BLANK
    sheet = np.full((high * len(rows), wide * len(frames), 3), 255, np.uint8)
    for y, strip in enumerate(rows.values()):
        for x, picture in enumerate(strip):
            top, left = y * high + _BLANK // 2, x * wide + _BLANK // 2
            sheet[top : top + height, left : left + width] = picture
    total = sheet.shape[1] + _MARGIN, sheet.shape[0] + _HEAD
    figure = Figure(figsize=(total[0] / 100, total[1] / 100), dpi=100)
    FigureCanvasAgg(figure)
    figure.figimage(sheet, xo=_MARGIN, yo=0, origin="upper")
    for y, name in enumerate(rows):
        figure.text(
            6 / total[0], 1 - (_HEAD + (y + 0.5) * high) / total[1], name, fontsize=9, va="center"
        )
    for x, frame in enumerate(frames):
        figure.text(
            (_MARGIN + (x + 0.5) * wide) / total[0], 1 - _HEAD / 2 / total[1], f"{frame:,}",
            fontsize=9, va="center", ha="center",
        )  # fmt: skip
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    figure.savefig(temporary, format="png", dpi=100)
    temporary.replace(path)


def _to_tile(picture: np.ndarray) -> np.ndarray:
    """Repeat the pixels of a small picture, average those of a large one, by a whole factor."""
    height, width = picture.shape[:2]
    if height <= _TILE:
        factor = _TILE // height
        return picture.repeat(factor, axis=0).repeat(factor, axis=1)
    factor = -(-height // _TILE)
    picture = picture[: height // factor * factor, : width // factor * factor]
    blocks = picture.reshape(height // factor, factor, width // factor, factor, 3)
    return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
