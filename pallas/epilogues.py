"""What happens to a tile of a product before it leaves the registers.

Each is bound to its arrays in device memory and to its part of the block's SMEM.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lsdjax.pallas import mosaic
from lsdjax.pallas.mosaic import COMPUTE, ROWS, Launch
from lsdjax.pallas.reference import EPS

CHUNK = 64
"""Columns that leave at a time, where the epilogue does not say otherwise."""


@dataclasses.dataclass(frozen=True)
class Gelu:
    """gelu(acc + bias). Arrays: bias (N,) float32, out (n, N)."""

    bias: Any
    out: Any
    s: dict[str, Any]
    how: Launch

    @staticmethod
    def scratch(dtype: Any) -> dict[str, Any]:
        return {"leaving": mosaic.tile((COMPUTE, 2, ROWS, CHUNK), dtype)}

    def begin(self, wg: jax.Array, row: jax.Array, column: jax.Array) -> None:
        del wg, row, column

    def finish(self, wg: jax.Array, row: jax.Array, column: jax.Array, acc: jax.Array) -> None:
        for index in range(acc.shape[1] // CHUNK):
            leaving = self.s["leaving"].at[wg, index % 2]
            first = column + index * CHUNK
            value = acc[:, index * CHUNK : (index + 1) * CHUNK]
            value = value + mosaic.over_rows(mosaic.columns(self.bias, first, CHUNK), ROWS)
            cubic = value + 0.044715 * (value * value * value)
            value = 0.5 * value * (1.0 + jnp.tanh(0.7978845608 * cubic))
            if self.how.defect != "early reuse":
                plgpu.wait_smem_to_gmem(1, wait_read_only=True)
            leaving[...] = value.astype(leaving.dtype)
            mosaic.commit(self.how, "leaving")
            plgpu.copy_smem_to_gmem(leaving, self.out.at[pl.ds(row, ROWS), pl.ds(first, CHUNK)])
        plgpu.wait_smem_to_gmem(0)


@dataclasses.dataclass(frozen=True)
class Residual:
    """x + (gate_offset + gate) * (acc + bias), and the moments of the sum's rows.

    Arrays: x and out (n, N); bias and gate (N,) float32; moments (parts, 2, n) float32, one part a
    column tile.
    """

    x: Any
    bias: Any
    gate: Any
    out: Any
    moments: Any
    s: dict[str, Any]
    gate_offset: float
    how: Launch

    @staticmethod
    def scratch(columns: int, dtype: Any) -> dict[str, Any]:
        return {
            "stream": mosaic.tile((COMPUTE, ROWS, columns), dtype),
            "stream_loaded": plgpu.Barrier(num_barriers=COMPUTE),
            "sums": plgpu.SMEM((COMPUTE, 2, ROWS), jnp.float32),
        }

    def begin(self, wg: jax.Array, row: jax.Array, column: jax.Array) -> None:
        stream = self.s["stream"].at[wg]
        source = self.x.at[pl.ds(row, ROWS), pl.ds(column, stream.shape[1])]
        plgpu.copy_gmem_to_smem(source, stream, self.s["stream_loaded"].at[wg])

    def finish(self, wg: jax.Array, row: jax.Array, column: jax.Array, acc: jax.Array) -> None:
        stream, sums = self.s["stream"].at[wg], self.s["sums"].at[wg]
        width = acc.shape[1]
        bias = mosaic.over_rows(mosaic.columns(self.bias, column, width), ROWS)
        gate = mosaic.over_rows(mosaic.columns(self.gate, column, width), ROWS)
        plgpu.barrier_wait(self.s["stream_loaded"].at[wg])
        value = plgpu.load(stream, layout=plgpu.Layout.WGMMA).astype(jnp.float32)
        value = value + (self.gate_offset + gate) * (acc + bias)
        sums[0] = value.sum(axis=1)
        sums[1] = (value * value).sum(axis=1)
        stream[...] = value.astype(stream.dtype)
        mosaic.commit(self.how, "leaving")
        rows = pl.ds(row, ROWS)
        plgpu.copy_smem_to_gmem(stream, self.out.at[rows, pl.ds(column, width)])
        part = jax.lax.div(column, jnp.int32(width))
        plgpu.copy_smem_to_gmem(sums, self.moments.at[part, :, rows])
        plgpu.wait_smem_to_gmem(0)


@dataclasses.dataclass(frozen=True)
class Heads:
    """Bias, RMS norm over a head, learned scale and rotation in space; then to where each belongs.

    The product's columns are `heads` heads of queries, and where `ring` is given as many of keys
    and of values. Values are only biased. Arrays: bias (N,), scales (2, d), cos and sin (n, d), all
    float32; swap (d, d); out (n, heads * d); ring: keys and values (slots, m, heads * d); slot (1,).
    """

    bias: Any
    scales: Any
    cos: Any
    sin: Any
    swap: Any
    out: Any
    ring: tuple[Any, Any, Any] | None
    heads: int
    s: dict[str, Any]
    how: Launch

    @staticmethod
    def scratch(d: int, dtype: Any) -> dict[str, Any]:
        return {
            "leaving": mosaic.tile((COMPUTE, ROWS, d), dtype),
            "turner": mosaic.tile((d, d), dtype),
            "swap_loaded": plgpu.Barrier(num_arrivals=COMPUTE),
        }

    def begin(self, wg: jax.Array, row: jax.Array, column: jax.Array) -> None:
        del row, column
        half = self.swap.shape[0] // COMPUTE  # each warpgroup brings its share
        part = pl.ds(wg * half, half)
        plgpu.copy_gmem_to_smem(
            self.swap.at[part], self.s["turner"].at[part], self.s["swap_loaded"]
        )

    def finish(self, wg: jax.Array, row: jax.Array, column: jax.Array, acc: jax.Array) -> None:
        d = self.swap.shape[0]
        leaving, rows = self.s["leaving"].at[wg], pl.ds(row, ROWS)
        plgpu.barrier_wait(self.s["swap_loaded"])
        for index in range(acc.shape[1] // d):
            first = column + index * d
            value = acc[:, index * d : (index + 1) * d]
            value = value + mosaic.over_rows(mosaic.columns(self.bias, first, d), ROWS)
            number = jax.lax.div(first, jnp.int32(d))
            kind = jax.lax.div(number, jnp.int32(self.heads))
            lanes = pl.ds(jax.lax.rem(number, jnp.int32(self.heads)) * d, d)
            plgpu.wait_smem_to_gmem(0, wait_read_only=True)

            @pl.when(kind == 2)
            def _value(value: jax.Array = value) -> None:
                leaving[...] = value.astype(leaving.dtype)

            @pl.when(kind < 2)
            def _turn(value: jax.Array = value, kind: jax.Array = kind) -> None:
                self._normalise_and_turn(value, kind, rows, leaving)

            mosaic.commit(self.how, "leaving")

            @pl.when(kind == 0)
            def _query(lanes: Any = lanes) -> None:
                plgpu.copy_smem_to_gmem(leaving, self.out.at[rows, lanes])

            if self.ring is not None:
                keys, values, slot = self.ring
                for store, which in ((keys, 1), (values, 2)):

                    @pl.when(kind == which)
                    def _write(store: Any = store, slot: Any = slot, lanes: Any = lanes) -> None:
                        plgpu.copy_smem_to_gmem(leaving, store.at[slot[0], rows, lanes])

        plgpu.wait_smem_to_gmem(0)

    def _normalise_and_turn(
        self, value: jax.Array, kind: jax.Array, rows: Any, leaving: Any
    ) -> None:
        d = value.shape[1]
        square = (value * value).sum(axis=1) * (1.0 / d)
        value = value * mosaic.over_columns(jax.lax.rsqrt(square + EPS), d)
        scale = mosaic.columns(self.scales.at[kind], 0, d)
        value = value * mosaic.over_rows(scale, ROWS)
        leaving[...] = value.astype(leaving.dtype)
        mosaic.commit(self.how, "turned")
        swapped = mosaic.product(leaving, self.s["turner"], (ROWS, d), self.how)
        cos, sin = (
            plgpu.load(table.at[rows], layout=plgpu.Layout.WGMMA, optimized=False)
            for table in (self.cos, self.sin)
        )
        leaving[...] = (value * cos + swapped * sin).astype(leaving.dtype)
