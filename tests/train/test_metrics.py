"""What metrics.jsonl says of a step."""

import dataclasses
import json
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.configs import Stage, preset
from lsdjax.text.tokenizer import MAX_NGRAMS, MAX_WORDS
from lsdjax.train import metrics as reported
from lsdjax.train.metrics import MetricsLog, StepCost, peak_tflops, step_cost
from lsdjax.train.steps import PromptBatch, StepMetrics

STAGE = Stage("crops", steps=9, groups=2, clips=3, prompts=1, crop=16)
CONFIG = dataclasses.replace(preset("tiny"), stages=(STAGE,))
METRICS = StepMetrics(jnp.array(0.5), jnp.array([0.04, 0.0, 0.0]), jnp.array(1.0), jnp.array(2.0))


def batch(groups: int, prompts: int) -> PromptBatch:
    ids = np.ones((groups + prompts, MAX_WORDS, MAX_NGRAMS), np.int32)
    styles = np.zeros(groups + prompts, np.int32)
    return PromptBatch(styles[:groups], ids[:groups], styles[groups:], ids[groups:])


def test_cost_grows_with_the_groups_and_the_picture(child: ModuleType) -> None:
    graph, state = child.quick_state(CONFIG)

    def cost(groups: int, prompts: int, crop: int) -> StepCost:
        stage = dataclasses.replace(STAGE, crop=crop)
        told = batch(groups, prompts)
        return step_cost(graph, CONFIG, stage, state.params, None, told, single=False)

    text, one, two, large = cost(0, 4, 16), cost(1, 0, 16), cost(2, 4, 16), cost(1, 0, 32)
    assert text.frames == 0 and one.frames == 3 and two.frames == 6
    assert two.flops == pytest.approx(2 * one.flops + text.flops)
    assert 2 < large.flops / one.flops < 5  # four times the pixels, some of it the prompt's alone
    # One convolution alone, 16 -> 16 channels over 4 x 4: forwards, and twice that backwards.
    assert one.flops > 3 * (2 * 9 * 16 * 16) * 3 * 4 * 4


def test_a_line_holds_speed_and_utilisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 12.0, 16.0])
    monkeypatch.setattr(reported.time, "perf_counter", lambda: next(clock))
    log = MetricsLog(tmp_path / "metrics.jsonl", start=0, peak=1e12)
    log.write(0, batch(2, 1), METRICS, StepCost(frames=6, flops=1e11))
    log.write(1, batch(2, 1), METRICS, StepCost(frames=6, flops=1e11))
    log.close()
    first, second = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert (first["seconds"], first["frames_per_second"], first["mfu"]) == (2.0, 3.0, 0.05)
    assert (second["seconds"], second["frames_per_second"], second["mfu"]) == (4.0, 1.5, 0.025)
    assert first["flops"] == 1e11 and first["psnr_db"] == {"pencil_sketch": 20.0}


def test_without_a_known_peak_there_is_no_utilisation(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", start=0, peak=None)
    log.write(0, batch(2, 0), METRICS, StepCost(frames=6, flops=1e11))
    log.close()
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["mfu"] is None and line["prompt_accuracy"] is None
    assert peak_tflops("cpu") is None
    assert peak_tflops("NVIDIA H200") == 989 and peak_tflops("TPU v5 lite") == 197
    assert peak_tflops("TPU v5p") == 459 and peak_tflops("NVIDIA H100 PCIe") == 756


def test_steps_that_are_done_again_are_not_told_twice(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"st')
    MetricsLog(path, start=2, peak=None).close()
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'


def test_a_loss_that_is_not_finite_ends_the_run_on_every_process() -> None:
    log = MetricsLog(None, start=0, peak=None)
    with pytest.raises(FloatingPointError, match="step 7: loss nan"):
        log.write(7, batch(2, 0), METRICS._replace(loss=jnp.array(jnp.nan)), StepCost(6, 1.0))
