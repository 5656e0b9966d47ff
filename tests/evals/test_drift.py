"""Each way to drift is caught by the metric that is named after it; what does not drift is not."""

import json
from collections.abc import Callable
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from flax import nnx

from lsdjax.checkpoint.export import Checkpoint
from lsdjax.core.errors import UserError
from lsdjax.evals import metrics
from lsdjax.evals.drift import measure_drift, measure_model
from lsdjax.evals.drift_plot import plot_drift
from lsdjax.evals.drift_watch import LEAD_IN, SETTINGS, DriftPlan, Setting
from lsdjax.evals.quality import to_uint8
from lsdjax.evals.report import as_drift_table
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT

PLAN = DriftPlan((32, 32), frames=400, seeds=2, rollouts=3, segments=8)
INTACT = {"intact": SETTINGS["intact"]}


class Oracle:
    """Knows the truth, and shows what `change(frame index, truth)` makes of it."""

    def __init__(
        self, change: Callable[[int, np.ndarray], np.ndarray], plan: DriftPlan = PLAN
    ) -> None:
        self.change, self.plan = change, plan

    def restart(self) -> None:
        self.scenes, self.index = self.plan.scenes(), 0
        self.given, self.levels, self.true, self.reseeded = [], [], [], {}

    def step(self, frames: np.ndarray, input_level: np.ndarray) -> np.ndarray:
        given, target = next(self.scenes)
        self.given.append(frames)
        self.levels.append(input_level)
        self.true.append(given)
        self.index += 1
        return to_uint8(self.change(self.index - 1, target))

    def reseed(self, pictures: np.ndarray) -> None:
        self.reseeded[self.index] = pictures


def measure(
    change: Callable[[int, np.ndarray], np.ndarray],
    settings: dict[str, Setting] = INTACT,
    plan: DriftPlan = PLAN,
) -> dict[str, Any]:
    return measure_model(Oracle(change, plan), plan, settings, progress=False)[0]


def curve(result: dict[str, Any], metric: str, setting: str = "intact") -> np.ndarray:
    """Mean over the seeds, segment by segment."""
    return np.mean(result["settings"][setting]["metrics"][metric]["curves"], axis=0)


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    return measure(lambda index, target: target, SETTINGS)


def test_the_truth_does_not_drift(truth: dict[str, Any]) -> None:
    for name in SETTINGS:
        assert curve(truth, "count_error", name).max() == 0
        assert curve(truth, "mass_error", name).max() < 0.02
        assert curve(truth, "colour_bias", name).max() < 1e-3
        kept = truth["settings"][name]["kept"]
        assert {int(frame): each["share"] for frame, each in kept.items()} == {100: 1, 300: 1}
        for metric in ("sharpness", "motion"):
            mean = curve(truth, metric, name).mean()
            assert mean == pytest.approx(np.mean(truth["truth"][metric]), rel=1e-4)
        assert curve(truth, "frechet", name)[0] == pytest.approx(
            np.mean(truth["truth"]["frechet"]), rel=1e-3
        )
    assert curve(truth, "psnr_db").min() == pytest.approx(60)
    assert curve(truth, "ssim").min() == pytest.approx(1)
    assert truth["intact_minus_reseeded_db"]["mean"] == 0
    assert truth["early_against_late"]["none"]["count_error"]["p"] is None


def test_only_what_can_be_judged_is_judged(truth: dict[str, Any]) -> None:
    free = truth["settings"]["none"]["metrics"]
    assert free["psnr_db"] is None and free["ssim"] is None and free["frechet"] is not None
    assert set(truth["early_against_late"]) == {"none"}
    plan = DriftPlan((32, 32), "negative", frames=100, seeds=1, rollouts=1)
    inverted = measure(lambda index, target: target, INTACT, plan)["settings"]["intact"]
    assert inverted["metrics"]["count_error"] is None and inverted["kept"] is None
    assert np.min(inverted["metrics"]["psnr_db"]["curves"]) > 59


def test_results_are_json(truth: dict[str, Any]) -> None:
    assert json.loads(json.dumps(truth, allow_nan=False)) == truth


def test_fading_lights_are_missed() -> None:
    dark = 0.08

    def fade(index: int, target: np.ndarray) -> np.ndarray:
        return dark + (target - dark) * max(1 - index / 300, 0)

    faded = measure(fade)
    mass, count = curve(faded, "mass_error"), curve(faded, "count_error")
    assert mass[0] == pytest.approx(0.075, abs=0.03) and mass[-1] == 1
    assert (np.diff(mass) >= 0).all()
    assert count[:2].max() == 0 and count[4:].min() == 1  # below half brightness there is no light
    kept = faded["settings"]["intact"]["kept"]
    assert kept["100"]["share"] == 1 and kept["300"]["share"] == 0


