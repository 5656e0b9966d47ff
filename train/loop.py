"""The training loop: prompts in, metrics, checkpoints and sample sheets out."""

import contextlib
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from tqdm import tqdm

from lsdjax.checkpoint.export import Checkpoint, save_checkpoint
from lsdjax.checkpoint.manager import RunCheckpoints, is_disk_full
from lsdjax.configs import TrainConfig
from lsdjax.core.errors import UserError
from lsdjax.core.sharding import local_copy, make_mesh, place
from lsdjax.data.examples import Lights, device_pool
from lsdjax.data.phrases import sample_phrase
from lsdjax.data.pipeline import DecodedPair
from lsdjax.data.pool import Pool
from lsdjax.data.styles import TEACHERS
from lsdjax.model.prompts import choose_text_encoder, find_tokenizer
from lsdjax.text.registry import Tokenizer
from lsdjax.train.metrics import MetricsLog, StepCost, peak_tflops, step_cost
from lsdjax.train.pairs import PairedDraws, without_text_stages
from lsdjax.train.sheet import SampleSheet, paired_rows, taught_rows
from lsdjax.train.state import check_model, check_teacher, init_state, start_from
from lsdjax.train.steps import (
    PromptBatch,
    StepMetrics,
    TrainStep,
    make_train_step,
    tokenize_all,
)

logger = logging.getLogger(__name__)


def draw_prompts(config: TrainConfig, tokenize: Tokenizer, step: int) -> PromptBatch:
    """The prompts of one step; a pure function of the seed and the step, so a resumed run agrees.

    Styles are dealt without repetition before any comes again, but for those of `again`.
    """
    stage = config.stages[config.stage_at(step)[0]]
    rng = np.random.default_rng([config.seed, step])
    names = list(TEACHERS)
    taught = np.array([TEACHERS.index(name) for name in config.styles or names])
    deck = np.array([*taught, *(TEACHERS.index(name) for name in stage.again)])
    rounds = stage.groups // len(deck) + 1
    styles = np.concatenate([rng.permutation(deck) for _ in range(rounds)])[: stage.groups]
    text_styles = rng.choice(taught, size=stage.prompts)

    def told(numbers: np.ndarray) -> np.ndarray:
        return tokenize_all(tokenize, [sample_phrase(rng, names[number]) for number in numbers])

    return PromptBatch(
        styles.astype(np.int32), told(styles), text_styles.astype(np.int32), told(text_styles)
    )


def is_single(config: TrainConfig, step: int) -> bool:
    """Whether this step of its stage trains on single frames."""
    stage = config.stages[config.stage_at(step)[0]]
    if stage.frames == 1 and not stage.rollout:
        return True
    return bool(np.random.default_rng([config.seed, step, 1]).random() < stage.single_share)


