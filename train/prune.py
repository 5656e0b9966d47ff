"""A checkpoint cut down to a share of its measured step time, or to given sizes."""

import dataclasses
import functools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from lsdjax.checkpoint.export import Checkpoint, save_checkpoint
from lsdjax.compress.importance import (
    Calibration,
    activation_importance,
    make_evaluate,
    removal_importance,
    taylor_importance,
)
from lsdjax.compress.latency import LatencyTable, machine
from lsdjax.compress.profile import PROFILES, SIZES, DeviceProfile, size_of
from lsdjax.compress.search import Sizes, search_sizes
from lsdjax.compress.sensitivity import Curves, mask_of, measure_curves
from lsdjax.compress.structure import Mask, cut, full_mask
from lsdjax.configs import Stage, TrainConfig
from lsdjax.core.errors import UserError
from lsdjax.data.examples import Examples, Lights, device_pool
from lsdjax.data.pipeline import DecodedPair
from lsdjax.data.pool import Pool
from lsdjax.evals.latency import compare_streams
from lsdjax.evals.sheets import write_json
from lsdjax.model.config import ModelConfig
from lsdjax.model.prompts import find_tokenizer
from lsdjax.stream.session import Streamer
from lsdjax.text.registry import Tokenizer
from lsdjax.train.loop import draw_prompts
from lsdjax.train.objective import Source, picture_objective
from lsdjax.train.pairs import PairedDraws

ROUNDS, SLACK = 3, 0.05
"""A whole step may differ from the sum of its parts: what was found is timed, and the search goes
for more or for less until the share is at most so much below the target."""

Progress = Callable[[str], None]


class Drawn(NamedTuple):
    """A group's examples, made once: a calibration batch is looked at many times."""

    made: Examples

    def examples(self, key: jax.Array, shape: tuple[int, int, int, int]) -> Examples:
        return self.made


class Candidate(NamedTuple):
    """A smaller model as it was timed beside the full one, and its loss before any recovery."""

    sizes: Sizes
    before_ms: float
    after_ms: float
    loss: float
    smaller: Checkpoint

    @property
    def share(self) -> float:
        return self.after_ms / self.before_ms

    def report(self) -> dict[str, Any]:
        return {
            "sizes": self.sizes,
            "before_ms": self.before_ms,
            "after_ms": self.after_ms,
            "share": self.share,
            "loss": self.loss,
        }

    def as_text(self) -> str:
        sizes = ", ".join(f"{group} {size}" for group, size in self.sizes.items())
        return f"{sizes}: {self.after_ms:.2f} of {self.before_ms:.2f} ms, loss {self.loss:.4f}"


def calibration_recipe(
    model: ModelConfig, *, groups: int, frames: int, input_drop: float = 0.0
) -> TrainConfig:
    """One step on `groups` clips of `frames` whole frames, as training shows them.

    input_drop: see `Stage`. What only a frame without an input needs is missed nowhere else.

    Raises:
        UserError: no groups, or `input_drop` not in [0, 1].
    """
    if groups < 1:
        raise UserError(f"{groups} groups of calibration clips; at least 1 is expected")
    if not 0 <= input_drop <= 1:
        raise UserError(f"drop={input_drop:g}; a share in [0, 1] is expected")
    stage = Stage(
        "calibration",
        steps=1,
        groups=groups,
        clips=1,
        frames=frames,
        prompts=1,
        input_drop=input_drop,
    )
    return TrainConfig(model=model, stages=(stage,), prompt_dropout=0.0)


def calibrate(
    recipe: TrainConfig, data: Pool | Lights | Sequence[DecodedPair], tokenize: Tokenizer
) -> Calibration:
    """The diffusion-forcing loss of the recipe's first step, and a batch for each of its groups."""
    [stage] = recipe.stages
    sources: list[Source]
    if isinstance(data, Pool | Lights):
        batch = draw_prompts(recipe, tokenize, 0)
        scenes = device_pool(data) if isinstance(data, Pool) else data
        sources = [scenes.taught(style) for style in batch.styles]
    else:
        batch = PairedDraws(recipe, tokenize, data).draw(0, single=False)
        sources = [group.windows for group in batch.pairs]
    shape = (stage.clips, stage.frames, recipe.model.height, recipe.model.width)
    make = jax.jit(lambda key, source: source.examples(key, shape))
    key = jax.random.key(recipe.seed)
    batches = [
        (Drawn(make(jax.random.fold_in(key, i), source)), tokens)
        for i, (source, tokens) in enumerate(zip(sources, batch.prompts, strict=True))
    ]
    picture_loss = picture_objective(recipe, stage, single=False)

    def loss(params: Any, key: jax.Array, batch: tuple[Drawn, jax.Array]) -> jax.Array:
        return picture_loss({"model": params}, key, *batch, None, None)[0]

    return Calibration(loss, batches)


def check_out(out: Path) -> None:
    """Refuse to write over anything.

    Raises:
        UserError: `out` exists.
    """
    if out.exists():
        raise UserError(f"{str(out)!r} exists already; the name of a new folder is expected")


