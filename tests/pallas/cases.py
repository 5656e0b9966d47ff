"""What is compiled for Hopper at production shapes: name -> (function, arguments, donated)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lsdjax.pallas import attention, blocks, projections
from lsdjax.pallas.gemm import GemmTiles
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.reference import (
    BlockModulation,
    BlockWeights,
    HeadNorm,
    Linear,
    Modulation,
    Ring,
    Seen,
)
from lsdjax.pallas.specs import SHAPES, BlockShape

Case = tuple[Callable[..., Any], tuple, tuple[int, ...]]
HOW = Launch(dependent=True)
BF16, F32 = jnp.bfloat16, jnp.float32


def up_to(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def array(*shape: int, dtype: Any = BF16) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def ring_attention(shape: BlockShape) -> Case:
    n, m = up_to(shape.tokens, 128), up_to(shape.tokens, 64)
    store = array(shape.slots, m, shape.heads, shape.head_dim)
    function = functools.partial(
        attention.ring_attention, rotary=shape.rotary, length=shape.tokens, how=HOW
    )
    return (
        lambda *args: function(*args),
        (
            array(n, shape.heads, shape.head_dim),
            Ring(store, store),
            array(shape.slots, dtype=jnp.int32),
            array(shape.slots, dtype=jnp.bool),
        ),
        (),
    )


def stream(shape: BlockShape) -> Stream:
    n = up_to(shape.tokens, 128)
    return Stream(array(n, shape.dim), array(16, 2, n, dtype=F32))


def vectors(*sizes: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    return tuple(array(size, dtype=F32) for size in sizes)


def weights(inputs: int, outputs: int) -> Linear:
    return Linear(array(inputs, outputs), *vectors(outputs))


def project_heads(shape: BlockShape, tiles: GemmTiles) -> Case:
    n, d, dim = up_to(shape.tokens, 128), shape.head_dim, shape.dim
    store = array(shape.slots, up_to(n, 128), shape.heads, d)
    return (
        lambda *args: projections.project_heads(
            *args, rotary=shape.rotary, norm=shape.norm, tiles=tiles, how=HOW
        ),
        (
            stream(shape),
            Modulation(*vectors(dim, dim)),
            weights(dim, 3 * dim),
            HeadNorm(*vectors(d, d)),
            (array(n, d, dtype=F32),) * 2,
            Ring(store, store),
            array(dtype=jnp.int32),
        ),
        (5,),
    )


def project_residual(shape: BlockShape, inputs: int, tiles: GemmTiles) -> Case:
    n, dim = up_to(shape.tokens, 128), shape.dim
    offset = shape.gate_offset
    return (
        lambda *args: projections.project_residual(
            *args, gate_offset=offset, tiles=tiles, how=HOW
        ),
        (array(n, dim), array(n, inputs), weights(inputs, dim), *vectors(dim)),
        (),
    )


def project_gelu(shape: BlockShape, tiles: GemmTiles) -> Case:
    return (
        lambda *args: projections.project_gelu(*args, norm=shape.norm, tiles=tiles, how=HOW),
        (stream(shape), Modulation(*vectors(shape.dim, shape.dim)), weights(shape.dim, shape.hidden)),
        (),
    )


def block(shape: BlockShape, block: Callable[..., Any]) -> Case:
    n, d, dim = up_to(shape.tokens, 128), shape.head_dim, shape.dim
    store = array(shape.slots, n, shape.heads, d)
    variant = blocks.Variant(shape.rotary, shape.norm, shape.gate_offset, shape.tokens)
    modulation = Modulation(*vectors(dim, dim))
    return (
        lambda *args: block(*args, variant=variant, how=HOW),
        (
            stream(shape),
            BlockWeights(
                weights(dim, 3 * dim),
                HeadNorm(*vectors(d, d)),
                weights(dim, dim),
                weights(dim, shape.hidden),
                weights(shape.hidden, dim),
            ),
            BlockModulation(modulation, *vectors(dim), modulation, *vectors(dim)),
            (array(n, d, dtype=F32),) * 2,
            Ring(store, store),
            Seen(
                array(dtype=jnp.int32),
                array(shape.slots, dtype=jnp.int32),
                array(shape.slots, dtype=jnp.bool),
            ),
        ),
        (4,),
    )


STUDENT, WAN = SHAPES["student-294m"], SHAPES["wan-1.3b-w9"]
CASES: dict[str, Callable[[], Case]] = {
    "attention_student": lambda: ring_attention(STUDENT),
    "attention_wan": lambda: ring_attention(WAN),
    "heads_student": lambda: project_heads(STUDENT, GemmTiles(192)),
    "out_student": lambda: project_residual(STUDENT, STUDENT.dim, GemmTiles(64, stages=6)),
    "up_student": lambda: project_gelu(STUDENT, GemmTiles(256, stages=3)),
    "down_student": lambda: project_residual(STUDENT, STUDENT.hidden, GemmTiles(64, stages=6)),
    "five_kernels_student": lambda: block(STUDENT, blocks.five_kernel_block),
    "single_pass_student": lambda: block(STUDENT, blocks.single_pass_block),
    "up_wan": lambda: project_gelu(WAN, GemmTiles(256, stages=3)),
    "down_wan": lambda: project_residual(WAN, WAN.hidden, GemmTiles(128, stages=4)),
}
