"""Training: replayable, resumable, and refusing to mix recipes."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.checkpoint.manager import RunCheckpoints
from lsdjax.configs import Stage, TrainConfig, preset
from lsdjax.core.errors import UserError
from lsdjax.core.sharding import make_mesh
from lsdjax.data.pool import Pool
from lsdjax.data.styles import TEACHERS
from lsdjax.stream.session import Streamer
from lsdjax.text.tokenizer import MAX_NGRAMS, MAX_WORDS, tokenize
from lsdjax.train import loop
from lsdjax.train.state import TrainState, init_state

TINY = preset("tiny")
CONFIG = dataclasses.replace(
    TINY,
    stages=(
        Stage("text", steps=1, groups=0, prompts=4),
        Stage("crops", steps=1, groups=1, clips=1, prompts=4, crop=16),
        Stage("sequence", steps=2, groups=1, clips=1, frames=2, prompts=4),
    ),
)


def with_groups(groups: int) -> TrainConfig:
    stages = (Stage("crops", steps=100, groups=groups, prompts=3),)
    return dataclasses.replace(TINY, stages=stages)


def test_prompts_are_a_function_of_the_seed_and_the_step() -> None:
    config = with_groups(4)
    first = loop.draw_prompts(config, tokenize, 7)
    assert first.prompts.shape == (4, MAX_WORDS, MAX_NGRAMS)
    assert first.text_prompts.shape == (3, MAX_WORDS, MAX_NGRAMS)
    for mine, again in zip(first, loop.draw_prompts(config, tokenize, 7), strict=True):
        np.testing.assert_array_equal(mine, again)
    later = loop.draw_prompts(config, tokenize, 8)
    other = loop.draw_prompts(dataclasses.replace(config, seed=1), tokenize, 7)
    assert (later.prompts != first.prompts).any() and (other.prompts != first.prompts).any()


@pytest.mark.parametrize("groups", [5, len(TEACHERS), len(TEACHERS) + 7])
def test_styles_are_dealt_without_repetition(groups: int) -> None:
    for step in range(5):
        styles = loop.draw_prompts(with_groups(groups), tokenize, step).styles
        times = np.bincount(styles, minlength=len(TEACHERS))
        assert len(styles) == groups and times.max() - times.min() <= 1


def test_a_style_named_again_has_more_turns() -> None:
    stage = Stage("hard", steps=1, groups=len(TEACHERS) + 2, again=("snow", "snow"))
    styles = loop.draw_prompts(dataclasses.replace(TINY, stages=(stage,)), tokenize, 0).styles
    times = np.bincount(styles, minlength=len(TEACHERS))
    assert times[TEACHERS.index("snow")] == 3 and times.sum() == len(TEACHERS) + 2


def test_a_stage_without_groups_draws_prompts_alone() -> None:
    batch = loop.draw_prompts(CONFIG, tokenize, 0)
    assert batch.prompts.shape == (0, MAX_WORDS, MAX_NGRAMS)
    assert batch.text_prompts.shape == (4, MAX_WORDS, MAX_NGRAMS)


@pytest.mark.parametrize(("field", "value"), [("seed", 5), ("ema_decay", 0.5)])
def test_a_run_of_another_recipe_is_refused(
    tmp_path: Path, noise_pool: Pool, field: str, value: float
) -> None:
    stored = json.dumps(CONFIG.to_json())
    (tmp_path / "config.json").write_text(stored)
    with pytest.raises(UserError, match=f"{field} differs") as raised:
        loop.train(dataclasses.replace(CONFIG, **{field: value}), noise_pool, tmp_path)
    assert "\n" not in str(raised.value)
    assert (tmp_path / "config.json").read_text() == stored


class NoSheet:
    """Sample sheets compile a model of their own."""

    def __init__(self, *arguments: object) -> None:
        pass

    def write(self, *arguments: object) -> None:
        pass


def stored_state(run: Path) -> TrainState:
    checkpoints = RunCheckpoints(run / "checkpoints")
    state = checkpoints.restore(init_state(CONFIG)[1])
    checkpoints.close()
    return state


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_never_stopped(
    tmp_path: Path, noise_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = {}

    @functools.wraps(loop.make_train_step)
    def make_once(graph, config, stage, mesh, *, single):
        if (stage, single) not in compiled:
            compiled[stage, single] = make(graph, config, stage, mesh, single=single)
        return compiled[stage, single]

    make = loop.make_train_step
    monkeypatch.setattr(loop, "make_train_step", make_once)
    monkeypatch.setattr(loop, "SampleSheet", NoSheet)
    mesh = make_mesh("data=1", jax.devices()[:1])
    straight = loop.train(CONFIG, noise_pool, tmp_path / "straight", mesh=mesh)
    loop.train(CONFIG, noise_pool, tmp_path / "resumed", mesh=mesh, stop_after=2)
    resumed = loop.train(CONFIG, noise_pool, tmp_path / "resumed", mesh=mesh)

    first, second = stored_state(tmp_path / "straight"), stored_state(tmp_path / "resumed")
    assert int(first.step) == int(second.step) == 4
    jax.tree.map(np.testing.assert_array_equal, first, second)
    fresh = init_state(CONFIG)[1].params
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), fresh["model"], first.params["model"])
    assert sum(jax.tree.leaves(moved)) > len(jax.tree.leaves(moved)) / 2

    def losses(run: str) -> list[tuple[int, float]]:
        lines = (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        return [(entry["step"], entry["loss"]) for entry in map(json.loads, lines)]

    assert losses("straight") == losses("resumed")
    assert [step for step, _ in losses("resumed")] == [0, 1, 2, 3]

    exported = load_checkpoint(straight)
    assert exported.meta["steps"] == load_checkpoint(resumed).meta["steps"] == 4
    jax.tree.map(
        lambda mine, ema: np.testing.assert_allclose(mine, ema, rtol=0.01),  # bfloat16
        exported.params,
        first.ema["model"],
    )
    streamer = Streamer(exported)
    assert streamer.size == (TINY.model.height, TINY.model.width)
    picture = np.asarray(streamer.start("snow").submit(np.zeros((*streamer.size, 3), np.uint8)))
    assert picture.shape == (*streamer.size, 3) and picture.dtype == np.uint8
