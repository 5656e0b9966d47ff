"""Pruning from end to end: a smaller checkpoint that loads, with times that are made up."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from lsdjax import cli
from lsdjax.checkpoint.export import SHIPPED, Checkpoint, load_checkpoint, save_checkpoint
from lsdjax.compress.latency import LatencyTable, Part
from lsdjax.core.errors import UserError
from lsdjax.data.examples import Lights
from lsdjax.evals.latency import StepTime
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT
from lsdjax.train import prune as pruning
from lsdjax.train.prune import calibration_recipe, prune

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = ModelConfig(
    height=32, width=32, dim=32, depth=2, heads=2, head_dim=16, channels=16, experts=1,
    text_dim=32, text_depth=1, window=2, steps=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, random_like) -> Checkpoint:
    model = nnx.eval_shape(lambda: CausalDiT(CONFIG, rngs=nnx.Rngs(0)))
    params = random_like(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    folder = tmp_path_factory.mktemp("exported")
    return load_checkpoint(save_checkpoint(folder, Checkpoint(CONFIG, params, {"steps": 7})))


def fake_part(part: Part, config: ModelConfig) -> float:
    """A conv costs what it multiplies, in microseconds; a block likewise."""
    if part.kind == "block":
        *_, dim, heads, head_dim, hidden = part.sizes
        return dim * (heads * head_dim + hidden) / 1e4
    return float(np.prod(part.sizes)) / 1e5


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Parts cost `fake_part`; a whole step that is smaller takes `share` of the other."""
    says = {"share": 0.68}
    table = functools.partial(LatencyTable, time_one=fake_part)

    def compare(streamers: Any, *, frames: int) -> list[StepTime]:
        shares = [1.0 if s.checkpoint.config == CONFIG else says["share"] for s in streamers]
        return [StepTime(60.0 * share, 50.0 * share) for share in shares]

    monkeypatch.setattr(pruning, "LatencyTable", table)
    monkeypatch.setattr(pruning, "compare_streams", compare)
    return says


