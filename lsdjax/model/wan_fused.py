"""The Wan model's blocks through the kernels: a chunk of a stream over its KV cache, on Hopper."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from lsdjax.model.layers import Linear
from lsdjax.model.wan_layers import (
    BASE,
    Traces,
    WanBlock,
    WanContext,
    WanPrompt,
    axis_pairs,
    rotate_time,
)
from lsdjax.pallas import attention, reference
from lsdjax.pallas.blocks import Chunk, Variant, chunk_chain, tiles_of
from lsdjax.pallas.gemm import BLOCK_ROWS
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.reference import EPS, Modulation, Ring
from lsdjax.pallas.rotary import Rotary

DEPENDENT = Launch(dependent=True)
_chain = jax.jit(chunk_chain, static_argnames=("words", "variant", "how"))
"""All blocks of all passes are one function to JAX: their kernels are compiled once."""

WORDS = 64
"""A prompt's words are padded to a multiple of these."""


def fused_blocks(
    x: jax.Array,
    told: jax.Array,
    prompt: Sequence[WanPrompt],
    context: Sequence[WanContext],
    *,
    blocks: Sequence[WanBlock],
    grid: tuple[int, int],
    how: Launch = DEPENDENT,
) -> tuple[jax.Array, list[Traces]]:
    """See `wan_layers.run_blocks`; eight kernels a block.

    Each frame's rows are padded to whole blocks of rows, once for all layers. The cache is read
    where it lies; the keys and values of the chunk's own frames stay beside it.

    Raises:
        NotImplementedError: not one chunk over a cache, or the kernels do not fit.
    """
    b, t, n, dim = x.shape
    _check(x, context[0], blocks[0])
    rows = -(-n // BLOCK_ROWS) * BLOCK_ROWS
    variant = variant_of(blocks[0], n)
    cos, sin = (
        jnp.tile(jnp.pad(table, ((0, rows - n), (0, 0))), (t, 1))
        for table in variant.rotary.space_tables(*grid)
    )
    ages, known = ages_of(context[0], t), modulations_of(blocks, told[0])
    padded = jnp.pad(x[0], ((0, 0), (0, rows - n), (0, 0)))
    parts = dim // variant.tiles.down.columns  # as a block leaves them
    stream, traces = Stream.of(padded.reshape(t * rows, dim), parts), []
    for block, modulation, words, past in zip(blocks, known, prompt, context, strict=True):
        assert past.keys is not None and past.values is not None
        stream, chunk = _chain(
            stream,
            weights_of(block, x.dtype),
            modulation,
            (cos, sin),
            Ring(past.keys[0].astype(x.dtype), past.values[0].astype(x.dtype)),
            ages,
            past.visible[0],
            prompt_of(words, x.dtype),
            words=len(words.keys),
            variant=variant,
            how=how,
        )
        traces.append(_traces_of(chunk, t, n))
    return stream.x.reshape(b, t, rows, dim)[:, :, :n], traces


def _check(x: jax.Array, context: WanContext, block: WanBlock) -> None:
    if context.keys is None or context.values is None:
        raise NotImplementedError("a sequence without a cache; one chunk over a cache is expected")
    if len(x) != 1 or len(context.ages) != 1:
        raise NotImplementedError(
            f"{len(x)} x {len(context.ages)} chunks; one chunk over a cache is expected"
        )
    if x.dtype != jnp.bfloat16:
        raise NotImplementedError(f"activations of {x.dtype}; bfloat16 is expected")
    devices = jax.sharding.get_abstract_mesh().size
    if devices > 1:
        raise NotImplementedError(f"a model spread over {devices} devices; one is expected")
    attention.check(BLOCK_ROWS, x.shape[-1] // block.self_attention.heads, x)


def ages_of(context: WanContext, frames: int) -> jax.Array:
    """How old the cache's slots, then the chunk's frames are to each of these: (frames, ...)."""
    own = jnp.arange(frames, dtype=jnp.int32)[:, None]
    return jnp.concatenate([context.ages + own, own - own.T], axis=1)


def variant_of(block: WanBlock, tokens: int) -> Variant:
    """The kind of block that a Wan model has."""
    dim, hidden = block.up.kernel.shape
    d = dim // block.self_attention.heads
    time, row, column = (2 * pairs for pairs in axis_pairs(d))
    rotary = Rotary(time, (row, column), interleaved=True, time_base=BASE, space_base=BASE)
    tiles = tiles_of(dim, d, hidden)
    qkv = dataclasses.replace(tiles.qkv, columns=d if d == 128 else 128)  # a part's columns
    tiles = dataclasses.replace(tiles, qkv=qkv)
    return Variant(rotary, "layer", "full", 0.0, tokens, tiles, cross_gain_offset=0.0)


def weights_of(block: WanBlock, dtype: jnp.dtype) -> reference.BlockWeights:
    """A block's parameters as the kernels take them."""

    def linear(layer: Linear) -> reference.Linear:
        return reference.Linear(layer.kernel[...].astype(dtype), layer.bias[...])

    own, words = block.self_attention, block.cross_attention
    return reference.BlockWeights(
        (linear(own.q), linear(own.k), linear(own.v)),
        reference.HeadNorm(own.q_norm.scale[...], own.k_norm.scale[...]),
        linear(own.out),
        reference.CrossWeights(linear(words.q), words.q_norm.scale[...], linear(words.out)),
        linear(block.up),
        linear(block.down),
    )


def modulations_of(blocks: Sequence[WanBlock], told: jax.Array) -> list[reference.BlockModulation]:
    """What the timestep makes of each block, told (t, 6, dim) of each frame.

    One sum for all blocks, laid out so that each kernel's part is a piece of it.
    """
    tables = jnp.stack([block.modulation[...].astype(jnp.float32) for block in blocks])
    parts = tables[:, :, None] + told.astype(jnp.float32).transpose(1, 0, 2)[None]

    def of(block: WanBlock, part: jax.Array) -> reference.BlockModulation:
        norm = block.cross_norm
        assert norm.bias is not None
        return reference.BlockModulation(
            Modulation(part[0], part[1]),
            part[2],
            Modulation(norm.bias[...], norm.scale[...]),
            Modulation(part[3], part[4]),
            part[5],
        )

    return [of(block, part) for block, part in zip(blocks, parts, strict=True)]


def prompt_of(words: WanPrompt, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """A prompt's keys and values, with room for a multiple of `WORDS`."""
    spare = ((0, -len(words.keys) % WORDS), (0, 0), (0, 0))
    keys, values = (jnp.pad(part.astype(dtype), spare) for part in words)
    return keys, values


def _traces_of(chunk: Chunk, t: int, n: int) -> Traces:
    heads, d = chunk.queries.shape[1:]
    assert chunk.squares is not None and chunk.factors is not None

    def frames(part: jax.Array) -> jax.Array:
        return part.reshape(1, t, -1, heads, d)[:, :, :n]

    square = chunk.squares.sum(axis=0) / (heads * d)
    queries = chunk.queries.astype(jnp.float32) * jax.lax.rsqrt(square + EPS)[:, None, None]
    turned = rotate_time(frames(queries), jnp.arange(t))
    keys = chunk.own.keys.astype(jnp.float32) * chunk.factors[:, None, None]
    keys = frames(keys.astype(chunk.own.keys.dtype))
    return Traces(keys, frames(chunk.own.values), jnp.sum(turned, axis=(1, 2)))