def train(
    config: TrainConfig,
    data: Pool | Lights | Sequence[DecodedPair],
    run: Path,
    *,
    mesh: Mesh | None = None,
    stop_after: int | None = None,
    init: Checkpoint | None = None,
    teacher: Checkpoint | None = None,
    text_encoder: str | None = None,
    profile: Path | None = None,
    peak: float | None = None,
) -> Path:
    """Run the recipe from where `run` stands, and export its EMA; returns the exported folder.

    The teachers show their styles on a pool or on moving lights; pairs show themselves, and stages
    on prompts alone are left out. A new run begins with the parameters of `init`, where given; one
    that is continued has its own. `run` receives config.json, metrics.jsonl, checkpoints/, samples/
    and export/. Every process of `mesh` has to call this alike, with a folder that all of them
    share.

    mesh: None is every device on `data`; a run may be continued on another one.
    teacher: whom a distillation (`config.distils`) learns from; under any other objective, a model
        to follow beside the truth, see `following_loss`.
    text_encoder: what reads prompts, see `choose_text_encoder`; None leaves it to the config.
    profile: folder that receives a trace of the third to the fifth step.
    peak: TFLOP/s of one device, against which `mfu` is reckoned; None looks the device up.

    Raises:
        UserError: `run` holds another recipe, `init` another model, a prompt has no word, the
            text encoder cannot be used, a distillation has no teacher or one that sees otherwise,
            too few steps are left to profile, or the disk is full.
        FloatingPointError: the loss is not finite.
    """
    mesh = mesh or make_mesh()
    leads = jax.process_index() == 0
    if text_encoder is None:
        tokenize = find_tokenizer(config.model)
    else:
        model, tokenize = choose_text_encoder(config.model, text_encoder)
        config = dataclasses.replace(config, model=model)
    if isinstance(data, Pool | Lights):
        draws = None
    else:
        config = without_text_stages(config)
        draws = PairedDraws(config, tokenize, data)
    if init is not None:
        check_model(init, config)
    check_teacher(teacher, config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_explain_full_disk(run))
        run.mkdir(parents=True, exist_ok=True)
        _pin_config(config, teacher, run / "config.json", write=leads)
        graph, state = init_state(config)
        if init is not None:
            state = start_from(init, state)
        checkpoints = stack.enter_context(contextlib.closing(RunCheckpoints(run / "checkpoints")))
        state = checkpoints.restore(place(state, mesh))
        start, end = int(state.step), min(config.total_steps, stop_after or config.total_steps)
        traced = range(start + 2, min(start + 5, end)) if profile else range(0)
        if profile and not traced:
            raise UserError(f"--profile traces the third step, but {end - start} are left")
        if isinstance(data, Pool | Lights):
            footage = device_pool(data) if isinstance(data, Pool) else data
            scenes = place(footage, mesh, PartitionSpec())
            local = jax.tree.map(lambda leaf: leaf.addressable_data(0), scenes)
            rows = taught_rows(config, tokenize, local)
        else:
            scenes, rows = None, paired_rows(config, tokenize, data)
        sheet = SampleSheet(config, graph, rows) if leads else None
        peak = peak or peak_tflops(mesh.devices.flat[0].device_kind)
        log = MetricsLog(
            run / "metrics.jsonl" if leads else None,
            start=start,
            peak=peak and peak * 1e12 * mesh.size,
        )
        stack.enter_context(contextlib.closing(log))
        compiled: dict[tuple[int, bool], tuple[TrainStep, StepCost]] = {}
        pending: tuple[int, PromptBatch, StepMetrics, StepCost] | None = None
        for step in _progress(start, end, config.total_steps, shown=leads):
            number, _ = config.stage_at(step)
            stage, single = config.stages[number], is_single(config, step)
            if draws:
                batch = draws.draw(step, single=single)
            else:
                batch = draw_prompts(config, tokenize, step)
            kind = {"single": single, "teacher": teacher}
            if (number, single) not in compiled:
                compiled[number, single] = (
                    make_train_step(graph, config, stage, mesh, **kind),
                    step_cost(graph, config, stage, state.params, state.bank, batch, **kind),
                )
            run_step, cost = compiled[number, single]
            if step in traced[:1]:
                jax.profiler.start_trace(str(profile))
            state, metrics = run_step(state, batch, scenes, step)
            if pending is not None:
                log.write(*pending)
            pending = (step, batch, metrics, cost)
            if step in traced[-1:]:
                jax.block_until_ready(metrics)
                jax.profiler.stop_trace()
            done = step + 1
            if done % config.checkpoint_every == 0 or done == end:
                checkpoints.save(done, state)
            if done % config.sample_every == 0 or done == end:
                params = local_copy(state.ema["model"], mesh)
                if sheet is not None:
                    sheet.write(run / "samples" / f"{done:07d}.png", params)
        if pending is not None:
            log.write(*pending)
        params = jax.device_get(local_copy(state.ema["model"], mesh))
        if leads:
            save_checkpoint(run / "export", Checkpoint(config.model, params, {"steps": end}))
    return run / "export"


@contextlib.contextmanager
def _explain_full_disk(run: Path) -> Iterator[None]:
    """One line in place of what whoever could not write says."""
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        steps = [int(path.name) for path in run.glob("checkpoints/*") if path.name.isdigit()]
        kept = f"the last checkpoint, of step {max(steps)}, is kept" if steps else "nothing is kept"
        raise UserError(f"no space left on the disk of {str(run)!r}; {kept}") from error


def _pin_config(
    config: TrainConfig, teacher: Checkpoint | None, path: Path, *, write: bool
) -> None:
    followed = {}
    if teacher is not None:
        followed = {"teacher": teacher.config.to_json() | {"digest": teacher.digest()}}
    resolved = {**config.to_json(), "teachers": list(TEACHERS), **followed}
    resolved = json.loads(json.dumps(resolved))
    if path.exists():
        stored = json.loads(path.read_text())
        for name in sorted(set(stored) | set(resolved)):
            if stored.get(name) != resolved.get(name):
                raise UserError(
                    f"{str(path.parent)!r} was trained with another recipe ({name} differs); "
                    "choose another --run folder"
                )
    elif write:
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(resolved, indent=1))
        os.replace(partial, path)


def _progress(start: int, end: int, total: int, *, shown: bool) -> Iterator[int]:
    return iter(
        tqdm(
            range(start, end),
            initial=start,
            total=total,
            unit="step",
            disable=None if shown else True,
            smoothing=0.05,
        )
    )


def configure_logging() -> None:
    """Warnings of the library, one line each, on stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="lsdjax: %(message)s")
