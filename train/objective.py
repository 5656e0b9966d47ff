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
from lsdjax.diffusion.history import (
    ErrorBank,
    drifted_history,
    erred_history,
    faded_history,
    noisy_history,
    own_history,
)
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
from lsdjax.pallas import dispatch
from lsdjax.train.lessons import Guides, Lesson, Sizes, learn
from lsdjax.train.rollout import roll_out
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


# (params, key, source, tokens of its prompt, error bank or None, guides or None) -> (loss, report)
PictureLoss = Callable[
    [Any, jax.Array, Source, jax.Array, ErrorBank | None, Guides | None],
    tuple[jax.Array, PictureReport],
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
    return examples._replace(
        inputs=inputs, targets=targets, previous=previous, faint=faint, events=events
    )


def picture_objective(
    config: TrainConfig, stage: Stage, *, single: bool, teacher: ModelConfig | None = None
) -> PictureLoss:
    """The loss of one group, of sequences or of single frames.

    teacher: the sizes of a model that is followed beside the truth, or that a distillation learns
    from. It sees what the student sees, but for what was streamed before a sequence: of that, the
    last picture alone.

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

    @dispatch.only("blocks", "xla")  # the kernels have no gradient
    def picture_loss(
        params, key, source: Source, tokens, bank, guides
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
            """(noisy, noise level, step size, previous output, its level) -> sample, features."""

            def denoise(noisy, noise_level, step_size, previous, level):
                pictures = {"inputs": narrow(given.inputs), "previous": narrow(previous)}
                told = given._replace(**pictures, previous_level=level)
                observation = model.observe(told, prompt)
                context = sequence_context(frames, sizes)
                if cache is not None:
                    context = cached_context(cache, sizes, frames)
                if sizes.clean_pass:
                    finest = jnp.zeros_like(noise_level)
                    clean = narrow(targets), finest, finest
                    seen = model.denoise(*clean, observation, prompt, context)
                    context = clean_context(seen, context, sizes)
                noisy = narrow(noisy)
                out = model.denoise(noisy, noise_level, step_size, observation, prompt, context)
                return out.sample.astype(jnp.float32), out.features

            if config.remat == "none":
                return denoise
            return jax.checkpoint(denoise, policy=_POLICIES[config.remat])

        def guide(config, params):
            other = nnx.merge(model_graph(config), nnx.State(params))
            predict = denoiser(other, prompted(other), config, None)
            return lambda x, s, d: predict(x, s, d, previous, level)

        denoise = denoiser(model, prompt, sizes, cache)
        previous = faded_history(keys[6], given.previous, faint, share=stage.fade)
        if stage.own_history and frames > 1:
            pure = jnp.ones((clips, frames))
            previous = own_history(
                keys[5],
                lambda told: denoise(noise, pure, pure, told, 1 - present)[0],
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
        learned = learn(
            config,
            stage,
            Lesson(
                key=keys[3],
                targets=targets,
                noise=noise,
                ambiguous=jnp.maximum(examples.ambiguous, given.input_level),
                student=lambda x, s, d: denoise(x, s, d, previous, level),
                guide=guide,
            ),
            params,
            guides,
            Sizes(sizes, large),
        )
        report = PictureReport(learned.squared_error, None, None)
        if stage.history_errors:
            mistakes = (learned.prediction - targets)[0]
            report = PictureReport(learned.squared_error, mistakes, learned.level[0])
        return learned.loss, report

    return picture_loss


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
