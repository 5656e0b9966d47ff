"""Gradients equal those of the reference, and the TPU kernel its forward."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.pallas import backward, dispatch, ops, reference, tpu
from lsdjax.pallas.reference import Modulation, Ring
from lsdjax.pallas.specs import OURS, WAN

AGES = jnp.array([2, 0, 1], jnp.int32)
VISIBLE = jnp.array([True, True, False])


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def assert_close(one, other) -> None:
    for got, wanted in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-5 * float(jnp.abs(wanted).max()))


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_gradient_of_norm_and_modulation(norm):
    arguments = random(6, 32) + 0.5, Modulation(random(32, seed=1), random(32, seed=2))

    def loss(function, x, modulation):
        return jnp.sum(jnp.sin(function(x, modulation, norm)))

    ours, autodiff = (
        jax.jit(jax.grad(functools.partial(loss, function), argnums=(0, 1)))(*arguments)
        for function in (backward.norm_modulate, reference.norm_modulate)
    )
    assert_close(ours, autodiff)


def test_gradient_of_attention():
    q = random(5, 2, 64)
    ring = Ring(random(3, 6, 2, 64, seed=1), random(3, 6, 2, 64, seed=2))
    static = {"rotary": OURS, "length": 4}

    def loss(function, q, ring):
        return jnp.sum(jnp.sin(function(q, ring, AGES, VISIBLE)))

    plain = functools.partial(reference.ring_attention, **static)
    written = backward.attention_with_gradient(reference.ring_attention, **static)
    ours, autodiff = (
        jax.jit(jax.grad(functools.partial(loss, function), argnums=(0, 1)))(q, ring)
        for function in (written, plain)
    )
    assert_close(ours, autodiff)
    assert not ours[1].keys[2].any()
    assert not ours[1].values[:, 4:].any()


def test_attention_by_name_has_a_gradient_and_tells_what_it_ran_on():
    q, ring = random(3, 1, 64), Ring(random(3, 4, 1, 64, seed=1), random(3, 4, 1, 64, seed=2))
    attend = functools.partial(ops.ring_attention, rotary=OURS, length=4)
    gradient = jax.grad(lambda q: attend(q, ring, AGES, VISIBLE).sum())(q)
    assert gradient.shape == q.shape
    refusals = {name: f"runs on {name}, not on cpu" for name in ("hopper", "tpu")}
    (choice,) = [one for one in dispatch.choices() if one.operation == "ring_attention"]
    assert (choice.chosen, choice.refusals) == ("xla", refusals)
    with pytest.raises(NotImplementedError, match="hopper: runs on hopper, not on cpu"):
        attend(q, ring, AGES, VISIBLE, implementation="hopper")


def test_gradient_recomputed_through_the_contract():
    doubled = backward.with_gradient(lambda x: jnp.round(2 * x), lambda x: 2 * x)
    assert doubled(jnp.float32(0.7)) == 1.0
    assert jax.grad(doubled)(jnp.float32(0.7)) == 2.0


def test_tpu_attention_is_the_reference():
    q = random(32, 2, 128).astype(jnp.bfloat16)
    ring = Ring(*(random(3, 32, 2, 128, seed=seed).astype(jnp.bfloat16) for seed in (1, 2)))
    static = {"rotary": WAN, "length": 20}
    kernel = functools.partial(tpu.ring_attention, interpret=True, **static)
    out = np.asarray(jax.jit(kernel)(q, ring, AGES, VISIBLE), np.float32)
    expected = reference.ring_attention(q, ring, AGES, VISIBLE, **static)
    expected = np.asarray(expected, np.float32)
    assert np.abs(out - expected).max() <= 2**-7 * np.abs(expected).max()


def test_tpu_attention_refuses_narrow_heads():
    ring = Ring(*(jnp.zeros((2, 16, 1, 64)),) * 2)
    with pytest.raises(NotImplementedError, match="16 queries of 64"):
        tpu.ring_attention(
            jnp.zeros((16, 1, 64)), ring, AGES[:2], VISIBLE[:2], rotary=OURS, length=16
        )
