"""Importance finds what does nothing, and adds up what belongs to a structure."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax.compress.importance import (
    Calibration,
    activation_importance,
    make_evaluate,
    removal_importance,
    taylor_importance,
)
from lsdjax.compress.profile import SIZES, DeviceProfile, size_of
from lsdjax.compress.sensitivity import mask_of, measure_curves, strongest
from lsdjax.compress.structure import Mask, Structures, full_mask, mask_params, shapes
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT, Told, model_graph
from lsdjax.text.tokenizer import tokenize

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = ModelConfig(
    height=32, width=32, dim=32, depth=2, heads=2, head_dim=16, mlp_hidden=16, channels=8,
    wide_channels=8, experts=1, text_dim=32, text_depth=1, window=2,
)  # fmt: skip
DEAD = {
    "channels": [1, 6], "observed": [0, 3], "fused": [2, 7], "wide": [4, 5], "dim": [3, 30],
    "hidden": [[5, 6], [0, 9]], "heads": [[1], [0]], "prompt_heads": [[0], [1]],
}  # fmt: skip


def alive(**dead: Any) -> Mask:
    mask = full_mask(CONFIG)
    for name, indices in dead.items():
        np.put_along_axis(getattr(mask, name), np.array(indices), False, axis=-1)
    return mask


@pytest.fixture(scope="module")
def params(random_like) -> dict[str, Any]:
    model = nnx.eval_shape(lambda: CausalDiT(CONFIG, rngs=nnx.Rngs(0)))
    return random_like(nnx.to_pure_dict(nnx.state(model, nnx.Param)))


@functools.cache
def model_loss():
    graph = model_graph(CONFIG)

    def loss(params: Any, key: jax.Array, target: jax.Array) -> jax.Array:
        keys = jax.random.split(jax.random.key(0), 4)
        noisy, inputs, previous = (jax.random.normal(key, target.shape) for key in keys[:3])
        levels = jax.random.uniform(keys[3], (1, 2))
        told = Told(inputs, 0 * levels, previous, levels, jnp.ones((*target.shape[:-1], 3)))
        model = nnx.merge(graph, nnx.State(params))
        prompt = model.prompt(model.embed(jnp.asarray(tokenize("pencil sketch"))))
        return jnp.mean((model(noisy, levels, 0 * levels, told, prompt).sample - target) ** 2)

    return loss


def targets(count: int) -> list[jax.Array]:
    rng = np.random.default_rng(3)
    return [jnp.asarray(rng.standard_normal((1, 2, 16, 16, 12), np.float32)) for _ in range(count)]


@pytest.mark.parametrize("measure", [taylor_importance, activation_importance])
def test_dead_structures_come_last(params, measure) -> None:
    dead = alive(**DEAD)
    found = measure(
        mask_params(params, CONFIG, dead), CONFIG, Calibration(model_loss(), targets(2))
    )
    for name in DEAD:
        importance, mask = getattr(found, name), getattr(dead, name)
        assert importance.shape == mask.shape
        assert (importance[~mask] == 0).all() and (importance[mask] > 0).all(), name
        np.testing.assert_array_equal(strongest(importance, mask[..., :].sum(-1).min()), mask)


def test_a_dead_block_is_the_one_that_nobody_misses(params) -> None:
    dead = alive()._replace(blocks=np.array([False, True]))
    planted = mask_params(params, CONFIG, dead)
    evaluate = make_evaluate(planted, CONFIG, Calibration(model_loss(), targets(1)))
    removal = removal_importance(CONFIG, evaluate)
    assert removal[0] == 0 and removal[1] != 0


def test_taylor_adds_up_all_parameters_of_a_structure(params) -> None:
    """With the loss sum w^2 / 2, |w dL/dw| is w^2, and dropping a structure takes away its sum."""

    def squares(params: Any, key: Any = None, batch: Any = None) -> jax.Array:
        return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), jnp.zeros(())) / 2

    found = taylor_importance(params, CONFIG, Calibration(squares, [None]))
    for name in ("channels", "observed", "hidden", "heads", "prompt_heads"):
        index = (1,) if len(getattr(shapes(CONFIG), name)) == 1 else (1, 0)
        mask = full_mask(CONFIG)
        getattr(mask, name)[index] = False
        gone = 2 * (squares(params) - squares(mask_params(params, CONFIG, mask)))
        np.testing.assert_allclose(getattr(found, name)[index], gone, rtol=1e-2, err_msg=name)


def test_the_better_ranking_wins() -> None:
    """One ranking knows which hidden channels matter, the other which dims: both are followed."""
    worth = Structures(*(np.random.default_rng(0).random(shape) for shape in shapes(CONFIG)))
    wrong = Structures(*(-part for part in worth))

    def evaluate(mask: Mask) -> float:
        return sum(float(w[~m].sum()) for w, m in zip(worth, mask, strict=True))

    first = worth._replace(dim=wrong.dim)
    second = wrong._replace(dim=worth.dim)
    profile = DeviceProfile(channels=4, width=16, hidden=8)
    choices = {group: profile.choices(group, size_of(CONFIG, group)) for group in SIZES}
    curves = measure_curves(CONFIG, evaluate, [first, second], choices)
    assert list(curves["dim"]) == [32, 16] and list(curves["hidden"]) == [16, 8]
    assert list(curves["wide"]) == [8, 4] and list(curves["heads"]) == [2, 1]
    assert curves["wide"][8].loss == 0
    for name, size in (("hidden", 8), ("dim", 16), ("fused", 4), ("blocks", 1)):
        cut = curves[name][size]
        np.testing.assert_array_equal(cut.keep[name], strongest(getattr(worth, name), size))
    sizes = {"dim": 16, "heads": 1, "wide": 8}
    mask = mask_of(CONFIG, curves, sizes)
    assert mask.dim.sum() == 16 and mask.wide.all() and mask.fused.all()
    assert mask.heads.sum() == mask.prompt_heads.sum() == CONFIG.depth
