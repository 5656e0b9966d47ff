"""Attention of one frame over the key/value ring, on Hopper.

A block has 128 queries of one head, 64 a compute warpgroup, and runs over the visible slots. The
third warpgroup streams tiles of keys and values through a ring of SMEM stages. No logits leave the
registers.

The keys' temporal rotation by -age is applied to the queries instead, by +age, once a slot: the
products are the same, and a slot has many keys for each query of the block. Cross-attention over a
prompt is the same with one slot that does not turn.

What is attended to may lie in two places: in a ring that is only read, and beside it in slots of
the call's own.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lsdjax.pallas import mosaic
from lsdjax.pallas.mosaic import COMPUTE, ROWS, Launch, Roles
from lsdjax.pallas.reference import EPS, Ring
from lsdjax.pallas.rotary import Rotary

LOG2_E = math.log2(math.e)
OPTIONAL = ("squares", "lengths", "factors")


@dataclasses.dataclass(frozen=True)
class AttentionTiles:
    """How the keys of a slot are cut.

    Attributes:
        keys: keys of a tile, a multiple of 64, as wgmma needs them.
        whole: tiles of `keys` keys in a slot.
        tail: keys of one more tile, from `tail_start` on; 0 for none. It may begin with keys that
            were in a tile before, and end with some that do not count.
        length: keys of a slot that count.
        stages: tiles of keys, and as many of values, in flight.
    """

    keys: int
    whole: int
    tail: int
    tail_start: int
    length: int
    stages: int

    @property
    def per_slot(self) -> int:
        return self.whole + (self.tail > 0)


class AttentionArrays(NamedTuple):
    """What `attention_block` reads and writes in device memory.

    queries, out (n, heads * d); keys, values (slots, m, heads * d); swap (d, d).
    order (slots,) int32: the visible slots first, then those of `own`; count (1,) int32, how many
        are visible.
    turns: cosine and sine (slots, d) float32, or None where nothing turns.
    squares: (heads, n) float32, sums of squares of the heads of queries that are yet to be divided
        by the RMS over all heads; or None.
    lengths: (slots,) int32, keys of each slot that count, at least one; or None for all.
    own: keys and values (frames, m, heads * d) of further slots, which are all seen and numbered on
        behind those of the ring; or None. m need not be the ring's.
    factors: (frames, m) float32, what each of their keys is yet to be multiplied by; or None.
    """

    queries: Any
    keys: Any
    values: Any
    swap: Any
    order: Any
    count: Any
    turns: tuple[Any, Any] | None
    squares: Any
    lengths: Any
    out: Any
    own: tuple[Any, Any] | None = None
    factors: Any = None


def tiles_for(length: int, m: int, d: int, keys: int = 128) -> AttentionTiles:
    """Tiles over the first `length` of a slot's `m` keys.

    Raises:
        NotImplementedError: the slot has no room for the last tile.
    """
    whole, seen = divmod(length, keys)
    tail = -(-seen // 64) * 64
    if m < tail or m < length:
        raise NotImplementedError(f"slots of {m} keys; {max(tail, length)} or more are expected")
    fixed = COMPUTE * 3 * ROWS * d * 2 + d * d * 2 + 4096
    stages = min((mosaic.SMEM_LIMIT - fixed) // (4 * keys * d), 4)
    return AttentionTiles(keys, whole, tail, min(whole * keys, m - tail), length, stages)


def scratch(d: int, tiles: AttentionTiles, dtype: Any) -> dict[str, Any]:
    """SMEM and barriers of `attention_tile`."""
    queries = mosaic.tile((COMPUTE, ROWS, d), dtype)
    stream = mosaic.tile((tiles.stages, tiles.keys, d), dtype)
    full = plgpu.Barrier(num_barriers=tiles.stages)
    empty = plgpu.Barrier(num_arrivals=COMPUTE, num_barriers=tiles.stages)
    return {
        "query": queries,
        "swapped": queries,
        "turned": queries,
        "turner": mosaic.tile((d, d), dtype),
        "key": stream,
        "value": stream,
        "loaded": plgpu.Barrier(num_barriers=COMPUTE),
        "turner_loaded": plgpu.Barrier(),
        "key_full": full,
        "value_full": full,
        "key_empty": empty,
        "value_empty": empty,
    }


def attention_block(
    row: jax.Array,
    head: jax.Array,
    at: AttentionArrays,
    s: dict[str, Any],
    *,
    tiles: AttentionTiles,
    how: Launch,
    ready: Callable[[], None],
) -> Roles:
    """What the two roles of a block do for 128 queries from `row` * 128 on, of one head.

    ready: waits until the arrays are there.
    """
    d = at.swap.shape[0]
    lanes = pl.ds(head * d, d)

    def compute(wg: jax.Array) -> None:
        rows = pl.ds(row * (COMPUTE * ROWS) + wg * ROWS, ROWS)
        turned = s["turned"].at[wg]
        for stage in range(tiles.stages):
            plgpu.barrier_arrive(s["key_empty"].at[stage])
            if how.defect != "early_reuse":
                plgpu.barrier_arrive(s["value_empty"].at[stage])
        ready()
        turn_to = _prepare_queries(at, s, wg, rows, lanes, how)

        def slot_step(index: Any, slot: Any, factors: Any, carry: Any) -> Any:
            turn_to(slot)
            first = index * tiles.per_slot
            step = functools.partial(_tile_step, at, s, tiles, turned, how, slot, factors)
            if tiles.whole:

                def whole_tile(number: jax.Array, carry: Any) -> Any:
                    return step(first + number, number * tiles.keys, carry)

                carry = jax.lax.fori_loop(0, tiles.whole, whole_tile, carry)
            if tiles.tail:
                carry = step(first + tiles.whole, tiles.tail_start, carry, tail=True)
            return carry

        start = (
            plgpu.layout_cast(jnp.zeros((ROWS, d), jnp.float32), plgpu.Layout.WGMMA),
            plgpu.layout_cast(jnp.full((ROWS,), -1e30, jnp.float32), mosaic.ROW),
            plgpu.layout_cast(jnp.zeros((ROWS,), jnp.float32), mosaic.ROW),
        )
        seen = at.count[0]
        alike = seen if at.factors is not None or at.own is None else seen + at.own[0].shape[0]
        carry = jax.lax.fori_loop(
            0, alike, lambda index, carry: slot_step(index, at.order[index], None, carry), start
        )
        if at.own is not None and at.factors is not None:

            def own_step(frame: Any, carry: Any) -> Any:
                factors = at.factors.at[frame]
                return slot_step(seen + frame, at.keys.shape[0] + frame, factors, carry)

            carry = jax.lax.fori_loop(0, at.own[0].shape[0], own_step, carry)
        acc, _, total = carry
        turned[...] = (acc / mosaic.over_columns(total, d)).astype(turned.dtype)
        mosaic.commit(how, "out")
        plgpu.copy_smem_to_gmem(turned, at.out.at[rows, lanes])
        plgpu.wait_smem_to_gmem(0)

    def load() -> None:
        ready()
        plgpu.copy_gmem_to_smem(at.swap, s["turner"], s["turner_loaded"])

        def wait_until_empty(kind: str, stage: Any) -> None:
            if not (how.defect == "early_reuse" and kind == "value"):
                plgpu.barrier_wait(s[f"{kind}_empty"].at[stage])

        def fetch(stores: Any, slot: Any, step: Any, start: Any, width: int) -> None:
            stage = jax.lax.rem(step, jnp.int32(tiles.stages))
            for kind, store in zip(("key", "value"), stores, strict=True):
                wait_until_empty(kind, stage)
                source = store.at[slot, pl.ds(start, width), lanes]
                target = s[kind].at[stage, pl.ds(0, width)]
                plgpu.copy_gmem_to_smem(source, target, s[f"{kind}_full"].at[stage])

        def fetch_slot(stores: Any, slot: Any, index: Any) -> None:
            first = index * tiles.per_slot

            @pl.loop(0, tiles.whole)
            def _tiles(tile: jax.Array) -> None:
                fetch(stores, slot, first + tile, tile * tiles.keys, tiles.keys)

            if tiles.tail:
                fetch(stores, slot, first + tiles.whole, tiles.tail_start, tiles.tail)

        @pl.loop(0, at.count[0])
        def _slots(index: jax.Array) -> None:
            fetch_slot((at.keys, at.values), at.order[index], index)

        if at.own is not None:

            @pl.loop(0, at.own[0].shape[0])
            def _own(frame: jax.Array) -> None:
                fetch_slot(at.own, frame, at.count[0] + frame)

        for stage in range(tiles.stages):
            for kind in ("key", "value"):
                wait_until_empty(kind, stage)

    return Roles(compute, load)


def _prepare_queries(
    at: AttentionArrays, s: dict[str, Any], wg: jax.Array, rows: Any, lanes: Any, how: Launch
) -> Callable[[jax.Array], None]:
    """Bring this warpgroup's queries; returns what turns them to a slot, scaled for exp2."""
    query, swapped, turned = s["query"].at[wg], s["swapped"].at[wg], s["turned"].at[wg]
    d = query.shape[1]
    plgpu.copy_gmem_to_smem(at.queries.at[rows, lanes], query, s["loaded"].at[wg])
    plgpu.barrier_wait(s["loaded"].at[wg])
    plgpu.barrier_wait(s["turner_loaded"])
    if at.turns is not None:
        swapped[...] = mosaic.product(query, s["turner"], (ROWS, d)).astype(query.dtype)
    scale = LOG2_E / math.sqrt(d)
    factor = None
    if at.squares is not None:
        heads = at.squares.shape[0]
        square = mosaic.sum_over_parts(lambda part: at.squares.at[part, rows], heads)
        factor = jax.lax.rsqrt(square * (1.0 / (heads * d)) + EPS) * scale

    def turn_to(slot: jax.Array) -> None:
        wide = query[...].astype(jnp.float32)
        if at.turns is not None:
            cos, sin = (
                mosaic.over_rows(mosaic.columns(table.at[slot], 0, d), ROWS) for table in at.turns
            )
            wide = wide * cos + swapped[...].astype(jnp.float32) * sin
        wide = wide * (scale if factor is None else mosaic.over_columns(factor, d))
        turned[...] = wide.astype(query.dtype)
        mosaic.commit(how, "turned")

    return turn_to


