"""The causal DiT: convolutional stem, transformer over 16-pixel tokens, convolutional head.

Its work is split by what it depends on, so that a stream repeats nothing:
`prompt` once a prompt, `observe` once a frame, `denoise` once a denoising step.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from lsdjax.codec.pixel import PixelCodec, depth_to_space, space_to_depth
from lsdjax.core.events import CHANNELS
from lsdjax.model.cache import KVCache, ages_at
from lsdjax.model.config import ModelConfig
from lsdjax.model.layers import (
    Block,
    Context,
    DynamicConv,
    Film,
    Linear,
    PromptAttention,
    modulate,
    rms_norm,
    run_blocks,
    sinusoid,
    zeros,
)
from lsdjax.text.encoder import PromptEmbedding, TextEncoder

PASSED = ("observed", "channels", "wide", "dim", "fused")
"""The names of what passes from one part of the network to the next; a rematerialisation policy
that keeps these computes the inside of each part anew."""


class Prompt(NamedTuple):
    """All that depends on the prompt alone: pooled (text_dim,), mixed kernels, keys and values."""

    pooled: jax.Array
    kernels: dict[str, jax.Array]
    attention: tuple[PromptAttention, ...]


class Told(NamedTuple):
    """What a frame is told besides its prompt; any of it can be withheld by its level.

    inputs, previous: the input frame and the previous output, (b, t, h, w, ch), noised to their
        levels.
    input_level, previous_level: (b, t), noise levels in [0, 1]; at 1 there is nothing to be known.
    events: (b, t, h, w, CHANNELS), see `lsdjax.core.events`.
    """

    inputs: jax.Array
    input_level: jax.Array
    previous: jax.Array
    previous_level: jax.Array
    events: jax.Array


class Observation(NamedTuple):
    """All that depends on what a frame is told.

    features (b, t, h, w, observed channels); base (b, t, h, w, channels);
    pixels (b, t, h, w, 2 * latent channels + 2 + events).
    """

    features: jax.Array
    base: jax.Array
    pixels: jax.Array


class Prediction(NamedTuple):
    """What a call finds of its frames.

    sample (b, t, h, w, ch); keys and values (layers, b, t, n, heads, d); features (b, t, h / 2,
    w / 2, wide channels), what the picture is made of.
    """

    sample: jax.Array
    keys: jax.Array
    values: jax.Array
    features: jax.Array


class CausalDiT(nnx.Module):
    """Predicts the clean frame from a noisy one, the input frame, the past and the prompt.

    Shapes: b batch, t frames, h w latent grid (half the pixels), ch latent channels, n tokens.
    One call has one prompt; `jax.vmap` serves several.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        latent, ch, wide = PixelCodec().channels, config.channels, config.wide_channels
        observed, fused = config.observed_channels, config.fused_channels
        self.config = config
        self.text = TextEncoder(
            config.text_dim, config.text_depth, width=config.text_width, rngs=rngs
        )

        def conv(inputs: int, outputs: int, size: int = 3) -> DynamicConv:
            return DynamicConv(inputs, outputs, size, config, rngs=rngs)

        pixels = 2 * latent + 2 + CHANNELS
        self.convs = nnx.Dict(
            observe=conv(pixels, observed),
            base=conv(observed, ch),
            stem=conv(latent, ch),
            down=conv(4 * ch, wide, 1),
            mix=conv(wide, wide),
            head=conv(wide, wide),
            up=conv(wide, 4 * ch, 1),
            fuse=conv(ch + observed, fused),
            detail=conv(fused, fused),
            pixel=conv(fused, latent),
            skip=conv(pixels + latent, latent, 1),
        )
        self.films = nnx.Dict(
            observe=Film(observed, config, rngs=rngs),
            stem=Film(ch, config, rngs=rngs),
            mix=Film(wide, config, rngs=rngs),
            head=Film(wide, config, rngs=rngs),
            fuse=Film(fused, config, rngs=rngs),
            detail=Film(fused, config, rngs=rngs),
        )
        self.noise_in = Linear(config.text_dim, config.text_dim, rngs=rngs)
        self.noise_out = Linear(config.text_dim, config.text_dim, rngs=rngs)
        self.step_in = Linear(config.text_dim, config.text_dim, rngs=rngs)
        self.step_out = Linear(config.text_dim, config.text_dim, rngs=rngs, init=zeros)
        if config.shortcut:
            self.noise_gain = Linear(config.text_dim, latent, rngs=rngs, init=zeros)
        self.skip_gain = Linear(config.text_dim, 2 * latent, rngs=rngs, init=zeros)
        self.tokens_in = Linear(16 * wide, config.dim, rngs=rngs)
        self.blocks = nnx.List([Block(config, rngs=rngs) for _ in range(config.depth)])
        self.tokens_out = Linear(config.dim, 16 * wide, rngs=rngs, init=zeros)

    def embed(self, tokens: jax.Array) -> PromptEmbedding:
        """Embed a tokenised prompt, see `TextEncoder`."""
        return self.text(tokens)

    def prompt(self, embedding: PromptEmbedding) -> Prompt:
        """Once a prompt: mix the kernels and project the words for every block."""
        kernels = {name: conv.mix(embedding.pooled) for name, conv in self.convs.items()}
        attention = tuple(
            block.prompt_attention(embedding.words, embedding.mask) for block in self.blocks
        )
        return Prompt(embedding.pooled, kernels, attention)

    def observe(self, told: Told, prompt: Prompt) -> Observation:
        """Once a frame: features of the input frame, of the previous output and of the events.

        A picture at level 1 is multiplied away. At lower levels it is scaled back: a picture that
        adds to its own past must not fade with the declared level.
        """
        inputs, _ = scaled_back(told.inputs, told.input_level)
        previous, known = scaled_back(told.previous, told.previous_level)
        plane = (*inputs.shape[:-1], 1)
        remembered = jnp.broadcast_to(known, plane)
        missing = jnp.broadcast_to(told.input_level[..., None, None, None], plane)
        parts = (inputs, previous, remembered, told.events, missing)
        pixels = jnp.concatenate([part.astype(inputs.dtype) for part in parts], axis=-1)
        pooled = jnp.broadcast_to(prompt.pooled, (*inputs.shape[:2], len(prompt.pooled)))
        features = self.films["observe"](self._conv("observe", pixels, prompt), pooled)
        features = checkpoint_name(features, "observed")
        return Observation(features, self._conv("base", features, prompt), pixels)

    def denoise(
        self,
        noisy: jax.Array,
        noise_level: jax.Array,
        step_size: jax.Array,
        observation: Observation,
        prompt: Prompt,
        context: tuple[Context, ...],
    ) -> Prediction:
        """Once a denoising step: the clean frames that `noisy` (b, t, h, w, ch) came from.

        noise_level and step_size (b, t) in [0, 1]; one context a block. The noisy frame enters
        multiplied by 1 - s: pure noise tells nothing of the sample, so the best prediction ignores
        it, and the network need not learn to. A `shortcut` model adds d g, with a gain g that it
        learns for each prompt: which answer a large step goes to is for the noise to say. Any other
        model takes infinitely small steps, whatever `step_size` is.
        """
        if not self.config.shortcut:
            step_size = jnp.zeros_like(step_size)
        condition = self._condition(noise_level, step_size, prompt)
        seen = (1 - noise_level)[:, :, None, None, None].astype(noisy.dtype)
        if self.config.shortcut:
            gain = self.noise_gain(condition)[:, :, None, None]
            seen = seen + step_size[:, :, None, None, None].astype(noisy.dtype) * gain
        noisy = noisy * seen
        fine = self._conv("stem", noisy, prompt) + observation.base
        fine = checkpoint_name(self.films["stem"](fine, condition), "channels")
        coarse = self._conv("down", space_to_depth(fine, 2), prompt)
        coarse = coarse + self.films["mix"](self._conv("mix", coarse, prompt), condition)
        coarse = checkpoint_name(coarse, "wide")
        refined, keys, values = self._transform(coarse, condition, prompt, context)
        coarse = coarse + refined
        coarse = coarse + self.films["head"](self._conv("head", coarse, prompt), condition)
        coarse = checkpoint_name(coarse, "wide")
        wide = depth_to_space(self._conv("up", coarse, prompt), 2) + fine
        fused = jnp.concatenate([wide, observation.features], axis=-1)
        fused = self.films["fuse"](self._conv("fuse", fused, prompt), condition)
        fused = checkpoint_name(fused, "fused")
        fused = fused + self.films["detail"](self._conv("detail", fused, prompt), condition)
        direct = jnp.concatenate([observation.pixels, noisy], axis=-1)
        shift, scale = jnp.split(self.skip_gain(condition), 2, axis=-1)
        skip = modulate(self._conv("skip", direct, prompt), shift, scale)
        return Prediction(self._conv("pixel", fused, prompt) + skip, keys, values, coarse)

    def __call__(
        self,
        noisy: jax.Array,
        noise_level: jax.Array,
        step_size: jax.Array,
        told: Told,
        prompt: Prompt,
    ) -> Prediction:
        """A whole sequence at once, block-causal: what training differentiates."""
        observation = self.observe(told, prompt)
        context = sequence_context(noisy.shape[1], self.config)
        return self.denoise(noisy, noise_level, step_size, observation, prompt, context)

    def _conv(self, name: str, x: jax.Array, prompt: Prompt) -> jax.Array:
        return self.convs[name](x, prompt.kernels[name])

    def _condition(self, noise_level: jax.Array, step_size: jax.Array, prompt: Prompt) -> jax.Array:
        dims = self.config.text_dim
        noise = self.noise_out(jax.nn.silu(self.noise_in(sinusoid(noise_level, dims))))
        log_step = -jnp.log2(jnp.maximum(step_size, 2.0**-10))
        step = self.step_out(jax.nn.silu(self.step_in(sinusoid(log_step / 10, dims))))
        return prompt.pooled[None, None, :] + (noise + step).astype(prompt.pooled.dtype)

    def _transform(
        self,
        coarse: jax.Array,
        condition: jax.Array,
        prompt: Prompt,
        context: tuple[Context, ...],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        b, t = coarse.shape[:2]
        rows, columns = self.config.grid
        x = self.tokens_in(space_to_depth(coarse, 4).reshape(b, t, rows * columns, -1))
        blocks = list(self.blocks)
        x, keys, values = run_blocks(x, condition, prompt.attention, context, blocks=blocks)
        x = self.tokens_out(rms_norm(x)).reshape(b, t, rows, columns, -1)
        return depth_to_space(x, 4), keys, values


def scaled_back(picture: jax.Array, level: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A picture (b, t, h, w, ch) noised to `level` (b, t), at the scale of the clean one.

    Nothing is left of it at level 1. Returns it and 1 - level, (b, t, 1, 1, 1).
    """
    known = (1 - level[..., None, None, None]).astype(picture.dtype)
    return jnp.where(known > 0, picture / jnp.maximum(known, 0.5), 0.0), known


def model_graph(config: ModelConfig) -> nnx.GraphDef:
    """The model without its parameters; the frame size is part of it, the parameters fit any."""
    return abstract_model(config)[0]


@functools.cache
def abstract_model(config: ModelConfig) -> tuple[nnx.GraphDef, nnx.State]:
    """The model's graph and its parameters' shapes; making it takes a quarter of a second."""
    return nnx.split(nnx.eval_shape(lambda: CausalDiT(config, rngs=nnx.Rngs(0))), nnx.Param)


def sequence_context(frames: int, config: ModelConfig) -> tuple[Context, ...]:
    """Block-causal attention within one sequence of `frames` frames that starts a stream."""
    index = jnp.arange(frames, dtype=jnp.int32)
    ages, visible = ages_at(index, index, config.policy)
    return (Context(None, None, ages, visible),) * config.depth


def cached_context(cache: KVCache, config: ModelConfig, frames: int = 1) -> tuple[Context, ...]:
    """Attention of the next `frames` frames over the KV cache and each other, block-causal."""
    index = cache.length + jnp.arange(frames, dtype=jnp.int32)
    ages, visible = ages_at(index, jnp.concatenate([cache.frames, index]), config.policy)
    return tuple(
        Context(cache.keys[layer], cache.values[layer], ages, visible)
        for layer in range(config.depth)
    )


def clean_context(
    clean: Prediction, past: tuple[Context, ...], config: ModelConfig
) -> tuple[Context, ...]:
    """Let noisy frames see `past`, the clean copies of the frames before them, and themselves.

    clean: the pass over the clean frames; past: the context that it had. So a sequence is learnt in
    two passes as a stream with a clean pass runs it.
    """
    frames = clean.keys.shape[2]
    own = jnp.eye(frames, dtype=bool)

    def layer(number: int, seen: Context) -> Context:
        slots = seen.ages.shape[1] - frames
        visible = seen.visible.at[:, slots:].set(seen.visible[:, slots:] & ~own)
        keys, values = clean.keys[number], clean.values[number]
        if seen.keys is not None and seen.values is not None:
            keys = jnp.concatenate([seen.keys.astype(keys.dtype), keys], axis=1)
            values = jnp.concatenate([seen.values.astype(values.dtype), values], axis=1)
        return Context(
            keys,
            values,
            jnp.concatenate([seen.ages, jnp.zeros_like(own, jnp.int32)], axis=1),
            jnp.concatenate([visible, own], axis=1),
        )

    return tuple(layer(number, seen) for number, seen in enumerate(past))
