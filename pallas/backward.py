"""Gradients: written out for attention and for norm and modulation, recomputed for the rest.

Autodiff of attention keeps the weights of every query and key. Here they are made again, a slot at
a time, from the logarithm of each query's sum: one slot's weights are all that ever exists.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lsdjax.pallas import reference
from lsdjax.pallas.reference import EPS, Modulation, Ring
from lsdjax.pallas.rotary import Rotary, turn


def with_gradient(kernel: Callable[..., Any], contract: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel` forwards; backwards the gradient of `contract`, computed from the inputs again."""

    @jax.custom_vjp
    def run(*arguments: Any) -> Any:
        return kernel(*arguments)

    def forward(*arguments: Any) -> tuple[Any, Any]:
        return kernel(*arguments), arguments

    def backward(arguments: Any, change: Any) -> Any:
        return jax.vjp(contract, *arguments)[1](change)

    run.defvjp(forward, backward)
    return run


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def norm_modulate(x: jax.Array, modulation: Modulation, norm: str) -> jax.Array:
    """See `reference.norm_modulate`; keeps x alone for the gradient."""
    return reference.norm_modulate(x, modulation, norm)


def _norm_forward(x: jax.Array, modulation: Modulation, norm: str) -> tuple[jax.Array, Any]:
    return norm_modulate(x, modulation, norm), (x, modulation)


def _norm_backward(norm: str, kept: Any, change: jax.Array) -> tuple[jax.Array, Modulation]:
    """With y = u g + b and u = (x - mean) / r: dx = (du - mean(du) - u mean(du u)) / r."""
    x, modulation = kept
    wide, dy = x.astype(jnp.float32), change.astype(jnp.float32)
    if norm == "layer":
        wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + EPS)
    unit = wide * inverse
    du = dy * (1.0 + modulation.scale[None])
    dx = du - unit * jnp.mean(du * unit, axis=-1, keepdims=True)
    if norm == "layer":
        dx = dx - jnp.mean(du, axis=-1, keepdims=True)
    return (dx * inverse).astype(x.dtype), Modulation(dy.sum(axis=0), (dy * unit).sum(axis=0))


norm_modulate.defvjp(_norm_forward, _norm_backward)


def attention_with_gradient(
    kernel: Callable[..., jax.Array], rotary: Rotary, length: int
) -> Callable[[jax.Array, Ring, jax.Array, jax.Array], jax.Array]:
    """(q, ring, ages, visible) -> attended; `kernel` forwards, slot after slot backwards."""

    @jax.custom_vjp
    def attend(q: jax.Array, ring: Ring, ages: jax.Array, visible: jax.Array) -> jax.Array:
        return kernel(q, ring, ages, visible, rotary=rotary, length=length)

    def forward(*arguments: Any) -> tuple[jax.Array, Any]:
        out = attend(*arguments)
        return out, (*arguments, out)

    def backward(kept: Any, change: jax.Array) -> tuple[jax.Array, Ring, None, None]:
        q, ring, ages, visible, out = kept
        dq, keys, values = _attention_gradient(
            q, ring, ages, visible, out, change, rotary=rotary, length=length
        )
        unused = ((0, 0), (0, ring.keys.shape[1] - length), (0, 0), (0, 0))
        grown = (
            jnp.pad(part, unused).astype(store.dtype)
            for part, store in zip((keys, values), ring, strict=True)
        )
        return dq.astype(q.dtype), Ring(*grown), None, None

    attend.defvjp(forward, backward)
    return attend


def _attention_gradient(
    q: jax.Array,
    ring: Ring,
    ages: jax.Array,
    visible: jax.Array,
    out: jax.Array,
    change: jax.Array,
    *,
    rotary: Rotary,
    length: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of queries, keys and values, float32 (Dao et al. 2022, algorithm 4, by slots)."""
    n, heads, d = q.shape
    wide, dout = q.astype(jnp.float32), change.astype(jnp.float32)
    cos, sin = rotary.age_tables(ages)
    slots = (ring.keys[:, :length], ring.values[:, :length], cos, sin, visible)

    def logits_of(slot: Any) -> tuple[jax.Array, jax.Array]:
        keys, _, cos, sin, seen = slot
        turned = turn(keys, cos[None, None], -sin[None, None], rotary.swap())
        logits = jnp.einsum("nhd,mhd->hnm", wide, turned) / math.sqrt(d)
        return jnp.where(seen, logits, -1e30), turned

    def grow(total: jax.Array, slot: Any) -> tuple[jax.Array, None]:
        logits, _ = logits_of(slot)
        return jnp.logaddexp(total, jax.nn.logsumexp(logits, axis=-1)), None

    total, _ = jax.lax.scan(grow, jnp.full((heads, n), -1e30, jnp.float32), slots)
    own = jnp.einsum("nhd,nhd->hn", dout, out.astype(jnp.float32))

    def gradient(dq: jax.Array, slot: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        _, values, cos, sin, seen = slot
        logits, turned = logits_of(slot)
        weights = jnp.where(seen, jnp.exp(logits - total[:, :, None]), 0.0)
        dvalues = jnp.einsum("hnm,nhd->mhd", weights, dout)
        dweights = jnp.einsum("nhd,mhd->hnm", dout, values.astype(jnp.float32))
        dlogits = weights * (dweights - own[:, :, None]) / math.sqrt(d)
        dkeys = jnp.einsum("hnm,nhd->mhd", dlogits, wide)
        dkeys = turn(dkeys, cos[None, None], sin[None, None], rotary.swap())
        return dq + jnp.einsum("hnm,mhd->nhd", dlogits, turned), (dkeys, dvalues)

    dq, (dkeys, dvalues) = jax.lax.scan(gradient, jnp.zeros_like(wide), slots)
    return dq, dkeys, dvalues
