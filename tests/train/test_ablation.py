"""The comparison of history augmentations: equal budgets, figures that say what was measured."""

import dataclasses
import json
from pathlib import Path

import pytest

from lsdjax import cli
from lsdjax.configs.ablation import ARMS
from lsdjax.core.errors import UserError
from lsdjax.train.ablation import Job, ablate, as_markdown, summarise, write_report

HISTORY = {
    "history_max_level", "history_declared", "history_drop", "history_drift", "history_errors",
    "fade", "own_history", "own_depth", "rollout",
}  # fmt: skip
SAMPLING = {"clean_pass", "history_level", "history_noise"}


def without(values: dict, names: set[str]) -> dict:
    return {name: value for name, value in values.items() if name not in names}


def test_arms_differ_in_their_history_alone() -> None:
    budgets = [
        (
            without(dataclasses.asdict(config.model), SAMPLING),
            [without(dataclasses.asdict(stage), HISTORY) for stage in config.stages],
            without(config.to_json(), {"model", "stages"}),
        )
        for config in ARMS.values()
    ]
    assert all(budget == budgets[0] for budget in budgets[1:])
    assert len({json.dumps(config.to_json()) for config in ARMS.values()}) == len(ARMS) >= 7


def measurement(seed: int, quarter: float, kept: float) -> dict:
    """As `measure_drift` reports it, of 2,000 frames in 8 segments."""

    def setting(psnr: float | None) -> dict:
        curve = None if psnr is None else {"curves": [[psnr + n for n in range(8)]]}
        metrics = {"psnr_db": curve, "frechet": {"curves": [[0.1] * 8]}}
        growth = {"mean": float(seed), "low": None, "high": None, "n": 1}
        shares = {"1000": {"share": kept, "by_seed": [kept]}}
        return {"metrics": metrics, "kept": shares, "colour_bias_growth": growth}

    late = {"early": 0.2, "late": 0.3}
    return {
        "frames": 2000,
        "rollouts": 4,
        "segment_frames": 250,
        "settings": {
            "intact": setting(30.0),
            "reseeded": setting(30.0),
            "quarter": setting(quarter),
            "none": setting(None),
        },
        "intact_minus_reseeded_db": {"mean": -0.1, "low": None, "high": None, "n": 1},
        "early_against_late": {"none": {"frechet": late, "mass_error": late}},
    }


def test_figures_are_means_over_seeds_with_their_interval() -> None:
    arm = {seed: measurement(seed, 20.0 + seed, 0.5) for seed in range(3)}
    control = {seed: measurement(seed, 18.0 + 2 * seed, 0.5) for seed in (1, 0)}
    found = summarise(arm, control)
    # Segments 1 to 3 lie within frames 250 to 1,000: 21, 22, 23 dB under the first seed.
    assert found["quarter_psnr_db"]["mean"] == pytest.approx(23.0)
    assert found["quarter_psnr_db"]["low"] == pytest.approx(23.0 - 4.303 / 3**0.5, abs=1e-3)
    assert found["free_kept_at_1000"] == {"mean": 0.5, "low": 0.5, "high": 0.5, "n": 3}
    assert found["free_frechet_late"]["mean"] == pytest.approx(0.3)
    gain = found["quarter_gain_db"]  # seed by seed: 2 dB and 1 dB, and the third has no control
    assert (gain["mean"], gain["n"]) == (pytest.approx(1.5), 2)
    assert "quarter_gain_db" not in summarise(arm, {})


def jobs_of(run: Path) -> list[Job]:
    return [
        Job(arm, seed, run / arm / str(seed), 2000, 4)
        for arm in ("diffusion forcing", "all")
        for seed in range(2)
    ]


def store(job: Job, found: dict) -> None:
    path = job.folder / "drift" / "drift.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(found))


def test_a_report_takes_what_is_there_and_says_of_how_many(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("lsdjax.train.ablation.plot_drift", lambda curves, path: None)
    jobs = jobs_of(tmp_path)
    with pytest.raises(UserError, match="nothing has been measured yet"):
        write_report(jobs, tmp_path / "docs")
    for job in jobs[:3]:
        store(job, measurement(job.seed, 20.0, 0.25))
    report = write_report(jobs, tmp_path / "docs")
    assert json.loads((tmp_path / "docs/ablation.json").read_text()) == report
    lines = (tmp_path / "docs/ablation.md").read_text().splitlines()
    assert lines == as_markdown(report).splitlines() and len(lines) == 4
    assert lines[2].startswith("| diffusion forcing |")
    assert [line.split("|")[-2].strip() for line in lines] == ["seeds", "---", "2", "1"]
    assert "± " in lines[2] and "±" not in lines[3]  # one run has no interval


def test_a_measurement_of_another_length_is_not_used(tmp_path: Path) -> None:
    job = jobs_of(tmp_path)[0]
    store(job, measurement(0, 20.0, 0.5))
    assert job.result() is not None
    assert dataclasses.replace(job, frames=3000).result() is None
    assert dataclasses.replace(job, rollouts=5).result() is None


def test_unknown_arms_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="unknown arms"):
        ablate(tmp_path, tmp_path, arms=["+ magic"])
    assert cli.main(["ablate", "--jobs", "0", "--run", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "lsdjax: seeds=3, jobs=0; at least 1 of each is expected\n"