def prune(
    checkpoint: Checkpoint,
    data: Pool | Lights | Sequence[DecodedPair],
    out: Path,
    *,
    target: float | Sizes,
    recipe: TrainConfig,
    steps: int | None = None,
    timed_frames: int = 100,
    profile: DeviceProfile | None = None,
    text_encoder: str | None = None,
    progress: Progress = lambda message: None,
) -> dict[str, Any]:
    """Cut `checkpoint` down to `target` times its step time, and write it to `out`.

    What is cut is what the loss misses least for the time that it takes. Times of parts are kept
    beside `out`, in `out`.latency.json, and used again; `out` appears when it is complete.
    Returns what is written to its `prune.json`.

    target: in (0, 1), of the time of a stream step with `steps` denoising steps on this machine.
        Or what is to stay, by group: then no time decides, and any machine cuts the same.
    recipe: what the loss is measured on, see `calibration_recipe`.
    profile: which sizes remain; None is that of the device.

    Raises:
        UserError: a target that is none or cannot be reached, `out` exists, the text encoder is
            missing, or the table of times is another machine's.
    """
    if not isinstance(target, Mapping) and not 0 < target < 1:
        raise UserError(f"target {target:g}; a share of the step time between 0 and 1 is expected")
    check_out(out)
    config, params = checkpoint.config, checkpoint.params
    now = {group: size_of(config, group) for group in SIZES}
    table = None
    if isinstance(target, Mapping):
        choices = _between(now, target)
    else:
        table = LatencyTable(out.with_name(out.name + ".latency.json"), config)
        profile = profile or PROFILES.get(jax.default_backend(), PROFILES["gpu"])
        choices = {group: profile.choices(group, size) for group, size in now.items()}
    tokenize = find_tokenizer(config, text_encoder)
    full = Streamer(checkpoint, steps=steps, text_encoder=text_encoder)

    def stream(smaller: Checkpoint) -> Streamer:
        return Streamer(smaller, steps=full.steps, text_encoder=text_encoder)

    progress("measuring what the loss misses")
    calibration = calibrate(recipe, data, tokenize)
    evaluate = make_evaluate(params, config, calibration)
    curves = _curves(params, config, calibration, choices, evaluate, progress)

    @functools.cache
    def joint_loss(*sizes: tuple[str, int]) -> float:
        return evaluate(mask_of(config, curves, dict(sizes)))

    def loss_of(sizes: Sizes) -> float:
        return joint_loss(*sorted(sizes.items()))

    def try_out(sizes: Sizes) -> Candidate:
        mask = mask_of(config, curves, sizes)
        smaller = Checkpoint(*cut(params, config, mask), checkpoint.meta, checkpoint.path)
        before, after = compare_streams([full, stream(smaller)], frames=timed_frames)
        found = Candidate(sizes, before.median, after.median, loss_of(sizes), smaller)
        progress(found.as_text())
        return found

    if isinstance(target, Mapping):
        tried = [try_out({**now, **target})]
    else:
        assert table is not None
        progress("timing the parts of a step")
        # The fastest step, as the table has the fastest run of each part: both leave out what
        # waits.
        full_ms = compare_streams([full], frames=timed_frames)[0].fastest
        rest = full_ms - table.parts_ms(config, full.steps)

        def step_ms(smaller: ModelConfig) -> float:
            return rest + table.parts_ms(smaller, full.steps)

        def find(share: float) -> Sizes:
            return search_sizes(config, curves, step_ms, loss_of, share * full_ms)

        tried = _search(target, find, try_out)
    best = tried[-1]
    report = {
        "target": target,
        "machine": machine(),
        "denoising_steps": full.steps,
        **best.report(),
        "loss_before": evaluate(full_mask(config)),
        "sizes_before": now,
        "tried": [candidate.report() for candidate in tried],
        "loss_of_each_cut": {
            group: {str(size): cut.loss for size, cut in cuts.items()}
            for group, cuts in curves.items()
        },
    }
    _write(out, best, report)
    return report


def _between(now: Sizes, target: Mapping[str, int]) -> dict[str, list[int]]:
    """For each group, the size that it has now and the one that it is to have."""
    if unknown := sorted(target.keys() - now.keys()):
        raise UserError(f"no groups {unknown} to cut; {sorted(now)} are expected")
    for group, size in target.items():
        if size > now[group]:
            raise UserError(f"{SIZES[group]}={size}: above the current size, {now[group]}")
        if size < 1:
            raise UserError(f"{SIZES[group]}={size}; at least 1 is expected")
    if not any(size < now[group] for group, size in target.items()):
        raise UserError("the sizes are those that the model has; smaller ones are expected")
    return {group: sorted({size, target.get(group, size)})[::-1] for group, size in now.items()}


def _search(
    target: float, find: Callable[[float], Sizes], try_out: Callable[[Sizes], Candidate]
) -> list[Candidate]:
    """All that was timed, the one that comes nearest to the target last."""
    goal, tried = target, []
    for _ in range(ROUNDS):
        tried.append(try_out(find(goal)))
        if target - SLACK <= tried[-1].share <= target:
            break
        goal *= target / tried[-1].share
    if all(candidate.share > target for candidate in tried):
        shares = ", ".join(f"{candidate.share:.3f}" for candidate in tried)
        raise UserError(
            f"target latency={target:g}: what the search found took {shares} of the step time; "
            "another target is expected, or a machine with less else to do"
        )
    return sorted(tried, key=lambda candidate: (candidate.share <= target, candidate.share))


def _curves(
    params: Any,
    config: ModelConfig,
    calibration: Calibration,
    choices: Mapping[str, Sequence[int]],
    evaluate: Callable[[Mask], float],
    progress: Progress,
) -> Curves:
    removal = removal_importance(config, evaluate)
    taylor = taylor_importance(params, config, calibration)
    activation = activation_importance(params, config, calibration)
    rankings = [ranking._replace(blocks=removal) for ranking in (taylor, activation)]
    return measure_curves(config, evaluate, rankings, choices, progress)


def _write(out: Path, best: Candidate, report: dict[str, Any]) -> None:
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    meta = {**best.smaller.meta, "pruned": {"target": report["target"], "share": best.share}}
    save_checkpoint(partial, dataclasses.replace(best.smaller, meta=meta))
    write_json(partial / "prune.json", report)
    os.replace(partial, out)
