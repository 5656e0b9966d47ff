"""The contract is the model's own block, and holds what a ring promises."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from lsdjax.model import fused
from lsdjax.model.config import ModelConfig
from lsdjax.model.layers import Block, Context, PromptAttention
from lsdjax.model.rope import rotate_age, rotate_space
from lsdjax.pallas import reference
from lsdjax.pallas.rotary import Rotary, turn
from lsdjax.pallas.specs import OURS, SHAPES, WAN

CONFIG = ModelConfig(height=32, width=64, dim=64, heads=1, text_dim=32, window=2, depth=1)


jitted_attention = jax.jit(reference.ring_attention, static_argnames=("rotary", "length"))


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def test_rotation_is_the_models():
    x, (rows, columns) = random(8, 3, 64), (2, 4)
    cos, sin = OURS.space_tables(rows, columns)
    turned = turn(x, cos[:, None], sin[:, None], OURS.swap())
    np.testing.assert_allclose(turned, rotate_space(x, (rows, columns)), atol=1e-5)
    ages = jnp.array([0, 3], jnp.int32)
    keys = random(1, 2, 5, 3, 64)
    cos, sin = (table[:, None, None, :] for table in OURS.age_tables(ages))
    turned = turn(keys[0], cos, -sin, OURS.swap())
    np.testing.assert_allclose(turned, rotate_age(keys, ages[None])[0, 0], atol=1e-5)


def test_turning_queries_by_age_is_turning_keys_back():
    for rotary in (OURS, WAN):
        q, k = random(rotary.dims), random(rotary.dims, seed=1)
        cos, sin = (table[0] for table in rotary.age_tables(jnp.array([5], jnp.int32)))
        ahead = turn(q, cos, sin, rotary.swap()) @ k
        np.testing.assert_allclose(ahead, q @ turn(k, cos, -sin, rotary.swap()), rtol=1e-4)


def test_interleaved_pairs_turn_as_complex_numbers():
    rotary = Rotary(time=4, space=(2, 2), interleaved=True, time_base=10.0)
    x = random(8)
    cos, sin = (table[0] for table in rotary.age_tables(jnp.array([3], jnp.int32)))
    pairs = np.asarray(x).reshape(-1, 2) @ np.array([1, 1j])
    angles = np.array([3.0, 3.0 * 10**-0.5, 0.0, 0.0])
    expected = pairs * np.exp(1j * angles)
    turned = np.asarray(turn(x, cos, sin, rotary.swap())).reshape(-1, 2) @ np.array([1, 1j])
    np.testing.assert_allclose(turned, expected, rtol=1e-5)


def test_block_is_the_models_block():
    graph, shapes = nnx.split(nnx.eval_shape(lambda: Block(CONFIG, rngs=nnx.Rngs(0))), nnx.Param)
    state = jax.tree.map(
        lambda leaf: 0.2 * random(*leaf.shape, seed=leaf.size) + float(len(leaf.shape) == 1), shapes
    )
    n, slots, words = CONFIG.tokens, 3, 6
    x, modulation = random(1, 1, n, 64), 0.3 * random(1, 1, 6 * 64, seed=1)
    past = [random(1, slots, n, 1, 64, seed=seed) for seed in (2, 3)]
    prompt = PromptAttention(
        random(words, 1, 64, seed=4), random(words, 1, 64, seed=5), jnp.arange(words) < 4
    )
    ages = jnp.array([[2, 1, 3, 0]], jnp.int32)
    visible = jnp.array([[True, True, False, True]])

    @jax.jit
    def models(state, x, modulation, prompt, past):
        block = nnx.merge(graph, state)
        return block(x, modulation, prompt, Context(past[0], past[1], ages, visible))

    @jax.jit
    def contract(state, x, modulation, prompt, past):
        block = nnx.merge(graph, state)
        keys, values = (jnp.pad(each[0], ((0, 1), (0, 0), (0, 0), (0, 0))) for each in past)
        words = reference.Prompt(prompt.keys, prompt.values, jnp.int32(4))
        variant = fused.variant_of(block, n, 64)
        return reference.block(
            x[0, 0],
            fused.weights_of(block, jnp.dtype(jnp.float32)),
            fused.modulation_of(modulation[0, 0].reshape(6, -1)),
            variant.rotary.space_tables(*block.grid),
            reference.Ring(keys, values),
            reference.Seen(jnp.int32(slots), ages[0], visible[0], words),
            rotary=variant.rotary,
            norm=variant.norm,
            qk_norm=variant.qk_norm,
            gate_offset=variant.gate_offset,
            length=n,
        )

    arguments = (state, x, modulation, prompt, past)
    out, keys, values = models(*arguments)
    ours, ring = contract(*arguments)
    np.testing.assert_allclose(ours, out[0, 0], rtol=1e-4, atol=1e-4 * float(jnp.abs(out).max()))
    np.testing.assert_allclose(ring.keys[slots], keys[0, 0], atol=1e-4)
    np.testing.assert_allclose(ring.values[slots], values[0, 0], atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(4)), st.sampled_from([2, 5]))
def test_ring_attention_knows_ages_not_slots(order, length):
    order = np.array(order)
    q, ring = random(3, 1, 64), reference.Ring(random(4, 5, 1, 64), random(4, 5, 1, 64, seed=1))
    ages, visible = jnp.array([0, 1, 2, 3]), jnp.array([True, False, True, True])

    def attended(ring: reference.Ring, ages: jax.Array, visible: jax.Array) -> jax.Array:
        return jitted_attention(q, ring, ages, visible, rotary=OURS, length=length)

    moved = reference.Ring(*(store[order] for store in ring))
    here = attended(ring, ages, visible)
    np.testing.assert_allclose(attended(moved, ages[order], visible[order]), here, atol=1e-5)
    unseen = reference.Ring(ring.keys.at[1].set(9.0), ring.values.at[:, length:].set(9.0))
    np.testing.assert_array_equal(attended(unseen, ages, visible), here)


def test_named_shapes_are_what_they_say():
    student, wan = SHAPES["student-294m"], SHAPES["wan-1.3b-w9"]
    assert (student.tokens, student.head_dim, wan.tokens, wan.head_dim) == (880, 64, 1560, 128)
    assert all(shape.rotary.dims == shape.head_dim for shape in SHAPES.values())
    assert round(30 * wan.flops() / 1e12, 1) == 8.1
