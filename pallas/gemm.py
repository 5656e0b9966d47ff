"""Matrix product with a fused prologue and epilogue, on Hopper.

A block makes 128 rows x `columns` of the product, 64 rows a compute warpgroup; the third warpgroup
streams tiles of both operands through SMEM stages. The prologue, where there is one, normalises and
modulates each tile of the left operand in SMEM before the product reads it. Its row statistics come
with the operand: the kernel that made the operand summed its rows, column tile by column tile.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lsdjax.pallas import mosaic
from lsdjax.pallas.mosaic import COMPUTE, ROWS, Launch, Roles
from lsdjax.pallas.reference import EPS

BLOCK_ROWS = COMPUTE * ROWS


@dataclasses.dataclass(frozen=True)
class GemmTiles:
    """columns: of a block's tile; depth: of a stage, along the sum; stages: in flight."""

    columns: int
    depth: int = 64
    stages: int = 4


@dataclasses.dataclass(frozen=True)
class Prologue:
    """norm(x) * (gain_offset + scale) + shift on the left operand.

    moments: (parts, 2, n) float32; over the parts they add up to each row's sum and sum of squares.
    shift, scale: (dim,) float32. norm: "rms" or "layer".
    """

    moments: Any
    shift: Any
    scale: Any
    norm: str
    gain_offset: float = 1.0


class Epilogue(Protocol):
    """What happens to a block's tile of the product while it is in registers."""

    def load(self) -> None:
        """In the loading warpgroup, once the block's last tile is done with its SMEM."""
        ...

    def begin(self, wg: jax.Array, row: jax.Array, column: jax.Array) -> None:
        """Before the sum, once the results of the kernel ahead are there."""
        ...

    def finish(self, wg: jax.Array, row: jax.Array, column: jax.Array, acc: jax.Array) -> None:
        """With the sum, (64, columns) float32, whose corner is at `row`, `column`."""
        ...


def scratch(tiles: GemmTiles, dtype: Any) -> dict[str, Any]:
    """SMEM and barriers of `gemm_block`."""
    return {
        "left": mosaic.tile((tiles.stages, BLOCK_ROWS, tiles.depth), dtype),
        "right": mosaic.tile((tiles.stages, tiles.depth, tiles.columns), dtype),
        "left_full": plgpu.Barrier(num_barriers=tiles.stages),
        "right_full": plgpu.Barrier(num_barriers=tiles.stages),
        "empty": plgpu.Barrier(num_arrivals=COMPUTE, num_barriers=tiles.stages),
    }


