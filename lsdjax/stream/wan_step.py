"""The stream step of a causal Wan model: one chunk of latents, as pure functions."""

import contextlib
import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lsdjax.diffusion.renoise import solve_renoising
from lsdjax.diffusion.schedule import warp
from lsdjax.diffusion.video_input import noised_input
from lsdjax.model.cache import KVCache, init_cache
from lsdjax.model.wan import (
    TIMESTEPS,
    WanDiT,
    WanPrediction,
    cached_context,
    wan_graph,
    write_chunk,
)
from lsdjax.model.wan_config import WanConfig
from lsdjax.model.wan_layers import WanPrompt
from lsdjax.pallas import dispatch

Prompt = tuple[WanPrompt, ...]

# (params, KV cache, latents of the input (1, chunk, h, w, ch), its level (), prompt, key)
#   -> (KV cache, sample (1, chunk, h, w, ch))
WanStep = Callable[
    [dict, KVCache, jax.Array, jax.Array, Prompt, jax.Array], tuple[KVCache, jax.Array]
]


def make_wan_prompt(config: WanConfig) -> Callable[[dict, jax.Array], Prompt]:
    """The jitted function (params, words (words, text_dim)) -> keys and values of every block."""
    graph = wan_graph(config)

    def encode(params: dict, words: jax.Array) -> Prompt:
        return nnx.merge(graph, nnx.State(params)).prompt(words)

    return jax.jit(encode)


def cache_sharding(config: WanConfig, mesh: Mesh) -> KVCache:
    """How the KV cache lies on a mesh: split by heads over `tensor` where they can be."""
    whole = NamedSharding(mesh, PartitionSpec())
    divides = config.heads % mesh.shape["tensor"] == 0
    heads = NamedSharding(
        mesh, PartitionSpec(None, None, None, None, "tensor" if divides else None)
    )
    return KVCache(heads, heads, whole, whole)  # type: ignore[arg-type]


def make_wan_step(
    config: WanConfig, *, noised: bool = False, mesh: Mesh | None = None, jit: bool = True
) -> WanStep:
    """The step that makes the next chunk; jitted, it donates the cache.

    mesh: where the parameters lie, by `lsdjax.core.sharding.place`; None is one device.

    Without an input video the latents given are not looked at. A model that was made for one
    (`config.beside`) sees them beside the noisy ones. With `noised`, denoising starts from them,
    noised to the level given, in place of the first of `config.timesteps`.

    The noise of chunk i is a function of the key and of i, so a stream can be replayed.
    """
    graph = wan_graph(config)
    levels = warp(jnp.asarray(config.timesteps, jnp.float32) / TIMESTEPS, config.noise_shift)

    def step(params, cache, inputs, input_level, prompt, key):
        model = nnx.merge(graph, nnx.State(params))
        context = cached_context(cache, config)
        beside = inputs if config.beside else None

        def denoise(x: jax.Array, level: jax.Array) -> tuple[jax.Array, WanPrediction]:
            with spread_over(mesh):
                seen = model.denoise(x, level, prompt, context, beside)
            return seen.velocity, seen

        key = jax.random.fold_in(key, cache.length)
        noise = jax.random.normal(key, (len(levels), *inputs.shape), inputs.dtype)
        start, path = noise[0], levels
        if noised:
            start, declared = noised_input(inputs, noise[0], input_level)
            path = jnp.concatenate([declared[None], jnp.minimum(levels[1:], declared)])
        sample, seen = solve_renoising(denoise, start, path, noise[1:])
        if config.clean_pass:
            _, seen = denoise(sample, jnp.zeros(sample.shape[:2], jnp.float32))
        return write_chunk(cache, seen, config), sample

    if not jit:
        return step
    made = None
    if mesh is not None:
        made = (cache_sharding(config, mesh), NamedSharding(mesh, PartitionSpec()))
    return jax.jit(step, donate_argnums=1, out_shardings=made)


def spread_over(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """Inside `jit`: what is traced knows of the devices that share the model; None is one."""
    if mesh is None:
        return contextlib.nullcontext()
    return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def make_wan_recache(
    config: WanConfig, mesh: Mesh | None = None
) -> Callable[[dict, KVCache, jax.Array, jax.Array, Prompt], KVCache]:
    """The jitted (params, cache, inputs, clean latents, prompt) -> cache with one more chunk."""
    graph = wan_graph(config)

    def recache(params, cache, inputs, latents, prompt):
        model = nnx.merge(graph, nnx.State(params))
        level = jnp.zeros(latents.shape[:2], jnp.float32)
        beside = inputs if config.beside else None
        with spread_over(mesh):
            seen = model.denoise(latents, level, prompt, cached_context(cache, config), beside)
        return write_chunk(cache, seen, config)

    return jax.jit(recache)


def rewind(cache: KVCache, frames: int, config: WanConfig) -> KVCache:
    """Forget the last `frames` frames: the next chunk takes their place.

    Mixed tokens of frames that were let go are forgotten too: nothing can be computed anew of them.
    """
    length = cache.length - frames
    kept = (cache.frames < length) & (jnp.arange(len(cache.frames)) < config.policy.slots)
    return cache._replace(frames=jnp.where(kept, cache.frames, -1), length=length)


def keep_sinks(cache: KVCache, before: KVCache, config: WanConfig) -> KVCache:
    """`cache` with the sinks of `before`: the slots of frames that are seen for ever."""
    far = jnp.iinfo(jnp.int32).max // 2
    _, forever = config.policy.sees(jnp.asarray(far, jnp.int32), before.frames)
    kept = forever & (before.frames >= 0) & (before.frames == cache.frames)
    kept = kept & (jnp.arange(len(kept)) < config.policy.slots)
    mask = kept[None, None, :, None, None, None]
    return cache._replace(
        keys=jnp.where(mask, before.keys, cache.keys),
        values=jnp.where(mask, before.values, cache.values),
    )


def step_arguments(config: WanConfig, dtype: jnp.dtype) -> tuple:
    """Shapes and types of a step's arguments, with matrices and activations of `dtype`."""
    model = nnx.eval_shape(lambda: WanDiT(config, rngs=nnx.Rngs(0)))
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.ShapeDtypeStruct(
            leaf.shape, dtype if path[-1].key == "kernel" else leaf.dtype
        ),
        nnx.to_pure_dict(nnx.state(model, nnx.Param)),
    )
    words = jax.ShapeDtypeStruct((config.text_length, config.text_dim), dtype)
    shape = (1, config.chunk, *config.latent_size, config.channels)
    return (
        params,
        jax.eval_shape(lambda: init_cache(config, 1, dtype)),
        jax.ShapeDtypeStruct(shape, dtype),
        jax.ShapeDtypeStruct((), jnp.float32),
        jax.eval_shape(make_wan_prompt(config), params, words),
        jax.eval_shape(lambda: jax.random.key(0)),
    )


def runs_on(config: WanConfig, dtype: jnp.dtype | None = None) -> list[dispatch.Choice]:
    """What the blocks of a stream's step run on here, and why not on the rest.

    dtype: of the activations; None is what streams have here, float32 on a CPU, else bfloat16.
    """
    if dtype is None:
        dtype = jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")
    config = dataclasses.replace(config, depth=1, timesteps=config.timesteps[:1], clean_pass=False)
    dispatch.forget()
    jax.eval_shape(make_wan_step(config, jit=False), *step_arguments(config, dtype))
    return dispatch.choices()
