"""What does a frame cost, and what is it worth? Checkpoints at several numbers of steps."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.core.errors import UserError
from lsdjax.data.styles import TEACHERS
from lsdjax.evals.latency import compare_streams
from lsdjax.evals.quality import evaluate
from lsdjax.evals.sheets import write_json, write_text
from lsdjax.evals.trends import interval
from lsdjax.stream.session import Streamer

STEPS = (1, 2, 4, 16)
_NAME = re.compile(r"[\w+. -]+")


class Entry(NamedTuple):
    """A checkpoint under the name that the table calls it by; which one it is, its digest says."""

    name: str
    folder: Path
    digest: str

    @classmethod
    def parse(cls, text: str) -> "Entry":
        """NAME=CHECKPOINT.

        Raises:
            UserError: it is not of that form, or there is no checkpoint.
        """
        name, equals, folder = text.partition("=")
        if not (equals and folder and _NAME.fullmatch(name)):
            raise UserError(f"{text!r} is not of the form NAME=CHECKPOINT")
        return cls(name, Path(folder), load_checkpoint(folder).digest())


def measure_tradeoff(
    entries: Sequence[Entry],
    *,
    clips: Path,
    run: Path,
    out: Path,
    steps: Sequence[int] = STEPS,
    seeds: int = 3,
    styles: Sequence[str] = (),
    only: Sequence[str] = (),
    max_frames: int | None = None,
    timed_frames: int = 60,
) -> dict[str, Any]:
    """Quality and time of every checkpoint at every number of steps, as a table and a plot.

    A seed is one of noise and of what the generative styles hide from the model; entries of the
    same name are one model trained again, and are dealt over the seeds. Qualities are kept in
    `run`, where a later call finds them; times are taken anew, all checkpoints in turn. `out`
    receives `tradeoff.json`, `tradeoff.md` and `tradeoff.png`.

    Raises:
        UserError: no entries, numbers below 1, or what `evaluate` refuses.
    """
    if not entries:
        raise UserError("no checkpoints; NAME=CHECKPOINT is expected, once or more")
    if min(seeds, *steps) < 1:
        raise UserError(f"seeds={seeds}, steps={list(steps)}; at least 1 of each is expected")
    named: dict[str, list[Entry]] = {}
    for entry in entries:
        named.setdefault(entry.name, []).append(entry)
    scope = {"styles": list(styles or TEACHERS), "only": sorted(only), "max_frames": max_frames}
    todo = [
        (same[seed % len(same)], count, seed)
        for seed in range(seeds)
        for same in named.values()
        for count in steps
    ]
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for entry, count, seed in tqdm(todo, unit="run", disable=None):
        path = run / f"{entry.name.replace(' ', '-')}-{count}-{seed}.json"
        about = scope | {"digest": entry.digest, "clips": str(clips.resolve())}
        measured = json.loads(path.read_text()) if path.exists() else None
        if measured is None or measured["about"] != about:
            report = evaluate(
                entry.folder, clips=clips, steps=count, styles=styles or None, only=only,
                max_frames=max_frames, seed=seed, progress=False,
            )  # fmt: skip
            measured = {"about": about, "styles": report["styles"], "clips": report["clips"]}
            write_json(path, measured)
            jax.clear_caches()
        found.setdefault((entry.name, count), []).append(measured)
    times = time_all({name: same[0] for name, same in named.items()}, steps, timed_frames)
    report = {
        "clips": next(iter(found.values()))[0]["clips"],
        **scope,
        "seeds": seeds,
        "device": jax.devices()[0].device_kind,
        "rows": [
            {"name": name, "steps": count, "ms": times[name, count]} | summarise(runs)
            for (name, count), runs in found.items()
        ],
    }
    write_json(out / "tradeoff.json", report)
    write_text(out / "tradeoff.md", as_markdown(report))
    plot_tradeoff(report, out / "tradeoff.png")
    return report


def time_all(
    entries: Mapping[str, Entry], steps: Sequence[int], frames: int
) -> dict[tuple[str, int], float]:
    """Milliseconds of the median stream step; checkpoints take turns, at each number of steps."""
    times = {}
    for count in steps:
        streamers = [Streamer(load_checkpoint(e.folder), steps=count) for e in entries.values()]
        for name, time in zip(entries, compare_streams(streamers, frames=frames), strict=True):
            times[name, count] = round(time.median, 3)
        del streamers
        jax.clear_caches()
    return times


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the styles of each kind, with their intervals over the seeds, and style by style.

    `psnr_db` is over the styles whose input determines the picture; `frechet`, the distance to the
    teacher's pictures, and `sharpness_ratio` are over the generative ones.
    """
    styles = {
        name: {
            figure: float(np.mean([run["styles"][name][figure] for run in runs]))
            for figure, value in first.items()
            if isinstance(value, float)
        }
        for name, first in runs[0]["styles"].items()
    }

    def over(generative: bool, figure: str) -> dict[str, Any] | None:
        def values(run: Mapping[str, Any]) -> list[float]:
            chosen = (
                s for s in run["styles"].values() if (s["kind"] == "generative") is generative
            )
            return [each[figure] for each in chosen if figure in each]

        means = [np.mean(found) for run in runs if (found := values(run))]
        return interval(np.array(means)) if means else None

    return {
        "psnr_db": over(generative=False, figure="psnr_db"),
        "frechet": over(generative=True, figure="frechet"),
        "sharpness_ratio": over(generative=True, figure="sharpness_ratio"),
        "styles": styles,
    }


