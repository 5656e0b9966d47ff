"""The contract of every operation: what a kernel has to compute, in plain jnp and float32.

One frame, no batch. Shapes: n tokens of the frame, m tokens a slot of the ring, slots, heads, d
head dimensions, dim = heads * d. Activations and weights in any float type; sums, norms, softmax
and rotations in float32; results in the type of `x` (or `q`).
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.pallas.rotary import Rotary, turn
from lsdjax.pallas.rounding import Linear8, linear8

EPS = 1e-6


class Modulation(NamedTuple):
    """Of adaLN (Peebles & Xie 2023): y = norm(x) * (1 + scale) + shift; both (dim,) float32."""

    shift: jax.Array
    scale: jax.Array


class Linear(NamedTuple):
    """x @ kernel + bias: kernel (inputs, outputs), bias (outputs,) float32."""

    kernel: jax.Array
    bias: jax.Array


class HeadNorm(NamedTuple):
    """Learned scales of the RMS norms of queries and of keys: (d,), or (dim,) over all heads."""

    query: jax.Array
    key: jax.Array


class Ring(NamedTuple):
    """Keys, turned in space but not in time, and values of past frames: (slots, m, heads, d)."""

    keys: jax.Array
    values: jax.Array


def norm_modulate(x: jax.Array, modulation: Modulation, norm: str) -> jax.Array:
    """norm(x) * (1 + scale) + shift over the last axis of x (n, dim)."""
    wide = x.astype(jnp.float32)
    if norm == "layer":
        wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
    wide = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + EPS)
    wide = wide * (1.0 + modulation.scale[None]) + modulation.shift[None]
    return wide.astype(x.dtype)


def linear(x: jax.Array, weights: Linear | Linear8) -> jax.Array:
    """x @ kernel + bias in float32."""
    if isinstance(weights, Linear8):
        return linear8(x, weights)
    product = jnp.matmul(x, weights.kernel, preferred_element_type=jnp.float32)
    return product + weights.bias[None]


def project_heads(
    x: jax.Array,
    modulation: Modulation,
    weights: Linear,
    scales: HeadNorm,
    space: tuple[jax.Array, jax.Array],
    ring: Ring,
    slot: jax.Array,
    *,
    rotary: Rotary,
    norm: str,
    qk_norm: str,
) -> tuple[jax.Array, Ring]:
    """Queries (n, heads, d) of x (n, dim), and the ring with the frame's keys and values in `slot`.

    q, k, v = norm_modulate(x) @ kernel + bias; q and k are RMS-normed, scaled and turned in space.
    space: `Rotary.space_tables`, two (n, d). slot: () int32. m >= n; rows past n are left alone.
    """
    n, (heads, d) = len(x), ring.keys.shape[2:]
    mixed = linear(norm_modulate(x, modulation, norm), weights)
    parts = list(jnp.split(mixed, 3, axis=-1))
    for index, scale in enumerate(scales):
        part = parts[index] if qk_norm == "full" else parts[index].reshape(n, heads, d)
        part = part * jax.lax.rsqrt(jnp.mean(part**2, axis=-1, keepdims=True) + EPS)
        part = part * scale.reshape((1,) * (part.ndim - 1) + (-1,))
        cos, sin = (table[:, None, :] for table in space)
        parts[index] = turn(part.reshape(n, heads, d), cos, sin, rotary.swap())
    query, key, value = (part.reshape(n, heads, d) for part in parts)

    def put(store: jax.Array, new: jax.Array) -> jax.Array:
        new = new.astype(store.dtype)[None]
        return jax.lax.dynamic_update_slice(store, new, (slot, 0, 0, 0))

    return query.astype(x.dtype), Ring(put(ring.keys, key), put(ring.values, value))


def project_query(
    x: jax.Array,
    modulation: Modulation,
    weights: Linear,
    scale: jax.Array,
    *,
    heads: int,
    norm: str,
    qk_norm: str,
) -> jax.Array:
    """Queries (n, heads, d) of the cross-attention: RMS-normed and scaled, not turned."""
    part = linear(norm_modulate(x, modulation, norm), weights)
    part = part if qk_norm == "full" else part.reshape(len(x), heads, -1)
    part = part * jax.lax.rsqrt(jnp.mean(part**2, axis=-1, keepdims=True) + EPS)
    part = part * scale.reshape((1,) * (part.ndim - 1) + (-1,))
    return part.reshape(len(x), heads, -1).astype(x.dtype)


def ring_attention(
    q: jax.Array,
    ring: Ring,
    ages: jax.Array,
    visible: jax.Array,
    *,
    rotary: Rotary,
    length: int,
) -> jax.Array:
    """softmax_sm(q_n . R(-age_s) k_sm / sqrt(d)) v_sm over the visible slots' first `length` keys.

    Shapes: q (n, heads, d); ages and visible (slots,), at least one of them visible -> (n, heads,
    d). Ages turn the keys as they are read, so nothing in the ring depends on the time.
    """
    n, heads, d = q.shape
    keys, values = ring.keys[:, :length], ring.values[:, :length].astype(jnp.float32)
    cos, sin = rotary.age_tables(ages)
    turned = turn(keys, cos[:, None, None, :], -sin[:, None, None, :], rotary.swap())
    logits = jnp.einsum("nhd,smhd->hnsm", q.astype(jnp.float32), turned) / math.sqrt(d)
    logits = jnp.where(visible[None, None, :, None], logits, -jnp.inf)
    weights = jax.nn.softmax(logits.reshape(heads, n, -1), axis=-1)
    mixed = jnp.einsum("hnm,mhd->nhd", weights, values.reshape(-1, heads, d))
    return mixed.astype(q.dtype)


def prompt_attention(
    q: jax.Array, keys: jax.Array, values: jax.Array, length: jax.Array | int
) -> jax.Array:
    """softmax_w(q_n . k_w / sqrt(d)) v_w over the first `length` () of words (words, heads, d)."""
    logits = jnp.einsum("nhd,whd->hnw", q.astype(jnp.float32), keys.astype(jnp.float32))
    seen = jnp.arange(len(keys)) < length
    logits = jnp.where(seen[None, None], logits / math.sqrt(q.shape[-1]), -jnp.inf)
    weights = jax.nn.softmax(logits, axis=-1)
    return jnp.einsum("hnw,whd->nhd", weights, values.astype(jnp.float32)).astype(q.dtype)


def project_residual(
    x: jax.Array, y: jax.Array, weights: Linear, gate: jax.Array | None, *, gate_offset: float
) -> jax.Array:
    """x + (gate_offset + gate) * (y @ kernel + bias); x (n, dim), y (n, inputs), gate (dim,).

    Without a gate x + y @ kernel + bias.
    """
    change = linear(y, weights)
    if gate is not None:
        change = (gate_offset + gate)[None] * change
    return (x.astype(jnp.float32) + change).astype(x.dtype)


def project_gelu(x: jax.Array, modulation: Modulation, weights: Linear, *, norm: str) -> jax.Array:
    """gelu(norm_modulate(x) @ kernel + bias), tanh approximation (Hendrycks & Gimpel 2016)."""
    return jax.nn.gelu(linear(norm_modulate(x, modulation, norm), weights)).astype(x.dtype)


class CrossWeights(NamedTuple):
    """Of a block's cross-attention; `scale` of the queries' norm as in `HeadNorm`."""

    query: Linear
    scale: jax.Array
    out: Linear


class BlockWeights(NamedTuple):
    """Of one block; `cross` is None where it has no cross-attention.

    qkv: one `Linear`; in `blocks.chunk_chain` the three of queries, keys and values.
    """

    qkv: Any
    scales: HeadNorm
    out: Linear
    cross: CrossWeights | None
    up: Linear
    down: Linear


class BlockModulation(NamedTuple):
    """What the condition makes of one block: gates are (dim,) float32."""

    attention: Modulation
    attention_gate: jax.Array
    cross: Modulation | None
    mlp: Modulation
    mlp_gate: jax.Array


class Prompt(NamedTuple):
    """A prompt's keys and values (words, heads, d), normed; the first `length` () int32 count."""

    keys: jax.Array
    values: jax.Array
    length: jax.Array