def gemm_block(
    row: jax.Array,
    column: jax.Array,
    left: Any,
    right: Any,
    s: dict[str, Any],
    prologue: Prologue | None,
    epilogue: Epilogue,
    tiles: GemmTiles,
    how: Launch,
    ready: Callable[[], None],
) -> Roles:
    """What the roles of a block do for its tile (`row`, `column`) of left (n, k) @ right (k, N).

    right: also several of one width, whose columns follow each other.
    ready: waits until everything but `right` is there; weights are loaded ahead of it.
    """
    steps = left.shape[1] // tiles.depth
    ahead = min(tiles.stages, steps)

    def compute(wg: jax.Array) -> None:
        start = row * BLOCK_ROWS + wg * ROWS
        for stage in range(tiles.stages):
            plgpu.barrier_arrive(s["empty"].at[stage])
        ready()
        epilogue.begin(wg, start, column * tiles.columns)
        statistics = _statistics(prologue, start, left.shape[1]) if prologue else None

        def scope(acc: Any) -> None:
            @pl.loop(0, steps)
            def _steps(step: jax.Array) -> None:
                stage = jax.lax.rem(step, jnp.int32(tiles.stages))
                part = s["left"].at[stage, pl.ds(wg * ROWS, ROWS)]
                plgpu.barrier_wait(s["left_full"].at[stage])
                if prologue is not None and statistics is not None:
                    _normalise(part, prologue, statistics, step * tiles.depth, how)
                plgpu.barrier_wait(s["right_full"].at[stage])
                plgpu.wgmma(acc, part, s["right"].at[stage])
                plgpu.wgmma_wait(1)

                @pl.when(step > 0)
                def _release() -> None:
                    before = jax.lax.rem(step - 1, jnp.int32(tiles.stages))
                    plgpu.barrier_arrive(s["empty"].at[before])

            plgpu.wgmma_wait(0)
            plgpu.barrier_arrive(s["empty"].at[(steps - 1) % tiles.stages])
            epilogue.finish(wg, start, column * tiles.columns, acc[...])

        pl.run_scoped(scope, plgpu.WGMMAAccumulatorRef((ROWS, tiles.columns), jnp.float32))

    def load() -> None:
        def fetch_right(step: Any) -> None:
            stage = jax.lax.rem(jnp.int32(step), jnp.int32(tiles.stages))
            plgpu.barrier_wait(s["empty"].at[stage])
            rows, target = pl.ds(step * tiles.depth, tiles.depth), s["right"].at[stage]

            def copy(part: Any, first: jax.Array) -> None:
                source = part.at[rows, pl.ds(first, tiles.columns)]
                plgpu.copy_gmem_to_smem(source, target, s["right_full"].at[stage])

            if not isinstance(right, tuple):
                copy(right, column * tiles.columns)
                return
            each = right[0].shape[1] // tiles.columns  # tiles of a part
            for number, part in enumerate(right):
                inside = column - number * each
                pl.when((inside >= 0) & (inside < each))(
                    lambda part=part, inside=inside: copy(part, inside * tiles.columns)
                )

        def fetch_left(step: Any) -> None:
            stage = jax.lax.rem(jnp.int32(step), jnp.int32(tiles.stages))
            rows = pl.ds(row * BLOCK_ROWS, BLOCK_ROWS)
            source = left.at[rows, pl.ds(step * tiles.depth, tiles.depth)]
            plgpu.copy_gmem_to_smem(source, s["left"].at[stage], s["left_full"].at[stage])

        @pl.loop(0, ahead)
        def _first_right(step: jax.Array) -> None:
            fetch_right(step)

        epilogue.load()
        ready()

        @pl.loop(0, ahead)
        def _first_left(step: jax.Array) -> None:
            fetch_left(step)

        @pl.loop(ahead, steps)
        def _rest(step: jax.Array) -> None:
            fetch_right(step)
            fetch_left(step)

        for stage in range(tiles.stages):
            plgpu.barrier_wait(s["empty"].at[stage])

    return Roles(compute, load)


def _statistics(prologue: Prologue, start: jax.Array, dim: int) -> tuple[jax.Array, jax.Array]:
    """Mean (0 for "rms") and 1 / deviation of this warpgroup's rows, from the moments."""

    def total(which: int) -> jax.Array:
        rows = pl.ds(start, ROWS)
        return mosaic.sum_over_parts(
            lambda part: prologue.moments.at[part, which, rows], prologue.moments.shape[0]
        )

    square = total(1) * (1.0 / dim)
    mean = total(0) * (1.0 / dim) if prologue.norm == "layer" else jnp.zeros_like(square)
    return mean, jax.lax.rsqrt(square - mean * mean + EPS)


def _normalise(
    part: Any,
    prologue: Prologue,
    statistics: tuple[jax.Array, jax.Array],
    first: jax.Array,
    how: Launch,
) -> None:
    """Normalise and modulate a tile of the left operand in place."""
    mean, inverse = statistics
    depth = part.shape[1]
    wide = plgpu.load(part, layout=plgpu.Layout.WGMMA).astype(jnp.float32)
    if prologue.norm == "layer":
        wide = wide - mosaic.over_columns(mean, depth)
    wide = wide * mosaic.over_columns(inverse, depth)
    gain = prologue.gain_offset + mosaic.columns(prologue.scale, first, depth)
    wide = wide * mosaic.over_rows(gain, ROWS)
    wide = wide + mosaic.over_rows(mosaic.columns(prologue.shift, first, depth), ROWS)
    part[...] = wide.astype(part.dtype)
    mosaic.commit(how, "normalised")
