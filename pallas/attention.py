"""Attention of one frame over the key/value ring, on Hopper.

A block has 128 queries of one head, 64 a compute warpgroup, and runs over the visible slots. The
third warpgroup streams tiles of keys and values through a ring of SMEM stages. No logits leave the
registers.

The keys' temporal rotation by -age is applied to the queries instead, by +age, once a slot: the
products are the same, and a slot has many keys for each query of the block.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from lsdjax.pallas import mosaic
from lsdjax.pallas.mosaic import COMPUTE, ROWS, Launch, Roles
from lsdjax.pallas.reference import Ring
from lsdjax.pallas.rotary import Rotary

LOG2_E = math.log2(math.e)


@dataclasses.dataclass(frozen=True)
class AttentionTiles:
    """How the keys of a slot are cut.

    Attributes:
        keys: keys of a tile, a multiple of 64, as wgmma needs them.
        whole: tiles of `keys` keys in a slot.
        tail: keys of one more tile, of which `tail_seen` count; 0 for none.
        stages: tiles of keys, and as many of values, in flight.
    """

    keys: int
    whole: int
    tail: int
    tail_seen: int
    stages: int

    @property
    def per_slot(self) -> int:
        return self.whole + (self.tail > 0)


def tiles_for(length: int, m: int, d: int, keys: int = 128) -> AttentionTiles:
    """Tiles over the first `length` of a slot's `m` keys.

    Raises:
        NotImplementedError: the slot has no room for the last tile.
    """
    whole, seen = divmod(length, keys)
    tail = -(-seen // 64) * 64
    if whole * keys + tail > m:
        raise NotImplementedError(f"slots of {m} keys; {whole * keys + tail} or more are expected")
    fixed = COMPUTE * 3 * ROWS * d * 2 + d * d * 2 + 4096
    stages = min((mosaic.SMEM_LIMIT - fixed) // (4 * keys * d), 4)
    return AttentionTiles(keys, whole, tail, seen, stages)


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
        "swap": mosaic.tile((d, d), dtype),
        "key": stream,
        "value": stream,
        "loaded": plgpu.Barrier(num_barriers=COMPUTE),
        "swap_loaded": plgpu.Barrier(),
        "key_full": full,
        "value_full": full,
        "key_empty": empty,
        "value_empty": empty,
    }


def attention_block(
    row: jax.Array,
    head: jax.Array,
    refs: tuple[Any, ...],
    s: dict[str, Any],
    *,
    d: int,
    tiles: AttentionTiles,
    how: Launch,
    ready: Callable[[], None],
) -> Roles:
    """What the two roles of a block do for 128 queries from `row` * 128 on, of one head.

    refs: queries (n, heads * d); keys, values (slots, m, heads * d); order (slots,), the visible
    slots first; count (1,), how many they are; cos, sin (slots, d); swap (d, d); out like queries.
    ready: waits until they are there.
    """
    q, keys, values, order, count, cos, sin, swap, out = refs
    lanes = pl.ds(head * d, d)

    def compute(wg: jax.Array) -> None:
        rows = pl.ds(row * (COMPUTE * ROWS) + wg * ROWS, ROWS)
        query, swapped, turned = s["query"].at[wg], s["swapped"].at[wg], s["turned"].at[wg]
        for stage in range(tiles.stages):
            plgpu.barrier_arrive(s["key_empty"].at[stage])
            if how.defect != "early reuse":
                plgpu.barrier_arrive(s["value_empty"].at[stage])
        ready()
        plgpu.copy_gmem_to_smem(q.at[rows, lanes], query, s["loaded"].at[wg])
        plgpu.barrier_wait(s["loaded"].at[wg])
        plgpu.barrier_wait(s["swap_loaded"])
        swapped[...] = mosaic.product(query, s["swap"], (ROWS, d), how).astype(q.dtype)

        def tile_step(step: jax.Array, carry: Any, tail: bool = False) -> Any:
            acc, top, total = carry
            width = tiles.tail if tail else tiles.keys
            part = pl.ds(0, width)
            stage = jax.lax.rem(step, jnp.int32(tiles.stages))
            plgpu.barrier_wait(s["key_full"].at[stage])
            key = s["key"].at[stage, part].transpose((1, 0))
            logits = mosaic.product(turned, key, (ROWS, width), how)
            plgpu.barrier_arrive(s["key_empty"].at[stage])
            if tail and tiles.tail_seen < width:
                at = plgpu.broadcasted_iota(jnp.int32, (ROWS, width), 1, layout=plgpu.Layout.WGMMA)
                logits = jnp.where(at < tiles.tail_seen, logits, -1e30)
            new_top = jnp.maximum(top, logits.max(axis=1))
            decay = jnp.exp2(top - new_top)
            weights = jnp.exp2(logits - mosaic.over_columns(new_top, width))
            total = total * decay + weights.sum(axis=1)
            acc = acc * mosaic.over_columns(decay, d)
            plgpu.barrier_wait(s["value_full"].at[stage])
            value = s["value"].at[stage, part]
            acc = mosaic.accumulate(acc, weights.astype(q.dtype), value, how)
            if how.defect != "early reuse":
                plgpu.barrier_arrive(s["value_empty"].at[stage])
            return acc, new_top, total

        def slot_step(index: jax.Array, carry: Any) -> Any:
            slot = order[index]
            by_cos = mosaic.over_rows(mosaic.columns(cos.at[slot], 0, d), ROWS)
            by_sin = mosaic.over_rows(mosaic.columns(sin.at[slot], 0, d), ROWS)
            wide = query[...].astype(jnp.float32) * by_cos
            wide = wide + swapped[...].astype(jnp.float32) * by_sin
            turned[...] = (wide * (LOG2_E / math.sqrt(d))).astype(q.dtype)
            mosaic.commit(how, "turned")
            first = index * tiles.per_slot
            if tiles.whole:
                carry = jax.lax.fori_loop(first, first + tiles.whole, tile_step, carry)
            if tiles.tail:
                carry = tile_step(first + tiles.whole, carry, tail=True)
            return carry

        start = (
            plgpu.layout_cast(jnp.zeros((ROWS, d), jnp.float32), plgpu.Layout.WGMMA),
            plgpu.layout_cast(jnp.full((ROWS,), -1e30, jnp.float32), mosaic.ROW),
            plgpu.layout_cast(jnp.zeros((ROWS,), jnp.float32), mosaic.ROW),
        )
        acc, _, total = jax.lax.fori_loop(0, count[0], slot_step, start)
        turned[...] = (acc / mosaic.over_columns(total, d)).astype(q.dtype)
        mosaic.commit(how, "out")
        plgpu.copy_smem_to_gmem(turned, out.at[rows, lanes])
        plgpu.wait_smem_to_gmem(0)

    def load() -> None:
        ready()
        plgpu.copy_gmem_to_smem(swap, s["swap"], s["swap_loaded"])

        def fetch(slot: jax.Array, step: jax.Array, start: Any, width: int) -> None:
            stage = jax.lax.rem(step, jnp.int32(tiles.stages))
            for kind, store in (("key", keys), ("value", values)):
                if not (how.defect == "early reuse" and kind == "value"):
                    plgpu.barrier_wait(s[f"{kind}_empty"].at[stage])
                source = store.at[slot, pl.ds(start, width), lanes]
                target = s[kind].at[stage, pl.ds(0, width)]
                plgpu.copy_gmem_to_smem(source, target, s[f"{kind}_full"].at[stage])

        @pl.loop(0, count[0])
        def _slots(index: jax.Array) -> None:
            slot, first = order[index], index * tiles.per_slot

            @pl.loop(0, tiles.whole)
            def _tiles(tile: jax.Array) -> None:
                fetch(slot, first + tile, tile * tiles.keys, tiles.keys)

            if tiles.tail:
                fetch(slot, first + tiles.whole, tiles.whole * tiles.keys, tiles.tail)

        for stage in range(tiles.stages):
            for kind in ("key", "value"):
                if not (how.defect == "early reuse" and kind == "value"):
                    plgpu.barrier_wait(s[f"{kind}_empty"].at[stage])

    return Roles(compute, load)


def ring_attention(
    q: jax.Array,
    ring: Ring,
    ages: jax.Array,
    visible: jax.Array,
    *,
    rotary: Rotary,
    length: int,
    how: Launch = Launch(),  # noqa: B008
) -> jax.Array:
    """See `reference.ring_attention`; n has to be a multiple of 128, d of 64."""
    n, heads, d = q.shape
    slots, m = ring.keys.shape[:2]
    if n % (COMPUTE * ROWS):
        raise NotImplementedError(f"{n} queries; a multiple of {COMPUTE * ROWS} is expected")
    if d % 64 or q.dtype != jnp.bfloat16 or ring.keys.dtype != jnp.bfloat16:
        raise NotImplementedError(f"{q.dtype} heads of {d}; bfloat16, a multiple of 64 is expected")
    tiles = tiles_for(length, m, d)
    cos, sin = rotary.age_tables(ages)
    order = jnp.argsort(~visible, stable=True).astype(jnp.int32)
    count = jnp.sum(visible, dtype=jnp.int32)[None]
    swap = jnp.asarray(rotary.swap(), q.dtype)

    def body(*refs: Any, **smem: Any) -> None:
        roles = attention_block(
            jax.lax.axis_index("rows"),
            jax.lax.axis_index("heads"),
            refs,
            smem,
            d=d,
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
    keys, values = (store.reshape(slots, m, heads * d) for store in ring)
    (out,) = kernel(q.reshape(n, heads * d), keys, values, order, count, cos, sin, swap)
    return out.reshape(n, heads, d)

