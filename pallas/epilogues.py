"""What happens to a tile of a product before it leaves the registers.

Each is bound to its arrays in device memory and to its part of the block's SMEM.
"""

import dataclasses
from typing import Any, NamedTuple

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

    def load(self) -> None:
        pass

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
            if self.how.defect != "early_reuse":
                plgpu.wait_smem_to_gmem(1, wait_read_only=True)
            leaving[...] = value.astype(leaving.dtype)
            mosaic.commit(self.how, "leaving")
            plgpu.copy_smem_to_gmem(leaving, self.out.at[pl.ds(row, ROWS), pl.ds(first, CHUNK)])
        plgpu.wait_smem_to_gmem(0)


@dataclasses.dataclass(frozen=True)
class Residual:
    """x + (gate_offset + gate) * (acc + bias), and the moments of the sum's rows.

    Arrays: x and out (n, N); bias and gate (N,) float32, gate None for a factor of 1; moments
    (parts, 2, n) float32, one part a column tile.
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

    def load(self) -> None:
        pass

    def begin(self, wg: jax.Array, row: jax.Array, column: jax.Array) -> None:
        stream = self.s["stream"].at[wg]
        source = self.x.at[pl.ds(row, ROWS), pl.ds(column, stream.shape[1])]
        plgpu.copy_gmem_to_smem(source, stream, self.s["stream_loaded"].at[wg])

    def finish(self, wg: jax.Array, row: jax.Array, column: jax.Array, acc: jax.Array) -> None:
        stream, sums = self.s["stream"].at[wg], self.s["sums"].at[wg]
        width = acc.shape[1]
        bias = mosaic.over_rows(mosaic.columns(self.bias, column, width), ROWS)
        change = acc + bias
        if self.gate is not None:
            gate = self.gate_offset + mosaic.columns(self.gate, column, width)
            change = change * mosaic.over_rows(gate, ROWS)
        plgpu.barrier_wait(self.s["stream_loaded"].at[wg])
        value = plgpu.load(stream, layout=plgpu.Layout.WGMMA).astype(jnp.float32)
        value = value + change
        sums[0] = value.sum(axis=1)
        sums[1] = (value * value).sum(axis=1)
        stream[...] = value.astype(stream.dtype)
        mosaic.commit(self.how, "leaving")
        rows = pl.ds(row, ROWS)
        plgpu.copy_smem_to_gmem(stream, self.out.at[rows, pl.ds(column, width)])
        part = jax.lax.div(column, jnp.int32(width))
        plgpu.copy_smem_to_gmem(sums, self.moments.at[part, :, rows])
        plgpu.wait_smem_to_gmem(0)


class Space(NamedTuple):
    """Cosine and sine (n, d) float32 of the tokens' positions, and the swap (d, d)."""

    cos: Any
    sin: Any
    swap: Any


class Slot(NamedTuple):
    """Where keys and values go: two (n, heads * d)."""

    keys: Any
    values: Any


