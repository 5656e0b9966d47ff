"""What is compiled for Hopper at production shapes: name -> (function, arguments, donated)."""

import dataclasses
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax.numpy as jnp

from lsdjax.configs.wan import WAN_1_3B
from lsdjax.evals.gpu_stream import MODELS
from lsdjax.model.wan_config import WanConfig
from lsdjax.pallas import dispatch
from lsdjax.stream import step as student
from lsdjax.stream.wan_step import make_wan_step, step_arguments

Case = tuple[Callable[..., Any], tuple, tuple[int, ...]]
BF16 = jnp.dtype(jnp.bfloat16)


def student_step(layers: int, name: str) -> Case:
    """The student's stream step on Hopper: one denoising step, its blocks on what is named."""
    config = dataclasses.replace(MODELS["student-294m"], depth=layers)
    step = student.make_stream_step(config, 1, repair=True)

    def run(*arguments: Any) -> Any:
        here = mock.patch.object(dispatch, "device", lambda: dispatch.HOPPER)
        with here, dispatch.only("blocks", name):
            return step(*arguments)

    return run, student.step_arguments(config, BF16), (1,)


WAN_FRAME = dataclasses.replace(
    WAN_1_3B, chunk=1, window=8, timesteps=(1000,), clean_pass=False, depth=2
)
"""Two layers, and one pass over one frame, which sees nine frames with itself."""


def wan_step(config: WanConfig, device: str) -> Case:
    """A Wan stream's step as it is on `device`."""
    step = make_wan_step(config, jit=False)

    def run(*arguments: Any) -> Any:
        with mock.patch.object(dispatch, "device", lambda: device):
            return step(*arguments)

    return run, step_arguments(config, BF16), (1,)


CASES: dict[str, Callable[[], Case]] = {
    "student_chain": lambda: student_step(2, "kernel chain"),
    "student_single_pass": lambda: student_step(2, "single pass"),
    "student_fp8": lambda: student_step(1, "kernel chain in fp8"),
    "wan_frame": lambda: wan_step(WAN_FRAME, dispatch.HOPPER),
    "wan_default": lambda: wan_step(WAN_1_3B, dispatch.HOPPER),
    "wan_default_xla": lambda: wan_step(WAN_1_3B, "gpu"),
}
