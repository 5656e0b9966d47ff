"""What serves an operation, and that nothing is put in its place unasked."""

import jax
import jax.numpy as jnp
import pytest

from lsdjax.core.errors import UserError
from lsdjax.evals.gpu_stream import MODELS
from lsdjax.model.config import ModelConfig
from lsdjax.pallas import dispatch
from lsdjax.stream.step import make_stream_step, runs_on, side_by_side, step_arguments


@pytest.fixture
def doubling(monkeypatch):
    """An operation "double": "even" serves even sizes, "never" nothing, "any" everything."""
    monkeypatch.setattr(dispatch, "_IMPLEMENTATIONS", {})
    monkeypatch.setattr(dispatch, "_CHOICES", {})

    def even(x):
        if len(x) % 2:
            raise NotImplementedError(f"size {len(x)}; an even one is expected")
        return 2 * x

    def never(_):
        raise NotImplementedError("not today")

    dispatch.register("double", "even", even)
    dispatch.register("double", "never", never)
    dispatch.register("double", "any", lambda x: x + x)


def chosen() -> list[tuple]:
    return [(one.shapes, one.chosen, one.refusals) for one in dispatch.choices()]


def test_first_that_serves_is_chosen_and_reasons_are_kept(doubling):
    dispatch.call("double", jnp.ones(2))
    assert list(dispatch.call("double", jnp.ones(3))) == [2, 2, 2]
    odd = {"even": "size 3; an even one is expected", "never": "not today"}
    assert chosen() == [("float32[2]", "even", {}), ("float32[3]", "any", odd)]


@pytest.mark.parametrize("names", ["even", ("never", "even")])
def test_nothing_takes_the_place_of_what_was_asked_for(doubling, names):
    with pytest.raises(NotImplementedError, match=r"nothing serves double: .*even: size 3"):
        dispatch.call("double", jnp.ones(3), implementation=names)
    assert chosen()[0][1] is None


def test_names_may_be_given_for_calls_that_give_none(doubling):
    with dispatch.only("double", "even"):
        with pytest.raises(NotImplementedError, match="size 3"):
            dispatch.call("double", jnp.ones(3))
        dispatch.call("double", jnp.ones(3), implementation="any")
    dispatch.call("double", jnp.ones(3))


def test_names_are_tried_in_the_order_given(doubling):
    dispatch.call("double", jnp.ones(2), implementation=("never", "any", "even"))
    assert chosen() == [("float32[2]", "any", {"never": "not today"})]


def test_other_errors_are_not_refusals(doubling):
    with pytest.raises(TypeError):
        dispatch.call("double", None)


def test_unknown_names_are_refused(doubling):
    with pytest.raises(UserError, match=r"operation 'halve'; one of \['double'\] is expected"):
        dispatch.call("halve", jnp.ones(2))
    with pytest.raises(UserError, match="implementation 'odd' of double"):
        dispatch.call("double", jnp.ones(2), implementation="odd")


def test_streams_side_by_side_take_no_kernels(monkeypatch):
    """One that waits for its own blocks would wait for ever."""
    monkeypatch.setattr(dispatch, "device", lambda: dispatch.HOPPER)
    config, bf16 = MODELS["tiny"], jnp.dtype(jnp.bfloat16)
    axes = (None, 0, None, None, None, None, None, None, None)
    state = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), step_arguments(config, bf16)[1]
    )
    for wrap, chosen in ((lambda step, _: step, "single pass"), (side_by_side, "xla")):
        arguments = list(step_arguments(config, bf16))
        if chosen == "xla":
            arguments[1] = state
        dispatch.forget()
        jax.eval_shape(wrap(make_stream_step(config, 1, repair=True), axes), *arguments)
        assert [choice.chosen for choice in dispatch.choices()] == [chosen]


def test_a_model_says_what_its_blocks_run_on():
    config = ModelConfig(
        height=32, width=32, dim=32, depth=1, heads=2, channels=8, experts=2, text_dim=32,
        text_depth=1, window=2,
    )  # fmt: skip
    refusals = {name: "runs on hopper, not on cpu" for name in ("single pass", "kernel chain")}
    assert runs_on(config) == [
        dispatch.Choice("blocks", "float32[1, 1, 4, 32]", "cpu", "xla", refusals)
    ]