class Seen(NamedTuple):
    """What a frame sees: of the ring, whose `slot` () is its own, ages and visible (slots,)."""

    slot: jax.Array
    ages: jax.Array
    visible: jax.Array
    prompt: Prompt | None


def block(
    x: jax.Array,
    weights: BlockWeights,
    modulation: BlockModulation,
    space: tuple[jax.Array, jax.Array],
    ring: Ring,
    seen: Seen,
    *,
    rotary: Rotary,
    norm: str,
    qk_norm: str,
    gate_offset: float,
    length: int,
) -> tuple[jax.Array, Ring]:
    """A DiT block on x (n, dim): attention over the ring and feed-forward, each gated."""
    q, ring = project_heads(
        x, modulation.attention, weights.qkv, weights.scales, space, ring, seen.slot,
        rotary=rotary, norm=norm, qk_norm=qk_norm,
    )  # fmt: skip
    attended = ring_attention(q, ring, seen.ages, seen.visible, rotary=rotary, length=length)
    gate, flat = modulation.attention_gate, attended.reshape(len(x), -1)
    x = project_residual(x, flat, weights.out, gate, gate_offset=gate_offset)
    if weights.cross and modulation.cross and seen.prompt:
        q = project_query(
            x, modulation.cross, weights.cross.query, weights.cross.scale,
            heads=q.shape[1], norm=norm, qk_norm=qk_norm,
        )  # fmt: skip
        flat = prompt_attention(q, *seen.prompt).reshape(len(x), -1)
        x = project_residual(x, flat, weights.cross.out, None, gate_offset=gate_offset)
    hidden = project_gelu(x, modulation.mlp, weights.up, norm=norm)
    gate = modulation.mlp_gate
    return project_residual(x, hidden, weights.down, gate, gate_offset=gate_offset), ring
