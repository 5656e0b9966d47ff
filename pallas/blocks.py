"""A whole DiT block on Hopper: as five kernels, or as one persistent kernel.

Both are the same five phases. In one kernel, the blocks of the grid go through them together, with
a barrier of the whole grid between two phases; every phase's SMEM lies in the same place.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lsdjax.pallas import attention, gemm, mosaic, projections
from lsdjax.pallas.attention import AttentionTiles, attention_block
from lsdjax.pallas.epilogues import Gelu, Heads, Residual
from lsdjax.pallas.gemm import BLOCK_ROWS, GemmTiles, Prologue, gemm_block
from lsdjax.pallas.mosaic import GridBarrier, Launch, Roles
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.reference import BlockModulation, BlockWeights, Ring, Seen
from lsdjax.pallas.rotary import Rotary


@dataclasses.dataclass(frozen=True)
class BlockTiles:
    """Tiles of a block's four products."""

    qkv: GemmTiles = GemmTiles(192)
    out: GemmTiles = GemmTiles(64, stages=6)
    up: GemmTiles = GemmTiles(256, stages=3)
    down: GemmTiles = GemmTiles(64, stages=6)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What kind of block it is; see `specs.BlockShape`. length: keys of a slot that count."""

    rotary: Rotary
    norm: str
    gate_offset: float
    length: int


def five_kernel_block(
    stream: Stream,
    weights: BlockWeights,
    modulation: BlockModulation,
    space: tuple[jax.Array, jax.Array],
    ring: Ring,
    seen: Seen,
    *,
    variant: Variant,
    tiles: BlockTiles = BlockTiles(),  # noqa: B008
    how: Launch = Launch(),  # noqa: B008
) -> tuple[Stream, Ring]:
    """See `reference.block`; norms of queries and keys are over a head."""
    rotary, norm, gate_offset = variant.rotary, variant.norm, variant.gate_offset
    q, ring = projections.project_heads(
        stream, modulation.attention, weights.qkv, weights.scales, space, ring, seen.slot,
        rotary=rotary, norm=norm, tiles=tiles.qkv, how=how,
    )  # fmt: skip
    attended = attention.ring_attention(
        q, ring, seen.ages, seen.visible, rotary=rotary, length=variant.length, how=how
    )
    stream = projections.project_residual(
        stream.x, attended.reshape(stream.x.shape), weights.out, modulation.attention_gate,
        gate_offset=gate_offset, tiles=tiles.out, how=how,
    )  # fmt: skip
    hidden = projections.project_gelu(
        stream, modulation.mlp, weights.up, norm=norm, tiles=tiles.up, how=how
    )
    stream = projections.project_residual(
        stream.x, hidden, weights.down, modulation.mlp_gate,
        gate_offset=gate_offset, tiles=tiles.down, how=how,
    )  # fmt: skip
    return stream, ring


def single_pass_block(
    stream: Stream,
    weights: BlockWeights,
    modulation: BlockModulation,
    space: tuple[jax.Array, jax.Array],
    ring: Ring,
    seen: Seen,
    *,
    variant: Variant,
    tiles: BlockTiles = BlockTiles(),  # noqa: B008
    blocks: int | None = None,
    how: Launch = Launch(),  # noqa: B008
) -> tuple[Stream, Ring]:
    """The same in one launch of `blocks` resident blocks, by default as many as have work."""
    (n, dim), (slots, m, heads, d) = stream.x.shape, ring.keys.shape
    hidden, dtype = weights.up.kernel.shape[1], stream.x.dtype
    for k, width, cut in (
        (dim, 3 * dim, tiles.qkv),
        (dim, dim, tiles.out),
        (dim, hidden, tiles.up),
        (hidden, dim, tiles.down),
    ):
        projections.check(n, k, width, cut, dtype)
    keys_cut = attention.tiles_for(variant.length, m, d)
    rows = n // BLOCK_ROWS
    columns = (
        3 * dim // tiles.qkv.columns,
        heads,
        dim // tiles.out.columns,
        hidden // tiles.up.columns,
        dim // tiles.down.columns,
    )
    blocks = blocks or rows * max(columns)
    if blocks > mosaic.MULTIPROCESSORS:
        raise NotImplementedError(
            f"{blocks} blocks that wait for each other; {mosaic.MULTIPROCESSORS} can be resident"
        )
    keys, values = (jax.new_ref(store.reshape(slots, m, dim)) for store in ring)
    cos, sin = variant.rotary.age_tables(seen.ages)
    order = jnp.argsort(~seen.visible, stable=True).astype(jnp.int32)
    count = jnp.sum(seen.visible, dtype=jnp.int32)[None]
    swap = jnp.asarray(variant.rotary.swap(), dtype)

    def body(*refs: Any, smem: Any, cluster: Any = None, **barriers: Any) -> None:
        barrier = GridBarrier(blocks, how, cluster)
        phases = _phases(refs, smem, barriers, variant, tiles, keys_cut, d, how)
        _go_through(phases, rows, columns, blocks, barrier, how)

    scratch = _scratch(tiles, keys_cut, d, dtype)
    kernel = mosaic.launch(
        body,
        _outputs(n, dim, hidden, columns, dtype),
        scratch | GridBarrier.scratch(len(columns) - 1, "block", how),
        how,
        grid=(blocks,),
        names=("block",),
        name="single_pass_block",
        together=True,
    )
    *_, x, moments = kernel(
        *stream, *space, swap, seen.slot[None], order, count, cos, sin, keys, values,
        *modulation.attention, modulation.attention_gate, *modulation.mlp, modulation.mlp_gate,
        *weights.qkv, jnp.stack(weights.scales), *weights.out, *weights.up, *weights.down,
    )  # fmt: skip
    ring = Ring(*(jax.freeze(ref).reshape(slots, m, heads, d) for ref in (keys, values)))
    return Stream(x, moments), ring


Phase = Callable[[jax.Array, jax.Array, Callable[[], None]], Roles]
"""(row, column, ready) -> what a block does for that tile of the phase."""


def _outputs(
    n: int, dim: int, hidden: int, columns: tuple[int, ...], dtype: Any
) -> list[jax.ShapeDtypeStruct]:
    """Queries, attended, stream and moments after attention, hidden, stream and moments at last."""
    wide, sums = jax.ShapeDtypeStruct((n, dim), dtype), jnp.float32
    return [
        wide,
        wide,
        wide,
        jax.ShapeDtypeStruct((columns[2], 2, n), sums),
        jax.ShapeDtypeStruct((n, hidden), dtype),
        wide,
        jax.ShapeDtypeStruct((columns[4], 2, n), sums),
    ]


def _scratch(tiles: BlockTiles, keys: AttentionTiles, d: int, dtype: Any) -> dict[str, Any]:
    """Each phase's buffers as a member of one union, and each phase's barriers on their own."""
    wanted = {
        "qkv": gemm.scratch(tiles.qkv, dtype) | Heads.scratch(d, dtype),
        "attention": attention.scratch(d, keys, dtype),
        "out": gemm.scratch(tiles.out, dtype) | Residual.scratch(tiles.out.columns, dtype),
        "up": gemm.scratch(tiles.up, dtype) | Gelu.scratch(dtype),
        "down": gemm.scratch(tiles.down, dtype) | Residual.scratch(tiles.down.columns, dtype),
    }
    groups, barriers = [], {}
    for phase, parts in wanted.items():
        own = {name: part for name, part in parts.items() if isinstance(part, plgpu.Barrier)}
        barriers |= {f"{phase}_{name}": part for name, part in own.items()}
        groups.append({name: part for name, part in parts.items() if name not in own})
    return {"smem": plgpu.RefUnion(*groups)} | barriers


def _phases(
    refs: tuple[Any, ...],
    smem: Any,
    barriers: dict[str, Any],
    variant: Variant,
    tiles: BlockTiles,
    keys_cut: AttentionTiles,
    d: int,
    how: Launch,
) -> list[Phase]:
    (x0, moments0, space_cos, space_sin, swap, slot, order, count, cos, sin, keys, values,
     shift_a, scale_a, gate_a, shift_m, scale_m, gate_m,
     qkv, qkv_bias, scales, out, out_bias, up, up_bias, down, down_bias,
     query, attended, x1, moments1, hidden, x2, moments2) = refs  # fmt: skip

    def part(number: int, name: str) -> dict[str, Any]:
        own = {key: ref for key, ref in barriers.items() if key.startswith(f"{name}_")}
        return smem[number] | {key.removeprefix(f"{name}_"): ref for key, ref in own.items()}

    heads = query.shape[1] // d
    before_attention = Prologue(moments0, shift_a, scale_a, variant.norm)
    before_mlp = Prologue(moments1, shift_m, scale_m, variant.norm)
    s0, s1, s2, s3, s4 = (
        part(number, name)
        for number, name in enumerate(("qkv", "attention", "out", "up", "down"))
    )
    split = Heads(
        qkv_bias, scales, space_cos, space_sin, swap, query, (keys, values, slot), heads, s0, how
    )
    offset = variant.gate_offset
    after_attention = Residual(x0, out_bias, gate_a, x1, moments1, s2, offset, how)
    after_mlp = Residual(x1, down_bias, gate_m, x2, moments2, s4, offset, how)
    seen = (query, keys, values, order, count, cos, sin, swap, attended)

    def product(left, right, s, prologue, epilogue, cut) -> Phase:
        return lambda row, column, ready: gemm_block(
            row, column, left, right, s, prologue, epilogue, cut, how, ready
        )

    return [
        product(x0, qkv, s0, before_attention, split, tiles.qkv),
        lambda row, head, ready: attention_block(
            row, head, seen, s1, d=d, tiles=keys_cut, how=how, ready=ready
        ),
        product(attended, out, s2, None, after_attention, tiles.out),
        product(x1, up, s3, before_mlp, Gelu(up_bias, hidden, s3, how), tiles.up),
        product(hidden, down, s4, None, after_mlp, tiles.down),
    ]


def _go_through(
    phases: list[Phase],
    rows: int,
    columns: tuple[int, ...],
    blocks: int,
    barrier: GridBarrier,
    how: Launch,
) -> None:
    """All phases in order; a block takes every `blocks`-th tile of each."""
    block = jax.lax.axis_index("block")

    def ready_for(number: int) -> Callable[[], None]:
        if number == 0:
            return lambda: mosaic.wait_for_previous(how)
        if how.defect == f"barrier:{number - 1}":
            return lambda: None
        return lambda: barrier.wait(number - 1)

    def each_tile(number: int, work: Callable[[Roles], None]) -> None:
        total, ready = rows * columns[number], ready_for(number)

        def one(index: Any, ready: Callable[[], None]) -> None:
            row, column = jax.lax.rem(index, rows), jax.lax.div(index, rows)
            work(phases[number](row, column, ready))

        if total == blocks:  # then weights are fetched before the barrier is passed
            one(block, ready)
            return
        ready()

        @pl.loop(0, -(-total // blocks))
        def _tiles(turn: jax.Array) -> None:
            index = turn * blocks + block
            pl.when(index < total)(lambda: one(index, lambda: None))

    def compute(wg: jax.Array) -> None:
        for number in range(len(phases)):
            each_tile(number, lambda roles: roles.compute(wg))
            if number + 1 < len(phases):
                barrier.arrive(number)

    def load() -> None:
        for number in range(len(phases)):
            each_tile(number, lambda roles: roles.load())

    mosaic.by_role(Roles(compute, load), how)
    mosaic.release_next(how)
