"""Which history augmentation does the work? Every arm trained and measured alike, and the table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.configs import TrainConfig
from lsdjax.configs.ablation import ARMS
from lsdjax.core.errors import UserError
from lsdjax.data.examples import Lights
from lsdjax.evals.drift import measure_drift
from lsdjax.evals.drift_plot import plot_drift
from lsdjax.evals.sheets import write_json, write_text
from lsdjax.evals.trends import interval
from lsdjax.train.loop import configure_logging, train

CONTROL = "diffusion forcing"
"""The arm without any augmentation, which the others are compared with seed by seed."""
WATCHED = (250, 1000)
"""Frames of the figures with an input at a quarter of the frames."""


@dataclass(frozen=True)
class Job:
    """One arm under one seed: of the parameters, of the draws, and of the scenes it is judged on.

    frames and rollouts: of the measurement. An earlier measurement of another length is not used.
    """

    arm: str
    seed: int
    folder: Path
    frames: int
    rollouts: int

    @property
    def config(self) -> TrainConfig:
        return replace(ARMS[self.arm], seed=self.seed)

    def result(self) -> dict[str, Any] | None:
        """What an earlier call measured."""
        path = self.folder / "drift" / "drift.json"
        if not path.exists():
            return None
        found = json.loads(path.read_text())
        same = (found["frames"], found["rollouts"]) == (self.frames, self.rollouts)
        return found if same else None

    def run(self) -> None:
        """Train and measure, or whatever of it is left to do."""
        configure_logging()
        exported = train(self.config, Lights(), self.folder)
        measure_drift(
            load_checkpoint(exported),
            frames=self.frames,
            seeds=1,
            rollouts=self.rollouts,
            first_seed=self.seed,
            out=self.folder / "drift",
            progress=False,
        )


def ablate(
    run: Path,
    out: Path,
    *,
    arms: Sequence[str] = (),
    seeds: int = 3,
    frames: int = 10_000,
    rollouts: int = 8,
    jobs: int = 1,
) -> dict[str, Any]:
    """Train and measure every arm under every seed, `jobs` at a time, and write what came out.

    Called again it goes on where it stopped: a run resumes from its checkpoint, and what was
    measured is kept. `out` receives `ablation.json`, `ablation.md` and `ablation.png` whenever a
    job is done. All arms have the same model sizes, steps, clips and frames to learn from.

    Raises:
        UserError: an unknown arm, or a number below 1.
    """
    if unknown := [name for name in arms if name not in ARMS]:
        raise UserError(f"unknown arms {unknown}; known are {list(ARMS)}")
    if min(seeds, jobs) < 1:
        raise UserError(f"seeds={seeds}, jobs={jobs}; at least 1 of each is expected")
    chosen = list(arms or ARMS)
    todo = [
        Job(arm, seed, run / _folder(arm) / f"seed-{seed}", frames, rollouts)
        for seed in range(seeds)
        for arm in chosen
    ]
    unfinished = [job for job in todo if job.result() is None]
    table: dict[str, Any] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(job.run) for job in unfinished]
        bar = tqdm(as_completed(running), total=len(todo), unit="run", disable=None)
        bar.update(len(todo) - len(unfinished))
        for done in bar:
            done.result()
            table = write_report(todo, out)
    return table or write_report(todo, out)


def _folder(arm: str) -> str:
    return arm.removeprefix("+ ").replace(" ", "-")


def write_report(jobs: Sequence[Job], out: Path) -> dict[str, Any]:
    """The figures of what has been measured so far, as JSON, as a table and as curves."""
    measured: dict[str, dict[int, dict[str, Any]]] = {}
    for job in jobs:
        if (found := job.result()) is not None:
            measured.setdefault(job.arm, {})[job.seed] = found
    if not measured:
        raise UserError("nothing has been measured yet")
    frames, rollouts = jobs[0].frames, jobs[0].rollouts
    report = {
        "steps": ARMS[jobs[0].arm].total_steps,
        "frames": frames,
        "rollouts": rollouts,
        "arms": {
            arm: summarise(found, {} if arm == CONTROL else measured.get(CONTROL, {}))
            for arm, found in measured.items()
        },
    }
    write_json(out / "ablation.json", report)
    write_text(out / "ablation.md", as_markdown(report))
    curves = {arm: _together(list(found.values())) for arm, found in measured.items()}
    plot_drift(curves, out / "ablation.png")
    return report


def summarise(
    by_seed: Mapping[int, Mapping[str, Any]], control: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """The figures of one arm, each with its 95 % t interval over the seeds.

    `quarter_gain_db` is against `control` under the same seed, where it has been measured.
    """
    found = list(by_seed.values())
    quarter = [each["settings"]["quarter"] for each in found]
    none = [each["settings"]["none"] for each in found]
    figures = {
        "intact_psnr_db": [_within(e, "intact", "psnr_db", (0, e["frames"])) for e in found],
        "intact_minus_reseeded_db": [e["intact_minus_reseeded_db"]["mean"] for e in found],
        "quarter_psnr_db": [_within(e, "quarter", "psnr_db", WATCHED) for e in found],
        "quarter_gain_db": [
            _within(each, "quarter", "psnr_db", WATCHED)
            - _within(control[seed], "quarter", "psnr_db", WATCHED)
            for seed, each in by_seed.items()
            if seed in control
        ],
        "quarter_colour_bias_growth": [
            each["colour_bias_growth"]["mean"] for each in quarter if each["colour_bias_growth"]
        ],
        "free_frechet_late": [
            each["early_against_late"]["none"]["frechet"]["late"] for each in found
        ],
        "free_mass_error_early": [
            each["early_against_late"]["none"]["mass_error"]["early"] for each in found
        ],
        "free_mass_error_late": [
            each["early_against_late"]["none"]["mass_error"]["late"] for each in found
        ],
    }
    for frame in none[0]["kept"]:
        figures[f"free_kept_at_{frame}"] = [each["kept"][frame]["share"] for each in none]
    return {name: interval(np.array(values)) for name, values in figures.items() if values}


def _within(found: Mapping[str, Any], setting: str, metric: str, frames: tuple[int, int]) -> float:
    """The mean of a curve over the segments that lie within a range of frames."""
    each = found["segment_frames"]
    curve = np.mean(found["settings"][setting]["metrics"][metric]["curves"], axis=0)
    inside = [n for n in range(len(curve)) if frames[0] <= n * each and (n + 1) * each <= frames[1]]
    return float(np.mean(curve[inside])) if inside else float(curve[-1])


def _together(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The curves of several seeds as those of one measurement with as many seeds."""
    first = json.loads(json.dumps(found[0]))
    for setting, report in first["settings"].items():
        for metric, values in report["metrics"].items():
            if values is not None:
                values["curves"] = [
                    curve
                    for each in found
                    for curve in each["settings"][setting]["metrics"][metric]["curves"]
                ]
        for frame, kept in (report["kept"] or {}).items():
            shares = [each["settings"][setting]["kept"][frame]["share"] for each in found]
            kept |= {"share": float(np.mean(shares)), "by_seed": shares}
    return first


