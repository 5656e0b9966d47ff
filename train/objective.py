"""What a step minimises: the losses of one group of clips and of the text encoder's prompts.

Pure functions of the parameters, a key and the data. What a group shows is a source that makes its
examples inside `jit`: a style on footage of the pool or windows of the user's own pairs. All that
comes after the examples is the same for both.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from lsdjax.codec import PixelCodec
from lsdjax.configs import Stage, TrainConfig
from lsdjax.core.events import CELL
from lsdjax.data.examples import Examples
from lsdjax.diffusion.conditioning import withhold_inputs
from lsdjax.diffusion.forcing import OBJECTIVES, balanced, draw_levels
from lsdjax.diffusion.history import faded_history, noisy_history, own_history
from lsdjax.model.dit import BLOCK, Told, model_graph
from lsdjax.train.state import Graph


class Source(Protocol):
    """A pytree that makes the examples of one group."""

    def examples(self, key: jax.Array, shape: tuple[int, int, int, int]) -> Examples: ...


# (params, key, source, ids (words, n-grams)) -> (loss (), square error at pure noise ())
PictureLoss = Callable[[Any, jax.Array, Source, jax.Array], tuple[jax.Array, jax.Array]]
# (params, styles (m,), prompts (m, words, n-grams), weights (m,)) -> (loss (), recognised ())
TextLoss = Callable[[Any, jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]

_POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "blocks": jax.checkpoint_policies.save_only_these_names(BLOCK),
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


def picture_objective(config: TrainConfig, stage: Stage, *, single: bool) -> PictureLoss:
    """The loss of one group, of sequences or of single frames.

    The model computes in `config.compute_dtype`, from float32 parameters; the text encoder, the
    noise and the loss are float32. Activations are kept or computed anew as `config.remat` says.
    """
    clips, frames = stage.group_shape(single=single)
    shape = (clips, frames, config.model.height, config.model.width)
    side = (stage.crop, stage.crop) if stage.crop else shape[2:]
    graph = model_graph(dataclasses.replace(config.model, height=side[0], width=side[1]))
    codec, dtype = PixelCodec(), jnp.dtype(config.compute_dtype)

    def narrow(tree):
        return jax.tree.map(
            lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
        )

    def picture_loss(params, key, source: Source, ids) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key, 8)
        examples = crop(source.examples(keys[0], shape), side)
        inputs, targets, previous, faint = (codec.encode(part) for part in examples[:4])
        model = nnx.merge(graph, nnx.State(params["model"]))
        dropped = jax.random.bernoulli(keys[2], config.prompt_dropout)
        embedding = jax.tree.map(
            lambda null, told: jnp.where(dropped, null, told), model.text.null(), model.embed(ids)
        )
        prompt = model.prompt(narrow(embedding))
        noise = jax.random.normal(keys[4], targets.shape)

        withheld = withhold_inputs(keys[7], (clips, frames), stage.input_drop)

        def denoise(noisy, noise_level, previous, level):
            told = Told(narrow(inputs), withheld, narrow(previous), level, examples.events)
            finest = jnp.zeros_like(noise_level)
            prediction = model(narrow(noisy), noise_level, finest, told, prompt)
            return prediction.sample.astype(jnp.float32)

        if config.remat != "none":
            denoise = jax.checkpoint(denoise, policy=_POLICIES[config.remat])
        previous = faded_history(keys[6], previous, faint, share=stage.fade)
        if stage.own_history and frames > 1:
            pure = jnp.ones((clips, frames))
            previous = own_history(
                keys[5],
                lambda told: denoise(noise, pure, told, 1 - examples.present),
                previous,
                share=stage.own_history,
                depth=stage.own_depth,
            )
        previous, level = noisy_history(
            keys[1],
            previous,
            examples.present,
            max_level=stage.history_max_level,
            drop=stage.history_drop,
        )
        levels = draw_levels(keys[3], (clips, frames), stage.pure_share)
        loss = OBJECTIVES[config.objective](
            lambda noisy, noise_level: denoise(noisy, noise_level, previous, level),
            targets,
            noise,
            levels,
        )
        return balanced(loss.weighted, config.balance_floor), loss.squared_error

    return picture_loss


def text_objective(graph: Graph, config: TrainConfig) -> TextLoss:
    """The weighted loss of telling styles from their prompts, and how many were told."""

    def text_loss(params, styles, prompts, weights) -> tuple[jax.Array, jax.Array]:
        if len(styles) == 0:
            return jnp.zeros(()), jnp.zeros(())
        model = nnx.merge(graph.model, nnx.State(params["model"]))
        head = nnx.merge(graph.classifier, nnx.State(params["classifier"]))
        logits = head(jax.vmap(lambda ids: model.embed(ids).pooled)(prompts))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, styles)
        right = (jnp.argmax(logits, axis=-1) == styles).astype(jnp.float32)
        return config.text_weight * jnp.sum(weights * losses), jnp.sum(weights * right)

    return text_loss
