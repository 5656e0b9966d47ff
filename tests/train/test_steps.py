"""The training step on one device and on a mesh, in two precisions, with and without remat."""

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.configs import Stage, TrainConfig, preset
from lsdjax.core.errors import UserError
from lsdjax.core.sharding import make_mesh, place
from lsdjax.data.pipeline import DecodedPair, PairedWindows
from lsdjax.text.tokenizer import tokenize
from lsdjax.train.objective import picture_objective
from lsdjax.train.pairs import PairedDraws
from lsdjax.train.state import TrainState
from lsdjax.train.steps import deal, make_train_step

pytestmark = pytest.mark.usefixtures("quick_compilation")

STAGE = Stage("crops", steps=9, groups=5, clips=1, prompts=1, crop=16)
CONFIG = dataclasses.replace(preset("tiny"), stages=(STAGE,))


def test_groups_are_dealt_in_turn_and_the_last_round_is_filled_up() -> None:
    dealt = deal({"number": np.arange(5), "share": np.full((5, 2), 0.2)}, 4)
    np.testing.assert_array_equal(dealt["number"], [[0, 1, 2, 3], [4, 0, 0, 0]])
    assert dealt["share"].shape == (2, 4, 2) and dealt["share"][1, 1:].sum() == 0
    assert deal(np.zeros((0, 3)), 4).shape == (0, 4, 3)


# What comes before the frame that is learnt from: the model's own, with its own errors.
ROLLED = dataclasses.replace(STAGE, rollout=1, history_errors=0.5, history_drift=0.5)


def run_steps(child: ModuleType, text: str, devices: int) -> tuple[list[Any], TrainState]:
    """Two steps on pairs: their losses, and the state as it is laid out."""
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (2, 5, 40, 40, 3), dtype=np.uint8)
    pairs = [
        DecodedPair(clip, 255 - clip, 1.0, f"{n}.mp4", (f"look {n}",))
        for n, clip in enumerate(clips)
    ]
    config = dataclasses.replace(CONFIG, stages=(ROLLED,))
    draws = PairedDraws(config, tokenize, pairs)
    mesh = make_mesh(text, jax.devices()[:devices])
    graph, state = child.quick_state(config)
    state, losses = place(state, mesh), []
    step = make_train_step(graph, config, ROLLED, mesh, single=False)
    for number in range(2):
        state, metrics = step(state, draws.draw(number, single=False), None, number)
        losses.append([float(metrics.loss), float(metrics.gradient_norm)])
        losses.append(np.asarray(metrics.squared_error)[: STAGE.groups].tolist())
    return losses, state


def test_eight_devices_lose_what_one_loses(child: ModuleType) -> None:
    one, alone = run_steps(child, "data=1", 1)
    eight, state = run_steps(child, "data=2,fsdp=2,tensor=2", 8)
    for mine, theirs in zip(eight, one, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    assert state.bank is not None and alone.bank is not None
    errors = np.asarray(state.bank.errors)
    assert (errors != 0).any(axis=(2, 3, 4)).sum() >= STAGE.groups
    np.testing.assert_allclose(errors, alone.bank.errors, atol=1e-3)  # each in the same place
    held = sum(leaf.addressable_data(0).nbytes for leaf in jax.tree.leaves(state))
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert held < 0.3 * whole  # parameters, moments and EMA alike: fsdp x tensor is 4


def loss_of(config: TrainConfig, clips: int = 1) -> Callable[[Any], jax.Array]:
    """The loss of one group as a function of the parameters."""
    windows = np.zeros((clips, 2, 32, 32, 3), np.uint8)
    loss = picture_objective(config, dataclasses.replace(STAGE, clips=clips), single=True)

    def of_params(params: Any) -> jax.Array:
        source = PairedWindows(windows, windows)
        prompt = jnp.asarray(tokenize("negative"))
        return loss(params, jax.random.key(0), source, prompt, None, None)[0]

    return of_params


def convolutions(jaxpr: Any) -> list[Any]:
    """All convolutions of a jaxpr, wherever they are."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            found.append(equation)
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                found += convolutions(inner)
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_model_computes_in_the_dtype_and_gradients_are_float32(
    child: ModuleType, dtype: str
) -> None:
    loss = loss_of(dataclasses.replace(CONFIG, compute_dtype=dtype))
    params = child.quick_state(CONFIG)[1].params
    traced = jax.make_jaxpr(jax.value_and_grad(loss))(params)
    gradients = jax.eval_shape(jax.grad(loss), params)
    used = {str(v.aval.dtype) for e in convolutions(traced.jaxpr) for v in e.invars}
    assert used == {dtype}
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(gradients)} == {"float32"}


def test_bfloat16_loses_about_the_same(child: ModuleType) -> None:
    params = child.quick_state(CONFIG)[1].params
    wide, narrow = (
        float(jax.jit(loss_of(dataclasses.replace(CONFIG, compute_dtype=dtype)))(params))
        for dtype in ("float32", "bfloat16")
    )
    assert narrow != wide and narrow == pytest.approx(wide, rel=0.03)


def test_remat_keeps_less_for_the_backward_pass(child: ModuleType) -> None:
    params = child.quick_state(CONFIG)[1].params

    def kept(remat: str) -> int:
        loss = loss_of(dataclasses.replace(CONFIG, remat=remat), clips=64)
        backward = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
        return sum(leaf.size for leaf in jax.tree.leaves(backward))

    everything, dots, blocks = kept("none"), kept("dots"), kept("blocks")
    assert blocks < 0.7 * everything and dots < 0.7 * everything


@pytest.mark.parametrize(("name", "value"), [("compute_dtype", "float16"), ("remat", "all")])
def test_an_unknown_precision_or_policy_is_refused(name: str, value: str) -> None:
    with pytest.raises(UserError, match=f"{name}='{value}'"):
        dataclasses.replace(CONFIG, **{name: value})
