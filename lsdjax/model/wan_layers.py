"""The layers of the Wan DiT: interleaved three-axis RoPE, full-width QK norm, the block.

Where this block differs from `lsdjax.model.layers.Block`: q and k are normalised over the full
width, before the heads; the rotary embedding turns neighbouring pairs; shifts, scales and gates are
sums of one learned table and one projection of the timestep that all blocks share; the words of a
prompt are not masked.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from lsdjax.core.attention import dot_product_attention
from lsdjax.model.layers import Linear, rms_norm
from lsdjax.model.wan_config import WanConfig
from lsdjax.pallas import dispatch

BASE = 10000.0


def _frequencies(pairs: int) -> jax.Array:
    return BASE ** (-jnp.arange(pairs, dtype=jnp.float32) / pairs)


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """How many pairs of a head's dimensions turn with time, with the row and with the column."""
    third = head_dim // 6
    return head_dim // 2 - 2 * third, third, third


def rotate_pairs(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Rotate neighbours (x[2i], x[2i + 1]) by angles[i], in float32: x (..., d), angles (..., d/2).

    Su et al. 2021, RoFormer, eq. 34; the ranks are the same.
    """
    pairs = x.astype(jnp.float32).reshape(*x.shape[:-1], x.shape[-1] // 2, 2)
    even, odd = pairs[..., 0], pairs[..., 1]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    turned = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)


def rotate_time(x: jax.Array, frames: jax.Array) -> jax.Array:
    """Turn the temporal part of x (b, t, n, heads, d) by the positions `frames` (t,)."""
    pairs = axis_pairs(x.shape[-1])[0]
    angles = frames.astype(jnp.float32)[:, None] * _frequencies(pairs)[None]
    time, space = jnp.split(x, [2 * pairs], axis=-1)
    return jnp.concatenate([rotate_pairs(time, angles[None, :, None, None]), space], axis=-1)


def rotate_grid(x: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Turn the spatial parts of x (b, t, n, heads, d); n tokens, row by row of `grid`."""
    rows, columns = grid
    first, by_row, by_column = axis_pairs(x.shape[-1])
    row = jnp.repeat(jnp.arange(rows, dtype=jnp.float32), columns)[:, None]
    column = jnp.tile(jnp.arange(columns, dtype=jnp.float32), rows)[:, None]
    angles = [row * _frequencies(by_row)[None], column * _frequencies(by_column)[None]]
    angles = jnp.concatenate(angles, axis=-1)[None, None, :, None]
    time, space = jnp.split(x, [2 * first], axis=-1)
    return jnp.concatenate([time, rotate_pairs(space, angles)], axis=-1)


def layer_norm(x: jax.Array) -> jax.Array:
    """(x - mean) / deviation over the last axis, computed in float32."""
    wide = x.astype(jnp.float32)
    wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + 1e-6)).astype(x.dtype)