_COLUMNS = {
    "psnr_db": ("PSNR dB", 2),
    "frechet": ("generative: Fréchet", 4),
    "sharpness_ratio": ("sharpness", 2),
}


def as_markdown(report: Mapping[str, Any]) -> str:
    """A table, a row a checkpoint and number of steps; ± is half the 95 % interval."""

    def rows() -> Iterator[str]:
        yield "| model | steps | ms | " + " | ".join(head for head, _ in _COLUMNS.values()) + " |"
        yield "|---" * (3 + len(_COLUMNS)) + "|"
        for row in report["rows"]:
            cells = [_cell(row[key], digits) for key, (_, digits) in _COLUMNS.items()]
            first = f"| {row['name']} | {row['steps']} | {row['ms']:.1f} | "
            yield first + " | ".join(cells) + " |"

    return "\n".join(rows()) + "\n"


def _cell(figure: Mapping[str, Any] | None, digits: int) -> str:
    if figure is None:
        return "–"
    reach = "" if figure["low"] is None else f" ± {figure['high'] - figure['mean']:.{digits}f}"
    return f"{figure['mean']:.{digits}f}{reach}"


def plot_tradeoff(report: Mapping[str, Any], path: Path) -> None:
    """Draw each quality over milliseconds a frame: a line a model, a mark a number of steps.

    Names of the same first word, such as "pruned" and "pruned distilled", share a colour.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [key for key in _COLUMNS if any(row[key] for row in report["rows"])]
    figure = Figure(figsize=(0.6 + 3.8 * len(shown), 3.6), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    names = list(dict.fromkeys(row["name"] for row in report["rows"]))
    related: dict[str, list[str]] = {}
    for name in names:
        related.setdefault(name.split()[0], []).append(name)
    looks = {
        name: {"color": f"C{colour}", "ls": ("-", "--", ":", "-.")[nth % 4]}
        for colour, same in enumerate(related.values())
        for nth, name in enumerate(same)
    }
    for axis, key in zip(axes, shown, strict=True):
        for name in names:
            rows = [row for row in report["rows"] if row["name"] == name and row[key]]
            rows.sort(key=lambda row: row["ms"])
            means = [row[key]["mean"] for row in rows]
            times = [row["ms"] for row in rows]
            (line,) = axis.plot(times, means, marker="o", markersize=4, label=name, **looks[name])
            if all(row[key]["low"] is not None for row in rows):
                low, high = ([row[key][end] for row in rows] for end in ("low", "high"))
                axis.fill_between(times, low, high, alpha=0.15, color=line.get_color(), lw=0)
            for row, mean in zip(rows, means, strict=True):
                axis.annotate(
                    str(row["steps"]), (row["ms"], mean), textcoords="offset points",
                    xytext=(3, 4), fontsize=7, color=line.get_color(),
                )  # fmt: skip
        axis.set_xscale("log")
        if key == "frechet":
            axis.set_yscale("log")
        if key == "sharpness_ratio":
            axis.axhline(1.0, color="0.7", lw=0.8, ls="--", zorder=0)
        axis.set_xlabel("ms a frame", fontsize=8)
        axis.set_title(_COLUMNS[key][0], fontsize=9)
        axis.tick_params(labelsize=8)
    lines = [line for line in axes[0].lines if not str(line.get_label()).startswith("_")]
    figure.legend(lines, names, loc="outside upper center", ncols=len(related), fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    figure.savefig(temporary, format="png")
    temporary.replace(path)
