"""The block's projections on Hopper: one product each, with what surrounds it fused in.

The residual stream comes as `Stream`, with the moments of its rows; `Stream.of` makes them for the
first block, afterwards `project_residual` hands them on.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.pallas import mosaic
from lsdjax.pallas.epilogues import Gelu, Heads, Residual
from lsdjax.pallas.gemm import BLOCK_ROWS, Epilogue, GemmTiles, Prologue, gemm_block, scratch
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.reference import HeadNorm, Linear, Modulation, Ring
from lsdjax.pallas.rotary import Rotary


class Stream(NamedTuple):
    """The residual stream x (n, dim), and the moments (parts, 2, n) of its rows, float32.

    Over the parts the moments add up to each row's sum and sum of squares.
    """

    x: jax.Array
    moments: jax.Array

    @classmethod
    def of(cls, x: jax.Array) -> "Stream":
        wide = x.astype(jnp.float32)
        return cls(x, jnp.stack([wide.sum(axis=-1), (wide**2).sum(axis=-1)])[None])


def check(n: int, k: int, columns: int, tiles: GemmTiles, dtype: Any) -> None:
    """Raises NotImplementedError where a product (n, k) @ (k, columns) does not fit the tiles."""
    if n % BLOCK_ROWS or k % tiles.depth or columns % tiles.columns:
        raise NotImplementedError(
            f"product of {n} x {k} and {k} x {columns}; multiples of {BLOCK_ROWS}, {tiles.depth} "
            f"and {tiles.columns} are expected"
        )
    if dtype != jnp.bfloat16:
        raise NotImplementedError(f"operands of {dtype}; bfloat16 is expected")


def project_heads(
    stream: Stream,
    modulation: Modulation,
    weights: Linear,
    scales: HeadNorm,
    space: tuple[jax.Array, jax.Array],
    ring: Ring,
    slot: jax.Array,
    *,
    rotary: Rotary,
    norm: str,
    tiles: GemmTiles,
    how: Launch = Launch(),  # noqa: B008
) -> tuple[jax.Array, Ring]:
    """See `reference.project_heads`; norms over a head only; `space` has n rows."""
    (n, dim), (slots, m, heads, d) = stream.x.shape, ring.keys.shape
    check(n, dim, 3 * dim, tiles, stream.x.dtype)
    if tiles.columns % d or m < n:
        raise NotImplementedError(f"heads of {d} in tiles of {tiles.columns}, slots of {m} for {n}")
    keys, values = (jax.new_ref(store.reshape(slots, m, dim)) for store in ring)

    def body(x, moments, shift, scale, kernel, bias, norms, cos, sin, swap, at, k, v, out, **s):
        prologue = Prologue(moments, shift, scale, norm)
        epilogue = Heads(bias, norms, cos, sin, swap, out, (k, v, at), heads, s, how)
        _run(x, kernel, s, prologue, epilogue, tiles, how)

    kernel = mosaic.launch(
        body,
        [jax.ShapeDtypeStruct((n, dim), stream.x.dtype)],
        scratch(tiles, stream.x.dtype) | Heads.scratch(d, stream.x.dtype),
        how,
        grid=(n // BLOCK_ROWS, 3 * dim // tiles.columns),
        names=("rows", "columns"),
        name="project_heads",
    )
    swap = jnp.asarray(rotary.swap(), stream.x.dtype)
    (query,) = kernel(
        *stream, *modulation, *weights, jnp.stack(scales), *space, swap, slot[None], keys, values
    )
    ring = Ring(*(jax.freeze(ref).reshape(slots, m, heads, d) for ref in (keys, values)))
    return query.reshape(n, heads, d), ring


def project_residual(
    x: jax.Array,
    y: jax.Array,
    weights: Linear,
    gate: jax.Array,
    *,
    gate_offset: float,
    tiles: GemmTiles,
    how: Launch = Launch(),  # noqa: B008
) -> Stream:
    """See `reference.project_residual`; the result comes with its moments."""
    (n, dim), k = x.shape, y.shape[1]
    check(n, k, dim, tiles, x.dtype)
    parts = dim // tiles.columns

    def body(x, y, kernel, bias, gate, out, moments, **s):
        epilogue = Residual(x, bias, gate, out, moments, s, gate_offset, how)
        _run(y, kernel, s, None, epilogue, tiles, how)

    kernel = mosaic.launch(
        body,
        [
            jax.ShapeDtypeStruct((n, dim), x.dtype),
            jax.ShapeDtypeStruct((parts, 2, n), jnp.float32),
        ],
        scratch(tiles, x.dtype) | Residual.scratch(tiles.columns, x.dtype),
        how,
        grid=(n // BLOCK_ROWS, parts),
        names=("rows", "columns"),
        name="project_residual",
    )
    return Stream(*kernel(x, y, *weights, gate))


def project_gelu(
    stream: Stream,
    modulation: Modulation,
    weights: Linear,
    *,
    norm: str,
    tiles: GemmTiles,
    how: Launch = Launch(),  # noqa: B008
) -> jax.Array:
    """See `reference.project_gelu`."""
    (n, dim), hidden = stream.x.shape, weights.kernel.shape[1]
    check(n, dim, hidden, tiles, stream.x.dtype)

    def body(x, moments, shift, scale, kernel, bias, out, **s):
        prologue = Prologue(moments, shift, scale, norm)
        _run(x, kernel, s, prologue, Gelu(bias, out, s, how), tiles, how)

    kernel = mosaic.launch(
        body,
        [jax.ShapeDtypeStruct((n, hidden), stream.x.dtype)],
        scratch(tiles, stream.x.dtype) | Gelu.scratch(stream.x.dtype),
        how,
        grid=(n // BLOCK_ROWS, hidden // tiles.columns),
        names=("rows", "columns"),
        name="project_gelu",
    )
    return kernel(*stream, *modulation, *weights)[0]


def _run(
    left: Any,
    right: Any,
    s: dict[str, Any],
    prologue: Prologue | None,
    epilogue: Epilogue,
    tiles: GemmTiles,
    how: Launch,
) -> None:
    row, column = jax.lax.axis_index("rows"), jax.lax.axis_index("columns")

    def ready() -> None:
        mosaic.wait_for_previous(how)

    block = gemm_block(row, column, left, right, s, prologue, epilogue, tiles, how, ready)
    mosaic.by_role(block, how)
    mosaic.release_next(how)
