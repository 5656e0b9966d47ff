"""The training loop: prompts in, metrics, checkpoints and sample sheets out."""

import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from lsdjax.checkpoint.export import Checkpoint, save_checkpoint
from lsdjax.checkpoint.manager import RunCheckpoints
from lsdjax.configs import TrainConfig
from lsdjax.core.errors import UserError
from lsdjax.data.examples import device_pool
from lsdjax.data.phrases import sample_phrase
from lsdjax.data.pipeline import DecodedPair
from lsdjax.data.pool import Pool
from lsdjax.data.styles import NAMES
from lsdjax.text.tokenizer import MAX_NGRAMS, MAX_WORDS, tokenize
from lsdjax.train.pairs import PairedDraws, without_text_stages
from lsdjax.train.sheet import SampleSheet, paired_rows, taught_rows
from lsdjax.train.state import check_model, init_state, start_from
from lsdjax.train.steps import PromptBatch, StepMetrics, make_train_step

logger = logging.getLogger(__name__)


def draw_prompts(config: TrainConfig, step: int) -> PromptBatch:
    """The prompts of one step; a pure function of the seed and the step, so a resumed run agrees.

    Styles are dealt without repetition before any comes again, but for those of `again`.
    """
    stage = config.stages[config.stage_at(step)[0]]
    rng = np.random.default_rng([config.seed, step])
    deck = np.array([*range(len(NAMES)), *(NAMES.index(name) for name in stage.again)])
    rounds = stage.groups // len(deck) + 1
    styles = np.concatenate([rng.permutation(deck) for _ in range(rounds)])[: stage.groups]
    text_styles = rng.integers(len(NAMES), size=stage.prompts)

    def told(numbers: np.ndarray) -> np.ndarray:
        ids = [tokenize(sample_phrase(rng, NAMES[number])) for number in numbers]
        return np.array(ids, np.int32).reshape(len(numbers), MAX_WORDS, MAX_NGRAMS)

    return PromptBatch(
        styles.astype(np.int32), told(styles), text_styles.astype(np.int32), told(text_styles)
    )


def is_single(config: TrainConfig, step: int) -> bool:
    """Whether this step of its stage trains on single frames."""
    stage = config.stages[config.stage_at(step)[0]]
    return stage.frames == 1 or np.random.default_rng([config.seed, step, 1]).random() < (
        stage.single_share
    )


def train(
    config: TrainConfig,
    data: Pool | Sequence[DecodedPair],
    run: Path,
    *,
    stop_after: int | None = None,
    init: Checkpoint | None = None,
) -> Path:
    """Run the recipe from where `run` stands, and export its EMA; returns the exported folder.

    The teachers show their styles on a pool; pairs show themselves, and stages on prompts alone are
    left out. A new run begins with the parameters of `init`, where given; one that is continued has
    its own. `run` receives config.json, metrics.jsonl, checkpoints/, samples/ and export/.

    Raises:
        UserError: `run` holds another recipe, `init` another model, or a prompt has no word.
        FloatingPointError: the loss is not finite.
    """
    if isinstance(data, Pool):
        draws = None
    else:
        config = without_text_stages(config)
        draws = PairedDraws(config, data)
    if init is not None:
        check_model(init, config)
    run.mkdir(parents=True, exist_ok=True)
    _pin_config(config, run / "config.json")
    graph, state = init_state(config)
    if init is not None:
        state = start_from(init, state)
    checkpoints = RunCheckpoints(run / "checkpoints")
    state = checkpoints.restore(state)
    if isinstance(data, Pool):
        pools = [jax.device_put(device_pool(data), device) for device in jax.local_devices()]
        sheet = SampleSheet(config, graph, taught_rows(pools[0]))
    else:
        pools, sheet = [], SampleSheet(config, graph, paired_rows(config, data))
    compiled = {}
    start, end = int(state.step), min(config.total_steps, stop_after or config.total_steps)
    pending: tuple[int, PromptBatch, StepMetrics, float] | None = None
    with (run / "metrics.jsonl").open("a") as log:
        for step in _progress(start, end, config.total_steps):
            number, _ = config.stage_at(step)
            stage, single = config.stages[number], is_single(config, step)
            if (number, single) not in compiled:
                compiled[number, single] = make_train_step(graph, config, stage, single=single)
            batch = draws.draw(step, single=single) if draws else draw_prompts(config, step)
            began = time.perf_counter()
            state, metrics = compiled[number, single](state, batch, pools, step)
            if pending is not None:
                _record(log, *pending)
            pending = (step, batch, metrics, began)
            done = step + 1
            if done % config.checkpoint_every == 0 or done == end:
                checkpoints.save(done, state)
            if done % config.sample_every == 0 or done == end:
                sheet.write(run / "samples" / f"{done:07d}.png", state.ema["model"])
        if pending is not None:
            _record(log, *pending)
    checkpoints.close()
    exported = Checkpoint(config.model, jax.device_get(state.ema["model"]), {"steps": end})
    return save_checkpoint(run / "export", exported)


def _pin_config(config: TrainConfig, path: Path) -> None:
    resolved = json.loads(json.dumps(config.to_json()))
    if path.exists():
        stored = json.loads(path.read_text())
        for name in sorted(set(stored) | set(resolved)):
            if stored.get(name) != resolved.get(name):
                raise UserError(
                    f"{str(path.parent)!r} was trained with another recipe ({name} differs); "
                    "choose another --run folder"
                )
    path.write_text(json.dumps(resolved, indent=1))


def _progress(start: int, end: int, total: int) -> Iterator[int]:
    return iter(
        tqdm(
            range(start, end), initial=start, total=total, unit="step", disable=None, smoothing=0.05
        )
    )


def _record(log, step: int, batch: PromptBatch, metrics: StepMetrics, began: float) -> None:
    loss, norm = float(metrics.loss), float(metrics.gradient_norm)
    if not np.isfinite(loss) or not np.isfinite(norm):
        raise FloatingPointError(f"step {step}: loss {loss}, gradient norm {norm}")
    shown = [group.name for group in batch.pairs] or [NAMES[style] for style in batch.styles]
    errors: dict[str, list[float]] = {}
    for name, error in zip(shown, np.asarray(metrics.squared_error), strict=True):
        if error > 0:
            errors.setdefault(name, []).append(float(error))
    psnr = {name: round(float(10 * np.log10(4 / np.mean(e))), 2) for name, e in errors.items()}
    entry = {
        "step": step,
        "loss": loss,
        "gradient_norm": norm,
        "prompt_accuracy": float(metrics.accuracy) if len(batch.text_styles) else None,
        "psnr_db": psnr,
        "seconds": round(time.perf_counter() - began, 3),
        "at": round(time.time(), 1),
    }
    print(json.dumps(entry), file=log, flush=True)


def configure_logging() -> None:
    """Warnings of the library, one line each, on stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="lsdjax: %(message)s")
