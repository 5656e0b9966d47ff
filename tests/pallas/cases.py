"""What is compiled for Hopper at production shapes: name -> (function, arguments, donated)."""

import dataclasses
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from lsdjax.configs.wan import WAN_1_3B
from lsdjax.model.wan_config import WanConfig
from lsdjax.pallas import blocks, dispatch, projections, single_pass
from lsdjax.pallas.blocks import LongRing, Variant
from lsdjax.pallas.fp8 import Linear8
from lsdjax.pallas.gemm import GemmTiles
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.reference import (
    BlockModulation,
    BlockWeights,
    CrossWeights,
    HeadNorm,
    Linear,
    Modulation,
    Prompt,
    Ring,
    Seen,
)
from lsdjax.pallas.specs import SHAPES, BlockShape
from lsdjax.stream.wan_step import make_wan_step, step_arguments

Case = tuple[Callable[..., Any], tuple, tuple[int, ...]]
HOW = Launch(dependent=True)
BF16, F32, I32 = jnp.bfloat16, jnp.float32, jnp.int32


def array(*shape: int, dtype: Any = BF16) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def block_weights(shape: BlockShape) -> BlockWeights:
    dim, hidden = shape.dim, shape.hidden
    size = shape.head_dim if shape.qk_norm == "head" else dim

    def linear(inputs: int, outputs: int) -> Linear:
        return Linear(array(inputs, outputs), array(outputs, dtype=F32))

    scale = array(size, dtype=F32)
    cross = CrossWeights(linear(dim, dim), scale, linear(dim, dim)) if shape.words else None
    return BlockWeights(
        linear(dim, 3 * dim),
        HeadNorm(scale, scale),
        linear(dim, dim),
        cross,
        linear(dim, hidden),
        linear(hidden, dim),
    )


def block_modulation(shape: BlockShape) -> BlockModulation:
    vector = array(shape.dim, dtype=F32)
    both = Modulation(vector, vector)
    return BlockModulation(both, vector, both if shape.words else None, both, vector)


def forward(shape: BlockShape, layers: int, *, in_one: bool) -> Case:
    """`layers` blocks on one frame, as in a stream's denoising step; the rings are donated."""
    n = -(-shape.tokens // 128) * 128
    d, heads, variant = shape.head_dim, shape.heads, Variant.of(shape)
    store = array(shape.slots, n, heads, d)
    factors = array(shape.slots, n, dtype=F32) if shape.qk_norm == "full" else None

    def run(x, weights, modulations, rings, space, slot, ages, visible, length, words):
        stream, kept = Stream.of(x), []
        for weight, modulation, ring, prompt in zip(
            weights, modulations, rings, words, strict=True
        ):
            prompt = Prompt(prompt[0], prompt[1], length) if shape.words else None
            seen = Seen(slot, ages, visible, prompt)
            common = (stream, weight, modulation, space)
            if in_one:
                stream, new = single_pass.single_pass_block(
                    *common, ring.ring, seen, variant=variant, how=HOW
                )
                ring = LongRing(new, None)
            else:
                stream, ring = blocks.kernel_chain(*common, ring, seen, variant=variant, how=HOW)
            kept.append(ring)
        return stream.x, kept

    prompt = (array(shape.words, heads, d),) * 2 if shape.words else ()
    arguments = (
        array(n, shape.dim),
        [block_weights(shape)] * layers,
        [block_modulation(shape)] * layers,
        [LongRing(Ring(store, store), factors)] * layers,
        (array(n, d, dtype=F32),) * 2,
        array(dtype=I32),
        array(shape.slots, dtype=I32),
        array(shape.slots, dtype=jnp.bool),
        array(dtype=I32),
        [prompt] * layers,
    )
    return run, arguments, (3,)


def products_in_fp8(shape: BlockShape) -> Case:
    """Both halves of the feed-forward in 8 bits."""
    n, dim, hidden, columns = -(-shape.tokens // 128) * 128, shape.dim, shape.hidden, 128
    vector = array(dim, dtype=F32)

    def weights(inputs: int, outputs: int) -> Linear8:
        scale = array(inputs // 128, outputs // columns, dtype=F32)
        kernel = array(outputs, inputs, dtype=jnp.float8_e4m3fn)
        return Linear8(kernel, scale, array(outputs, dtype=F32))

    def run(x, modulation, up, down, gate):
        tiles = GemmTiles(columns, stages=3)
        hidden = projections.project_gelu(
            Stream.of(x), modulation, up, norm=shape.norm, tiles=tiles, how=HOW
        )
        return projections.project_residual(
            x, hidden, down, gate, gate_offset=shape.gate_offset, tiles=tiles, how=HOW
        ).x

    modulation = Modulation(vector, vector)
    return run, (array(n, dim), modulation, weights(dim, hidden), weights(hidden, dim), vector), ()


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

    return run, step_arguments(config, jnp.dtype(BF16)), (1,)


STUDENT = SHAPES["student-294m"]
CASES: dict[str, Callable[[], Case]] = {
    "student_chain_1": lambda: forward(STUDENT, 1, in_one=False),
    "student_chain_2": lambda: forward(STUDENT, 2, in_one=False),
    "student_single_pass_1": lambda: forward(STUDENT, 1, in_one=True),
    "student_single_pass_2": lambda: forward(STUDENT, 2, in_one=True),
    "student_fp8": lambda: products_in_fp8(STUDENT),
    "wan_frame": lambda: wan_step(WAN_FRAME, dispatch.HOPPER),
    "wan_default": lambda: wan_step(WAN_1_3B, dispatch.HOPPER),
    "wan_default_xla": lambda: wan_step(WAN_1_3B, "gpu"),
}
