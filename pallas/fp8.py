"""Products in 8 bits: e4m3 operands, a scale for each row and 128 inputs, and for each weight tile.

The left operand stays bfloat16 in device memory; its tiles are normalised, modulated, scaled by
their rows' largest magnitudes and rounded in SMEM. Each 128 inputs are summed by the tensor cores
on their own and added up in float32 with their scales, as DeepSeek-V3 (2024, section 3.3) does.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lsdjax.pallas import mosaic
from lsdjax.pallas.gemm import BLOCK_ROWS, Epilogue, GemmTiles, Prologue
from lsdjax.pallas.mosaic import COMPUTE, ROWS, Launch, Roles
from lsdjax.pallas.reference import EPS
from lsdjax.pallas.rounding import DEPTH, LARGEST

WIDE = plgpu.Layout.WGMMA_8BIT
"""Layout of a tile whose 8-bit form is stored four columns at a time."""


def scratch(tiles: GemmTiles, dtype: Any) -> dict[str, Any]:
    """SMEM and barriers of `fp8_block`."""
    full = plgpu.Barrier(num_barriers=tiles.stages)
    e4m3 = jnp.float8_e4m3fn
    return {
        "left": mosaic.tile((tiles.stages, BLOCK_ROWS, DEPTH), dtype),
        "right": mosaic.tile((tiles.stages, tiles.columns, DEPTH), e4m3),
        "rounded": mosaic.tile((COMPUTE, ROWS, DEPTH), e4m3),
        "row_scales": plgpu.SMEM((COMPUTE, ROWS), jnp.float32),
        "left_full": full,
        "right_full": full,
        "empty": plgpu.Barrier(num_arrivals=COMPUTE, num_barriers=tiles.stages),
    }


def fp8_block(
    row: jax.Array,
    column: jax.Array,
    left: Any,
    right: tuple[Any, Any],
    s: dict[str, Any],
    prologue: Prologue | None,
    epilogue: Epilogue,
    tiles: GemmTiles,
    how: Launch,
    ready: Callable[[], None],
) -> Roles:
    """As `gemm.gemm_block`; right is the kernel (N, k) and its scales."""
    kernel, scales = right
    steps = left.shape[1] // DEPTH

    def compute(wg: jax.Array) -> None:
        start = row * BLOCK_ROWS + wg * ROWS
        for stage in range(tiles.stages):
            plgpu.barrier_arrive(s["empty"].at[stage])
        ready()
        epilogue.begin(wg, start, column * tiles.columns)
        statistics = _statistics(prologue, start, left.shape[1]) if prologue else None

        def step(number: jax.Array, acc: jax.Array) -> jax.Array:
            stage = jax.lax.rem(number, jnp.int32(tiles.stages))
            part = s["left"].at[stage, pl.ds(wg * ROWS, ROWS)]
            rounded, row_scales = s["rounded"].at[wg], s["row_scales"].at[wg]
            plgpu.barrier_wait(s["left_full"].at[stage])
            wide = _normalised(part, prologue, statistics, number * DEPTH)
            largest = jnp.maximum(jnp.abs(wide).max(axis=1), 1e-12)
            row_scales[...] = largest * (1.0 / LARGEST)
            wide = wide * mosaic.over_columns(LARGEST / largest, DEPTH)
            rounded[...] = wide.astype(rounded.dtype)
            mosaic.commit(how, "rounded")
            plgpu.barrier_wait(s["right_full"].at[stage])
            weights = s["right"].at[stage].transpose((1, 0))
            product = mosaic.product(rounded, weights, (ROWS, tiles.columns))
            plgpu.barrier_arrive(s["empty"].at[stage])
            scale = plgpu.load(row_scales, layout=mosaic.ROW) * scales[number, column]
            return acc + product * mosaic.over_columns(scale, tiles.columns)

        zeros = jnp.zeros((ROWS, tiles.columns), jnp.float32)
        acc = jax.lax.fori_loop(0, steps, step, plgpu.layout_cast(zeros, plgpu.Layout.WGMMA))
        epilogue.finish(wg, start, column * tiles.columns, acc)

    def load() -> None:
        def fetch(number: Any, *, activations: bool) -> None:
            stage = jax.lax.rem(jnp.int32(number), jnp.int32(tiles.stages))
            inputs = pl.ds(number * DEPTH, DEPTH)
            if activations:
                source = left.at[pl.ds(row * BLOCK_ROWS, BLOCK_ROWS), inputs]
                plgpu.copy_gmem_to_smem(source, s["left"].at[stage], s["left_full"].at[stage])
            else:
                plgpu.barrier_wait(s["empty"].at[stage])
                source = kernel.at[pl.ds(column * tiles.columns, tiles.columns), inputs]
                plgpu.copy_gmem_to_smem(source, s["right"].at[stage], s["right_full"].at[stage])

        ahead = min(tiles.stages, steps)
        pl.loop(0, ahead)(lambda number: fetch(number, activations=False))
        epilogue.load()
        ready()
        pl.loop(0, ahead)(lambda number: fetch(number, activations=True))

        @pl.loop(ahead, steps)
        def _rest(number: jax.Array) -> None:
            fetch(number, activations=False)
            fetch(number, activations=True)

        for stage in range(tiles.stages):
            plgpu.barrier_wait(s["empty"].at[stage])

    return Roles(compute, load)


def _statistics(prologue: Prologue, start: jax.Array, dim: int) -> tuple[jax.Array, jax.Array]:
    """Mean and 1 / deviation of this warpgroup's rows, as the 8-bit tiles lie."""
    layout = WIDE.reduce(1)

    def total(which: int) -> jax.Array:
        summed = plgpu.layout_cast(jnp.zeros((ROWS,), jnp.float32), layout)
        for part in range(prologue.moments.shape[0]):
            source = prologue.moments.at[part, which, pl.ds(start, ROWS)]
            summed = summed + plgpu.load(source, layout=layout, optimized=False)
        return summed * (1.0 / dim)

    square = total(1)
    mean = total(0) if prologue.norm == "layer" else jnp.zeros_like(square)
    return mean, jax.lax.rsqrt(square - mean * mean + EPS)


def _normalised(
    part: Any,
    prologue: Prologue | None,
    statistics: tuple[jax.Array, jax.Array] | None,
    first: jax.Array,
) -> jax.Array:
    wide = plgpu.load(part, layout=WIDE, optimized=False).astype(jnp.float32)
    if prologue is None or statistics is None:
        return wide
    mean, inverse = statistics

    def vector(source: Any) -> jax.Array:
        return plgpu.load(source.at[pl.ds(first, DEPTH)], layout=WIDE.reduce(0), optimized=False)

    if prologue.norm == "layer":
        wide = wide - mosaic.over_columns(mean, DEPTH)
    wide = wide * mosaic.over_columns(inverse, DEPTH)
    wide = wide * mosaic.over_rows(prologue.gain_offset + vector(prologue.scale), ROWS)
    return wide + mosaic.over_rows(vector(prologue.shift), ROWS)
