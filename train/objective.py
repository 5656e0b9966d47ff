"""What a step minimises: the losses of one group of clips and of the text encoder's prompts.

Pure functions of the parameters, a key and the data. What a group shows is a source that makes its
examples inside `jit`: a style on footage of the pool or windows of the user's own pairs. All that
comes after the examples is the same for both.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lsdjax.codec import PixelCodec
from lsdjax.configs import Stage, TrainConfig
from lsdjax.core.events import CELL
from lsdjax.data.examples import Examples
from lsdjax.diffusion.conditioning import withhold_inputs
from lsdjax.diffusion.forcing import OBJECTIVES, balanced, draw_levels
from lsdjax.diffusion.history import (
    ErrorBank,
    drifted_history,
    erred_history,
    faded_history,
    noisy_history,
    own_history,
)
from lsdjax.diffusion.schedule import add_noise, step_levels
from lsdjax.diffusion.solver import solve
from lsdjax.model.cache import KVCache, init_cache, write
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import (
    PASSED,
    CausalDiT,
    Prompt,
    Told,
    cached_context,
    clean_context,
    model_graph,
    sequence_context,
)
from lsdjax.train.following import following_loss
from lsdjax.train.state import Graph


class Source(Protocol):
    """A pytree that makes the examples of one group."""

    def examples(self, key: jax.Array, shape: tuple[int, int, int, int]) -> Examples: ...


class Scenes(Protocol):
    """A pytree of what the styles are shown on."""

    def taught(self, style: jax.Array | np.ndarray) -> Source: ...


class PictureReport(NamedTuple):
    """What a group tells besides its loss.

    squared_error (): at pure noise. mistakes (t, h, w, ch): predicted sample - sample of its first
    clip's frames, made at noise levels levels (t,); None where no bank collects them.
    """

    squared_error: jax.Array
    mistakes: jax.Array | None
    levels: jax.Array | None


# (params, key, source, tokens of its prompt, error bank or None, the teacher's parameters or None)
# -> (loss (), report)
PictureLoss = Callable[
    [Any, jax.Array, Source, jax.Array, ErrorBank | None, Any], tuple[jax.Array, PictureReport]
]
# (params, styles (m,), prompts (m, *tokens), weights (m,)) -> (loss (), recognised ())
TextLoss = Callable[[Any, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "blocks": jax.checkpoint_policies.save_only_these_names(*PASSED),
}


def crop(examples: Examples, size: tuple[int, int]) -> Examples:
    """The upper left corner, `size` pixels, of every picture of a group.

    What the corner shows is random already, and it is where snow blows in: from there alone every
    flake of a crop can be explained.
    """
    height, width = size
    events = examples.events[:, :, : height // CELL, : width // CELL]
    inputs, targets, previous, faint = (part[:, :, :height, :width] for part in examples[:4])
    return Examples(inputs, targets, previous, faint, examples.present, events)


def picture_objective(
    config: TrainConfig, stage: Stage, *, single: bool, teacher: ModelConfig | None = None
) -> PictureLoss:
    """The loss of one group, of sequences or of single frames.

    teacher: the sizes of a model to follow beside the truth, see `following_loss`. It sees what
    the student sees, but for what was streamed before a sequence: of that, the last picture alone.

    The model computes in `config.compute_dtype`, from float32 parameters; the text encoder, the
    noise and the loss are float32. Activations are kept or computed anew as `config.remat` says.
    """
    clips, shown = stage.group_shape(single=single)
    rollout = 0 if single else stage.rollout
    frames = shown - rollout
    shape = (clips, shown, config.model.height, config.model.width)
    side = config.picture_size(stage)
    sizes = dataclasses.replace(config.model, height=side[0], width=side[1])
    graph, codec, dtype = model_graph(sizes), PixelCodec(), jnp.dtype(config.compute_dtype)
    large = teacher and dataclasses.replace(teacher, height=side[0], width=side[1])

    def narrow(tree):
        return jax.tree.map(
            lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
        )

    def picture_loss(
        params, key, source: Source, tokens, bank, guide
    ) -> tuple[jax.Array, PictureReport]:
        keys = jax.random.split(key, 11)
        examples = crop(source.examples(keys[0], shape), side)
        inputs, targets, previous, faint = (codec.encode(part) for part in examples[:4])
        model = nnx.merge(graph, nnx.State(params["model"]))
        dropped = jax.random.bernoulli(keys[2], config.prompt_dropout)

        def prompted(model: CausalDiT) -> Prompt:
            embedding = jax.tree.map(
                lambda null, told: jnp.where(dropped, null, told),
                model.text.null(),
                model.embed(tokens),
            )
            return model.prompt(narrow(embedding))

        prompt = prompted(model)
        noise = jax.random.normal(keys[4], targets.shape)
        withheld = withhold_inputs(keys[7], (clips, shown), stage.input_drop)
        # Out of nothing there is nothing to make; and what a stream never forgets, it was shown.
        shown_first = jnp.arange(shown)[None] < max(config.model.sinks, 1)
        withheld = jnp.where(shown_first, 0.0, withheld)
        given = Told(inputs, withheld, previous, 1 - examples.present, examples.events)
        cache = None
        if rollout:
            lead = jax.tree.map(lambda x: x[:, :rollout], given)
            cache, last = roll_out(model, sizes, keys[8], narrow(lead), prompt)
            given, targets, noise, faint = jax.tree.map(
                lambda x: x[:, rollout:], (given, targets, noise, faint)
            )
            previous = jnp.concatenate([last.astype(jnp.float32), given.previous[:, 1:]], axis=1)
            given = given._replace(previous=previous)
        present = 1 - given.previous_level

        def denoiser(model, prompt, sizes, cache):
            """(noisy, noise level, previous output, its level) -> sample, features."""

            def denoise(noisy, noise_level, previous, level):
                pictures = {"inputs": narrow(given.inputs), "previous": narrow(previous)}
                told = given._replace(**pictures, previous_level=level)
                observation = model.observe(told, prompt)
                context = sequence_context(frames, sizes)
                if cache is not None:
                    context = cached_context(cache, sizes, frames)
                finest = jnp.zeros_like(noise_level)
                if sizes.clean_pass:
                    clean = narrow(targets), finest, finest
                    seen = model.denoise(*clean, observation, prompt, context)
                    context = clean_context(seen, context, sizes)
                prediction = model.denoise(
                    narrow(noisy), noise_level, finest, observation, prompt, context
                )
                return prediction.sample.astype(jnp.float32), prediction.features

            if config.remat == "none":
                return denoise
            return jax.checkpoint(denoise, policy=_POLICIES[config.remat])

        denoise = denoiser(model, prompt, sizes, cache)
        previous = faded_history(keys[6], given.previous, faint, share=stage.fade)
        if stage.own_history and frames > 1:
            pure = jnp.ones((clips, frames))
            previous = own_history(
                keys[5],
                lambda told: denoise(noise, pure, told, 1 - present)[0],
                previous,
                share=stage.own_history,
                depth=stage.own_depth,
            )
        if stage.history_drift:
            pixels = drifted_history(keys[9], codec.decode(previous), share=stage.history_drift)
            previous = codec.encode(pixels)
        if stage.history_errors:
            previous = erred_history(keys[10], previous, bank, share=stage.history_errors)
        previous, level = noisy_history(
            keys[1],
            previous,
            present,
            max_level=stage.history_max_level,
            drop=stage.history_drop,
            declared=stage.history_declared,
        )
        levels = draw_levels(keys[3], (clips, frames), stage.pure_share)
        features = []

        def learn(noisy, noise_level):
            sample, put_out = denoise(noisy, noise_level, previous, level)
            features.append(put_out)
            return sample

        loss = OBJECTIVES[config.objective](learn, targets, noise, levels)
        weighted = loss.weighted
        if large is not None:
            leader = nnx.merge(model_graph(large), nnx.State(guide))
            lead = denoiser(leader, prompted(leader), large, None)
            leading = lead(add_noise(targets, noise, levels), levels, previous, level)
            weighted += following_loss((loss.prediction, features[-1]), leading, levels, config)
        report = PictureReport(loss.squared_error, None, None)
        if stage.history_errors:
            mistakes = (loss.prediction - targets)[0]
            report = PictureReport(loss.squared_error, mistakes, levels[0])
        return balanced(weighted, config.balance_floor), report

    return picture_loss


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
        smear = jax.random.normal(history_key, previous.shape, previous.dtype)
        smear = smear if config.history_noise else jnp.zeros_like(smear)
        level = jnp.maximum(level, config.history_level)
        told = now._replace(previous=add_noise(previous, smear, level), previous_level=level)
        observation = model.observe(told, prompt)
        context = cached_context(cache, config)

        def denoise(x, noise_level, step_size, observation=observation, context=context):
            finest = jnp.zeros_like(step_size)
            out = model.denoise(x, noise_level, finest, observation, prompt, context)
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


def text_objective(graph: Graph, config: TrainConfig) -> TextLoss:
    """The weighted loss of telling styles from their prompts, and how many were told."""

    def text_loss(params, styles, prompts, weights) -> tuple[jax.Array, jax.Array]:
        if len(styles) == 0:
            return jnp.zeros(()), jnp.zeros(())
        model = nnx.merge(graph.model, nnx.State(params["model"]))
        head = nnx.merge(graph.classifier, nnx.State(params["classifier"]))
        logits = head(jax.vmap(lambda tokens: model.embed(tokens).pooled)(prompts))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, styles)
        right = (jnp.argmax(logits, axis=-1) == styles).astype(jnp.float32)
        return config.text_weight * jnp.sum(weights * losses), jnp.sum(weights * right)

    return text_loss
