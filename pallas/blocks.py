"""A whole DiT block on Hopper, as a chain of kernels: five, or eight with cross-attention."""

import dataclasses
from typing import Any, NamedTuple

import jax

from lsdjax.pallas import attention, projections
from lsdjax.pallas.gemm import GemmTiles
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.reference import BlockModulation, BlockWeights, Ring
from lsdjax.pallas.rotary import Rotary
from lsdjax.pallas.specs import BlockShape

Words = tuple[jax.Array, jax.Array, jax.Array | int]
"""A prompt's keys and values, and how many of its words count."""


@dataclasses.dataclass(frozen=True)
class BlockTiles:
    """Tiles of a block's products; `out` also of the cross-attention's two."""

    qkv: GemmTiles
    out: GemmTiles
    up: GemmTiles
    down: GemmTiles


@dataclasses.dataclass(frozen=True)
class Variant:
    """What kind of block it is, see `specs.BlockShape`, and how its products are cut.

    length: tokens of a frame, which are the keys of a slot that count.
    cross_gain_offset: before the cross-attention, norm(x) * (cross_gain_offset + scale) + shift.
    """

    rotary: Rotary
    norm: str
    qk_norm: str
    gate_offset: float
    length: int
    tiles: BlockTiles
    cross_gain_offset: float = 1.0

    @classmethod
    def of(cls, shape: BlockShape) -> "Variant":
        return cls(
            shape.rotary,
            shape.norm,
            shape.qk_norm,
            shape.gate_offset,
            shape.tokens,
            tiles_of(shape.dim, shape.head_dim, shape.hidden),
        )


def tiles_of(dim: int, d: int, hidden: int) -> BlockTiles:
    """Tiles that fill one wave of the chip at the named shapes: on the student, 7 x 16 each."""
    narrow = max(64, d)

    def widest(columns: int, unit: int, most: int) -> int:
        return max(
            (width for width in range(unit, most + 1, unit) if columns % width == 0), default=unit
        )

    qkv = widest(3 * dim, d, 192)
    return BlockTiles(
        GemmTiles(qkv, stages=4),
        GemmTiles(narrow, stages=6 if narrow == 64 else 4),
        GemmTiles(widest(hidden, 64, 256), stages=3),
        GemmTiles(narrow, stages=6 if narrow == 64 else 4),
    )


def tiles_in_8_bits(tiles: BlockTiles) -> BlockTiles:
    """Of products with `Linear8`: as wide as leaves room for bfloat16 on the left."""
    return BlockTiles(
        *(GemmTiles(min(each.columns, 128), stages=3) for each in (tiles.qkv, tiles.out)),
        *(GemmTiles(min(each.columns, 128), stages=3) for each in (tiles.up, tiles.down)),
    )


class Chunk(NamedTuple):
    """What a block makes of a chunk's frames, besides their stream.

    own: keys and values (n, heads, d). queries: (n, heads, d). Queries and keys are yet to be
    divided by their RMS over all heads: `squares` (heads, n) are of the queries, and `factors` (n,)
    what the keys are to be multiplied by. Both None where norms are over a head.
    """

    own: Ring
    factors: jax.Array | None
    queries: jax.Array
    squares: jax.Array | None


def chunk_chain(
    stream: Stream,
    weights: BlockWeights,
    modulation: BlockModulation,
    space: tuple[jax.Array, jax.Array],
    past: Ring,
    ages: jax.Array,
    visible: jax.Array,
    prompt: tuple[jax.Array, jax.Array] | None,
    *,
    words: jax.Array | int = 0,
    variant: Variant,
    how: Launch = Launch(),  # noqa: B008
) -> tuple[Stream, Chunk]:
    """See `reference.block`, on frames that see each other and a ring that is only read.

    One kernel after the other, each ahead of the next by its launch.

    The frames' rows follow each other, each frame padded to whole blocks of rows. weights.qkv may
    be three matrices; vectors of the modulation are (dim,) or (frames, dim). ages (frames, slots +
    frames): of the ring's slots, then of the frames. visible (slots,). Of the prompt's keys and
    values the first `words` count.
    """
    v, n, dim = variant, *stream.x.shape
    heads, d = past.keys.shape[2:]
    q, own, squares = projections.project_qkv(
        stream, modulation.attention, weights.qkv, weights.scales, space,
        heads=heads, rotary=v.rotary, norm=v.norm, tiles=v.tiles.qkv, qk_norm=v.qk_norm, how=how,
    )  # fmt: skip
    frames, factors = len(ages), None
    more: dict[str, Any] = {}
    if squares is not None:
        squares, factors = squares[:heads], projections.key_factors(squares, dim)
        more = {"squares": squares, "factors": factors.reshape(frames, -1)}
    attended = attention.ring_attention(
        q, past, ages, visible, rotary=v.rotary, length=v.length,
        own=Ring(*(part.reshape(frames, n // frames, heads, d) for part in own)),
        how=how, **more,
    )  # fmt: skip
    seen = None if prompt is None else (*prompt, words)
    stream = _after_attention(stream, attended, weights, modulation, seen, variant, how)
    return stream, Chunk(own, factors, q, squares)


def _after_attention(
    stream: Stream,
    attended: jax.Array,
    weights: BlockWeights,
    modulation: BlockModulation,
    prompt: Words | None,
    variant: Variant,
    how: Launch,
) -> Stream:
    v, tiles, n = variant, variant.tiles, len(stream.x)
    stream = projections.project_residual(
        stream.x, attended.reshape(n, -1), weights.out, modulation.attention_gate,
        gate_offset=v.gate_offset, tiles=tiles.out, how=how,
    )  # fmt: skip
    if weights.cross and modulation.cross and prompt:
        stream = _cross_attention(stream, weights, modulation, prompt, variant, how)
    hidden = projections.project_gelu(
        stream, modulation.mlp, weights.up, norm=v.norm, tiles=tiles.up, how=how
    )
    return projections.project_residual(
        stream.x, hidden, weights.down, modulation.mlp_gate,
        gate_offset=v.gate_offset, tiles=tiles.down, how=how,
    )  # fmt: skip


def _cross_attention(
    stream: Stream,
    weights: BlockWeights,
    modulation: BlockModulation,
    prompt: Words,
    variant: Variant,
    how: Launch,
) -> Stream:
    assert weights.cross and modulation.cross
    v, tiles = variant, variant.tiles.out
    q, squares = projections.project_query(
        stream, modulation.cross, weights.cross.query, weights.cross.scale,
        heads=prompt[0].shape[1], norm=v.norm, tiles=tiles, qk_norm=v.qk_norm,
        gain_offset=v.cross_gain_offset, how=how,
    )  # fmt: skip
    more = {} if squares is None else {"squares": squares}
    attended = attention.prompt_attention(q, *prompt, how=how, **more)
    return projections.project_residual(
        stream.x, attended.reshape(stream.x.shape), weights.cross.out, None,
        gate_offset=v.gate_offset, tiles=tiles, how=how,
    )  # fmt: skip