def test_a_lost_light_is_missed() -> None:
    def lose(index: int, target: np.ndarray) -> np.ndarray:
        if index < 200:
            return target
        brightest = target.max(axis=(1, 2))  # (n, 3): put out the first channel that is lit
        first = np.argmax(brightest > 0.5, axis=1)
        kept = np.arange(3) != first[:, None]
        return np.where(kept[:, None, None, :], target, target.min())

    lost = measure(lose)
    count, mass = curve(lost, "count_error"), curve(lost, "mass_error")
    assert count[:4].max() == 0 and count[4:].min() > 1 / 3
    assert mass[:4].max() < 0.02 and mass[4:].min() == pytest.approx(1)
    kept = lost["settings"]["intact"]["kept"]
    assert kept["100"]["share"] == 1 and kept["300"]["share"] == 0


def test_a_tint_is_a_colour_bias_and_nothing_else(truth: dict[str, Any]) -> None:
    tint = np.array([0, 10, -4]) / 255
    tinted = measure(lambda index, target: target + tint.astype(np.float32))
    np.testing.assert_allclose(curve(tinted, "colour_bias"), 10, atol=0.01)
    for metric in ("sharpness", "motion"):
        np.testing.assert_allclose(curve(tinted, metric), curve(truth, metric), rtol=0.02)
    assert curve(tinted, "count_error").max() == 0
    assert curve(tinted, "psnr_db").max() < 35


def test_a_frozen_picture_does_not_move(truth: dict[str, Any]) -> None:
    held: dict[str, np.ndarray] = {}

    def freeze(index: int, target: np.ndarray) -> np.ndarray:
        if index <= 100:
            held["picture"] = target
        return held["picture"]

    frozen = measure(freeze)
    motion = curve(frozen, "motion")
    np.testing.assert_allclose(motion[:2], curve(truth, "motion")[:2], rtol=0.02)
    assert motion[3:].max() == 0
    assert curve(frozen, "psnr_db")[3:].max() < 25
    assert curve(frozen, "count_error").max() == 0  # its contents are still right


def test_blur_and_noise_leave_the_data() -> None:
    """With the default number of samples: with fewer, the scenes outweigh the look."""
    plan = DriftPlan((32, 32), frames=400, seeds=2, segments=2)
    assert plan.grid.shape[1] * plan.rollouts == 160
    rng = np.random.default_rng(0)

    def blur(index: int, target: np.ndarray) -> np.ndarray:
        for axis in (1, 2):
            target = np.mean([np.roll(target, i, axis) for i in range(-2, 3)], axis=0)
        return target

    def noise(index: int, target: np.ndarray) -> np.ndarray:
        return target + 0.05 * rng.standard_normal(target.shape)

    found = {
        name: measure(change, INTACT, plan)
        for name, change in {"true": lambda i, t: t, "blur": blur, "noise": noise}.items()
    }
    sharp = {name: curve(result, "sharpness") for name, result in found.items()}
    assert (sharp["blur"] < 0.5 * sharp["true"]).all()
    assert (sharp["noise"] > 1.5 * sharp["true"]).all()
    for name in ("blur", "noise"):
        assert (_by_seed(found[name], "frechet") > _by_seed(found["true"], "frechet")).all()
        assert curve(found[name], "ssim").max() < 0.98


def _by_seed(result: dict[str, Any], metric: str) -> np.ndarray:
    return np.array(result["settings"]["intact"]["metrics"][metric]["curves"])


def test_a_linear_drift_is_found_within_its_interval() -> None:
    """20 grey levels in 1,000 frames, give or take 2 for each rollout, with noise of 3."""
    rng = np.random.default_rng(5)
    slope = rng.normal(20, 2, PLAN.streams)[:, None, None, None]

    def drift(index: int, target: np.ndarray) -> np.ndarray:
        noise = 3 * rng.standard_normal(target.shape)
        return 0.9 * target + (slope * (index / 1000 + 0.25) + noise + 20) / 255

    plan = DriftPlan((32, 32), frames=1000, seeds=2, rollouts=3)
    result = measure(drift, INTACT, plan)["settings"]["intact"]
    found = result["metrics"]["colour_bias"]["slope_per_1000"]
    assert found["n"] == 6
    assert 15 < found["low"] < 20 < found["high"] < 25
    growth = result["colour_bias_growth"]
    assert growth["from_frames"] == [260, 280] and growth["to_frames"] == [980, 1000]
    assert growth["low"] < 20 * 0.72 < growth["high"]
    assert growth["mean"] == pytest.approx(found["mean"] * 0.72, rel=0.05)


