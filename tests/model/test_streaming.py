"""One rule decides what a frame sees, in training and in a stream."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax.model.cache import ages_at, clear, init_cache, write
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import (
    CausalDiT,
    Told,
    cached_context,
    clean_context,
    sequence_context,
)
from lsdjax.model.layers import attend
from lsdjax.model.policy import RingWithSinks
from lsdjax.text.tokenizer import tokenize

CONFIG = ModelConfig(
    height=32, width=32, dim=32, depth=2, heads=2, channels=8, experts=2, text_dim=32,
    text_depth=1, window=2, sinks=1,
)  # fmt: skip
FRAMES = 9  # the ring of 2 + sinks slots wraps more than once


@functools.cache
def compiled(
    sinks: int, cache_policy: str = "sinks"
) -> tuple[Any, Any, Callable, Callable, Callable]:
    """Config and parameters' shapes; the prompt, the whole sequence at once, and frame by frame."""
    config = dataclasses.replace(CONFIG, sinks=sinks, cache_policy=cache_policy)
    graph, shapes = nnx.split(
        nnx.eval_shape(lambda: CausalDiT(config, rngs=nnx.Rngs(0))), nnx.Param
    )

    @jax.jit
    def told(params, ids):
        model = nnx.merge(graph, params)
        return model.prompt(model.embed(ids))

    @jax.jit
    def forward(params, noisy, levels, sizes, told, prompt):
        model = nnx.merge(graph, params)
        return model(noisy, levels, sizes, told, prompt).sample

    @jax.jit
    def one_frame(params, cache, noisy, levels, sizes, told, prompt):
        model = nnx.merge(graph, params)
        observation = model.observe(told, prompt)
        context = cached_context(cache, config)
        out = model.denoise(noisy, levels, sizes, observation, prompt, context)
        return write(cache, out.keys[:, :, 0], out.values[:, :, 0], config.policy), out.sample

    return config, shapes, told, forward, one_frame


