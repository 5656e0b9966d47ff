"""What a run reports of each step, as lines of metrics.jsonl."""

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lsdjax.checkpoint.export import Checkpoint
from lsdjax.configs import Stage, TrainConfig
from lsdjax.data.pipeline import PairedWindows
from lsdjax.data.styles import TEACHERS
from lsdjax.diffusion.history import ErrorBank
from lsdjax.train.objective import picture_objective, text_objective
from lsdjax.train.state import Graph
from lsdjax.train.steps import PromptBatch, StepMetrics

# Dense bfloat16 arithmetic of one device, by how its kind begins; from the makers' data sheets.
_PEAK_TFLOPS = {
    "TPU v4": 275.0,
    "TPU v5 lite": 197.0,
    "TPU v5": 459.0,
    "TPU v6": 918.0,
    "NVIDIA A100": 312.0,
    "NVIDIA H100 PCIe": 756.0,
    "NVIDIA H100": 989.0,
    "NVIDIA H200": 989.0,
    "NVIDIA B200": 2250.0,
}


def peak_tflops(device_kind: str) -> float | None:
    """Dense bfloat16 TFLOP/s of one device as JAX names its kind; None where it is not known."""
    known = [name for name in _PEAK_TFLOPS if device_kind.startswith(name)]
    return _PEAK_TFLOPS[max(known, key=len)] if known else None


class StepCost(NamedTuple):
    """What a step of some kind takes.

    frames: that its groups show.
    flops: floating-point operations of its gradients, forwards and backwards, as XLA counts them
        before it optimises (0 on a backend that does not). The making of the examples, the update,
        what rematerialisation repeats and groups that only fill a turn are left out.
    """

    frames: int
    flops: float


def step_cost(
    graph: Graph,
    config: TrainConfig,
    stage: Stage,
    params: Any,
    bank: ErrorBank | None,
    batch: PromptBatch,
    *,
    single: bool,
    teacher: Checkpoint | None = None,
) -> StepCost:
    """Count without compiling anything; only shapes of `params`, bank, batch and teacher matter."""

    def count(loss: Callable, *arguments: Any) -> float:
        grow = jax.jit(jax.grad(loss, has_aux=True))
        cost = grow.lower(*jax.tree.map(_abstract, (params, *arguments))).cost_analysis()
        return cost["flops"] if cost else 0.0

    clips, frames = stage.group_shape(single=single)
    video = np.empty((clips, frames + 1, config.model.height, config.model.width, 3), np.uint8)
    flops, groups = 0.0, len(batch.prompts)
    if groups:
        loss = picture_objective(
            dataclasses.replace(config, remat="none"),
            stage,
            single=single,
            teacher=teacher.config if teacher else None,
        )
        guide = teacher.params if teacher else None
        group = (jax.random.key(0), PairedWindows(video, video), batch.prompts[0], bank, guide)
        flops += groups * count(loss, *group)
    if m := len(batch.text_styles):
        told = (batch.text_styles, batch.text_prompts, np.ones(m, np.float32))
        flops += count(text_objective(graph, config), *told)
    return StepCost(groups * clips * frames, flops)


def _abstract(leaf: jax.Array | np.ndarray) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


class MetricsLog:
    """The lines of a run; a continued one first loses those of steps that will be done again."""

    def __init__(self, path: Path | None, *, start: int, peak: float | None) -> None:
        """path: None writes nothing; peak: of all devices together, in FLOP/s."""
        if path is not None and path.exists():
            kept = [line for line in path.read_text().splitlines() if _is_before(line, start)]
            partial = path.with_name(path.name + ".partial")
            partial.write_text("".join(f"{line}\n" for line in kept))
            os.replace(partial, path)
        self._file = path.open("a") if path is not None else None
        self._peak = peak
        self._last = time.perf_counter()

    def write(self, step: int, batch: PromptBatch, metrics: StepMetrics, cost: StepCost) -> None:
        """Wait for a step and write its line; its seconds count from the line before.

        Utilisation (mfu) is the step's operations over those that the devices could have done in
        these seconds (Chowdhery et al. 2022, PaLM); null where their peak is not known.

        Raises:
            FloatingPointError: the loss or the gradient is not finite.
        """
        loss, norm = float(metrics.loss), float(metrics.gradient_norm)
        if not np.isfinite(loss) or not np.isfinite(norm):
            raise FloatingPointError(f"step {step}: loss {loss}, gradient norm {norm}")
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        entry = {
            "step": step,
            "loss": loss,
            "gradient_norm": norm,
            "prompt_accuracy": float(metrics.accuracy) if len(batch.text_styles) else None,
            "psnr_db": _psnr(batch, np.asarray(metrics.squared_error)),
            "seconds": round(seconds, 3),
            "frames_per_second": round(cost.frames / seconds, 3),
            "flops": cost.flops,
            "mfu": round(cost.flops / seconds / self._peak, 6) if self._peak else None,
            "at": round(time.time(), 1),
        }
        if self._file is not None:
            print(json.dumps(entry), file=self._file, flush=True)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _psnr(batch: PromptBatch, squared_error: np.ndarray) -> dict[str, float]:
    names = list(TEACHERS)
    shown = [group.name for group in batch.pairs] or [names[style] for style in batch.styles]
    errors: dict[str, list[float]] = {}
    for name, error in zip(shown, squared_error[: len(shown)], strict=True):
        if error > 0:
            errors.setdefault(name, []).append(float(error))
    return {name: round(float(10 * np.log10(4 / np.mean(e))), 2) for name, e in errors.items()}


def _is_before(line: str, start: int) -> bool:
    try:
        return json.loads(line)["step"] < start
    except json.JSONDecodeError:  # the line that a killed run was writing
        return False
