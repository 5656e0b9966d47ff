"""The frames that a model streams by itself before those of a sequence that it learns from."""

import jax
import jax.numpy as jnp

from lsdjax.diffusion.schedule import add_noise, step_levels
from lsdjax.diffusion.solver import solve
from lsdjax.model.cache import KVCache, init_cache, write
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT, Prompt, Told, cached_context


def roll_out(
    model: CausalDiT, config: ModelConfig, key: jax.Array, given: Told, prompt: Prompt
) -> tuple[KVCache, jax.Array]:
    """Stream the frames of `given` as `make_stream_step` does; the cache and the last picture.

    The first frame is told what `given` says of its past, every other one the model's own picture
    before it. Nothing is learned from it: gradients stop at what it returns.
    """
    clips, frames = given.input_level.shape
    cache = init_cache(config, clips, given.inputs.dtype)
    steps = step_levels(config.steps, config.noise_shift)
    previous, level = given.previous[:, :1], given.previous_level[:, :1]
    for i in range(frames):
        noise_key, history_key = jax.random.split(jax.random.fold_in(key, i))
        now = jax.tree.map(lambda x, i=i: x[:, i : i + 1], given)
        smear = jnp.zeros_like(previous)
        if config.history_noise and config.history_level > 0:
            smear = jax.random.normal(history_key, smear.shape, smear.dtype)
        level = jnp.maximum(level, config.history_level)
        told = now._replace(previous=add_noise(previous, smear, level), previous_level=level)
        observation = model.observe(told, prompt)
        context = cached_context(cache, config)

        def denoise(x, noise_level, step_size, observation=observation, context=context):
            out = model.denoise(x, noise_level, step_size, observation, prompt, context)
            return out.sample, (out.keys[:, :, 0], out.values[:, :, 0])

        noise = jax.random.normal(noise_key, previous.shape, previous.dtype)
        sample, kept = solve(denoise, noise, steps.astype(previous.dtype))
        previous = jnp.clip(sample, -1.0, 1.0)
        if config.clean_pass:
            clean = jnp.zeros((clips, 1))
            _, kept = denoise(previous, clean, clean)
        cache = write(cache, *kept, config.policy)
        level = jnp.zeros_like(level)
    return jax.lax.stop_gradient((cache, previous))
