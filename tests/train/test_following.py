"""Recovery: a student follows its teacher, whatever its size, and the teacher stays as it is."""

import dataclasses
import json
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from lsdjax import cli
from lsdjax.checkpoint.export import Checkpoint, abstract_params, load_checkpoint
from lsdjax.compress.structure import cut, full_mask
from lsdjax.configs import Stage, preset
from lsdjax.core.errors import UserError
from lsdjax.core.sharding import make_mesh
from lsdjax.data.pipeline import DecodedPair, PairedWindows
from lsdjax.model.config import ModelConfig
from lsdjax.pallas import dispatch
from lsdjax.text.tokenizer import tokenize
from lsdjax.train import loop
from lsdjax.train.following import following_loss
from lsdjax.train.lessons import Guides
from lsdjax.train.objective import picture_objective
from lsdjax.train.prune import calibration_recipe
from lsdjax.train.state import check_teacher

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = preset("tiny")
STAGE = Stage("pictures", steps=1, groups=1, clips=1, frames=2, prompts=1)


def drawn(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape, np.float32))


def test_following_is_of_pictures_and_of_where_features_act() -> None:
    """By hand: one picture off by 0.5 everywhere at level 0.5, features with all at one place."""
    teacher = jnp.zeros((1, 2, 4, 4, 3)), jnp.ones((1, 2, 2, 2, 5))
    energy = jnp.array([4.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2, 1)
    features = jnp.broadcast_to(jnp.sqrt(energy), (1, 2, 2, 2, 8))
    student = teacher[0].at[:, 1].set(0.5), features
    levels = jnp.array([[1.0, 0.5]])
    config = dataclasses.replace(CONFIG, teacher_weight=2.0, feature_weight=10.0)
    pictures = 2.0 * (0.25 / 0.5) / 2
    places = 10.0 * (3.0**2 + 3 * 1.0) / 4
    found = following_loss(student, teacher, levels, config)
    np.testing.assert_allclose(found, pictures + places, rtol=1e-5)
    scaled = student[0], 7 * student[1]  # how loud features are is nothing to follow
    np.testing.assert_allclose(following_loss(scaled, teacher, levels, config), found, rtol=1e-5)


def test_no_gradient_reaches_the_teacher() -> None:
    student = drawn(1, 1, 4, 4, 3), drawn(1, 1, 2, 2, 5)
    teacher = drawn(1, 1, 4, 4, 3) + 1, drawn(1, 1, 2, 2, 6)
    levels = jnp.ones((1, 1))
    grow = jax.grad(following_loss, argnums=(0, 1))
    mine, theirs = grow(student, teacher, levels, CONFIG)
    assert all(jnp.abs(leaf).max() > 0 for leaf in mine)
    assert all(jnp.abs(leaf).max() == 0 for leaf in theirs)


def test_a_teacher_adds_its_distance_to_the_loss(
    child: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing where it is the student itself; and a student of other sizes can be taught."""
    known = dispatch._IMPLEMENTATIONS["blocks"]  # kernels have no gradient: nobody may ask one
    monkeypatch.setitem(dispatch._IMPLEMENTATIONS, "blocks", {"kernel": cast(Any, None), **known})
    params = child.quick_state(CONFIG)[1].params
    mask = full_mask(CONFIG.model)
    mask.wide[::2] = False
    mask.hidden[:, 5:] = False
    smaller, less = cut(params["model"], CONFIG.model, mask)
    recipe = calibration_recipe(smaller, groups=1, frames=2)
    recipe = dataclasses.replace(recipe, balance_floor=0.0, teacher_weight=100.0)
    windows = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32, 3), dtype=np.uint8)
    source, tokens = PairedWindows(windows, windows), jnp.asarray(tokenize("negative"))

    def loss(teacher: ModelConfig | None, taught: Any) -> float:
        objective = picture_objective(recipe, STAGE, single=False, teacher=teacher)
        options = {"xla_backend_optimization_level": 0}
        run = jax.jit(objective, compiler_options=options)
        guides = Guides(less, taught) if teacher else None
        return float(run({"model": less}, jax.random.key(0), source, tokens, None, guides)[0])

    alone = loss(None, None)
    assert loss(smaller, less) == pytest.approx(alone, rel=1e-6)
    assert loss(CONFIG.model, params["model"]) > 1.1 * alone


def test_a_teacher_sees_what_its_student_sees() -> None:
    larger = dataclasses.replace(CONFIG.model, height=64)
    with pytest.raises(UserError, match="the teacher has height=64, its student 32"):
        check_teacher(Checkpoint(larger, {}, {}), CONFIG)


def test_a_teacher_without_a_student_is_refused(capsys) -> None:
    assert cli.main(["train", "tiny", "--data", "clips", "--teacher", "large"]) == 2
    assert "--init CHECKPOINT is expected" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_with_a_teacher_of_other_sizes(
    child: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps through the loop; a run that had a teacher is not continued without."""
    monkeypatch.setattr(loop, "init_state", child.quick_state)
    monkeypatch.setattr(loop, "SampleSheet", child.NoSheet)
    stage = dataclasses.replace(STAGE, steps=2, crop=16, frames=1)
    config = dataclasses.replace(CONFIG, stages=(stage,))
    larger = dataclasses.replace(CONFIG.model, wide_channels=24, depth=2)
    rng = np.random.default_rng(0)
    flat = {
        tuple(int(part) if part.isdigit() else part for part in name.split(".")): np.asarray(
            0.1 * rng.standard_normal(leaf.shape), np.float32
        )
        for name, leaf in abstract_params(larger).items()
    }
    teacher = Checkpoint(larger, unflatten_dict(flat), {})
    clip = rng.integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    data = (DecodedPair(clip, 255 - clip, 1.0, "a.mp4", ("invert",)),)
    mesh = make_mesh("data=1", jax.devices()[:1])
    exported = loop.train(config, data, tmp_path, mesh=mesh, teacher=teacher)
    assert load_checkpoint(exported).config == CONFIG.model
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert len(losses) == 2 and np.isfinite(losses).all()
    with pytest.raises(UserError, match=r"another recipe \(teacher differs\)"):
        loop.train(config, data, tmp_path, mesh=mesh)
    other = dataclasses.replace(teacher, params=jax.tree.map(lambda leaf: 2 * leaf, teacher.params))
    with pytest.raises(UserError, match=r"another recipe \(teacher differs\)"):
        loop.train(config, data, tmp_path, mesh=mesh, teacher=other)
