"""What training rolls out is what a stream makes."""

import dataclasses
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax.codec import PixelCodec
from lsdjax.configs import preset
from lsdjax.core.events import draw_events
from lsdjax.model.dit import Told, model_graph
from lsdjax.stream.state import init_stream
from lsdjax.stream.step import make_prompt_encoder, make_stream_step
from lsdjax.text.tokenizer import tokenize
from lsdjax.train.rollout import roll_out

pytestmark = pytest.mark.usefixtures("quick_compilation")

FRAMES = 4  # the ring of two slots wraps


@pytest.mark.parametrize("clean_pass", [False, True])
def test_a_rollout_is_a_stream(child: ModuleType, clean_pass: bool) -> None:
    tiny = preset("tiny")
    model = dataclasses.replace(tiny.model, clean_pass=clean_pass)
    params = child.quick_state(dataclasses.replace(tiny, model=model))[1].params["model"]
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (FRAMES, 32, 32, 3), dtype=np.uint8)
    there = np.array([1, 0, 1, 0], np.float32)
    key, prompt = jax.random.key(3), make_prompt_encoder(model)(params, tokenize("negative"))

    step = make_stream_step(model, model.steps, repair=False)
    state = init_stream(model, jnp.dtype(jnp.float32))
    for frame, level in zip(frames, 1 - there, strict=True):
        levels = np.float32(level), np.float32(model.history_level)
        told = *levels, prompt, np.float32(1), key, np.bool_(False)
        state, _, _ = step(params, state, frame, *told)

    @jax.jit
    def rolled(params, frames, input_level):
        inputs = PixelCodec().encode(frames.astype(jnp.float32) / 127.5 - 1.0)[None]
        events = draw_events(key, jnp.zeros(1, jnp.int32), FRAMES, 32, 32)
        nothing = jnp.zeros_like(inputs), jnp.ones((1, FRAMES))
        given = Told(inputs, input_level[None], *nothing, events)
        merged = nnx.merge(model_graph(model), nnx.State(params))
        return roll_out(merged, model, key, given, prompt)

    cache, last = rolled(params, frames, 1 - there)
    np.testing.assert_allclose(last, state.previous, atol=1e-4)
    np.testing.assert_array_equal(cache.frames, state.cache.frames)
    np.testing.assert_allclose(cache.keys, state.cache.keys, atol=1e-3)
    np.testing.assert_allclose(cache.values, state.cache.values, atol=1e-3)
    gradient = jax.grad(lambda p: rolled(p, frames, 1 - there)[1].sum())(params)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))