def test_settings_give_the_inputs_they_say() -> None:
    seen = {}
    for name, setting in SETTINGS.items():
        oracle = Oracle(lambda index, target: target)
        measure_model(oracle, PLAN, {name: setting}, progress=False)
        seen[name] = oracle
    levels = {name: np.stack(oracle.levels) for name, oracle in seen.items()}
    assert all(level.shape == (PLAN.frames, PLAN.streams) for level in levels.values())
    assert levels["intact"].max() == levels["reseeded"].max() == 0
    assert levels["quarter"][:LEAD_IN].max() == levels["none"][:LEAD_IN].max() == 0
    assert levels["none"][LEAD_IN:].min() == 1
    assert levels["quarter"][LEAD_IN:].mean() == pytest.approx(0.75, abs=0.03)
    assert len(np.unique(levels["quarter"], axis=1).T) == PLAN.streams  # gaps of their own
    true = np.stack(seen["intact"].true)
    for name, oracle in seen.items():  # the same scenes, and nothing where the input is missing
        there = (levels[name] == 0)[:, :, None, None, None]
        np.testing.assert_array_equal(np.stack(oracle.given), np.where(there, true, 0))
    assert [name for name, oracle in seen.items() if oracle.reseeded] == ["reseeded"]
    reseeded = seen["reseeded"].reseeded
    assert list(reseeded) == list(range(8, PLAN.frames, 8))
    for index, pictures in reseeded.items():
        np.testing.assert_array_equal(pictures, true[index - 1])


def test_statistics_are_those_of_the_metrics() -> None:
    oracle = Oracle(lambda index, target: target)
    watched = measure_model(oracle, PLAN, INTACT, progress=False)[1]["intact"]
    true = np.stack(oracle.true[: PLAN.segment_frames]) / 255
    sharp = np.mean([metrics.sharpness(frame) for frame in true[:, 0]])
    assert watched.sharpness[0, 0] == pytest.approx(sharp, rel=1e-4)
    moved = 255 * np.abs(np.diff(true[:, 0], axis=0)).sum(axis=0).mean() / len(true)
    assert watched.motion[0, 0] == pytest.approx(moved, rel=1e-4)


def test_what_is_looked_at_does_not_grow_with_the_run() -> None:
    short, long = (DriftPlan((32, 32), frames=n) for n in (10_000, 1_000_000))
    assert len(short.sampled) <= len(long.sampled) <= 1100
    assert short.grid.shape == (50, 20) and (np.diff(short.grid.ravel()) == 10).all()
    ragged = DriftPlan((32, 32), frames=1234)
    assert ragged.frames == 50 * ragged.segment_frames == 1200
    assert DriftPlan((32, 32), frames=110).segments == 5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"frames": 99}, "99 frames; at least 100"),
        ({"seeds": 0}, "seeds=0"),
        ({"rollouts": 1001}, "rollouts=1001"),
        ({"segments": 1}, "1 segments; at least 2"),
        ({"style": "nonsense"}, "unknown style 'nonsense'; known are"),
        ({"size": (16, 48)}, "a model of 48x16 pixels"),
    ],
)
def test_plans_that_make_no_sense_are_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        options: dict[str, Any] = {"size": (32, 32)} | changes
        DriftPlan(**options)


def test_a_checkpoint_is_measured_and_drawn(random_like, tmp_path) -> None:
    config = ModelConfig(
        height=32, width=32, dim=32, depth=1, heads=2, channels=8, experts=2, text_dim=32,
        text_depth=1, window=2, steps=1,
    )  # fmt: skip
    model = nnx.eval_shape(lambda: CausalDiT(config, rngs=nnx.Rngs(0)))
    params = random_like(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    checkpoint = Checkpoint(config, params, {})

    def drift(**options: Any) -> dict[str, Any]:
        return measure_drift(checkpoint, frames=100, seeds=1, rollouts=2, progress=False, **options)

    result = drift(out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "drift.json", "drift.png", "drift_pictures.png",
    }  # fmt: skip
    assert json.loads((tmp_path / "drift.json").read_text()) == result
    assert max(path.stat().st_size for path in tmp_path.glob("*.png")) < 250_000
    again = drift(settings={"none": SETTINGS["none"]})  # every draw has a seed
    assert again["settings"]["none"] == result["settings"]["none"]
    sheet = matplotlib.image.imread(tmp_path / "drift_pictures.png")
    assert sheet.shape[0] > 5 * 96 and sheet.shape[1] > 3 * 96  # truth and 4 settings, 3 frames


def test_several_results_are_drawn_over_each_other(truth: dict[str, Any], tmp_path) -> None:
    other = measure(lambda index, target: 0.9 * target, {"none": SETTINGS["none"]})
    path = tmp_path / "both.png"
    plot_drift({"first": truth, "second": other}, path)
    picture = matplotlib.image.imread(path)[..., :3]
    for colour in ((31, 119, 180), (255, 127, 14)):  # the first two of the cycle
        near = np.abs(picture - np.array(colour) / 255).max(axis=-1) < 0.02
        assert near.sum() > 50
    assert path.stat().st_size < 250_000
    assert list(tmp_path.iterdir()) == [path]


def test_the_table_has_a_row_a_setting(truth: dict[str, Any]) -> None:
    table = as_drift_table(truth)
    for name in SETTINGS:
        assert sum(line.startswith(f"{name}  ") for line in table.splitlines()) == 2
    assert "100% at 100, 100% at 300" in table
    assert "intact - reseeded: 0 ± 0 dB" in table
    assert "none, frechet: " in table
