"""Train a Wan-shaped model on pairs: its input beside the noise, teacher forcing over the past.

Each chunk has a noise level of its own (diffusion forcing, Chen et al. 2024). With a clean pass
chunks see the clean frames before them, without one the noisy ones: each as a stream runs it.
"""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, traverse_util
from tqdm import tqdm

from lsdjax.checkpoint.convert import save_component
from lsdjax.checkpoint.manager import RunCheckpoints
from lsdjax.codec import PixelCodec
from lsdjax.configs.wan import WanRecipe
from lsdjax.core.errors import UserError
from lsdjax.data.pipeline import DecodedPair, PairedWindows, paired_batches
from lsdjax.diffusion.forcing import OBJECTIVES, ForcingLoss, draw_levels
from lsdjax.diffusion.schedule import sample_from_velocity
from lsdjax.model.wan import WanDiT, clean_context, sequence_context, wan_graph
from lsdjax.pallas import dispatch
from lsdjax.text.embeddings import HashedWords, save_embeddings


class WanState(NamedTuple):
    """What is saved and resumed: step () int32, parameters, the optimizer's state."""

    step: jax.Array
    params: Any
    optimizer: optax.OptState


def wan_optimizer(recipe: WanRecipe) -> optax.GradientTransformation:
    """Clipped Adam; the learning rate rises, then falls in a line."""
    rises = optax.linear_schedule(0.0, recipe.learning_rate, recipe.warmup)
    falls = optax.linear_schedule(recipe.learning_rate, 0.0, max(recipe.steps - recipe.warmup, 1))
    rate = optax.join_schedules([rises, falls], [recipe.warmup])
    return optax.chain(optax.clip_by_global_norm(recipe.clip_norm), optax.adam(rate, b2=0.98))


def init_wan_state(recipe: WanRecipe) -> WanState:
    """Fresh parameters, in one compiled call."""

    @jax.jit
    def init() -> WanState:
        model = WanDiT(recipe.model, rngs=nnx.Rngs(recipe.seed))
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        return WanState(jnp.zeros((), jnp.int32), params, wan_optimizer(recipe).init(params))

    return init()


@dispatch.only("wan blocks", "xla")  # the kernels have no gradient
def wan_loss(
    model: WanDiT, recipe: WanRecipe, key: jax.Array, windows: PairedWindows, words: jax.Array
) -> ForcingLoss:
    """What one group loses: windows of `clips` clips under one prompt, words (words, text_dim)."""
    config, codec = recipe.model, PixelCodec()
    shape = (recipe.clips, recipe.frames, config.height, config.width)
    keys = jax.random.split(key, 3)
    examples = windows.examples(keys[0], shape)
    inputs, targets = codec.encode(examples.inputs), codec.encode(examples.targets)
    beside = inputs if config.beside else None
    prompt = model.prompt(words)
    context = sequence_context(recipe.frames, config)
    if config.clean_pass:
        clean = jnp.zeros(shape[:2])
        context = clean_context(model.denoise(targets, clean, prompt, context, beside), config)

    def denoise(noisy: jax.Array, level: jax.Array) -> jax.Array:
        velocity = model.denoise(noisy, level, prompt, context, beside).velocity
        return sample_from_velocity(noisy, velocity, level)

    chunks = (recipe.clips, recipe.frames // config.chunk)
    level = jnp.repeat(draw_levels(keys[1], chunks, recipe.pure_share), config.chunk, axis=1)
    noise = jax.random.normal(keys[2], targets.shape)
    return OBJECTIVES[recipe.objective](denoise, targets, noise, level)


# (state, windows with leaves (groups, ...), words (groups, words, text_dim)) -> (state, losses)
WanTrainStep = Callable[[WanState, PairedWindows, jax.Array], tuple[WanState, dict[str, jax.Array]]]


@functools.lru_cache(maxsize=1)
def make_wan_train_step(recipe: WanRecipe) -> WanTrainStep:
    """The jitted step; donates the state. Its draws are functions of the seed and the step.

    Kept, so that a run that goes on in the same process does not compile again.
    """
    graph = wan_graph(recipe.model)

    def losses(params, key, windows, words):
        model = nnx.merge(graph, nnx.State(params))
        keys = jax.random.split(key, recipe.groups)
        found = jax.vmap(lambda k, pair, told: wan_loss(model, recipe, k, pair, told))(
            keys, windows, words
        )
        return jnp.mean(found.weighted), jnp.mean(found.squared_error)

    def step(state: WanState, windows, words):
        key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
        grow = jax.value_and_grad(losses, has_aux=True)
        (loss, error), gradient = grow(state.params, key, windows, words)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an int32 count
            changes, moments = wan_optimizer(recipe).update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, changes)
        told = {"loss": loss, "squared_error": error, "gradient_norm": optax.tree.norm(gradient)}
        return WanState(state.step + 1, params, moments), told

    return jax.jit(step, donate_argnums=0)