def _tile_step(
    at: AttentionArrays,
    s: dict[str, Any],
    tiles: AttentionTiles,
    turned: Any,
    how: Launch,
    slot: jax.Array,
    factors: Any,
    step: jax.Array,
    start: Any,
    carry: Any,
    tail: bool = False,
) -> Any:
    """One tile of keys and values: the online softmax of Milakov & Gimelshein 2018, in base 2."""
    acc, top, total = carry
    d, width = turned.shape[1], tiles.tail if tail else tiles.keys
    part = pl.ds(0, width)
    stage = jax.lax.rem(step, jnp.int32(tiles.stages))
    plgpu.barrier_wait(s["key_full"].at[stage])
    key = s["key"].at[stage, part].transpose((1, 0))
    logits = mosaic.product(turned, key, (ROWS, width))
    plgpu.barrier_arrive(s["key_empty"].at[stage])
    if factors is not None:
        logits = logits * mosaic.over_rows(mosaic.columns(factors, start, width), ROWS)

    def only(logits: jax.Array, compare: Any, bound: Any) -> jax.Array:
        lane = plgpu.broadcasted_iota(jnp.int32, (ROWS, width), 1, layout=plgpu.Layout.WGMMA)
        return jnp.where(compare(lane, bound), logits, -1e30)

    if at.lengths is not None:
        logits = only(logits, jnp.less, at.lengths[slot] - start)
    elif tail and tiles.length < start + width:
        logits = only(logits, jnp.less, tiles.length - start)
    if tail and start < tiles.whole * tiles.keys:
        logits = only(logits, jnp.greater_equal, tiles.whole * tiles.keys - start)
    new_top = jnp.maximum(top, logits.max(axis=1))
    decay = jnp.exp2(top - new_top)
    weights = jnp.exp2(logits - mosaic.over_columns(new_top, width))
    total = total * decay + weights.sum(axis=1)
    acc = acc * mosaic.over_columns(decay, d)
    plgpu.barrier_wait(s["value_full"].at[stage])
    acc = mosaic.accumulate(acc, weights.astype(turned.dtype), s["value"].at[stage, part], how)
    if how.defect != "early_reuse":
        plgpu.barrier_arrive(s["value_empty"].at[stage])
    return acc, new_top, total