@pytest.fixture
def pairs(tmp_path: Path, write_video) -> Path:
    for side in ("input", "target"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        write_video(tmp_path / "pairs" / side / "a.mp4", frames=6)
    told = '{"file": "a.mp4", "prompt": "leave it"}\n'
    (tmp_path / "pairs" / "prompts.jsonl").write_text(told)
    return tmp_path / "pairs"


def test_a_smaller_checkpoint_that_loads(checkpoint, times, tmp_path: Path, pairs: Path) -> None:
    """Through the command line; called again with the name taken, it refuses."""
    arguments = [
        "prune", str(checkpoint.path), "--target", "latency=0.7", "--groups", "2", "--frames", "2",
        "--data", str(pairs), "--out", str(tmp_path / "small"), "--json",
    ]  # fmt: skip
    assert cli.main(arguments) == 0
    small = load_checkpoint(tmp_path / "small")
    assert small.meta == {"steps": 7, "pruned": {"target": 0.7, "share": pytest.approx(0.68)}}
    report = json.loads((tmp_path / "small" / "prune.json").read_text())
    assert report["share"] == pytest.approx(0.68) and report["sizes_before"]["wide"] == 32
    sizes = report["sizes"]
    assert (small.config.wide_channels, small.config.depth) == (sizes["wide"], sizes["blocks"])
    assert small.config != CONFIG and small.config.head_dim == CONFIG.head_dim
    for group in ("channels", "observed", "fused", "wide"):
        assert sizes[group] % 8 == 0
    assert np.isfinite(report["loss"]) and np.isfinite(report["loss_before"])
    less, more = (sum(x.size for x in jax.tree.leaves(c.params)) for c in (small, checkpoint))
    assert less < more
    table = json.loads((tmp_path / "small.latency.json").read_text())
    assert table["machine"] and len(table["times_ms"]) > 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pairs", "small", "small.latency.json"]
    assert cli.main(arguments) == 2


def test_the_sizes_of_another_checkpoint_whatever_the_machine(
    checkpoint, times, tmp_path: Path, pairs: Path, monkeypatch, capsys
) -> None:
    """A second machine cuts the same out of the same model; no part of a step is timed for it."""
    first = ["prune", str(checkpoint.path), "--groups", "2", "--frames", "2", "--data", str(pairs)]
    searched, again = tmp_path / "searched", tmp_path / "again"
    assert cli.main([*first, "--target", "latency=0.7", "--out", str(searched)]) == 0
    times["share"] = 0.93
    monkeypatch.delattr(pruning, "LatencyTable")
    like = ["--target", f"sizes={searched}", "--out", str(again)]
    assert cli.main([*first, *like]) == 0
    one, other = load_checkpoint(searched), load_checkpoint(again)
    assert one.config == other.config and one.digest() == other.digest()
    assert other.meta["pruned"]["share"] == pytest.approx(0.93)
    assert other.meta["pruned"]["target"]["wide"] == one.config.wide_channels
    assert cli.main([*first, *like[:2], "--out", "none", "--profile", "gpu"]) == 2
    assert "--profile gpu: the target's sizes" in capsys.readouterr().err
    # Nothing is left to cut out of the smaller one, and nothing can be added to it.
    capsys.readouterr()
    for target, message in (
        (again, "that the model has"),
        (checkpoint.path, "above the current"),
        (SHIPPED, "heads of 64; heads of 16 are expected"),
    ):
        arguments = [first[0], str(searched), *first[2:], "--target", f"sizes={target}"]
        assert cli.main([*arguments, "--out", str(tmp_path / "none")]) == 2
        error = capsys.readouterr().err
        assert message in error and error.splitlines()[-1].startswith("lsdjax")


def test_a_table_of_another_machine_is_refused_before_anything_is_measured(
    checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.latency.json").write_text('{"machine": "another", "times_ms": {}}')
    monkeypatch.delattr(pruning, "calibrate")
    recipe = calibration_recipe(CONFIG, groups=1, frames=1)
    with pytest.raises(UserError, match="another"):
        prune(checkpoint, Lights(), tmp_path / "small", target=0.5, recipe=recipe)


def test_sizes_that_make_no_sense_are_refused(checkpoint, tmp_path: Path) -> None:
    recipe = calibration_recipe(CONFIG, groups=1, frames=1)
    for target, message in (
        ({"wide": 0}, "wide_channels=0"),
        ({"hidden": 10**6}, "mlp_hidden=1000000: above the current size"),
        ({"width": 8}, r"no groups \['width'\]"),
        ({}, "those that the model has"),
        (1, "target 1; a share"),
    ):
        with pytest.raises(UserError, match=message):
            prune(checkpoint, Lights(), tmp_path / "small", target=target, recipe=recipe)


def test_what_is_timed_too_slow_is_searched_again_and_then_refused(
    checkpoint, times, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times["share"] = 0.9
    goals = []
    monkeypatch.setattr(pruning, "calibrate", lambda *_: None)
    monkeypatch.setattr(pruning, "make_evaluate", lambda *_: lambda mask: 1.0)
    monkeypatch.setattr(pruning, "_curves", lambda *_: {})

    def search(config: ModelConfig, curves: Any, step_ms: Any, loss_of: Any, goal: float):
        assert step_ms(config) == pytest.approx(50.0)
        goals.append(goal)
        return {"hidden": 48}

    def mask_of(config: ModelConfig, curves: Any, sizes: dict[str, int]):
        mask = pruning.full_mask(config)
        mask.hidden[:, sizes["hidden"] :] = False
        return mask

    monkeypatch.setattr(pruning, "search_sizes", search)
    monkeypatch.setattr(pruning, "mask_of", mask_of)
    recipe = calibration_recipe(CONFIG, groups=1, frames=1)
    with pytest.raises(UserError, match=r"latency=0\.6: .*0\.900, 0\.900, 0\.900 of the step"):
        prune(checkpoint, Lights(), tmp_path / "small", target=0.6, recipe=recipe)
    assert goals == pytest.approx([30.0, 20.0, 30.0 * 4 / 9])
    assert not (tmp_path / "small").exists()
    times["share"] = 0.58
    prune(checkpoint, Lights(), tmp_path / "small", target=0.6, recipe=recipe)
    assert load_checkpoint(tmp_path / "small").config.mlp_hidden == 48


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--target", "latency=1.2"], "latency=1.2: above the current size"),
        (["--target", "latency=1"], "above the current size"),
        (["--target", "latency=-0.5"], "a share above 0"),
        (["--target", "latency=half"], "not 'latency=half'"),
        (["--target", "0.6"], "latency=SHARE"),
        (["--target", "sizes="], "sizes=CHECKPOINT"),
        (["--target", "latency=nan"], "not 'latency=nan'"),
        (["--out", "."], "exists already"),
        (["--groups", "0"], "0 groups"),
        (["--drop", "2"], "drop=2; a share in [0, 1]"),
        (["--data", "missing"], "no folder 'missing'"),
    ],
)
def test_mistakes_are_one_line(
    checkpoint, capsys, tmp_path: Path, monkeypatch, changed: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"--target": "latency=0.6", "--data": "clips", "--out": "small"}
    given |= dict([changed])
    flat = [word for option in given.items() for word in option]
    assert cli.main(["prune", str(checkpoint.path), *flat]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_frozen_text_encoder_that_is_missing_is_told(
    checkpoint, capsys, tmp_path: Path, noise_pool, monkeypatch
) -> None:

    monkeypatch.delenv("LSDJAX_TEXT_ENCODER", raising=False)
    frozen = {"text_encoder": "bert", "text_width": 8, "text_fingerprint": "x"}
    config = dataclasses.replace(CONFIG, **frozen)
    recipe = calibration_recipe(config, groups=1, frames=1)
    with pytest.raises(UserError, match="the model reads prompts with a BERT"):
        prune(
            dataclasses.replace(checkpoint, config=config),
            Lights(), tmp_path / "small", target=0.5, recipe=recipe,
        )  # fmt: skip
