"""The DiT's layers: linear maps, prompt-dependent convolutions, attention, the block."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from lsdjax.model.config import ModelConfig
from lsdjax.model.rope import rotate_age, rotate_space
from lsdjax.pallas import dispatch

Initializer = jax.nn.initializers.Initializer
lecun = jax.nn.initializers.lecun_normal()
zeros = jax.nn.initializers.zeros


class Linear(nnx.Module):
    """x @ kernel + bias, with the leading axes flattened first (on CPU a 2-D matmul is faster)."""

    def __init__(
        self, inputs: int, outputs: int, *, rngs: nnx.Rngs, init: Initializer = lecun
    ) -> None:
        self.kernel = nnx.Param(init(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        flat = x.reshape(-1, x.shape[-1]) @ self.kernel[...].astype(x.dtype)
        flat = flat + self.bias[...].astype(x.dtype)[None, :]
        return flat.reshape(*x.shape[:-1], -1)


def rms_norm(x: jax.Array) -> jax.Array:
    """x / rms(x) over the last axis, computed in float32."""
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + 1e-6)).astype(x.dtype)


def sinusoid(x: jax.Array, dims: int, top: float = 1000.0) -> jax.Array:
    """Sines and cosines of x (...,) at `dims / 2` geometric frequencies from 1 to `top`."""
    frequencies = jnp.exp(jnp.linspace(0.0, math.log(top), dims // 2, dtype=jnp.float32))
    angles = x.astype(jnp.float32)[..., None] * frequencies.reshape((1,) * x.ndim + (-1,))
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """x * (1 + scale) + shift; x (b, t, ..., ch), shift and scale (b, t, ch)."""
    axes = tuple(range(2, x.ndim - 1))
    return x * (1 + jnp.expand_dims(scale, axes)) + jnp.expand_dims(shift, axes)


class DynamicConv(nnx.Module):
    """A convolution whose kernel depends on the prompt: base + sum_k weight_k(prompt) * offset_k.

    Conditionally parameterised convolutions (Yang et al. 2019) with a shared base. The mixed kernel
    is made once a prompt, so a stream pays for an ordinary convolution however many experts exist.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int, config: ModelConfig, *, rngs: nnx.Rngs
    ) -> None:
        shape = (size, size, inputs, outputs)
        self.kernel = nnx.Param(lecun(rngs.params(), shape, jnp.float32))
        offsets = [0.5 * lecun(rngs.params(), shape, jnp.float32) for _ in range(config.experts)]
        self.offsets = nnx.Param(jnp.stack(offsets))
        self.bias = nnx.Param(jnp.zeros((outputs,), jnp.float32))
        self.route = Linear(config.text_dim, config.experts, rngs=rngs)

    def mix(self, pooled: jax.Array) -> jax.Array:
        """The kernel (size, size, in, out) for one prompt, pooled (text_dim,)."""
        weights = self.route(pooled[None])[0].astype(jnp.float32)
        weights = weights / math.sqrt(self.offsets.shape[0])
        return self.kernel[...] + jnp.tensordot(weights, self.offsets[...], axes=1)

    def __call__(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """x (b, t, h, w, in) with a kernel that `mix` made -> (b, t, h, w, out)."""
        kernel = kernel.astype(x.dtype)
        if kernel.shape[:2] == (1, 1):
            y = (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)
        else:
            y = jax.lax.conv_general_dilated(
                x.reshape(-1, *x.shape[2:]),
                kernel,
                window_strides=(1, 1),
                padding="SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            ).reshape(*x.shape[:-1], -1)
        return y + self.bias[...].astype(x.dtype)[None, None, None, None, :]


class Film(nnx.Module):
    """Feature-wise scale and shift from the conditioning vector (Perez et al. 2018), then SiLU."""

    def __init__(self, channels: int, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.linear = Linear(config.text_dim, 2 * channels, rngs=rngs, init=zeros)

    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        """x (b, t, h, w, ch), condition (b, t, text_dim)."""
        shift, scale = jnp.split(self.linear(condition), 2, axis=-1)
        return jax.nn.silu(modulate(x, shift, scale))


def attend(
    q: jax.Array, keys: jax.Array, values: jax.Array, ages: jax.Array, visible: jax.Array
) -> jax.Array:
    """Each frame's queries over the tokens of the frames that it sees.

    softmax_m(q_n . R(-age_s) k_sm / sqrt(d)) v_sm over the tokens m of every visible slot s, in
    float32. Ages rotate the keys here, at read time; nothing in the cache depends on the time. What
    lies in a slot that is not seen does not matter, not even where it is not a number.

    Shapes: q (b, t, n, heads, d); keys and values (b, slots, m, heads, d); ages and visible
    (t, slots) -> (b, t, n, heads, d).
    """
    b, t, n, heads, d = q.shape
    slots, m = keys.shape[1:3]
    keys = rotate_age(keys, ages).transpose(0, 1, 4, 2, 3, 5).reshape(-1, slots * m, d)
    values = jnp.where(visible[None, :, :, None, None, None], values[:, None], 0)
    values = values.transpose(0, 1, 4, 2, 3, 5).reshape(-1, slots * m, d)
    q = q.transpose(0, 1, 3, 2, 4).reshape(-1, n, d)
    logits = jnp.einsum("bnd,bmd->bnm", q, keys, preferred_element_type=jnp.float32)
    seen = jnp.repeat(visible, m, axis=-1)[None, :, None, None, :]
    logits = jnp.where(seen, logits.reshape(b, t, heads, n, -1) / math.sqrt(d), -1e30)
    weights = jax.nn.softmax(logits, axis=-1).astype(values.dtype).reshape(-1, n, slots * m)
    mixed = jnp.einsum("bnm,bmd->bnd", weights, values)
    return mixed.reshape(b, t, heads, n, d).transpose(0, 1, 3, 2, 4)


class Context(NamedTuple):
    """What the frames of one call attend to besides themselves.

    keys, values: (b, slots, n, heads, d), or None for a whole sequence that only sees itself.
    ages, visible: (t, slots + t): for each frame of the call, past slots first, then its own.
    """

    keys: jax.Array | None
    values: jax.Array | None
    ages: jax.Array
    visible: jax.Array


class PromptAttention(NamedTuple):
    """A block's keys and values of the prompt: (words, heads, d), and which words count."""

    keys: jax.Array
    values: jax.Array
    mask: jax.Array


class Block(nnx.Module):
    """Pre-norm DiT block: adaLN-zero (Peebles & Xie 2023), QK-norm, prompt cross-attention."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        dim, hidden, attention = config.dim, config.mlp_hidden, config.heads * config.head_dim
        self.heads = config.heads
        self.grid = config.grid
        self.modulation = Linear(config.text_dim, 6 * dim, rngs=rngs, init=zeros)
        self.qkv = Linear(dim, 3 * attention, rngs=rngs)
        self.q_scale = nnx.Param(jnp.ones((config.head_dim,), jnp.float32))
        self.k_scale = nnx.Param(jnp.ones((config.head_dim,), jnp.float32))
        self.out = Linear(attention, dim, rngs=rngs)
        self.prompt_q = Linear(dim, attention, rngs=rngs)
        self.prompt_kv = Linear(config.text_dim, 2 * attention, rngs=rngs)
        self.prompt_out = Linear(attention, dim, rngs=rngs, init=zeros)
        self.up = Linear(dim, hidden, rngs=rngs)
        self.down = Linear(hidden, dim, rngs=rngs)

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(*x.shape[:-1], self.heads, -1)

    def prompt_attention(self, words: jax.Array, mask: jax.Array) -> PromptAttention:
        """Keys and values of one prompt, words (words, text_dim), once a prompt."""
        keys, values = jnp.split(self._split(self.prompt_kv(words)), 2, axis=-1)
        return PromptAttention(rms_norm(keys), values, mask)

    def __call__(
        self, x: jax.Array, modulation: jax.Array, prompt: PromptAttention, context: Context
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """x (b, t, n, dim) -> the same, and this call's keys and values (b, t, n, heads, d).

        modulation (b, t, 6 * dim), see `run_blocks`.
        """
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
            part for part in jnp.split(modulation, 6, axis=-1)
        )
        attended, keys, values = self._attention(modulate(rms_norm(x), shift_a, scale_a), context)
        x = x + (1 + gate_a[:, :, None]) * attended
        x = x + self._cross_attention(rms_norm(x), prompt)
        hidden = jax.nn.gelu(self.up(modulate(rms_norm(x), shift_m, scale_m)))
        hidden = checkpoint_name(hidden, "hidden")
        return x + (1 + gate_m[:, :, None]) * self.down(hidden), keys, values

    def _attention(self, x: jax.Array, context: Context) -> tuple[jax.Array, jax.Array, jax.Array]:
        q, keys, values = (self._split(part) for part in jnp.split(self.qkv(x), 3, axis=-1))
        q_scale = self.q_scale[...].astype(x.dtype)[None, None, None, None, :]
        k_scale = self.k_scale[...].astype(x.dtype)[None, None, None, None, :]
        q = rotate_space(rms_norm(q) * q_scale, self.grid)
        keys = rotate_space(rms_norm(keys) * k_scale, self.grid)
        seen_keys, seen_values = keys, values
        if context.keys is not None and context.values is not None:
            seen_keys = jnp.concatenate([context.keys.astype(x.dtype), keys], axis=1)
            seen_values = jnp.concatenate([context.values.astype(x.dtype), values], axis=1)
        attended = attend(q, seen_keys, seen_values, context.ages, context.visible)
        attended = checkpoint_name(attended, "heads")
        return self.out(attended.reshape(*x.shape[:-1], -1)), keys, values

    def _cross_attention(self, x: jax.Array, prompt: PromptAttention) -> jax.Array:
        q = rms_norm(self._split(self.prompt_q(x)))
        logits = jnp.einsum(
            "btnhd,whd->btnhw", q, prompt.keys, preferred_element_type=jnp.float32
        ) / math.sqrt(q.shape[-1])
        logits = jnp.where(prompt.mask[None, None, None, None, :], logits, -1e30)
        weights = jax.nn.softmax(logits, axis=-1).astype(x.dtype)
        mixed = jnp.einsum("btnhw,whd->btnhd", weights, prompt.values)
        mixed = checkpoint_name(mixed, "prompt_heads")
        return self.prompt_out(mixed.reshape(*x.shape[:-1], -1))


Blocks = tuple[jax.Array, jax.Array, jax.Array]
"""x (b, t, n, dim), and the keys and values of the call, (layers, b, t, n, heads, d) each."""


def run_blocks(
    x: jax.Array,
    condition: jax.Array,
    prompt: Sequence[PromptAttention],
    context: Sequence[Context],
    *,
    blocks: Sequence[Block],
) -> Blocks:
    """One block after the other, on what serves: x (b, t, n, dim), condition (b, t, text_dim)."""
    told = jax.nn.silu(condition)
    modulation = [block.modulation(told) for block in blocks]
    return dispatch.call("blocks", x, modulation, prompt, context, blocks=blocks)


def _through_xla(
    x: jax.Array,
    modulation: Sequence[jax.Array],
    prompt: Sequence[PromptAttention],
    context: Sequence[Context],
    *,
    blocks: Sequence[Block],
) -> Blocks:
    keys, values = [], []
    for block, told, words, seen in zip(blocks, modulation, prompt, context, strict=True):
        x, key, value = block(x, told, words, seen)
        x = checkpoint_name(x, "dim")
        keys.append(key)
        values.append(value)
    return x, jnp.stack(keys), jnp.stack(values)


def _through_kernels(*arguments: Any, **settings: Any) -> Blocks:
    dispatch.needs(dispatch.HOPPER)
    from lsdjax.model.fused import fused_blocks  # the kernels' compiler, where it is of use

    return fused_blocks(*arguments, **settings)


def _in_8_bits(*arguments: Any, blocks: Sequence[Block]) -> Blocks:
    from lsdjax.model.fused import blocks_in_8_bits

    return blocks_in_8_bits(*arguments, blocks=blocks)


dispatch.register("blocks", "single pass", functools.partial(_through_kernels, in_one=True))
dispatch.register("blocks", "kernel chain", _through_kernels)
dispatch.register("blocks", "xla", _through_xla)
_fp8 = functools.partial(_through_kernels, eight_bits=True)
dispatch.register("blocks", "kernel chain in fp8", _fp8, asked_for=True)
dispatch.register("blocks", "reference in fp8", _in_8_bits, asked_for=True)