_COLUMNS = {
    "intact_psnr_db": ("intact: PSNR dB", 2),
    "intact_minus_reseeded_db": ("intact − re-seeded, dB", 2),
    "quarter_psnr_db": ("quarter: PSNR dB", 2),
    "quarter_gain_db": ("gain on diffusion forcing", 2),
    "quarter_colour_bias_growth": ("quarter: colour bias growth /255", 2),
    "free_kept_at_100": ("free: kept at 100", 2),
    "free_kept_at_1000": ("at 1,000", 2),
    "free_kept_at_10000": ("at 10,000", 2),
    "free_mass_error_early": ("free: mass error early", 2),
    "free_mass_error_late": ("late", 2),
    "free_frechet_late": ("free: Fréchet late", 3),
}


def as_markdown(report: Mapping[str, Any]) -> str:
    """A table, a row an arm; ± is half the 95 % interval over the seeds."""

    def rows() -> Iterator[str]:
        seen = [c for c in _COLUMNS if any(c in arm for arm in report["arms"].values())]
        yield "| arm | " + " | ".join(_COLUMNS[column][0] for column in seen) + " | seeds |"
        yield "|---" * (len(seen) + 2) + "|"
        for arm, figures in report["arms"].items():
            cells = [_cell(figures.get(column), _COLUMNS[column][1]) for column in seen]
            seeds = next(iter(figures.values()))["n"]
            yield f"| {arm} | " + " | ".join(cells) + f" | {seeds} |"

    return "\n".join(rows()) + "\n"


def _cell(figure: Mapping[str, Any] | None, digits: int) -> str:
    if figure is None:
        return "–"
    mean = f"{figure['mean']:.{digits}f}"
    if figure["low"] is None:
        return mean
    return f"{mean} ± {figure['high'] - figure['mean']:.{digits}f}"
