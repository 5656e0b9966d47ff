"""The Wan DiT computes what the public one does, and a stream of it what its training sees."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax.checkpoint.layouts import check_fit, public_shapes
from lsdjax.checkpoint.tree import unflatten
from lsdjax.checkpoint.wan import WanComponent
from lsdjax.core.errors import UserError
from lsdjax.model import wan_layers
from lsdjax.model.cache import init_cache
from lsdjax.model.wan import (
    WanDiT,
    cached_context,
    clean_context,
    sequence_context,
    wan_graph,
    write_chunk,
)
from lsdjax.model.wan_config import CODECS, WanConfig

pytestmark = pytest.mark.usefixtures("quick_compilation")

GOLDEN = Path(__file__).parent / "goldens" / "causal_wan_absolute_rope.npz"
TOLERANCE = 1e-4
FRAMES = 8  # the ring wraps


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def model(golden):
    """The golden's config, and its weights through the converter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CODECS, "wan2.1", (8, 4))  # it has four latent channels
        component = WanComponent()
        weights = {name[2:]: value for name, value in golden.items() if name[:2] == "w/"}
        shapes = {name: value.shape for name, value in weights.items()}
        told = {
            "height": 32, "width": 48, "heads": 4, "text_length": 8, "chunk": 2, "window": 1,
            "sinks": 1,
        }  # fmt: skip
        config = component.infer(shapes, told)
        assert (config.dim, config.depth, config.ffn_dim) == (48, 2, 96)
        check_fit(public_shapes(component, config), shapes, "golden")
        params = unflatten(
            {rule.ours: rule.layout.ours(weights[rule.public]) for rule in component.rules(config)}
        )
        graph = wan_graph(config)
        yield config, graph, params


def latents(array: np.ndarray) -> jax.Array:
    """(1, C, F, H, W) -> (b, t, h, w, ch)."""
    return jnp.asarray(array.transpose(0, 2, 3, 4, 1))


def test_every_cached_call_is_the_public_one(golden, model):
    config, graph, params = model

    @jax.jit
    def prompt(params, words):
        return nnx.merge(graph, nnx.State(params)).prompt(words)

    @jax.jit
    def call(params, words, cache, noisy, level):
        dit = nnx.merge(graph, nnx.State(params))
        return dit.denoise(noisy, level, words, cached_context(cache, config))

    words = prompt(params, golden["ctx"])
    cache, worst = init_cache(config, 1, jnp.dtype(jnp.float32)), 0.0
    for i in range(12):
        level = jnp.full((1, 2), (0.9, 0.5, 0.0)[i % 3], jnp.float32)
        seen = call(params, words, cache, latents(golden[f"in/{i}"]), level)
        error = np.abs(seen.velocity - latents(golden[f"out/{i}"])).max()
        worst = max(worst, float(error))
        assert error < TOLERANCE, f"call {i}: {error}"
        if i % 3 == 2:
            cache = write_chunk(cache, seen, config)
    assert sorted(cache.frames.tolist()) == [0, 7]  # the sink, and one frame of the window
    print(f"largest error of the cached calls: {worst:.2e}")


def test_the_training_forward_is_the_public_one(golden, model):
    config, graph, params = model
    config = dataclasses.replace(config, window=4)
    level = jnp.array([[0.1, 0.1, 0.7, 0.7]], jnp.float32)

    @jax.jit
    def call(params, words, noisy):
        dit = nnx.merge(graph, nnx.State(params))
        context = sequence_context(4, config)
        return dit.denoise(noisy, level, dit.prompt(words), context).velocity

    made = call(params, golden["ctx"], latents(golden["train_in"]))
    error = np.abs(made - latents(golden["train_out"])).max()
    print(f"largest error of the training forward: {error:.2e}")
    assert error < TOLERANCE


def test_attention_in_groups_of_queries_is_attention(monkeypatch):
    """Ten queries at 3 a turn, forward and backward; no array of all logits is left."""
    rng = np.random.default_rng(0)
    q, keys, values = (
        jnp.asarray(rng.standard_normal((2, t, 5, 2, 6)), jnp.float32) for t in (2, 3, 3)
    )
    visible = jnp.array([True, False, True])

    def squares(q: jax.Array, keys: jax.Array, values: jax.Array) -> tuple[jax.Array, jax.Array]:
        made = wan_layers.attend(q, keys, values, visible)
        return jnp.sum(made**2), made

    whole = jax.jit(jax.value_and_grad(squares, (0, 1, 2), has_aux=True))(q, keys, values)
    monkeypatch.setattr(wan_layers, "LOGIT_BYTES", 3 * 2 * 2 * 15 * 4)
    grouped = jax.jit(jax.value_and_grad(squares, (0, 1, 2), has_aux=True))
    for one, other in zip(*map(jax.tree.leaves, (whole, grouped(q, keys, values))), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
    told = str(jax.make_jaxpr(grouped)(q, keys, values))
    assert "2,2,10,15]" not in told and "2,2,3,15]" in told


TINY = WanConfig(
    height=16, width=24, codec="pixel", dim=24, depth=2, heads=2, ffn_dim=32, frequency_dim=8,
    text_dim=6, text_length=3, chunk=2, window=3, sinks=1,
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"rope": "absolute"},
        {"rope": "window", "cache_policy": "deep-sinks", "sinks": 3},
        {"rope": "window", "cache_policy": "rolling-sink"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_a_stream_sees_what_its_training_saw(changes, random_like):
    """Teacher forcing over a sequence = chunk by chunk with clean passes through the cache."""
    config = dataclasses.replace(TINY, **changes)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: WanDiT(config, rngs=nnx.Rngs(0))), nnx.Param)
    params = random_like(nnx.to_pure_dict(shapes))
    rng = np.random.default_rng(1)
    clean, noisy = rng.standard_normal((2, 1, FRAMES, 8, 12, 12), np.float32)
    words = jnp.asarray(rng.standard_normal((2, 6), np.float32))
    zero, half = jnp.zeros((1, FRAMES)), jnp.full((1, FRAMES), 0.5)

    @jax.jit
    def taught(params):
        dit = nnx.merge(graph, nnx.State(params))
        prompt = dit.prompt(words)
        seen = dit(clean, zero, prompt)
        return dit.denoise(noisy, half, prompt, clean_context(seen, config)).velocity

    @jax.jit
    def step(params, cache, noisy, clean):
        dit = nnx.merge(graph, nnx.State(params))
        prompt, context = dit.prompt(words), cached_context(cache, config)
        made = dit.denoise(noisy, half[:, :2], prompt, context).velocity
        return made, write_chunk(cache, dit.denoise(clean, zero[:, :2], prompt, context), config)

    whole, cache = taught(params), init_cache(config, 1, jnp.dtype(jnp.float32))
    for start in range(0, FRAMES, 2):
        now = slice(start, start + 2)
        made, cache = step(params, cache, noisy[:, now], clean[:, now])
        np.testing.assert_allclose(made, whole[:, now], atol=2e-4, err_msg=f"frame {start}")
    assert float(np.std(whole)) > 0.1  # it says something


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 17}, "height=17"),
        ({"chunk": 4}, "chunk=4"),
        ({"rope": "relative"}, "rope='relative'"),
        ({"codec": "wan3"}, "codec='wan3'"),
        ({"timesteps": (250, 1000)}, "timesteps"),
        ({"heads": 5}, "heads=5"),
        ({"cache_policy": "all"}, "no cache policy 'all'"),
    ],
)
def test_a_wrong_config_is_one_clear_line(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **changes)
