"""The training step: compiled pure functions of (state, batch, pool).

The groups of a step are summed by a loop on the host: inside `lax.scan`, XLA's CPU backend runs a
convolution about ten times slower, and on an accelerator the calls queue up without waiting. The
groups are dealt over the local devices, each with a replica of the parameters and of the pool.
What a group shows is a source that makes its examples inside `jit`: a style on footage of the pool
or windows of the user's own pairs. All that comes after the examples is the same for both.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lsdjax.codec import PixelCodec
from lsdjax.configs import Stage, TrainConfig
from lsdjax.core.events import CELL
from lsdjax.data.examples import DevicePool, Examples, Taught
from lsdjax.data.pipeline import PairedGroup
from lsdjax.diffusion.conditioning import withhold_inputs
from lsdjax.diffusion.forcing import balanced, draw_levels, forcing_loss
from lsdjax.diffusion.history import faded_history, noisy_history, own_history
from lsdjax.model.dit import Told, model_graph
from lsdjax.train.state import Graph, TrainState, optimizer


class Source(Protocol):
    """A pytree that makes the examples of one group."""

    def examples(self, key: jax.Array, shape: tuple[int, int, int, int]) -> Examples: ...


class PromptBatch(NamedTuple):
    """What each group shows and is told, and what the text encoder learns beside it.

    styles (groups,), prompts (groups, words, n-grams): of the groups.
    text_styles (m,), text_prompts (m, words, n-grams): more prompts, for the text encoder alone.
    pairs: in place of the styles, what each group shows; then there are no more prompts (m = 0).
    """

    styles: np.ndarray
    prompts: np.ndarray
    text_styles: np.ndarray
    text_prompts: np.ndarray
    pairs: Sequence[PairedGroup] = ()

    def sources(self, pools: Sequence[DevicePool]) -> list[Source]:
        """Of each group; they take turns on the pools."""
        if self.pairs:
            return [group.windows for group in self.pairs]
        return [Taught(pools[n % len(pools)], style) for n, style in enumerate(self.styles)]


class StepMetrics(NamedTuple):
    """What one step reports.

    loss (): the objective; squared_error: of each group, (), at pure noise, in [-1, 1].
    accuracy (): of the prompt classifier; gradient_norm ().
    """

    loss: jax.Array
    squared_error: list[jax.Array]
    accuracy: jax.Array
    gradient_norm: jax.Array


def crop(examples: Examples, size: tuple[int, int]) -> Examples:
    """The upper left corner, `size` pixels, of every picture of a group.

    What the corner shows is random already, and it is where snow blows in: from there alone every
    flake of a crop can be explained.
    """
    height, width = size
    pictures = (part[:, :, :height, :width] for part in examples[:4])
    events = examples.events[:, :, : height // CELL, : width // CELL]
    return Examples(*pictures, examples.present, events)


def make_train_step(
    graph: Graph, config: TrainConfig, stage: Stage, *, single: bool
) -> Callable[[TrainState, PromptBatch, list[DevicePool], int], tuple[TrainState, StepMetrics]]:
    """The step of one stage, on sequences or on single frames; donates the state."""
    clips, frames = stage.group_shape(single=single)
    shape = (clips, frames, config.model.height, config.model.width)
    side = (stage.crop, stage.crop) if stage.crop else shape[2:]
    picture_graph = model_graph(dataclasses.replace(config.model, height=side[0], width=side[1]))
    codec = PixelCodec()
    update = optimizer(config)
    root = jax.random.key(config.seed)

    def picture_loss(params, key, source: Source, ids) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key, 8)
        examples = crop(source.examples(keys[0], shape), side)
        inputs, targets, previous, faint = (codec.encode(part) for part in examples[:4])
        model = nnx.merge(picture_graph, nnx.State(params["model"]))
        dropped = jax.random.bernoulli(keys[2], config.prompt_dropout)
        embedding = jax.tree.map(
            lambda null, told: jnp.where(dropped, null, told), model.text.null(), model.embed(ids)
        )
        prompt = model.prompt(embedding)
        noise = jax.random.normal(keys[4], targets.shape)

        withheld = withhold_inputs(keys[7], (clips, frames), stage.input_drop)

        def denoise(noisy, noise_level, previous, level):
            told = Told(inputs, withheld, previous, level, examples.events)
            return model(noisy, noise_level, jnp.zeros_like(noise_level), told, prompt).sample

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
        loss = forcing_loss(
            lambda noisy, noise_level: denoise(noisy, noise_level, previous, level),
            targets,
            noise,
            levels,
        )
        return balanced(loss.weighted, config.balance_floor), loss.squared_error

    def text_loss(params, styles, prompts) -> tuple[jax.Array, jax.Array]:
        if len(styles) == 0:
            return jnp.zeros(()), jnp.zeros(())
        model = nnx.merge(graph.model, nnx.State(params["model"]))
        head = nnx.merge(graph.classifier, nnx.State(params["classifier"]))
        logits = head(jax.vmap(lambda ids: model.embed(ids).pooled)(prompts))
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, styles).mean()
        right = (jnp.argmax(logits, axis=-1) == styles).astype(jnp.float32)
        return config.text_weight * loss, right.mean()

    @jax.jit
    def begin(params, styles, prompts):
        grow = jax.value_and_grad(text_loss, has_aux=True)
        (loss, accuracy), gradient = grow(params, styles, prompts)
        return loss, gradient, accuracy

    @functools.partial(jax.jit, donate_argnums=(1, 2))
    def add_group(params, loss, gradient, index, source, ids, share):
        key = jax.random.fold_in(jax.random.fold_in(root, index[0]), index[1])
        (value, error), grown = jax.value_and_grad(picture_loss, has_aux=True)(
            params, key, source, ids
        )
        gradient = jax.tree.map(lambda a, b: a + share * b, gradient, grown)
        return loss + share * value, gradient, error

    @functools.partial(jax.jit, donate_argnums=0)
    def finish(state: TrainState, gradients: list):
        gradient = jax.tree.map(lambda *parts: sum(parts), *gradients)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an int32 count
            changes, moments = update.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, changes)
        count = (state.step + 1).astype(jnp.float32)
        decay = jnp.minimum(config.ema_decay, count / (count + 10.0))
        ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, params)
        return TrainState(state.step + 1, params, ema, moments), optax.tree.norm(gradient)

    def step(state: TrainState, batch: PromptBatch, pools: list[DevicePool], index: int):
        devices = jax.local_devices()[: len(pools) or None]
        loss, gradient, accuracy = begin(state.params, batch.text_styles, batch.text_prompts)
        replicas = [state.params, *(jax.device_put(state.params, d) for d in devices[1:])]
        sums = [(loss, gradient)]
        for device in devices[1:]:
            sums.append(jax.device_put(jax.tree.map(jnp.zeros_like, (loss, gradient)), device))
        sources, errors = batch.sources(pools), []
        share = np.float32(1 / max(len(sources), 1))
        for number, (source, ids) in enumerate(zip(sources, batch.prompts, strict=True)):
            turn = number % len(devices)
            where = np.array([index, number], np.int32)
            *summed, error = add_group(replicas[turn], *sums[turn], where, source, ids, share)
            sums[turn] = tuple(summed)
            errors.append(error)
        sums = jax.device_put(sums, devices[0])
        state, norm = finish(state, [gradient for _, gradient in sums])
        total = functools.reduce(operator.add, [loss for loss, _ in sums])
        return state, StepMetrics(total, errors, accuracy, norm)

    return step