def train_wan(
    recipe: WanRecipe, pairs: Sequence[DecodedPair], run: Path, *, stop_after: int | None = None
) -> Path:
    """Train, or go on with what `run` holds; the folder of the exported model.

    It reads prompts by `HashedWords`; the features of the pairs' prompts are exported with it.

    Raises:
        UserError: `run` holds another recipe, or a prompt has no word.
        FloatingPointError: the loss is not finite.
    """
    run.mkdir(parents=True, exist_ok=True)
    _pin(recipe, run / "config.json")
    read, length = HashedWords(recipe.model.text_dim), recipe.model.text_length
    features = {
        prompt: read(prompt)[:length] for prompt in sorted({p for x in pairs for p in x.prompts})
    }
    padded = {prompt: np.pad(x, ((0, length - len(x)), (0, 0))) for prompt, x in features.items()}
    shape = (recipe.clips, recipe.frames, recipe.model.height, recipe.model.width)
    batches = paired_batches(pairs, shape, groups=recipe.groups, seed=recipe.seed)
    state = init_wan_state(recipe)
    with contextlib.closing(RunCheckpoints(run / "checkpoints")) as checkpoints:
        state = checkpoints.restore(state)
        step, end = (
            make_wan_train_step(recipe),
            min(recipe.steps, stop_after or recipe.steps),
        )
        with (run / "metrics.jsonl").open("a") as log:
            for index in tqdm(range(int(state.step), end), unit="step", disable=None):
                groups = batches[index]
                assert groups is not None  # nothing filters here
                windows = jax.tree.map(lambda *x: np.stack(x), *[group.windows for group in groups])
                words = np.stack([padded[group.prompt] for group in groups])
                state, told = step(state, windows, jnp.asarray(words))
                _note(log, index, told)
                if (index + 1) % recipe.checkpoint_every == 0 or index + 1 == end:
                    checkpoints.save(index + 1, state)
    flat = traverse_util.flatten_dict(jax.device_get(state.params))
    tensors = {".".join(map(str, path)): np.asarray(leaf) for path, leaf in flat.items()}
    folder = run / "export"
    save_component(folder, "wan", recipe.model, tensors)
    save_embeddings(folder / "prompts.safetensors", features)
    return folder


def _note(log: Any, index: int, told: dict[str, jax.Array]) -> None:
    values = {name: float(value) for name, value in told.items()}
    if not np.isfinite(values["loss"]):
        raise FloatingPointError(f"the loss of step {index} is not finite")
    log.write(json.dumps({"step": index, **values}) + "\n")


def _pin(recipe: WanRecipe, path: Path) -> None:
    resolved = json.loads(json.dumps(dataclasses.asdict(recipe)))
    if path.exists() and json.loads(path.read_text()) != resolved:
        raise UserError(
            f"{str(path.parent)!r} was trained with another recipe; choose another --run folder"
        )
    path.write_text(json.dumps(resolved, indent=1))
