"""The training step: compiled pure functions of the state and a batch, over a mesh of devices.

Every device of `data` x `fsdp` takes a group of clips in turn and adds its gradient to a sum of its
own; the last call of a step reduces the sums and updates the state, which is split over `fsdp` and
`tensor`. Along `tensor`, the devices share the work of a group, as XLA's partitioner divides it.
The turns are calls of a loop on the host: inside `lax.scan`, XLA's CPU backend runs a convolution
about ten times slower, and on an accelerator the calls queue up without waiting.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lsdjax.checkpoint.export import Checkpoint
from lsdjax.configs import Stage, TrainConfig
from lsdjax.core.sharding import BATCH_AXES, batch_size, constrain, place, split_axes
from lsdjax.data.pipeline import PairedGroup
from lsdjax.diffusion.history import ErrorBank, fill_bank
from lsdjax.text.registry import Tokenizer
from lsdjax.train.objective import PictureReport, Scenes, picture_objective, text_objective
from lsdjax.train.state import Graph, TrainState, optimizer

WHOLE, DEALT = PartitionSpec(), PartitionSpec(BATCH_AXES)


class PromptBatch(NamedTuple):
    """What each group shows and is told, and what the text encoder learns beside it.

    styles (groups,), prompts (groups, *tokens): of the groups; tokens as a `Tokenizer` makes them.
    text_styles (m,), text_prompts (m, *tokens): more prompts, for the text encoder alone.
    pairs: in place of the styles, what each group shows; then there are no more prompts (m = 0).
    """

    styles: np.ndarray
    prompts: np.ndarray
    text_styles: np.ndarray
    text_prompts: np.ndarray
    pairs: Sequence[PairedGroup] = ()

    def shown(self) -> Any:
        """Of each group, its windows or the number of its style; leaves (groups, ...)."""
        if self.pairs:
            return jax.tree.map(lambda *x: np.stack(x), *[group.windows for group in self.pairs])
        return self.styles


def tokenize_all(tokenize: Tokenizer, prompts: Sequence[str]) -> np.ndarray:
    """The tokens of any number of prompts, even of none: (prompts, *tokens)."""
    rows = [tokenize(prompt) for prompt in prompts]
    return np.stack(rows) if rows else tokenize("nothing")[None][:0]


class StepMetrics(NamedTuple):
    """What one step reports.

    loss (): the objective; squared_error (at least groups,): of each, at pure noise, in [-1, 1].
    accuracy (): of the prompt classifier; gradient_norm ().
    """

    loss: jax.Array
    squared_error: jax.Array
    accuracy: jax.Array
    gradient_norm: jax.Array


class Sums(NamedTuple):
    """What the devices of `data` x `fsdp` have each added up; every leaf has them as first axis."""

    loss: jax.Array
    accuracy: jax.Array
    gradient: Any


# (state, batch, scenes, index of the step) -> (state, metrics); donates the state
TrainStep = Callable[[TrainState, PromptBatch, Scenes | None, int], tuple[TrainState, StepMetrics]]


def deal(tree: Any, hands: int) -> Any:
    """Leaves (n, ...) in rounds of one for each hand, (rounds, hands, ...); zeros fill the last."""

    def rounds(leaf: np.ndarray) -> np.ndarray:
        missing = -len(leaf) % hands
        padded = np.concatenate([leaf, np.zeros((missing, *leaf.shape[1:]), leaf.dtype)])
        return padded.reshape(-1, hands, *leaf.shape[1:])

    return jax.tree.map(rounds, tree)


def make_train_step(
    graph: Graph,
    config: TrainConfig,
    stage: Stage,
    mesh: Mesh,
    *,
    single: bool,
    teacher: Checkpoint | None = None,
) -> TrainStep:
    """The step of one stage, on sequences or on single frames.

    Its scenes and its teacher are on every device of the mesh, its state laid out by `split_axes`.
    """
    sizes = teacher.config if teacher else None
    picture_loss = picture_objective(config, stage, single=single, teacher=sizes)
    guide = place(teacher.params, mesh, WHOLE) if teacher else None
    text_loss = text_objective(graph, config)
    update = optimizer(config)
    unsplit = {**mesh.shape, "fsdp": 1}
    hands = batch_size(mesh)

    def by_hand(function: Callable, **specs: Any) -> Callable:
        """Each device of `data` x `fsdp` on its own; `tensor` is left to the partitioner."""
        return jax.shard_map(
            function, mesh=mesh, axis_names=set(BATCH_AXES), check_vma=False, **specs
        )

    def constrain_sums(sums: Sums) -> Sums:
        def lay_out(leaf: jax.Array) -> jax.Array:
            spec = PartitionSpec(BATCH_AXES, *split_axes(leaf.shape[1:], unsplit))
            return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec))

        return jax.tree.map(lay_out, sums)

    @jax.jit
    def begin(params, text) -> tuple[Any, Sums]:
        def gather(leaf: jax.Array) -> jax.Array:
            whole = NamedSharding(mesh, split_axes(leaf.shape, unsplit))
            return jax.lax.with_sharding_constraint(leaf, whole)

        def learn(params, text) -> Sums:
            dealt = jax.tree.map(lambda leaf: leaf[:, 0], text)
            grow = jax.value_and_grad(text_loss, has_aux=True)
            (loss, accuracy), gradient = grow(params, *dealt)
            return jax.tree.map(lambda leaf: leaf[None], Sums(loss, accuracy, gradient))

        params = jax.tree.map(gather, params)
        specs = {"in_specs": (WHOLE, PartitionSpec(None, BATCH_AXES)), "out_specs": DEALT}
        return params, constrain_sums(by_hand(learn, **specs)(params, text))

    @functools.partial(jax.jit, donate_argnums=1)
    def add_groups(params, sums: Sums, scenes, bank, guide, drawn, dealt, turn):
        def add(params, sums, scenes, bank, guide, drawn, dealt, turn):
            key = jax.random.wrap_key_data(drawn)
            shown, tokens, number, weight = jax.tree.map(lambda leaf: leaf[turn, 0], dealt)
            source = shown if scenes is None else scenes.taught(shown)
            (loss, report), gradient = jax.value_and_grad(picture_loss, has_aux=True)(
                params, jax.random.fold_in(key, number), source, tokens, bank, guide
            )
            more = Sums(loss, jnp.zeros(()), gradient)
            sums = jax.tree.map(lambda a, b: a + weight * b[None], sums, more)
            return sums, jax.tree.map(lambda leaf: leaf[None], report)

        specs = (WHOLE, DEALT, *[WHOLE] * 4, PartitionSpec(None, BATCH_AXES), WHOLE)
        added = by_hand(add, in_specs=specs, out_specs=DEALT)
        sums, report = added(params, sums, scenes, bank, guide, drawn, dealt, turn)
        return constrain_sums(sums), report

    def filled(bank: ErrorBank, reports: PictureReport, groups: int, drawn) -> ErrorBank:
        found = jax.tree.map(lambda leaf: leaf[:groups].reshape(-1, *leaf.shape[2:]), reports[1:])
        key = jax.random.fold_in(jax.random.wrap_key_data(drawn), groups)
        return fill_bank(key, bank, *found)

    @functools.partial(jax.jit, donate_argnums=0, static_argnums=4)
    def finish(
        state: TrainState, sums: Sums, reports: list[PictureReport], drawn, groups: int
    ) -> tuple[TrainState, StepMetrics]:
        loss, accuracy, gradient = jax.tree.map(lambda leaf: leaf.sum(axis=0), sums)
        gradient = constrain(gradient, mesh)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an int32 count
            changes, moments = update.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, changes)
        count = (state.step + 1).astype(jnp.float32)
        decay = jnp.minimum(config.ema_decay, count / (count + 10.0))
        ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, params)
        error, bank = jnp.zeros((0,)), state.bank
        if reports:
            together = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *reports)
            error = together.squared_error
            if stage.history_errors and bank is not None:
                bank = filled(bank, together, groups, drawn)
        metrics = StepMetrics(loss, error, accuracy, optax.tree.norm(gradient))
        metrics = jax.lax.with_sharding_constraint(metrics, NamedSharding(mesh, WHOLE))
        return constrain(TrainState(state.step + 1, params, ema, moments, bank), mesh), metrics

    def step(state: TrainState, batch: PromptBatch, scenes: Scenes | None, index: int):
        groups, prompts = len(batch.prompts), len(batch.text_styles)
        weights = np.full(prompts, 1 / max(prompts, 1), np.float32)
        text = (batch.text_styles, batch.text_prompts, weights)
        numbers, share = np.arange(groups, dtype=np.int32), np.full(groups, 1 / max(groups, 1))
        pictures = (batch.shown(), batch.prompts, numbers, share.astype(np.float32))
        dealt, text = place(deal((pictures, text), hands), mesh, PartitionSpec(None, BATCH_AXES))
        params, sums = begin(state.params, text)
        # Given, not built in: what was compiled for one seed serves all.
        key = jax.random.fold_in(jax.random.key(config.seed), index)
        drawn = np.asarray(jax.random.key_data(key))
        reports = []
        for turn in range(-(-groups // hands)):
            sums, report = add_groups(
                params, sums, scenes, state.bank, guide, drawn, dealt, np.int32(turn)
            )
            reports.append(report)
        return finish(state, sums, reports, drawn, groups)

    return step
