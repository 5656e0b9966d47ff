"""The model's block through the kernels: one frame of a stream, on Hopper."""

import jax
import jax.numpy as jnp

from lsdjax.model.layers import Block, Context, Linear, PromptAttention
from lsdjax.model.rope import SPACE_BASE, TIME_BASE, temporal_dims
from lsdjax.pallas import attention, blocks, reference, single_pass
from lsdjax.pallas.blocks import LongRing, Variant
from lsdjax.pallas.gemm import BLOCK_ROWS
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.rotary import Rotary

DEPENDENT = Launch(dependent=True)


def fused_block(
    x: jax.Array,
    modulation: jax.Array,
    prompt: PromptAttention,
    context: Context,
    *,
    block: Block,
    in_one: bool,
    how: Launch = DEPENDENT,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """See `Block.through_xla`; `in_one` is one persistent kernel, otherwise eight.

    The frame's own keys and values take a slot of their own behind those of the cache.

    Raises:
        NotImplementedError: not one frame over a cache, or the kernels do not fit.
    """
    b, t, n, dim = x.shape
    if b * t != 1 or context.keys is None or context.values is None:
        raise NotImplementedError(f"{b} x {t} frames; one frame over a cache is expected")
    if x.dtype != jnp.bfloat16:
        raise NotImplementedError(f"activations of {x.dtype}; bfloat16 is expected")
    d = context.keys.shape[-1]
    if block.heads * d != dim:
        raise NotImplementedError(
            f"{block.heads} heads of {d} in {dim} dimensions; all are expected"
        )
    attention.check(BLOCK_ROWS, d, x)
    rows = -(-n // BLOCK_ROWS) * BLOCK_ROWS
    slots = context.keys.shape[1]

    def padded(array: jax.Array, axis: int, size: int) -> jax.Array:
        widths = [(0, 0)] * array.ndim
        widths[axis] = (0, size - array.shape[axis])
        return jnp.pad(array, widths)

    ring = reference.Ring(
        *(
            jnp.pad(past[0].astype(x.dtype), ((0, 1), (0, rows - n), (0, 0), (0, 0)))
            for past in (context.keys, context.values)
        )
    )
    words = -(-len(prompt.mask) // 64) * 64
    order = jnp.argsort(~prompt.mask, stable=True)
    seen = reference.Seen(
        jnp.int32(slots),
        context.ages[0],
        context.visible[0],
        reference.Prompt(
            padded(prompt.keys[order].astype(x.dtype), 0, words),
            padded(prompt.values[order].astype(x.dtype), 0, words),
            jnp.sum(prompt.mask, dtype=jnp.int32),
        ),
    )
    variant = variant_of(block, n, dim)
    cos, sin = (padded(table, 0, rows) for table in variant.rotary.space_tables(*block.grid))
    space = (cos, sin)
    stream = Stream.of(padded(x[0, 0], 0, rows))
    known = weights_of(block, x.dtype)
    told = modulation_of(modulation[0, 0])
    if in_one:
        stream, ring = single_pass.single_pass_block(
            stream, known, told, space, ring, seen, variant=variant, how=how
        )
    else:
        stream, (ring, _) = blocks.kernel_chain(
            stream, known, told, space, LongRing(ring, None), seen, variant=variant, how=how
        )
    keys, values = (store[None, slots:, :n] for store in ring)
    return stream.x[None, None, :n], keys, values


def variant_of(block: Block, tokens: int, dim: int) -> Variant:
    """The kind of block that this model has."""
    d = block.q_scale.shape[0]
    time = temporal_dims(d)
    part = (d - time) // 2
    rotary = Rotary(time, (part, part), time_base=TIME_BASE, space_base=SPACE_BASE)
    tiles = blocks.tiles_of(dim, d, block.up.kernel.shape[1])
    return Variant(rotary, "rms", "head", 1.0, tokens, tiles)


def weights_of(block: Block, dtype: jnp.dtype) -> reference.BlockWeights:
    """A block's parameters as the kernels take them."""

    def linear(layer: Linear) -> reference.Linear:
        return reference.Linear(layer.kernel[...].astype(dtype), layer.bias[...])

    plain = jnp.ones_like(block.q_scale[...])
    return reference.BlockWeights(
        linear(block.qkv),
        reference.HeadNorm(block.q_scale[...], block.k_scale[...]),
        linear(block.out),
        reference.CrossWeights(linear(block.prompt_q), plain, linear(block.prompt_out)),
        linear(block.up),
        linear(block.down),
    )


def modulation_of(parts: jax.Array) -> reference.BlockModulation:
    """What the condition makes of a block, from `parts` (6 * dim,)."""
    wide = jnp.split(parts.astype(jnp.float32), 6)
    none = jnp.zeros_like(wide[0])
    return reference.BlockModulation(
        reference.Modulation(wide[0], wide[1]),
        wide[2],
        reference.Modulation(none, none),
        reference.Modulation(wide[3], wide[4]),
        wide[5],
    )
