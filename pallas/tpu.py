"""Attention of one frame over the key/value ring, on TPU. All else runs through XLA there."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from lsdjax.pallas.reference import Ring
from lsdjax.pallas.rotary import Rotary

LANES, SUBLANES = 128, 16
MOST_ROWS = 256


def ring_attention(
    q: jax.Array,
    ring: Ring,
    ages: jax.Array,
    visible: jax.Array,
    *,
    rotary: Rotary,
    length: int,
    interpret: bool = False,
) -> jax.Array:
    """See `reference.ring_attention`: one step of the grid is a head, some queries and a slot.

    The visible slots come first; the steps of the others compute nothing, and fetch nothing, as
    they name the slot before them again.

    Raises:
        NotImplementedError: heads that are no multiple of 128, or sizes that are none of 16.
    """
    n, heads, d = q.shape
    slots, m = ring.keys.shape[:2]
    if d % LANES or n % SUBLANES or m % SUBLANES:
        raise NotImplementedError(
            f"{n} queries of {d}, {m} keys a slot; multiples of {SUBLANES}, {LANES} and {SUBLANES} "
            "are expected"
        )
    rows = max(size for size in range(SUBLANES, MOST_ROWS + 1, SUBLANES) if n % size == 0)
    count = jnp.sum(visible, dtype=jnp.int32)
    order = jnp.argsort(~visible, stable=True).astype(jnp.int32)
    order = order[jnp.minimum(jnp.arange(slots), count - 1)]

    def body(order: Any, count: Any, q: Any, k: Any, v: Any, cos: Any, sin: Any, swap: Any,
             out: Any, top: Any, total: Any, acc: Any) -> None:  # fmt: skip
        step = pl.program_id(2)

        @pl.when(step == 0)
        def _start() -> None:
            top[...] = jnp.full(top.shape, -1e30, jnp.float32)
            total[...] = jnp.zeros(total.shape, jnp.float32)
            acc[...] = jnp.zeros(acc.shape, jnp.float32)

        @pl.when(step < count[0])
        def _slot() -> None:
            query = q[...].astype(jnp.float32)
            swapped = jnp.dot(q[...], swap[...], preferred_element_type=jnp.float32)
            turned = (query * cos[...] + swapped * sin[...]) / math.sqrt(d)
            logits = jax.lax.dot_general(
                turned.astype(q.dtype), k[0], (((1,), (1,)), ((), ())),
                preferred_element_type=jnp.float32,
            )  # fmt: skip
            if length < m:
                lane = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1)
                logits = jnp.where(lane < length, logits, -1e30)
            before = top[...]
            top[...] = jnp.maximum(before, logits.max(axis=1, keepdims=True))
            decay = jnp.exp(before - top[...])
            weights = jnp.exp(logits - top[...])
            total[...] = total[...] * decay + weights.sum(axis=1, keepdims=True)
            mixed = jnp.dot(weights.astype(v.dtype), v[0], preferred_element_type=jnp.float32)
            acc[...] = acc[...] * decay + mixed

        @pl.when(step == slots - 1)
        def _end() -> None:
            out[...] = (acc[...] / total[...]).astype(out.dtype)

    store = pl.BlockSpec((1, m, d), lambda head, row, step, order, _: (order[step], 0, head))
    table = pl.BlockSpec((1, d), lambda head, row, step, order, _: (order[step], 0))
    tile = pl.BlockSpec((rows, d), lambda head, row, step, *_: (row, head))
    whole = pl.BlockSpec((d, d), lambda *_: (0, 0))
    column = pltpu.VMEM((rows, 1), jnp.float32)
    kernel = pl.pallas_call(
        body,
        jax.ShapeDtypeStruct((n, heads * d), q.dtype),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(heads, n // rows, slots),
            in_specs=[tile, store, store, table, table, whole],
            out_specs=tile,
            scratch_shapes=[column, column, pltpu.VMEM((rows, d), jnp.float32)],
        ),
        interpret=pltpu.InterpretParams() if interpret else False,
    )
    keys, values = (each.reshape(slots, m, heads * d) for each in ring)
    swap = jnp.asarray(rotary.swap(), q.dtype)
    tables = rotary.age_tables(ages)
    out = kernel(order, count[None], q.reshape(n, heads * d), keys, values, *tables, swap)
    return out.reshape(n, heads, d)
