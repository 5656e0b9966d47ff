"""The model's blocks through the kernels: one frame of a stream, on Hopper."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from lsdjax.model.layers import Block, Blocks, Context, Linear, PromptAttention
from lsdjax.model.rope import SPACE_BASE, TIME_BASE, temporal_dims
from lsdjax.pallas import attention, reference, single_pass
from lsdjax.pallas import blocks as chains
from lsdjax.pallas.blocks import Variant
from lsdjax.pallas.gemm import BLOCK_ROWS
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.rotary import Rotary
from lsdjax.pallas.rounding import quantise

DEPENDENT = Launch(dependent=True)
_chain = jax.jit(chains.chunk_chain, static_argnames=("variant", "how"))
_block = jax.jit(single_pass.single_pass_block, static_argnames=("variant", "how"))
"""All blocks of all passes are one function to JAX: their kernels are compiled once."""
WORDS = 64
"""A prompt's words are padded to a multiple of these."""


def fused_blocks(
    x: jax.Array,
    modulation: Sequence[jax.Array],
    prompt: Sequence[PromptAttention],
    context: Sequence[Context],
    *,
    blocks: Sequence[Block],
    in_one: bool = False,
    eight_bits: bool = False,
    how: Launch = DEPENDENT,
) -> Blocks:
    """See `layers.run_blocks`; `in_one` is one persistent kernel a block, otherwise eight.

    eight_bits: products of activations and weights are in e4m3, see `pallas.rounding`.

    The KV cache is read where it lies; the frame's own keys and values stay beside it. What is the
    same for all blocks, or can be made for all at once, is made once.

    Raises:
        NotImplementedError: not one frame over a cache, or the kernels do not fit.
    """
    n, dim = x.shape[2:]
    _check(x, context[0], blocks[0])
    rows = -(-n // BLOCK_ROWS) * BLOCK_ROWS
    variant = variant_of(blocks[0], n, dim)
    round_for = None
    if eight_bits:
        variant = dataclasses.replace(variant, tiles=chains.tiles_in_8_bits(variant.tiles))
        round_for = variant.tiles

    def padded(array: jax.Array) -> jax.Array:
        return jnp.pad(array, ((0, rows - n), (0, 0)))

    cos, sin = (padded(table) for table in variant.rotary.space_tables(*blocks[0].grid))
    told = jnp.stack([each[0, 0] for each in modulation]).astype(jnp.float32)
    told = told.reshape(len(blocks), 6, dim)
    words, length = _words_of(prompt, x.dtype)
    ages, visible = context[0].ages, context[0].visible[0, :-1]
    parts = dim // variant.tiles.down.columns  # as a block leaves them
    stream, made = Stream.of(padded(x[0, 0]), parts), []
    for number, (block, seen) in enumerate(zip(blocks, context, strict=True)):
        assert seen.keys is not None and seen.values is not None
        known = (weights_of(block, x.dtype, round_for), modulation_of(told[number]), (cos, sin))
        past = reference.Ring(seen.keys[0].astype(x.dtype), seen.values[0].astype(x.dtype))
        keys, values = words[:, number]
        if in_one:
            spoken = reference.Prompt(keys, values, length)
            stream, own = _block(
                stream, *known, past, ages[0], visible, spoken, variant=variant, how=how
            )
        else:
            stream, chunk = _chain(
                stream, *known, past, ages, visible, (keys, values),
                words=length, variant=variant, how=how,
            )  # fmt: skip
            own = chunk.own
        made.append(own)
    keys, values = (
        jnp.stack([own[which][:n] for own in made])[:, None, None] for which in range(2)
    )
    return stream.x[None, None, :n], keys, values


def blocks_in_8_bits(
    x: jax.Array,
    modulation: Sequence[jax.Array],
    prompt: Sequence[PromptAttention],
    context: Sequence[Context],
    *,
    blocks: Sequence[Block],
) -> Blocks:
    """What the kernels in 8 bits have to compute, on any device; any width.

    Raises:
        NotImplementedError: not one frame over a cache.
    """
    (b, t, n, dim), made = x.shape, []
    if b * t != 1 or context[0].keys is None:
        raise NotImplementedError(f"{b} x {t} frames; one frame over a cache is expected")
    variant, x = variant_of(blocks[0], n, dim), x[0, 0]
    tiles = chains.tiles_in_8_bits(variant.tiles)
    for block, told, words, seen in zip(blocks, modulation, prompt, context, strict=True):
        assert seen.keys is not None and seen.values is not None
        ring = reference.Ring(
            *(jnp.pad(past[0], ((0, 1), *((0, 0),) * 3)) for past in (seen.keys, seen.values))
        )
        slot, order = len(ring.keys) - 1, attention.first(words.mask)
        count = jnp.sum(words.mask, dtype=jnp.int32)
        spoken = reference.Prompt(words.keys[order], words.values[order], count)
        x, ring = reference.block(
            x,
            weights_of(block, x.dtype, tiles),
            modulation_of(told[0, 0].astype(jnp.float32).reshape(6, dim)),
            variant.rotary.space_tables(*block.grid),
            ring,
            reference.Seen(jnp.int32(slot), seen.ages[0], seen.visible[0], spoken),
            rotary=variant.rotary,
            norm=variant.norm,
            qk_norm=variant.qk_norm,
            gate_offset=variant.gate_offset,
            length=n,
        )
        made.append([store[slot] for store in ring])
    keys, values = (jnp.stack([own[which] for own in made])[:, None, None] for which in range(2))
    return x[None, None], keys, values


def _check(x: jax.Array, context: Context, block: Block) -> None:
    (b, t, _, dim), keys = x.shape, context.keys
    if b * t != 1 or keys is None or context.values is None:
        raise NotImplementedError(f"{b} x {t} frames; one frame over a cache is expected")
    if x.dtype != jnp.bfloat16:
        raise NotImplementedError(f"activations of {x.dtype}; bfloat16 is expected")
    d = keys.shape[-1]
    if block.heads * d != dim:
        raise NotImplementedError(
            f"{block.heads} heads of {d} in {dim} dimensions; all are expected"
        )
    attention.check(BLOCK_ROWS, d, x)


def _words_of(prompt: Sequence[PromptAttention], dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """All blocks' keys and values of the prompt, (2, blocks, words, heads, d); and how many count.

    Words that count come first, and there is room for a multiple of `WORDS`.
    """
    mask = prompt[0].mask
    both = jnp.stack(
        [jnp.stack([words.keys for words in prompt]), jnp.stack([words.values for words in prompt])]
    )
    both = both.astype(dtype)[:, :, attention.first(mask)]
    spare = ((0, 0), (0, 0), (0, -len(mask) % WORDS), (0, 0), (0, 0))
    return jnp.pad(both, spare), jnp.sum(mask, dtype=jnp.int32)


def variant_of(block: Block, tokens: int, dim: int) -> Variant:
    """The kind of block that this model has."""
    d = block.q_scale.shape[0]
    time = temporal_dims(d)
    part = (d - time) // 2
    rotary = Rotary(time, (part, part), time_base=TIME_BASE, space_base=SPACE_BASE)
    tiles = chains.tiles_of(dim, d, block.up.kernel.shape[1])
    return Variant(rotary, "rms", "head", 1.0, tokens, tiles)


def weights_of(
    block: Block, dtype: jnp.dtype, round_for: chains.BlockTiles | None = None
) -> reference.BlockWeights:
    """A block's parameters as the kernels take them; in 8 bits with a scale for each tile."""

    def linear(layer: Linear, tiles: str) -> Any:
        kernel, bias = layer.kernel[...], layer.bias[...].astype(jnp.float32)
        if round_for is not None:
            return quantise(kernel, bias, getattr(round_for, tiles).columns)
        return reference.Linear(kernel.astype(dtype), bias)

    plain = jnp.ones_like(block.q_scale[...])
    return reference.BlockWeights(
        linear(block.qkv, "qkv"),
        reference.HeadNorm(block.q_scale[...], block.k_scale[...]),
        linear(block.out, "out"),
        reference.CrossWeights(
            linear(block.prompt_q, "out"), plain, linear(block.prompt_out, "out")
        ),
        linear(block.up, "up"),
        linear(block.down, "down"),
    )


def modulation_of(parts: jax.Array) -> reference.BlockModulation:
    """What the condition makes of a block, from `parts` (6, dim) float32."""
    none = jnp.zeros_like(parts[0])
    return reference.BlockModulation(
        reference.Modulation(parts[0], parts[1]),
        parts[2],
        reference.Modulation(none, none),
        reference.Modulation(parts[3], parts[4]),
        parts[5],
    )
