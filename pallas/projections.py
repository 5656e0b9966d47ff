"""The block's projections on Hopper: one product each, with what surrounds it fused in.

The residual stream comes as `Stream`, with the moments of its rows; `Stream.of` makes them for the
first block, afterwards `project_residual` hands them on.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.pallas import fp8, mosaic
from lsdjax.pallas.epilogues import Gelu, Heads, Residual, Slot, Space
from lsdjax.pallas.fp8 import fp8_block
from lsdjax.pallas.gemm import BLOCK_ROWS, Epilogue, GemmTiles, Prologue, gemm_block, scratch
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.reference import EPS, HeadNorm, Linear, Modulation, Ring
from lsdjax.pallas.rotary import Rotary
from lsdjax.pallas.rounding import DEPTH, Linear8


class Stream(NamedTuple):
    """The residual stream x (n, dim), and the moments (parts, 2, n) of its rows, float32.

    Over the parts the moments add up to each row's sum and sum of squares.
    """

    x: jax.Array
    moments: jax.Array

    @classmethod
    def of(cls, x: jax.Array, parts: int = 1) -> "Stream":
        wide = x.astype(jnp.float32).reshape(len(x), parts, -1)
        return cls(x, jnp.stack([wide.sum(axis=-1).T, (wide**2).sum(axis=-1).T], axis=1))


def check(n: int, k: int, columns: int, tiles: GemmTiles, *arrays: jax.Array) -> None:
    """Raises NotImplementedError where a product (n, k) @ (k, columns) does not fit the tiles."""
    if n % BLOCK_ROWS or k % tiles.depth or columns % tiles.columns:
        raise NotImplementedError(
            f"product of {n} x {k} and {k} x {columns}; multiples of {BLOCK_ROWS}, {tiles.depth} "
            f"and {tiles.columns} are expected"
        )
    if types := {str(array.dtype) for array in arrays} - {"bfloat16"}:
        raise NotImplementedError(f"operands of {', '.join(types)}; bfloat16 is expected")


def project_qkv(
    stream: Stream,
    modulation: Modulation,
    weights: Linear | Linear8 | tuple[Linear, ...],
    scales: HeadNorm,
    space: tuple[jax.Array, jax.Array],
    *,
    heads: int,
    rotary: Rotary,
    norm: str,
    tiles: GemmTiles,
    qk_norm: str = "full",
    how: Launch = Launch(),  # noqa: B008
) -> tuple[jax.Array, Ring, jax.Array | None]:
    """See `reference.project_heads`: queries, and keys and values, (n, heads, d), of no ring yet.

    The matrix may be in three parts; `space` has as many rows as the stream. With norms over all
    heads, queries and keys are not divided yet, and the third result holds their sums of squares
    (2 * heads, n).

    Raises:
        NotImplementedError: the products do not fit the tiles.
    """
    n, dim = stream.x.shape
    d = dim // heads
    if tiles.columns % d:
        raise NotImplementedError(f"heads of {d} in tiles of {tiles.columns}")
    made = jax.ShapeDtypeStruct((n, dim), stream.x.dtype)
    outputs = [made, made, made]
    if qk_norm == "full":
        outputs.append(jax.ShapeDtypeStruct((2 * heads, n), jnp.float32))

    def epilogue(refs: Any, outs: Any, s: dict[str, Any]) -> Epilogue:
        *bias, q_scale, k_scale, cos, sin, swap = refs
        out, keys, values, squares = (*outs, None)[:4]
        space, slot = Space(cos, sin, swap), Slot(keys, values)
        return Heads(
            tuple(bias) if bias[1:] else bias[0],
            (q_scale, k_scale),
            space,
            out,
            slot,
            squares,
            s,
            how,
        )

    swap = jnp.asarray(rotary.swap(), stream.x.dtype)
    single = isinstance(weights, Linear | Linear8)
    biases = (part.bias for part in ((weights,) if single else weights))
    query, keys, values, *squares = _product(
        "project_qkv",
        stream,
        (modulation, norm),
        weights,
        (*biases, *scales, *space, swap),
        outputs,
        Heads.scratch(d, stream.x.dtype),
        epilogue,
        tiles,
        how,
    )
    query, keys, values = (part.reshape(n, heads, d) for part in (query, keys, values))
    return query, Ring(keys, values), (*squares, None)[0]


def key_factors(squares: jax.Array, dim: int) -> jax.Array:
    """1 / RMS over all heads of each key (n,), from the sums that `project_qkv` makes."""
    heads = len(squares) // 2
    return jax.lax.rsqrt(squares[heads:].sum(axis=0) / dim + EPS)


def project_query(
    stream: Stream,
    modulation: Modulation,
    weights: Linear | Linear8,
    scale: jax.Array,
    *,
    heads: int,
    norm: str,
    tiles: GemmTiles,
    qk_norm: str = "head",
    gain_offset: float = 1.0,
    how: Launch = Launch(),  # noqa: B008
) -> tuple[jax.Array, jax.Array | None]:
    """See `reference.project_query`; with norms over all heads as `project_qkv`."""
    n, dim = stream.x.shape
    d = dim // heads
    outputs = [jax.ShapeDtypeStruct((n, dim), stream.x.dtype)]
    if qk_norm == "full":
        outputs.append(jax.ShapeDtypeStruct((heads, n), jnp.float32))

    def epilogue(refs: Any, outs: Any, s: dict[str, Any]) -> Epilogue:
        out, squares = (*outs, None)[:2]
        return Heads(refs[0], (refs[1],), None, out, None, squares, s, how)

    query, *squares = _product(
        "project_query",
        stream,
        (modulation, norm),
        weights,
        (weights.bias, scale),
        outputs,
        Heads.scratch(d, stream.x.dtype),
        epilogue,
        tiles,
        how,
        gain_offset,
    )
    return query.reshape(n, heads, d), (*squares, None)[0]


def project_residual(
    x: jax.Array,
    y: jax.Array,
    weights: Linear | Linear8,
    gate: jax.Array | None,
    *,
    gate_offset: float,
    tiles: GemmTiles,
    how: Launch = Launch(),  # noqa: B008
) -> Stream:
    """See `reference.project_residual`; the result comes with its moments.

    Of several frames, which follow each other, the gate may be (frames, dim).
    """
    n, dim = x.shape
    outputs = [
        jax.ShapeDtypeStruct((n, dim), x.dtype),
        jax.ShapeDtypeStruct((dim // tiles.columns, 2, n), jnp.float32),
    ]

    def epilogue(refs: Any, outs: Any, s: dict[str, Any]) -> Epilogue:
        x, bias, gate = (*refs, None)[:3]
        if gate is not None and gate.ndim == 2:
            gate = mosaic.of_frame(gate, jax.lax.axis_index("rows"), n)
        return Residual(x, bias, gate, outs[0], outs[1], s, gate_offset, how)

    scratch = Residual.scratch(tiles.columns, x.dtype)
    arrays = (x, weights.bias) if gate is None else (x, weights.bias, gate)
    made = _product(
        "project_residual", y, None, weights, arrays, outputs, scratch, epilogue, tiles, how
    )
    return Stream(*made)


def project_gelu(
    stream: Stream,
    modulation: Modulation,
    weights: Linear | Linear8,
    *,
    norm: str,
    tiles: GemmTiles,
    how: Launch = Launch(),  # noqa: B008
) -> jax.Array:
    """See `reference.project_gelu`."""
    outputs = [
        jax.ShapeDtypeStruct((len(stream.x), len(weights.bias)), stream.x.dtype),
    ]

    def epilogue(refs: Any, outs: Any, s: dict[str, Any]) -> Epilogue:
        return Gelu(refs[0], outs[0], s, how)

    (out,) = _product(
        "project_gelu",
        stream,
        (modulation, norm),
        weights,
        (weights.bias,),
        outputs,
        Gelu.scratch(stream.x.dtype),
        epilogue,
        tiles,
        how,
    )
    return out


def _product(
    name: str,
    left: Stream | jax.Array,
    modulated: tuple[Modulation, str] | None,
    weights: Linear | Linear8 | tuple[Linear, ...],
    arrays: Sequence[Any],
    outputs: Sequence[jax.ShapeDtypeStruct],
    more: dict[str, Any],
    make_epilogue: Callable[[Any, Any, dict[str, Any]], Epilogue],
    tiles: GemmTiles,
    how: Launch,
    gain_offset: float = 1.0,
) -> Sequence[jax.Array]:
    """Launch one block of `gemm_block` a tile; the epilogue is made from `arrays` and `outputs`.

    Several `weights` make their columns side by side. Of several frames, which follow each other,
    shift and scale may be (frames, dim).
    """
    x = left.x if isinstance(left, Stream) else left
    (n, k), short = x.shape, isinstance(weights, Linear8)
    if isinstance(weights, Linear8):
        columns, right, parts = len(weights.bias), weights[:2], weights.scale.shape
        tiles = dataclasses.replace(tiles, columns=columns // parts[1], depth=k // parts[0])
        check(n, k, columns, tiles, x)
        if tiles.depth != DEPTH or weights.kernel.dtype != jnp.float8_e4m3fn:
            raise NotImplementedError(
                f"{weights.kernel.dtype} with a scale for {tiles.depth} inputs; "
                f"e4m3 and {DEPTH} are expected"
            )
    else:
        several = (weights,) if isinstance(weights, Linear) else weights
        right = tuple(part.kernel for part in several)
        columns = sum(kernel.shape[1] for kernel in right)
        check(n, k, columns // len(right), tiles, x, *right)
    before = ()
    if isinstance(left, Stream) and modulated is not None:
        before = (left.moments, *modulated[0])

    def body(*arrays: Any, **s: Any) -> None:
        (x, *refs), row = arrays, jax.lax.axis_index("rows")
        right_refs, refs = refs[: len(right)], refs[len(right) :]
        prologue = None
        if modulated is not None:
            shift, scale = refs[1:3]
            if shift.ndim == 2:
                shift, scale = (mosaic.of_frame(part, row, n) for part in (shift, scale))
            prologue = Prologue(refs[0], shift, scale, modulated[1], gain_offset)
        inner, outs = refs[len(before) : len(refs) - len(outputs)], refs[-len(outputs) :]
        epilogue, column = make_epilogue(inner, outs, s), jax.lax.axis_index("columns")

        def ready() -> None:
            mosaic.wait_for_previous(how)

        block = fp8_block if short else gemm_block
        operand = tuple(right_refs) if len(right_refs) > 1 else right_refs[0]
        mosaic.by_role(
            block(row, column, x, operand, s, prologue, epilogue, tiles, how, ready), how
        )
        mosaic.release_next(how)

    kernel = mosaic.launch(
        body,
        outputs,
        (fp8.scratch if short else scratch)(tiles, x.dtype) | more,
        how,
        grid=(n // BLOCK_ROWS, columns // tiles.columns),
        names=("rows", "columns"),
        name=f"{name}_fp8" if short else name,
    )
    return kernel(x, *right, *before, *arrays)
