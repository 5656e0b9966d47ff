"""The causal Wan DiT: predicts the velocity of chunks of latent frames over a KV cache.

The architecture of Wan 2.1 (Wan team 2025) with the block-causal attention of CausVid (Yin et al.
2024) and Self-Forcing (Huang et al. 2025), whose checkpoints it takes. `prompt` is computed once a
prompt, `denoise` once a denoising step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from lsdjax.codec.pixel import depth_to_space
from lsdjax.model.cache import KVCache, ages_at, write
from lsdjax.model.layers import Linear, zeros
from lsdjax.model.participative import absorb
from lsdjax.model.wan_config import PATCH, WanConfig
from lsdjax.model.wan_layers import (
    BASE,
    WanBlock,
    WanContext,
    WanPrompt,
    layer_norm,
    run_blocks,
    shift_scale,
)

TIMESTEPS = 1000
"""The timestep of noise level 1."""


class WanPrediction(NamedTuple):
    """velocity (b, t, h, w, ch); keys, values (layers, b, t, n, heads, d) of the call's frames.

    queries: (layers, b, heads, d), those of the last chunk added up.
    """

    velocity: jax.Array
    keys: jax.Array
    values: jax.Array
    queries: jax.Array


class WanDiT(nnx.Module):
    """Shapes: b batch, t latent frames, h w latents, ch latent channels, n tokens of a frame.

    One call has one prompt; `jax.vmap` serves several.
    """

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs) -> None:
        dim = config.dim
        self.config = config
        self.patch = Linear(PATCH**2 * config.input_channels, dim, rngs=rngs)
        self.text_in = Linear(config.text_dim, dim, rngs=rngs)
        self.text_out = Linear(dim, dim, rngs=rngs)
        self.time_in = Linear(config.frequency_dim, dim, rngs=rngs)
        self.time_out = Linear(dim, dim, rngs=rngs)
        self.told = Linear(dim, 6 * dim, rngs=rngs)
        self.blocks = nnx.List([WanBlock(config, rngs=rngs) for _ in range(config.depth)])
        table = jax.random.normal(rngs.params(), (2, dim), jnp.float32) / dim**0.5
        self.head_modulation = nnx.Param(table)
        self.head = Linear(dim, PATCH**2 * config.channels, rngs=rngs, init=zeros)

    def prompt(self, words: jax.Array) -> tuple[WanPrompt, ...]:
        """Once a prompt: each block's keys and values of its words, (words, text_dim).

        Shorter prompts are padded with zeros, which the model sees: it was trained so.

        Raises:
            ValueError: there are more than `text_length` words.
        """
        missing = self.config.text_length - len(words)
        if missing < 0:
            raise ValueError(f"{len(words)} words; at most {self.config.text_length} are expected")
        x = jnp.pad(words, ((0, missing), (0, 0)))
        x = self.text_out(jax.nn.gelu(self.text_in(x)))
        return tuple(block.prompt(x) for block in self.blocks)

    def denoise(
        self,
        noisy: jax.Array,
        noise_level: jax.Array,
        prompt: tuple[WanPrompt, ...],
        context: tuple[WanContext, ...],
        inputs: jax.Array | None = None,
    ) -> WanPrediction:
        """noisy (b, t, h, w, ch), noise_level (b, t) in [0, 1]; one context a block.

        inputs: latents of the input video, like `noisy`, where the config says `beside`.
        """
        b, t, h, w, _ = noisy.shape
        grid = (h // PATCH, w // PATCH)
        x = noisy if inputs is None else jnp.concatenate([noisy, inputs], axis=-1)
        x = self.patch(patchify(x).reshape(b, t, grid[0] * grid[1], -1))
        code = sinusoid(TIMESTEPS * noise_level, self.config.frequency_dim)
        time = self.time_out(jax.nn.silu(self.time_in(code)))
        told = self.told(jax.nn.silu(time)).reshape(b, t, 6, -1)
        x, traces = run_blocks(x, told, prompt, context, blocks=list(self.blocks), grid=grid)
        table = self.head_modulation[...].astype(jnp.float32)[None, None]
        shift, scale = ((time + table[:, :, i]) for i in range(2))
        x = self.head(shift_scale(layer_norm(x), shift, scale)).reshape(b, t, *grid, -1)
        stacked = jax.tree.map(lambda *layers: jnp.stack(layers), *traces)
        return WanPrediction(depth_to_space(x, PATCH), *stacked)

    def __call__(
        self,
        noisy: jax.Array,
        noise_level: jax.Array,
        prompt: tuple[WanPrompt, ...],
        inputs: jax.Array | None = None,
    ) -> WanPrediction:
        """A whole sequence at once, block-causal: what training differentiates."""
        context = sequence_context(noisy.shape[1], self.config)
        return self.denoise(noisy, noise_level, prompt, context, inputs)


def patchify(x: jax.Array) -> jax.Array:
    """(b, t, h, w, ch) -> (b, t, h/2, w/2, ch * 4), within a token channel by channel."""
    b, t, h, w, ch = x.shape
    x = x.reshape(b, t, h // PATCH, PATCH, w // PATCH, PATCH, ch)
    return x.transpose(0, 1, 2, 4, 6, 3, 5).reshape(b, t, h // PATCH, w // PATCH, -1)


def sinusoid(x: jax.Array, dims: int) -> jax.Array:
    """Cosines, then sines of x (b, t) at frequencies 10000^(-2i / dims): (b, t, dims), float32."""
    frequencies = BASE ** (-jnp.arange(dims // 2, dtype=jnp.float32) / (dims // 2))
    angles = x.astype(jnp.float32)[..., None] * frequencies[None, None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def wan_graph(config: WanConfig) -> nnx.GraphDef:
    """The model without its parameters."""
    return nnx.split(nnx.eval_shape(lambda: WanDiT(config, rngs=nnx.Rngs(0))), nnx.Param)[0]


def _ages(starts: jax.Array, frames: jax.Array, config: WanConfig) -> tuple[jax.Array, jax.Array]:
    """Ages of `frames` (slots,) to chunks that begin at `starts` (chunks,), and which are seen."""
    ages, visible = ages_at(starts, frames, config.policy)
    if config.rope == "absolute":
        ages = starts[:, None] - frames[None]
    return ages, visible & (frames[None] < starts[:, None])


def sequence_context(frames: int, config: WanConfig) -> tuple[WanContext, ...]:
    """Each chunk sees what a stream's cache would hold of the call's own frames before it."""
    if frames % config.chunk:
        raise ValueError(f"{frames} frames; a multiple of chunk={config.chunk} is expected")
    starts = jnp.arange(0, frames, config.chunk, dtype=jnp.int32)
    ages, visible = _ages(starts, jnp.arange(frames, dtype=jnp.int32), config)
    return (WanContext(None, None, ages, visible),) * config.depth


def clean_context(clean: WanPrediction, config: WanConfig) -> tuple[WanContext, ...]:
    """As `sequence_context`, but chunks see the clean copies of the frames before them.

    clean: the pass over the clean frames of the same sequence. So a model is taught as a stream
    with a clean pass runs it (teacher forcing).
    """
    seen = sequence_context(clean.keys.shape[2], config)
    return tuple(
        context._replace(keys=keys, values=values)
        for context, keys, values in zip(seen, clean.keys, clean.values, strict=True)
    )


def cached_context(cache: KVCache, config: WanConfig) -> tuple[WanContext, ...]:
    """What the next chunk sees of the KV cache."""
    ages, visible = cached_ages(cache, config)
    return tuple(
        WanContext(keys, values, ages[None], visible[None])
        for keys, values in zip(cache.keys, cache.values, strict=True)
    )


def cached_ages(cache: KVCache, config: WanConfig) -> tuple[jax.Array, jax.Array]:
    """Ages of the cache's slots to the next chunk, and which it sees: two (slots,).

    The slots of mixed tokens, the last ones, stand between the sinks and the window.
    """
    whole, mixed = config.policy.slots, config.policy.compressed
    ages, visible = _ages(cache.length[None], cache.frames[:whole], config)
    between = config.window + mixed - jnp.arange(mixed, dtype=ages.dtype)
    return (
        jnp.concatenate([ages[0], between]),
        jnp.concatenate([visible[0], cache.frames[whole:] >= 0]),
    )


def write_chunk(cache: KVCache, prediction: WanPrediction, config: WanConfig) -> KVCache:
    """Put the frames of one chunk where the policy says, the earliest first."""
    for t in range(config.chunk):
        if config.policy.compressed:
            slot = config.policy.slot(cache.length)
            ages, _ = cached_ages(cache, config)
            cache = absorb(cache, slot, prediction.queries, ages, config.policy)
        cache = write(cache, prediction.keys[:, :, t], prediction.values[:, :, t], config.policy)
    return cache
