"""Training on a user's own pairs, and from a checkpoint."""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from lsdjax import cli
from lsdjax.checkpoint.export import Checkpoint, abstract_params, load_checkpoint, save_checkpoint
from lsdjax.configs import Stage, preset
from lsdjax.configs.presets import PRESETS
from lsdjax.core.errors import UserError
from lsdjax.data.pipeline import DecodedPair
from lsdjax.text.tokenizer import MAX_NGRAMS, MAX_WORDS, tokenize
from lsdjax.train import loop
from lsdjax.train.pairs import PairedDraws, without_text_stages
from lsdjax.train.state import check_model

TINY = preset("tiny")
CONFIG = dataclasses.replace(
    TINY,
    stages=(
        Stage("text", steps=5, groups=0, prompts=4),
        Stage("crops", steps=1, groups=1, clips=2, prompts=4, crop=16),
        Stage("sequence", steps=2, groups=1, clips=1, frames=2, prompts=4),
    ),
)


@pytest.fixture
def pairs() -> tuple[DecodedPair, ...]:
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (2, 5, 40, 40, 3), dtype=np.uint8)
    prompts = [("invert",), ("turn it round", "other way")]
    return tuple(
        DecodedPair(clip, 255 - clip, 1.0, f"{number}.mp4", told)
        for number, (clip, told) in enumerate(zip(clips, prompts, strict=True))
    )


@pytest.fixture
def folder(tmp_path: Path, write_video) -> Path:
    folder = tmp_path / "pairs"
    for side in ("input", "target"):
        (folder / side).mkdir(parents=True)
        write_video(folder / side / "a.mp4", frames=6)
    (folder / "prompts.jsonl").write_text('{"file": "a.mp4", "prompt": "leave it"}\n')
    return folder


def refuse(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert cli.main(["train", *map(str, argv)]) == cli.USER_ERROR
    printed = capsys.readouterr().err
    assert printed.startswith("lsdjax: ") and printed.count("\n") == 1
    return printed


def test_batches_hold_windows_and_their_prompts_alone(pairs) -> None:
    stage = Stage("sequence", steps=9, groups=3, clips=2, frames=4)
    config = dataclasses.replace(CONFIG, stages=(stage,))
    draws = PairedDraws(config, tokenize, pairs)
    batch = draws.draw(4, single=False)
    assert batch.prompts.shape == (3, MAX_WORDS, MAX_NGRAMS)
    assert len(batch.text_styles) == len(batch.text_prompts) == len(batch.styles) == 0
    for group, ids in zip(batch.pairs, batch.prompts, strict=True):
        assert group.windows.inputs.shape == (2, 5, 32, 32, 3)
        np.testing.assert_array_equal(ids, tokenize(group.prompt))
    single = draws.draw(4, single=True)
    assert single.pairs[0].windows.targets.shape == (8, 2, 32, 32, 3)
    again = PairedDraws(config, tokenize, pairs).draw(4, single=False)
    for mine, other in zip(batch.pairs, again.pairs, strict=True):
        jax.tree.map(np.testing.assert_array_equal, mine.windows, other.windows)


def test_a_prompt_without_a_word_is_refused(pairs) -> None:
    with pytest.raises(UserError, match="empty prompt"):
        PairedDraws(CONFIG, tokenize, [pairs[0]._replace(prompts=("?!",))])


def test_stages_on_prompts_alone_are_left_out() -> None:
    assert [stage.name for stage in without_text_stages(CONFIG).stages] == ["crops", "sequence"]
    with pytest.raises(UserError, match="prompts alone"):
        without_text_stages(dataclasses.replace(CONFIG, stages=CONFIG.stages[:1]))


def test_a_checkpoint_of_another_model_is_refused() -> None:
    other = dataclasses.replace(CONFIG.model, depth=2, window=3)
    check_model(Checkpoint(CONFIG.model, {}, {}), CONFIG)
    with pytest.raises(UserError, match="depth=2, not 1; window=3, not 2"):
        check_model(Checkpoint(other, {}, {}), CONFIG)


def test_mistakes_about_data_and_init_are_one_line(folder: Path, tmp_path: Path, capsys) -> None:
    run = ("--run", tmp_path / "run")
    refusal = refuse(capsys, "tiny", "--data", tmp_path, "--data", folder, *run)
    assert "a folder of pairs comes alone" in refusal
    assert "no model.safetensors" in refuse(
        capsys, "tiny", "--data", folder, "--init", tmp_path, *run
    )
    (folder / "target" / "a.mp4").unlink()
    assert "a.mp4: has no counterpart" in refuse(capsys, "tiny", "--data", folder, *run)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_pairs_train_resume_and_start_from_a_checkpoint(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    random_like: Callable,
    capsys: pytest.CaptureFixture[str],
) -> None:
    compiled, started = {}, []

    @functools.wraps(loop.make_train_step)
    def make_once(graph, config, stage, mesh, *, single):
        if (stage, single) not in compiled:
            compiled[stage, single] = make(graph, config, stage, mesh, single=single)

        def step(state, *arguments):
            started.append(jax.device_get(state.params["model"]))
            return compiled[stage, single](state, *arguments)

        return step

    make = loop.make_train_step
    monkeypatch.setattr(loop, "make_train_step", make_once)
    monkeypatch.setitem(PRESETS, "tiny", CONFIG)
    weights = random_like(abstract_params(CONFIG.model))
    save_checkpoint(tmp_path / "init", Checkpoint(CONFIG.model, weights, {}))
    given = load_checkpoint(tmp_path / "init").params

    def train(name: str, *options: object) -> Path:
        argv = ["train", "tiny", "--data", folder, "--run", tmp_path / name, *options]
        assert cli.main([str(part) for part in argv]) == 0
        return Path(capsys.readouterr().out.strip())

    def log(name: str) -> list[dict]:
        return [json.loads(x) for x in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]

    init = ("--init", tmp_path / "init")
    straight = train("straight", *init)
    jax.tree.map(np.testing.assert_array_equal, started[0], given)
    assert [entry["step"] for entry in log("straight")] == [0, 1, 2]
    assert all(entry["prompt_accuracy"] is None for entry in log("straight"))
    assert {name for entry in log("straight") for name in entry["psnr_db"]} <= {"a.mp4"}
    assert (tmp_path / "straight" / "samples" / "0000003.png").stat().st_size > 0

    train("resumed", *init, "--stop-after", 1)
    resumed = load_checkpoint(train("resumed", *init))
    jax.tree.map(np.testing.assert_array_equal, load_checkpoint(straight).params, resumed.params)
    assert [x["loss"] for x in log("resumed")] == [x["loss"] for x in log("straight")]
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), given, started[-1])
    assert sum(jax.tree.leaves(moved)) > len(jax.tree.leaves(moved)) / 2
