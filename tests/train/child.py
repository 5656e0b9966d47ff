"""`lsdjax train` in a process of its own, small: what is slow and beside the point is replaced.

The environment may ask for trouble: LSDJAX_TEST_PAUSE seconds before each step,
LSDJAX_TEST_FULL_AT the step whose checkpoint finds the disk full.
"""

import dataclasses
import errno
import os
import sys
import time
from typing import Any

import jax
import numpy as np

from lsdjax import cli
from lsdjax.configs import Stage, TrainConfig, preset
from lsdjax.configs.presets import PRESETS
from lsdjax.train import loop
from lsdjax.train.metrics import StepCost
from lsdjax.train.pairs import PairedDraws
from lsdjax.train.state import Graph, TrainState, init_state

STAGES = (Stage("crops", steps=24, groups=3, clips=1, prompts=1, crop=16),)
CONFIG = dataclasses.replace(preset("tiny"), stages=STAGES, checkpoint_every=4)


def quick_state(config: TrainConfig) -> tuple[Graph, TrainState]:
    """As `init_state`, with parameters that NumPy draws: nothing is compiled."""
    graphs = []

    def trace() -> TrainState:
        graph, state = init_state(config)
        graphs.append(graph)
        return state

    rng = np.random.default_rng(0)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        value = rng.standard_normal(leaf.shape)
        if "scale" in jax.tree_util.keystr(path[-2:]):
            value = 1 + 0.05 * value
        elif len(leaf.shape) < 2:
            value = 0.05 * value
        else:
            value = 0.5 * value / min(np.prod(leaf.shape[:-1]), 256) ** 0.5
        return np.asarray(value, np.float32)

    state = jax.eval_shape(trace)
    params = jax.tree_util.tree_map_with_path(draw, state.params)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    return graphs[0], blank._replace(params=params, ema=params)


class NoSheet:
    """Sample sheets compile a model of their own."""

    def __init__(self, *arguments: object) -> None:
        pass

    def write(self, *arguments: object) -> None:
        pass


def no_cost(*arguments: object, **options: object) -> StepCost:
    """To count operations a step is traced once more."""
    return StepCost(frames=1, flops=0.0)


def _fill_disk_at(step: str) -> None:
    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and f"/checkpoints/{step}.orbax" in str(arguments[0]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sys.addaudithook(hook)


def main() -> int:
    PRESETS["tiny"] = CONFIG
    loop.init_state = quick_state
    loop.step_cost = no_cost
    loop.SampleSheet = NoSheet  # pyright: ignore[reportAttributeAccessIssue]
    if step := os.environ.get("LSDJAX_TEST_FULL_AT"):
        _fill_disk_at(step)
    if pause := os.environ.get("LSDJAX_TEST_PAUSE"):
        draw = PairedDraws.draw

        def draw_slowly(*arguments: Any, **options: Any) -> Any:
            time.sleep(float(pause))
            return draw(*arguments, **options)

        PairedDraws.draw = draw_slowly
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