@dataclasses.dataclass(frozen=True)
class Heads:
    """Bias, RMS norm, learned scale and rotation in space; then each head to where it belongs.

    The product's columns are heads of queries, and where `slot` is given as many of keys and of
    values. Values are only biased. Arrays: out (n, heads * d).

    bias: (N,) float32, or one (heads * d,) each of queries, keys and values.
    scales: of queries and, with a slot, of keys, (d,) float32; (heads * d,) where `squares` is.
    space: None where nothing turns.
    squares: None for norms over a head. Otherwise (heads of queries and keys, n) float32, each
        one's sums of squares, for a norm over all heads; who reads the heads divides.
    """

    bias: Any
    scales: tuple[Any, ...]
    space: Space | None
    out: Any
    slot: Slot | None
    squares: Any
    s: dict[str, Any]
    how: Launch

    @staticmethod
    def scratch(d: int, dtype: Any) -> dict[str, Any]:
        return {
            "leaving": mosaic.tile((COMPUTE, ROWS, d), dtype),
            "turner": mosaic.tile((d, d), dtype),
            "turner_loaded": plgpu.Barrier(),
            "sums": plgpu.SMEM((COMPUTE, ROWS), jnp.float32),
        }

    def load(self) -> None:
        if self.space is not None:
            swap, loaded = self.space.swap, self.s["turner_loaded"]
            plgpu.copy_gmem_to_smem(swap, self.s["turner"], loaded)

    def begin(self, wg: jax.Array, row: jax.Array, column: jax.Array) -> None:
        del wg, row, column

    def finish(self, wg: jax.Array, row: jax.Array, column: jax.Array, acc: jax.Array) -> None:
        leaving, rows = self.s["leaving"].at[wg], pl.ds(row, ROWS)
        d = leaving.shape[1]
        heads = self.out.shape[1] // d
        if self.space is not None:
            plgpu.barrier_wait(self.s["turner_loaded"])
        for index in range(acc.shape[1] // d):
            first = column + index * d
            value = acc[:, index * d : (index + 1) * d]
            number = jax.lax.div(first, jnp.int32(d))
            kind = jax.lax.div(number, jnp.int32(heads))
            head = jax.lax.rem(number, jnp.int32(heads))
            bias = self._bias(first, kind, head, d)
            value = value + mosaic.over_rows(bias, ROWS)
            plgpu.wait_smem_to_gmem(0, wait_read_only=True)

            @pl.when(kind < len(self.scales))
            def _turn(value: Any = value, kind: Any = kind, head: Any = head) -> None:
                self._scale_and_turn(value, kind, head, rows, wg)

            if self.slot is not None:

                @pl.when(kind == 2)
                def _value(value: Any = value) -> None:
                    leaving[...] = value.astype(leaving.dtype)

            mosaic.commit(self.how, "leaving")
            self._send(leaving, rows, pl.ds(head * d, d), kind)
            if self.squares is not None:

                @pl.when(kind < len(self.scales))
                def _sums(number: Any = number) -> None:
                    plgpu.copy_smem_to_gmem(self.s["sums"].at[wg], self.squares.at[number, rows])

        plgpu.wait_smem_to_gmem(0)

    def _send(self, leaving: Any, rows: Any, lanes: Any, kind: jax.Array) -> None:
        @pl.when(kind == 0)
        def _query() -> None:
            plgpu.copy_smem_to_gmem(leaving, self.out.at[rows, lanes])

        if self.slot is None:
            return
        for which, store in ((1, self.slot.keys), (2, self.slot.values)):
            target = store.at[rows, lanes]
            pl.when(kind == which)(lambda target=target: plgpu.copy_smem_to_gmem(leaving, target))

    def _bias(self, first: jax.Array, kind: jax.Array, head: jax.Array, d: int) -> jax.Array:
        if not isinstance(self.bias, tuple):
            return mosaic.columns(self.bias, first, d)
        parts = [mosaic.columns(part, head * d, d) for part in self.bias]
        return _pick(kind, parts)

    def _scale_and_turn(
        self, value: jax.Array, kind: jax.Array, head: jax.Array, rows: Any, wg: jax.Array
    ) -> None:
        leaving = self.s["leaving"].at[wg]
        d = leaving.shape[1]
        scales = [
            mosaic.columns(scale, 0 if self.squares is None else head * d, d)
            for scale in self.scales
        ]
        scale = _pick(kind, scales)
        square = (value * value).sum(axis=1)
        if self.squares is not None:
            self.s["sums"][wg] = square
        else:
            inverse = jax.lax.rsqrt(square * (1.0 / d) + EPS)
            value = value * mosaic.over_columns(inverse, d)
        value = value * mosaic.over_rows(scale, ROWS)
        leaving[...] = value.astype(leaving.dtype)
        if self.space is None:
            return
        mosaic.commit(self.how, "turned")
        swapped = mosaic.product(leaving, self.s["turner"], (ROWS, d))
        for first in range(0, d, CHUNK):  # all of cos and sin at once would not fit in registers
            part = slice(first, first + CHUNK)
            cos, sin = (
                plgpu.load(
                    table.at[rows, pl.ds(first, CHUNK)],
                    layout=plgpu.Layout.WGMMA,
                    optimized=False,
                )
                for table in (self.space.cos, self.space.sin)
            )
            turned = value[:, part] * cos + swapped[:, part] * sin
            leaving[:, pl.ds(first, CHUNK)] = turned.astype(leaving.dtype)


def _pick(kind: jax.Array, parts: list[jax.Array]) -> jax.Array:
    """parts[kind], as a sum: a select by a scalar is not lowered."""
    total = parts[0]
    for before, part in enumerate(parts[1:]):
        later = jnp.clip(kind - before, 0, 1).astype(jnp.float32)
        total = total * (1.0 - later) + part * later
    return total
