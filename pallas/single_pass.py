"""A whole DiT block on Hopper as one persistent kernel.

The blocks of the grid go through the phases of `blocks.chunk_chain` together, with a barrier of
the whole grid between two phases. Each phase's SMEM lies in the same place. docs/kernels.md draws
it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lsdjax.pallas import attention, gemm, mosaic, projections
from lsdjax.pallas.attention import AttentionArrays, AttentionTiles, Sight, attention_block
from lsdjax.pallas.blocks import Variant
from lsdjax.pallas.epilogues import Gelu, Heads, Residual, Slot, Space
from lsdjax.pallas.gemm import BLOCK_ROWS, Epilogue, GemmTiles, Prologue, gemm_block
from lsdjax.pallas.mosaic import GridBarrier, Launch, Roles
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.reference import BlockModulation, BlockWeights, Prompt, Ring

Ready = Callable[[], None]
Phase = tuple[int, Callable[[jax.Array, jax.Array, Ready], Roles]]
"""Column tiles of a phase, and (row, column, ready) -> what a block does for that tile."""


def single_pass_block(
    stream: Stream,
    weights: BlockWeights,
    modulation: BlockModulation,
    space: tuple[jax.Array, jax.Array],
    past: Ring,
    ages: jax.Array,
    visible: jax.Array,
    prompt: Prompt | None,
    *,
    variant: Variant,
    blocks: int | None = None,
    how: Launch = Launch(),  # noqa: B008
) -> tuple[Stream, Ring]:
    """As `blocks.chunk_chain` on one frame; the second result are its keys and values.

    One launch of `blocks` blocks, by default as many as have work. ages (slots + 1,): of the ring,
    then of the frame; visible (slots,).

    Raises:
        NotImplementedError: norms over all heads, sizes that do not fit the tiles, or more blocks
            than can be resident: they wait for each other, so that would never end.
    """
    (n, dim), (heads, d) = stream.x.shape, past.keys.shape[2:]
    if variant.qk_norm != "head":
        raise NotImplementedError("norms of queries and keys over all heads need a sum in between")
    _check(stream, weights, past, prompt, variant)
    widest = max(
        3 * dim // variant.tiles.qkv.columns, heads, dim // variant.tiles.out.columns,
        weights.up.kernel.shape[1] // variant.tiles.up.columns,
    )  # fmt: skip
    blocks = blocks or n // BLOCK_ROWS * widest
    if blocks > mosaic.MULTIPROCESSORS:
        raise NotImplementedError(
            f"{blocks} blocks that wait for each other; {mosaic.MULTIPROCESSORS} can be resident"
        )
    swap = jnp.asarray(variant.rotary.swap(), stream.x.dtype)
    words = None
    if prompt is not None:
        keys, values = (each.reshape(1, -1, dim) for each in prompt[:2])
        words = (keys, values, jnp.asarray(prompt.length, jnp.int32)[None], Sight.of_prompt())
    arrays = {
        "stream": stream,
        "weights": weights,
        "modulation": modulation,
        "space": Space(*space, swap),
        "past": tuple(each.reshape(*each.shape[:2], dim) for each in past),
        "sight": Sight.of(ages, visible, variant.rotary),
        "prompt": words,
    }
    leaves, tree = jax.tree.flatten(arrays)
    outputs = _outputs(n, dim, weights, variant, stream.x.dtype)
    made, made_tree = jax.tree.flatten(outputs)

    def body(*refs: Any, smem: Any, cluster: Any = None, **barriers: Any) -> None:
        given = jax.tree.unflatten(tree, refs[: len(leaves)])
        out = jax.tree.unflatten(made_tree, refs[len(leaves) :])
        phases = _phases(given, out, _Parts(smem, barriers), variant, how)
        barrier = GridBarrier(blocks, how, cluster)
        _go_through(phases, n // BLOCK_ROWS, blocks, barrier, how)

    phases = 8 if prompt else 5
    scratch = _scratch(variant, min(past.keys.shape[1], n), d, prompt, stream.x.dtype)
    kernel = mosaic.launch(
        body,
        made,
        scratch | GridBarrier.scratch(phases - 1, "block", how),
        how,
        grid=(blocks,),
        names=("block",),
        name="single_pass_block",
        together=True,
    )
    results = jax.tree.unflatten(made_tree, kernel(*leaves))
    return results["last"], Ring(*(each.reshape(n, heads, d) for each in results["own"]))


def _check(
    stream: Stream, weights: BlockWeights, past: Ring, prompt: Prompt | None, variant: Variant
) -> None:
    (n, dim), d = stream.x.shape, past.keys.shape[3]
    hidden, cut = weights.up.kernel.shape[1], variant.tiles
    for k, width, tiles, each in (
        (dim, 3 * dim, cut.qkv, weights.qkv),
        (dim, dim, cut.out, weights.out),
        (dim, hidden, cut.up, weights.up),
        (hidden, dim, cut.down, weights.down),
    ):
        projections.check(n, k, width, tiles, stream.x, each.kernel)
    attention.check(n, d, *past)
    if (weights.cross is None) != (prompt is None):
        raise NotImplementedError("cross-attention needs both weights and a prompt")


def _outputs(
    n: int, dim: int, weights: BlockWeights, variant: Variant, dtype: Any
) -> dict[str, Any]:
    """What passes from phase to phase in device memory, and the stream that comes out."""

    def made(columns: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((n, columns), dtype)

    def stream(tiles: GemmTiles) -> Stream:
        parts = dim // tiles.columns
        return Stream(made(dim), jax.ShapeDtypeStruct((parts, 2, n), jnp.float32))  # pyright: ignore

    tiles, own = variant.tiles, jax.ShapeDtypeStruct((1, n, dim), dtype)
    return {
        "query": made(dim),
        "own": (own, own),
        "attended": made(dim),
        "middle": stream(tiles.out),
        "cross": (made(dim), made(dim), stream(tiles.out)) if weights.cross else None,
        "hidden": made(weights.up.kernel.shape[1]),
        "last": stream(tiles.down),
    }


def _scratch(variant: Variant, m: int, d: int, prompt: Prompt | None, dtype: Any) -> dict[str, Any]:
    """Each phase's buffers as a member of one union, and each phase's barriers on their own."""
    tiles = variant.tiles
    keys = attention.tiles_for(variant.length, m, d)
    after = Residual.scratch(tiles.out.columns, dtype)
    wanted = [
        gemm.scratch(tiles.qkv, dtype) | Heads.scratch(d, dtype),
        attention.scratch(d, keys, dtype),
        gemm.scratch(tiles.out, dtype) | after,
    ]
    if prompt is not None:
        words = len(prompt.keys)
        wanted += [
            gemm.scratch(tiles.out, dtype) | Heads.scratch(d, dtype),
            attention.scratch(d, attention.tiles_for(words, words, d), dtype),
            gemm.scratch(tiles.out, dtype) | after,
        ]
    wanted += [
        gemm.scratch(tiles.up, dtype) | Gelu.scratch(dtype),
        gemm.scratch(tiles.down, dtype) | Residual.scratch(tiles.down.columns, dtype),
    ]
    groups, barriers = [], {}
    for number, parts in enumerate(wanted):
        own = {name: part for name, part in parts.items() if isinstance(part, plgpu.Barrier)}
        barriers |= {f"b{number}_{name}": part for name, part in own.items()}
        groups.append({name: part for name, part in parts.items() if name not in own})
    return {"smem": plgpu.RefUnion(*groups)} | barriers


class _Parts:
    """Hands out the SMEM and the barriers of one phase after the other."""

    def __init__(self, smem: Any, barriers: dict[str, Any]) -> None:
        self.smem, self.barriers, self.next = smem, barriers, 0

    def take(self) -> dict[str, Any]:
        prefix = f"b{self.next}_"
        own = {
            name.removeprefix(prefix): ref
            for name, ref in self.barriers.items()
            if name.startswith(prefix)
        }
        group = self.smem[self.next]
        self.next += 1
        return group | own


def _phases(
    given: dict[str, Any], out: dict[str, Any], parts: _Parts, variant: Variant, how: Launch
) -> list[Phase]:
    weights, modulation = given["weights"], given["modulation"]
    tiles, offset = variant.tiles, variant.gate_offset
    stream, middle = given["stream"], out["middle"]

    def product(
        left: Any, linear: Any, cut: GemmTiles, modulated: Any, finish: Callable[..., Epilogue]
    ) -> Phase:
        s = parts.take()
        x = left.x if modulated is not None else left
        prologue = None
        if modulated is not None:
            shift, scale = modulated
            prologue = Prologue(left.moments, shift, scale, variant.norm)
        epilogue = finish(linear.bias, s)

        def work(row: jax.Array, column: jax.Array, ready: Ready) -> Roles:
            return gemm_block(row, column, x, linear.kernel, s, prologue, epilogue, cut, how, ready)

        return linear.kernel.shape[1] // cut.columns, work

    def attend(arrays: AttentionArrays, cut: AttentionTiles) -> Phase:
        s, d = parts.take(), arrays.swap.shape[0]

        def work(row: jax.Array, head: jax.Array, ready: Ready) -> Roles:
            return attention_block(row, head, arrays, s, tiles=cut, how=how, ready=ready)

        return arrays.queries.shape[1] // d, work

    def added(before: Any, gate: Any, offset: float, after: Stream) -> Callable[..., Epilogue]:
        return lambda bias, s: Residual(before, bias, gate, after.x, after.moments, s, offset, how)

    (keys, values), own = given["past"], out["own"]
    slot = Slot(own[0].at[0], own[1].at[0])
    space, sight = given["space"], given["sight"]
    d, m = space.swap.shape[0], min(keys.shape[1], own[0].shape[1])
    phases = [
        product(
            stream, weights.qkv, tiles.qkv, modulation.attention,
            lambda bias, s: Heads(
                bias, weights.scales, space, out["query"], slot, None, s, how
            ),
        ),
        attend(
            _attention_arrays(
                out["query"], keys, values, space.swap, sight, None, out["attended"], own
            ),
            attention.tiles_for(variant.length, m, d),
        ),
        product(
            out["attended"], weights.out, tiles.out, None,
            added(stream.x, modulation.attention_gate, offset, middle),
        ),
    ]  # fmt: skip
    if given["prompt"] is not None:
        words, values, length, sight = given["prompt"]
        query, attended, after = out["cross"]
        cross, before = weights.cross, middle
        arrays = _attention_arrays(query, words, values, space.swap, sight, length, attended)
        phases += [
            product(
                before, cross.query, tiles.out, modulation.cross,
                lambda bias, s: Heads(bias, (cross.scale,), None, query, None, None, s, how),
            ),
            attend(arrays, attention.tiles_for(words.shape[1], words.shape[1], d)),
            product(
                attended, cross.out, tiles.out, None,
                added(before.x, None, offset, after),
            ),
        ]  # fmt: skip
        middle = after
    return [
        *phases,
        product(
            middle, weights.up, tiles.up, modulation.mlp,
            lambda bias, s: Gelu(bias, out["hidden"], s, how),
        ),
        product(
            out["hidden"], weights.down, tiles.down, None,
            added(middle.x, modulation.mlp_gate, offset, out["last"]),
        ),
    ]  # fmt: skip


def _attention_arrays(
    queries: Any,
    keys: Any,
    values: Any,
    swap: Any,
    sight: Sight,
    lengths: Any,
    out: Any,
    own: Any = None,
) -> AttentionArrays:
    order, count, turns = sight
    return AttentionArrays(
        queries, keys, values, swap, order, count, turns, None, lengths, out, own
    )


def _go_through(
    phases: list[Phase], rows: int, blocks: int, barrier: GridBarrier, how: Launch
) -> None:
    """All phases in order; a block takes every `blocks`-th tile of each."""
    block = jax.lax.axis_index("block")

    def ready_for(number: int) -> Ready:
        if number == 0:
            return lambda: mosaic.wait_for_previous(how)
        if how.defect == f"barrier:{number - 1}":
            return lambda: None
        return lambda: barrier.wait(number - 1)

    def each_tile(number: int, work: Callable[[Roles], None]) -> None:
        columns, roles_of = phases[number]
        total, ready = rows * columns, ready_for(number)

        def one(index: Any, ready: Ready) -> None:
            row, column = jax.lax.rem(index, rows), jax.lax.div(index, rows)
            work(roles_of(row, column, ready))

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
