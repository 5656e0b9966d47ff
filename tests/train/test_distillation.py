"""Distillation: it starts where its student stands, learns from a larger teacher, and refuses."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax import cli
from lsdjax.checkpoint.export import Checkpoint, load_checkpoint, save_checkpoint
from lsdjax.configs import Stage, TrainConfig, preset
from lsdjax.configs.distillation import distillation
from lsdjax.core.errors import UserError
from lsdjax.core.sharding import make_mesh
from lsdjax.data.examples import Lights
from lsdjax.data.pool import Pool
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import Told, model_graph
from lsdjax.stream.session import Streamer
from lsdjax.text.tokenizer import tokenize
from lsdjax.train import loop
from lsdjax.train.state import as_shortcut, init_state

pytestmark = pytest.mark.usefixtures("quick_compilation")
TINY = preset("tiny")


def random_checkpoint(config: TrainConfig, random_like: Callable[..., Any]) -> Checkpoint:
    """A model whose every part says something."""
    state = jax.eval_shape(lambda: init_state(config)[1])
    return Checkpoint(config.model, random_like(state.params["model"]), {})


@pytest.fixture(scope="module")
def student(random_like) -> Checkpoint:
    return random_checkpoint(TINY, random_like)


def recipe(objective: str = "trajectory", *, frames: int = 1) -> TrainConfig:
    config = distillation(TINY.model, steps=1, objective=objective)
    stage = Stage("few", steps=2, groups=1, clips=2, frames=frames, prompts=4)
    return dataclasses.replace(config, stages=(stage,))


@functools.cache
def predictor(config: ModelConfig) -> Callable[..., jax.Array]:
    """(parameters, step size) -> the model's sample of two random frames."""
    rng = np.random.default_rng(0)
    shape = (1, 2, config.height // 2, config.width // 2)
    inputs, previous, noisy = (
        jnp.asarray(rng.standard_normal((*shape, 12), np.float32)) for _ in range(3)
    )
    zeros = jnp.zeros((1, 2))
    told = Told(inputs, zeros, previous, zeros, jnp.zeros((*shape, 3)))

    @jax.jit
    def run(params, step_size):
        model = nnx.merge(model_graph(config), nnx.State(params))
        prompt = model.prompt(model.embed(tokenize("a pencil sketch")))
        return model(noisy, jnp.full((1, 2), 0.8), step_size, told, prompt).sample

    return run


def predict(checkpoint: Checkpoint, step_size: float) -> np.ndarray:
    run = predictor(checkpoint.config)
    return np.asarray(run(checkpoint.params, jnp.full((1, 2), step_size)))


def test_a_student_begins_as_the_same_function(student: Checkpoint) -> None:
    begun = as_shortcut(student, recipe().model)
    for step_size in (0.0, 0.25, 0.8):
        np.testing.assert_allclose(predict(begun, step_size), predict(student, 0.0), atol=5e-4)
    again = as_shortcut(begun, begun.config)
    jax.tree.map(np.testing.assert_array_equal, again.params, begun.params)


def test_only_a_shortcut_model_heeds_the_step_size(student: Checkpoint, random_like) -> None:
    np.testing.assert_array_equal(predict(student, 0.5), predict(student, 0.0))
    begun = as_shortcut(student, recipe().model)
    told = dataclasses.replace(begun, params=random_like(begun.params))
    assert np.abs(predict(told, 0.5) - predict(told, 0.0)).max() > 0.01


@pytest.mark.parametrize(
    "objective", [pytest.param("trajectory", marks=pytest.mark.slow), "matching"]
)
def test_a_student_learns_from_a_larger_teacher(
    tmp_path: Path,
    noise_pool: Pool,
    student: Checkpoint,
    objective: str,
    random_like: Callable[..., Any],
    child: ModuleType,
    few_styles: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "init_state", child.quick_state)
    monkeypatch.setattr(loop, "SampleSheet", child.NoSheet)
    monkeypatch.setattr(loop, "step_cost", child.no_cost)
    large = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, dim=64, heads=2))
    config, mesh = recipe(objective), make_mesh("data=1", jax.devices()[:1])
    begun, teacher = as_shortcut(student, config.model), random_checkpoint(large, random_like)
    exported = loop.train(config, noise_pool, tmp_path, mesh=mesh, init=begun, teacher=teacher)
    learned = load_checkpoint(exported)
    assert learned.config.shortcut and learned.config.steps == 1
    moved = np.abs(np.asarray(learned.params["noise_gain"]["kernel"])).max()
    assert moved > 0
    streamer = Streamer(learned)
    picture = np.asarray(streamer.start("snow").submit(np.zeros((*streamer.size, 3), np.uint8)))
    assert picture.shape == (*streamer.size, 3)


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        ("trajectory", None, "objective 'trajectory' needs a teacher; one is expected"),
        ("matching", None, "objective 'matching' needs a teacher; one is expected"),
        ("trajectory", {"height": 48}, "the teacher has height=48, its student 32"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(
    tmp_path: Path,
    noise_pool: Pool,
    student: Checkpoint,
    objective: str,
    changes: dict | None,
    message: str,
) -> None:
    config = dataclasses.replace(recipe(), objective=objective)
    teacher = None
    if changes is not None:
        teacher = Checkpoint(dataclasses.replace(TINY.model, **changes), student.params, {})
    with pytest.raises(UserError, match=message):
        loop.train(config, noise_pool, tmp_path, teacher=teacher)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("steps", [0, 3, 32])
def test_steps_that_no_sampler_meets_are_refused(steps: int) -> None:
    with pytest.raises(UserError, match=f"{steps} steps; a power of two from 1 to 16"):
        distillation(TINY.model, steps=steps, objective="trajectory")


def test_an_unknown_distillation_is_refused() -> None:
    with pytest.raises(UserError, match=r"no distillation 'forcing'; one of \['trajectory'"):
        distillation(TINY.model, steps=1, objective="forcing")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"styles": ("orignal",)}, r"unknown styles \['orignal'\]; known are"),
        ({"input_drop": 1.5}, "drop=1.5; a share"),
        ({"teacher_steps": 1, "steps": 2}, "teacher-steps=1; from the student's 2 to 64"),
        ({"teacher_steps": 65}, "teacher-steps=65; from the student's 1 to 64"),
        ({"teacher_steps": 4, "objective": "meanflow"}, "teacher-steps=4 with 'meanflow'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        distillation(TINY.model, **({"steps": 1, "objective": "trajectory"} | given))


def test_a_student_of_one_style_has_no_turns_for_others() -> None:
    config = distillation(
        TINY.model, steps=1, objective="trajectory", styles=("snow",), input_drop=1.0
    )
    assert config.styles == ("snow",)
    assert all(set(stage.again) == {"snow"} for stage in config.stages)
    assert config.stages[-1].input_drop == 1.0


def test_lights_are_learned_from_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, student: Checkpoint
) -> None:
    monkeypatch.chdir(tmp_path)
    heard = {}

    def train(config, data, run, **kind) -> Path:
        heard.update(config=config, data=data, **kind)
        return run / "export"

    monkeypatch.setattr(loop, "train", train)
    save_checkpoint(tmp_path / "student", student)
    told = ["distill", "student", "--data", "lights", "--style", "original", "--drop", "1"]
    told += ["--teacher-steps", "2"]
    assert cli.main(told) == 0
    assert heard["config"].teacher_steps == 2
    assert isinstance(heard["data"], Lights)
    assert heard["config"].styles == ("original",) and heard["config"].stages[-1].input_drop == 1
    assert cli.main([*told, "--data", "more"]) == 2