def shift_scale(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """x * (1 + scale) + shift; x (b, t, n, dim), the others (b, t, dim)."""
    scale, shift = (part[:, :, None].astype(x.dtype) for part in (scale, shift))
    return x * (1 + scale) + shift


class Scale(nnx.Module):
    """The weight of a normalisation, and a bias where there is one."""

    def __init__(self, dim: int, *, bias: bool = False) -> None:
        self.scale = nnx.Param(jnp.ones((dim,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((dim,), jnp.float32)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        spread = (None,) * (x.ndim - 1)
        x = x * self.scale[...].astype(x.dtype)[spread]
        return x if self.bias is None else x + self.bias[...].astype(x.dtype)[spread]


class Attention(nnx.Module):
    """Projections to queries, keys and values of all heads, and back."""

    def __init__(self, dim: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.q, self.k, self.v, self.out = (Linear(dim, dim, rngs=rngs) for _ in range(4))
        self.q_norm, self.k_norm = Scale(dim), Scale(dim)

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def queries(self, x: jax.Array) -> jax.Array:
        """(..., dim) -> (..., heads, d)."""
        return self._split(self.q_norm(rms_norm(self.q(x))))

    def keys_values(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(..., dim) -> two (..., heads, d)."""
        return self._split(self.k_norm(rms_norm(self.k(x)))), self._split(self.v(x))


class WanPrompt(NamedTuple):
    """Keys and values of one prompt in one block: (words, heads, d)."""

    keys: jax.Array
    values: jax.Array


class WanContext(NamedTuple):
    """What the chunks of one call attend to besides themselves.

    keys, values: (b, slots, n, heads, d), turned in space and not in time; None for a sequence
        whose chunks see the frames of the same call before them.
    ages, visible: (chunks, slots). Of several chunks, chunk i sees at most the first i * chunk
        slots: then slots are the frames of the call.
    """

    keys: jax.Array | None
    values: jax.Array | None
    ages: jax.Array
    visible: jax.Array


class Traces(NamedTuple):
    """What a block leaves of the call's frames.

    keys, values: (b, t, n, heads, d), turned in space and not in time.
    queries: (b, heads, d), the sum of the last chunk's, turned in space and in time.
    """

    keys: jax.Array
    values: jax.Array
    queries: jax.Array


LOGIT_BYTES = 1 << 28
"""Of attention's logits at a time."""


def attend(q: jax.Array, keys: jax.Array, values: jax.Array, visible: jax.Array) -> jax.Array:
    """softmax(q k / sqrt(d)) v over the tokens of the visible slots, the softmax in float32.

    Where the logits would take more than `LOGIT_BYTES`, groups of queries have their turn one after
    the other (Rabe and Staats 2021), in a backward pass as well.

    Shapes: q (b, t, n, heads, d), keys and values (b, slots, n, heads, d), visible (slots,).
    """
    b, _, n, heads, d = q.shape
    mask = jnp.repeat(visible, n)[None, None, None]
    flat, keys, values = (x.reshape(b, x.shape[1] * n, heads, d) for x in (q, keys, values))
    rows = flat.shape[1]
    groups = -(-rows * b * heads * keys.shape[1] * 4 // LOGIT_BYTES)
    if groups <= 1:
        return dot_product_attention(flat, keys, values, mask).reshape(q.shape)
    groups = min(groups, rows)
    size = -(-rows // groups)
    padded = jnp.pad(flat, ((0, 0), (0, size * groups - rows), (0, 0), (0, 0)))
    turns = jnp.moveaxis(padded.reshape(b, groups, size, heads, d), 1, 0)
    one = jax.checkpoint(lambda part: dot_product_attention(part, keys, values, mask))
    made = jnp.moveaxis(jax.lax.map(one, turns), 0, 1).reshape(padded.shape)
    return made[:, :rows].reshape(q.shape)


class WanBlock(nnx.Module):
    """Self-attention over the chunks, cross-attention to the prompt, feed-forward."""

    def __init__(self, config: WanConfig, *, rngs: nnx.Rngs) -> None:
        dim = config.dim
        self.chunk = config.chunk
        table = jax.random.normal(rngs.params(), (6, dim), jnp.float32) / dim**0.5
        self.modulation = nnx.Param(table)
        self.self_attention = Attention(dim, config.heads, rngs=rngs)
        self.cross_norm = Scale(dim, bias=True)
        self.cross_attention = Attention(dim, config.heads, rngs=rngs)
        self.up = Linear(dim, config.ffn_dim, rngs=rngs)
        self.down = Linear(config.ffn_dim, dim, rngs=rngs)

    def prompt(self, words: jax.Array) -> WanPrompt:
        """Keys and values of a prompt's words (words, dim), once a prompt."""
        return WanPrompt(*self.cross_attention.keys_values(words))

    def __call__(
        self,
        x: jax.Array,
        told: jax.Array,
        prompt: WanPrompt,
        context: WanContext,
        grid: tuple[int, int],
    ) -> tuple[jax.Array, Traces]:
        """x (b, t, n, dim), told (b, t, 6, dim) of the timestep -> x and what it leaves."""
        told = told + self.modulation[...].astype(jnp.float32)[None, None]
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (told[:, :, i] for i in range(6))
        attended, traces = self._self_attention(
            shift_scale(layer_norm(x), shift_a, scale_a), context, grid
        )
        x = x + attended * gate_a[:, :, None].astype(x.dtype)
        x = x + self._cross_attention(self.cross_norm(layer_norm(x)), prompt)
        hidden = jax.nn.gelu(self.up(shift_scale(layer_norm(x), shift_f, scale_f)))
        return x + self.down(hidden) * gate_f[:, :, None].astype(x.dtype), traces

    def _self_attention(
        self, x: jax.Array, context: WanContext, grid: tuple[int, int]
    ) -> tuple[jax.Array, Traces]:
        q = rotate_grid(self.self_attention.queries(x), grid)
        keys, values = self.self_attention.keys_values(x)
        keys = rotate_grid(keys, grid)
        past_keys = keys if context.keys is None else context.keys.astype(x.dtype)
        past_values = values if context.values is None else context.values.astype(x.dtype)
        # Positions count from the first frame of a chunk: they stay small in an endless stream.
        own = jnp.arange(self.chunk)
        attended = []
        chunks, slots = context.ages.shape
        for i in range(chunks):
            now = slice(i * self.chunk, (i + 1) * self.chunk)
            past = slots if chunks == 1 else now.start
            turned = rotate_time(past_keys[:, :past], -context.ages[i, :past])
            seen = jnp.concatenate([context.visible[i, :past], jnp.ones(self.chunk, bool)])
            attended.append(
                attend(
                    rotate_time(q[:, now], own),
                    jnp.concatenate([turned, rotate_time(keys[:, now], own)], axis=1),
                    jnp.concatenate([past_values[:, :past], values[:, now]], axis=1),
                    seen,
                )
            )
        mixed = jnp.concatenate(attended, axis=1)
        last = rotate_time(q[:, -self.chunk :], own)
        traces = Traces(keys, values, jnp.sum(last.astype(jnp.float32), axis=(1, 2)))
        return self.self_attention.out(mixed.reshape(x.shape)), traces

    def _cross_attention(self, x: jax.Array, prompt: WanPrompt) -> jax.Array:
        b, t, n, dim = x.shape
        q = self.cross_attention.queries(x.reshape(b, t * n, dim))
        words = (jnp.broadcast_to(y.astype(x.dtype)[None], (b, *y.shape)) for y in prompt)
        mixed = dot_product_attention(q, *words)
        return self.cross_attention.out(mixed.reshape(x.shape))


def run_blocks(
    x: jax.Array,
    told: jax.Array,
    prompt: Sequence[WanPrompt],
    context: Sequence[WanContext],
    *,
    blocks: Sequence[WanBlock],
    grid: tuple[int, int],
) -> tuple[jax.Array, list[Traces]]:
    """One block after the other: x (b, t, n, dim) -> x and what each leaves."""
    return dispatch.call("wan blocks", x, told, prompt, context, blocks=blocks, grid=grid)


def _through_xla(
    x: jax.Array,
    told: jax.Array,
    prompt: Sequence[WanPrompt],
    context: Sequence[WanContext],
    *,
    blocks: Sequence[WanBlock],
    grid: tuple[int, int],
) -> tuple[jax.Array, list[Traces]]:
    traces = []
    for block, words, seen in zip(blocks, prompt, context, strict=True):
        x, trace = block(x, told, words, seen, grid)
        traces.append(trace)
    return x, traces


def _through_kernels(*arguments: Any, **settings: Any) -> tuple[jax.Array, list[Traces]]:
    dispatch.needs(dispatch.HOPPER)
    from lsdjax.model.wan_fused import fused_blocks  # the kernels' compiler, where it is of use

    return fused_blocks(*arguments, **settings)


dispatch.register("wan blocks", "kernel chain", _through_kernels)
dispatch.register("wan blocks", "xla", _through_xla)