def first(chosen: jax.Array) -> jax.Array:
    """Indices (n,) int32 that put what is chosen (n,) bool first, each part in its order.

    A few comparisons in place of a sort, which XLA would make anew for every layer.
    """
    n = len(chosen)
    place = jnp.where(chosen, jnp.cumsum(chosen), jnp.sum(chosen) + jnp.cumsum(~chosen)) - 1
    at = place[None, :] == jnp.arange(n)[:, None]
    return jnp.sum(jnp.where(at, jnp.arange(n)[None], 0), axis=1, dtype=jnp.int32)


class Sight(NamedTuple):
    """What frames see, as the kernels read it; the same for all layers.

    turns: cosine and sine (slots, d), or (frames, slots + frames, d).
    """

    order: jax.Array
    number: jax.Array
    turns: tuple[jax.Array, jax.Array] | None

    @classmethod
    def of(cls, ages: jax.Array, visible: jax.Array, rotary: Rotary) -> "Sight":
        own = jnp.ones((ages.shape[-1] - len(visible),), bool)
        order = first(jnp.concatenate([visible, own]))
        cos, sin = (table.reshape(*ages.shape, -1) for table in rotary.age_tables(ages.reshape(-1)))
        return cls(order, jnp.sum(visible, dtype=jnp.int32)[None], (cos, sin))

    @classmethod
    def of_prompt(cls) -> "Sight":
        return cls(jnp.zeros((1,), jnp.int32), jnp.ones((1,), jnp.int32), None)