def draw(frames: int, config: ModelConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray, Told]:
    """noisy, levels, sizes, told: what the model takes."""
    rng = np.random.default_rng(2)
    pictures = (1, frames, config.height // 2, config.width // 2, 12)
    noisy, inputs, previous = (rng.standard_normal(pictures, np.float32) for _ in range(3))
    levels, sizes, history, missing = (rng.random((1, frames), np.float32) for _ in range(4))
    events = (rng.random((*pictures[:-1], 3)) < 0.1).astype(np.float32)
    told = (jnp.asarray(part) for part in (inputs, missing, previous, history, events))
    return noisy, levels, sizes, Told(*told)


@pytest.mark.parametrize(
    ("policy", "sinks", "start"),
    [
        ("sinks", 0, 0),
        ("sinks", 1, 0),
        ("sinks", 2, 0),
        ("sinks", 0, 10_000_000),
        ("dilated", 0, 0),
        ("dilated", 0, 10_000_000),
    ],
)
def test_cached_stream_equals_full_causal_forward(
    policy: str, sinks: int, start: int, random_like, plugins
) -> None:
    if policy == "dilated":
        plugins("docs/examples/cache_policy.py")
    config, shapes, told, forward, one_frame = compiled(sinks, policy)
    params = random_like(shapes)
    prompt = told(params, tokenize("a pencil sketch"))
    sequence = draw(FRAMES, config)
    full = np.asarray(forward(params, *sequence, prompt))
    cache = init_cache(config, 1, jnp.dtype(jnp.float32))
    if start:  # as if so many frames had come and gone
        cache = cache._replace(length=jnp.asarray(start, jnp.int32))
    for i in range(FRAMES):
        parts = jax.tree.map(lambda x, i=i: x[:, i : i + 1], sequence)
        cache, sample = one_frame(params, cache, *parts, prompt)
        scale = np.abs(full[:, i]).max()  # sums of terms as large as this round differently
        np.testing.assert_allclose(sample[:, 0], full[:, i], atol=1e-5 * scale, rtol=1e-5)


def test_several_frames_over_a_cache_equal_the_full_forward(random_like) -> None:
    config, shapes, told, forward, one_frame = compiled(1)
    params = random_like(shapes)
    prompt = told(params, tokenize("a pencil sketch"))
    sequence = draw(FRAMES, config)
    full = np.asarray(forward(params, *sequence, prompt))
    cache, lead = init_cache(config, 1, jnp.dtype(jnp.float32)), 5
    for i in range(lead):
        parts = jax.tree.map(lambda x, i=i: x[:, i : i + 1], sequence)
        cache, _ = one_frame(params, cache, *parts, prompt)
    graph = nnx.split(nnx.eval_shape(lambda: CausalDiT(config, rngs=nnx.Rngs(0))), nnx.Param)[0]

    @jax.jit
    def rest(params, cache, noisy, levels, sizes, told, prompt):
        model = nnx.merge(graph, params)
        context = cached_context(cache, config, FRAMES - lead)
        observation = model.observe(told, prompt)
        return model.denoise(noisy, levels, sizes, observation, prompt, context).sample

    parts = jax.tree.map(lambda x: x[:, lead:], sequence)
    scale = np.abs(full).max()
    np.testing.assert_allclose(
        rest(params, cache, *parts, prompt), full[:, lead:], atol=1e-5 * scale, rtol=1e-5
    )


def test_two_passes_equal_a_stream_with_a_clean_pass(random_like) -> None:
    config, shapes, told, _, one_frame = compiled(1)
    params = random_like(shapes)
    prompt = told(params, tokenize("a pencil sketch"))
    noisy, levels, sizes, given = draw(FRAMES, config)
    clean = draw(FRAMES, config)[0][:, ::-1]
    graph = nnx.split(nnx.eval_shape(lambda: CausalDiT(config, rngs=nnx.Rngs(0))), nnx.Param)[0]
    zeros = jnp.zeros_like(levels)

    @jax.jit
    def two_passes(params, clean, noisy, levels, sizes, told, prompt):
        model = nnx.merge(graph, params)
        observation, context = model.observe(told, prompt), sequence_context(FRAMES, config)
        seen = model.denoise(clean, zeros, zeros, observation, prompt, context)
        context = clean_context(seen, context, config)
        return model.denoise(noisy, levels, sizes, observation, prompt, context).sample

    full = np.asarray(two_passes(params, clean, noisy, levels, sizes, given, prompt))
    cache = init_cache(config, 1, jnp.dtype(jnp.float32))
    for i in range(FRAMES):
        now = jax.tree.map(lambda x, i=i: x[:, i : i + 1], (noisy, levels, sizes, given))
        _, sample = one_frame(params, cache, *now, prompt)
        scale = np.abs(full[:, i]).max()
        np.testing.assert_allclose(sample[:, 0], full[:, i], atol=1e-5 * scale, rtol=1e-5)
        still = clean[:, i : i + 1], zeros[:, :1], zeros[:, :1]
        cache, _ = one_frame(params, cache, *still, now[3], prompt)


@pytest.mark.parametrize("which", ["inputs", "previous"])
def test_what_is_withheld_is_not_seen(which: str, random_like) -> None:
    config, shapes, told, forward, _ = compiled(1)
    params = random_like(shapes)
    prompt = told(params, tokenize("snow"))
    *noised, given = draw(FRAMES, config)
    level = {"inputs": "input_level", "previous": "previous_level"}[which]
    withheld = given._replace(**{level: jnp.ones((1, FRAMES))})
    other = {which: getattr(given, which) + 1}
    unseen = [forward(params, *noised, t, prompt) for t in (withheld, withheld._replace(**other))]
    np.testing.assert_array_equal(*unseen)
    assert np.abs(forward(params, *noised, given._replace(**other), prompt) - unseen[0]).max() > 0.1


def test_a_frame_sees_the_past_and_not_the_future(random_like) -> None:
    config, shapes, told, forward, _ = compiled(1)
    params = random_like(shapes)
    prompt = told(params, tokenize("snow"))
    noisy, *rest = draw(FRAMES, config)
    before = np.asarray(forward(params, noisy, *rest, prompt))
    changed = noisy.copy()
    changed[:, 2] += 1.0
    after = np.asarray(forward(params, changed, *rest, prompt))
    np.testing.assert_allclose(after[:, :2], before[:, :2], atol=1e-6)
    assert np.abs(after[:, 3] - before[:, 3]).max() > 1e-4


def test_ring_keeps_sinks_after_wrap() -> None:
    cache = init_cache(CONFIG, 1, jnp.dtype(jnp.float32))
    shape = (CONFIG.depth, 1, CONFIG.tokens, CONFIG.heads, CONFIG.head_dim)
    for i in range(11):
        cache = write(cache, jnp.full(shape, float(i)), jnp.full(shape, float(i)), CONFIG.policy)
    assert cache.frames.tolist() == [0, 9, 10]
    assert cache.keys[0, 0, :, 0, 0, 0].tolist() == [0.0, 9.0, 10.0]
    assert int(cache.length) == 11
    assert clear(cache).frames.tolist() == [-1, -1, -1]


def test_ages_are_bounded_and_empty_slots_are_invisible() -> None:
    frames = jnp.array([0, -1, 9_999_998, 9_999_999], jnp.int32)
    ages, visible = ages_at(jnp.array([10_000_000, 1], jnp.int32), frames, RingWithSinks(2, 1))
    assert ages[0].tolist() == [3, 3, 2, 1]
    assert visible.tolist() == [[True, False, True, True], [True, False, False, False]]


def test_invisible_slots_do_not_change_attention() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    q = jax.random.normal(keys[0], (1, 1, 4, 2, 16))
    k, v = (jax.random.normal(key, (1, 3, 4, 2, 16)) for key in keys[1:])
    ages = jnp.array([[2, 1, 0]])
    seen = attend(q, k[:, 1:], v[:, 1:], ages[:, 1:], jnp.array([[True, True]]))
    masked = attend(q, k, v, ages, jnp.array([[False, True, True]]))
    np.testing.assert_allclose(masked, seen, atol=1e-6)


def test_attention_depends_on_age() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    q = jax.random.normal(keys[0], (1, 1, 4, 2, 16))
    k, v = (jax.random.normal(key, (1, 2, 4, 2, 16)) for key in keys[1:])
    visible = jnp.array([[True, True]])
    near = attend(q, k, v, jnp.array([[1, 0]]), visible)
    far = attend(q, k, v, jnp.array([[2, 0]]), visible)
    assert float(jnp.abs(near - far).max()) > 1e-3
