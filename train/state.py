"""What a training run carries from step to step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from lsdjax.checkpoint.export import Checkpoint
from lsdjax.codec import PixelCodec
from lsdjax.configs import MATCHING, TrainConfig
from lsdjax.core.errors import UserError
from lsdjax.data.styles import TEACHERS
from lsdjax.diffusion.history import ErrorBank, init_bank
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT
from lsdjax.model.layers import Linear, sinusoid

_STEP_EMBEDDING = ("step_in", "step_out")


class TrainState(NamedTuple):
    """What is saved and resumed.

    step () int32. params and ema: {"model", "classifier"}, and "critic", of the model's sizes,
    where a student is matched. optimizer: optax's. bank: the model's own errors, where a stage of
    the recipe needs them.
    """

    step: jax.Array
    params: Any
    ema: Any
    optimizer: optax.OptState
    bank: ErrorBank | None = None


class Graph(NamedTuple):
    """The modules without their parameters."""

    model: nnx.GraphDef
    classifier: nnx.GraphDef


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """Each stage's linear schedule, joined; a stage's warm-up starts from zero."""
    schedules, boundaries, end = [], [], 0
    for stage in config.stages:
        first, last = stage.learning_rate
        ramp = optax.linear_schedule(0.0, first, stage.warmup) if stage.warmup else None
        slope = optax.linear_schedule(first, last, stage.steps - stage.warmup)
        schedules.append(optax.join_schedules([ramp, slope], [stage.warmup]) if ramp else slope)
        end += stage.steps
        boundaries.append(end)
    return optax.join_schedules(schedules, boundaries[:-1])


def optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Clipped Adam on the joined schedule."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adam(learning_rate(config), b2=config.b2),
    )


def init_state(config: TrainConfig) -> tuple[Graph, TrainState]:
    """Fresh parameters, made in one compiled call from the config's seed."""
    rngs = nnx.Rngs(config.seed)
    graph, model = nnx.split(CausalDiT(config.model, rngs=rngs), nnx.Param)
    head, classifier = nnx.split(Linear(config.model.text_dim, len(TEACHERS), rngs=rngs), nnx.Param)
    params = {"model": nnx.to_pure_dict(model), "classifier": nnx.to_pure_dict(classifier)}
    if config.objective == MATCHING:
        params["critic"] = jax.tree.map(jnp.copy, params["model"])
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema=jax.tree.map(jnp.copy, params),
        optimizer=optimizer(config).init(params),
        bank=_empty_bank(config),
    )
    return Graph(graph, head), state


def _empty_bank(config: TrainConfig) -> ErrorBank | None:
    sizes = {config.picture_size(stage) for stage in config.stages if stage.history_errors}
    if not sizes:
        return None
    if len(sizes) > 1:
        raise UserError(
            f"stages with history_errors show pictures of {sorted(sizes)} pixels; "
            "one size is expected, the error bank's"
        )
    codec, (height, width) = PixelCodec(), sizes.pop()
    return init_bank((height // codec.factor, width // codec.factor, codec.channels))


def check_model(checkpoint: Checkpoint, config: TrainConfig) -> None:
    """Refuse to start from a checkpoint of other sizes.

    Raises:
        UserError: names them.
    """
    theirs, ours = checkpoint.config.to_json(), config.model.to_json()
    wrong = [name for name in ours if theirs[name] != ours[name]]
    if wrong:
        sizes = "; ".join(f"{name}={theirs[name]}, not {ours[name]}" for name in wrong)
        raise UserError(f"{str(checkpoint.path)!r} holds another model than the preset's: {sizes}")


def check_teacher(teacher: Checkpoint | None, config: TrainConfig) -> None:
    """Refuse a distillation without a teacher, and a teacher that sees what its student does not.

    Raises:
        UserError: says which.
    """
    if teacher is None:
        if config.distils:
            raise UserError(f"objective {config.objective!r} needs a teacher; one is expected")
        return
    for name in ("height", "width", "text_encoder", "text_fingerprint"):
        theirs, ours = getattr(teacher.config, name), getattr(config.model, name)
        if theirs != ours:
            raise UserError(f"the teacher has {name}={theirs}, its student {ours}; alike expected")
    if config.distils and not config.model.shortcut:
        raise UserError("a student whose model is not a shortcut model cannot be told its steps")


def as_shortcut(checkpoint: Checkpoint, config: ModelConfig) -> Checkpoint:
    """The same function as a shortcut model of `config`, which takes no notice of step sizes yet.

    config: the checkpoint's, but for what a sampler goes by. What its embedding of infinitely small
    steps has come to is kept as a constant, and what it lacks is zero.
    """
    params: dict[Any, Any] = dict(flatten_dict(checkpoint.params))
    if not checkpoint.config.shortcut:
        layers = [[params[name, part] for part in ("kernel", "bias")] for name in _STEP_EMBEDDING]
        (first, offset), (second, constant) = layers
        hidden = jax.nn.silu(sinusoid(jnp.ones(()), len(offset)) @ first + offset)
        params["step_out", "bias"] = np.asarray(hidden @ second + constant)
        params["step_out", "kernel"] = np.zeros_like(second)
        shape = (config.text_dim, PixelCodec().channels)
        params["noise_gain", "kernel"] = np.zeros(shape, np.float32)
        params["noise_gain", "bias"] = np.zeros(shape[1:], np.float32)
    return Checkpoint(config, unflatten_dict(params), checkpoint.meta, checkpoint.path)


def start_from(checkpoint: Checkpoint, state: TrainState) -> TrainState:
    """A fresh `state` with the model of `checkpoint`, and its critic; the classifier stays."""

    def replaced(params):
        return {
            name: old
            if name == "classifier"
            else jax.tree.map(lambda _, new: jnp.array(new), old, checkpoint.params)
            for name, old in params.items()
        }

    return state._replace(params=replaced(state.params), ema=replaced(state.ema))