def check(n: int, d: int, *arrays: jax.Array) -> None:
    """Raises NotImplementedError where queries or keys do not fit."""
    if n % (COMPUTE * ROWS):
        raise NotImplementedError(f"{n} queries; a multiple of {COMPUTE * ROWS} is expected")
    types = {str(array.dtype) for array in arrays}
    if d % 64 or d > 128 or types != {"bfloat16"}:
        raise NotImplementedError(f"heads of {d} in {types}; 64 or 128 in bfloat16 are expected")


def ring_attention(
    q: jax.Array,
    ring: Ring,
    ages: jax.Array,
    visible: jax.Array,
    *,
    rotary: Rotary,
    length: int,
    own: Ring | None = None,
    tiles: AttentionTiles | None = None,
    how: Launch = Launch(),  # noqa: B008
    **more: Any,
) -> jax.Array:
    """See `reference.ring_attention`; `more` are `squares`, `factors`, `lengths` of the arrays.

    own: keys and values (frames, m, heads, d) of the call's own frames, which all see each other;
        ages are then (frames, slots + frames), and the frames' queries follow each other.
    tiles: how the keys are cut, by default as `tiles_for` says.
    """
    sight = Sight.of(ages, visible, rotary)
    m = min(store.shape[1] for store in (ring.keys, *(own or ())))
    tiles = tiles or tiles_for(length, m, q.shape[-1])
    return _attention(q, ring, own, sight, rotary.swap(), tiles, how, more)


def prompt_attention(
    q: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    length: jax.Array | int,
    *,
    how: Launch = Launch(),  # noqa: B008
    **more: Any,
) -> jax.Array:
    """See `reference.prompt_attention`; there has to be room for a multiple of 64 words."""
    ring, swap = Ring(keys[None], values[None]), np.eye(q.shape[-1], dtype=np.float32)
    known = isinstance(length, int)
    if not known:
        more["lengths"] = length[None]
    tiles = tiles_for(length if known else len(keys), len(keys), q.shape[-1])
    return _attention(q, ring, None, Sight.of_prompt(), swap, tiles, how, more)


def _attention(
    q: jax.Array,
    ring: Ring,
    own: Ring | None,
    sight: Sight,
    swap: np.ndarray,
    tiles: AttentionTiles,
    how: Launch,
    more: dict[str, jax.Array],
) -> jax.Array:
    n, heads, d = q.shape
    check(n, d, q, ring.keys, ring.values)
    names = [name for name in OPTIONAL if name in more]
    stores = [store.reshape(*store.shape[:2], heads * d) for store in (*ring, *(own or ()))]

    def body(*refs: Any, **smem: Any) -> None:
        queries, turner, order, count, *rest, out = refs
        row, head = jax.lax.axis_index("rows"), jax.lax.axis_index("heads")
        (keys, values, *beside), rest = rest[: len(stores)], rest[len(stores) :]
        optional = dict.fromkeys(OPTIONAL)
        optional |= dict(zip(names, rest, strict=False))
        turns = None
        if sight.turns is not None:
            cos, sin = rest[-2:]
            if cos.ndim == 3:
                cos, sin = (mosaic.of_frame(table, row, n) for table in (cos, sin))
            turns = (cos, sin)
        arrays = AttentionArrays(
            queries, keys, values, turner, order, count, turns, out=out, **optional,
            own=tuple(beside) or None,
        )  # fmt: skip
        roles = attention_block(
            row,
            head,
            arrays,
            smem,
            tiles=tiles,
            how=how,
            ready=lambda: mosaic.wait_for_previous(how),
        )
        mosaic.by_role(roles, how)
        mosaic.release_next(how)

    kernel = mosaic.launch(
        body,
        [jax.ShapeDtypeStruct((n, heads * d), q.dtype)],
        scratch(d, tiles, q.dtype),
        how,
        grid=(n // (COMPUTE * ROWS), heads),
        names=("rows", "heads"),
        name="ring_attention",
    )
    turner = jnp.asarray(swap, q.dtype)
    (out,) = kernel(
        q.reshape(n, heads * d), turner, sight.order, sight.number, *stores,
        *(more[name] for name in names), *(sight.turns or ()),
    )  # fmt: skip
    return out.reshape(n, heads, d)
