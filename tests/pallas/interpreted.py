"""Run one kernel on the CPU under the race detector, sound and with seeded defects.

A script, so that every kernel has a process of its own: `python interpreted.py KERNEL EXAMPLES
[DEFECT ...]` prints one JSON object a run: {"defect", "error", "races", "raised"}. The error is
relative to the reference's maximum. EXAMPLES are drawn by Hypothesis for the sound kernel.
"""

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax._src.pallas.mosaic_gpu.interpret import gpu_callbacks

from lsdjax.model import fused
from lsdjax.model.config import ModelConfig
from lsdjax.model.layers import Block, Context, PromptAttention
from lsdjax.model.policy import RingWithSinks
from lsdjax.model.wan_config import WanConfig
from lsdjax.model.wan_fused import fused_blocks
from lsdjax.model.wan_layers import WanBlock, WanContext, WanPrompt, run_blocks
from lsdjax.pallas import (
    attention,
    blocks,
    dispatch,
    projections,
    reference,
    rounding,
    single_pass,
    specs,
)
from lsdjax.pallas.attention import AttentionTiles
from lsdjax.pallas.blocks import BlockTiles, Variant
from lsdjax.pallas.gemm import GemmTiles
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.reference import HeadNorm, Linear, Modulation, Ring

N, D, HEADS, SLOTS = 128, 64, 2, 4
DIM = HEADS * D
Outputs = tuple[Any, Any]
Kernel = Callable[[Launch, "Draw"], Outputs]
"""Computes (result, reference), two trees of arrays."""


class Draw:
    """Seeded arrays, and where in an endless stream the frame is."""

    def __init__(self, seed: int, index: int, window: int, sinks: int, length: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.length = length
        self.slot, self.ages, self.visible = ring_at(index, window, sinks)

    def array(self, *shape: int, scale: float = 1.0, dtype: Any = jnp.bfloat16) -> jax.Array:
        return jnp.asarray(scale * self.rng.standard_normal(shape, np.float32), dtype)

    def vector(self, size: int, scale: float = 0.3) -> jax.Array:
        return self.array(size, scale=scale, dtype=jnp.float32)

    def linear(self, inputs: int, outputs: int) -> Linear:
        return Linear(self.array(inputs, outputs, scale=inputs**-0.5), self.vector(outputs))

    def modulation(self) -> Modulation:
        return Modulation(self.vector(DIM), self.vector(DIM))

    def stream(self) -> jax.Array:
        return self.array(N, DIM) + jnp.bfloat16(0.5)  # a mean that a norm has to take away

    def ring(self) -> Ring:
        return Ring(self.array(SLOTS, N, HEADS, D), self.array(SLOTS, N, HEADS, D))

    def scales(self, size: int) -> HeadNorm:
        return HeadNorm(1 + self.vector(size), 1 + self.vector(size))


def ring_at(index: int, window: int, sinks: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The slot of frame `index`, and all slots' ages and visibility, after a stream up to it."""
    room = window + 1  # the oldest frame is still seen while the newest is written
    frames = np.full(SLOTS, -1)
    slot = 0
    for frame in range(index + 1):
        slot = frame if frame < sinks else sinks + (frame - sinks) % room
        frames[slot] = frame
    ages, visible = RingWithSinks(window, sinks).sees(jnp.int32(index), jnp.asarray(frames))
    return jnp.int32(slot), ages, visible & jnp.asarray(frames >= 0)


@functools.cache
def jitted(function: Callable[..., Any], **static: Any) -> Callable[..., Any]:
    """The function, and then wait for it.

    The interpreter's threads compute with JAX too: with other work in the queue behind the kernel
    that waits for them, they may wait for that work for ever.
    """
    call = jax.jit(functools.partial(function, **static))
    return lambda *arguments, **named: jax.block_until_ready(call(*arguments, **named))


def run_attention(how: Launch, draw: Draw) -> Outputs:
    q, ring = draw.array(N, HEADS, D), draw.ring()
    # two tiles a slot, the second of them short, and fewer stages than tiles
    tiles, static = AttentionTiles(64, 1, 64, 64, 72, 2), {"rotary": specs.OURS, "length": 72}
    arguments = (q, ring, draw.ages, draw.visible)
    result = jitted(attention.ring_attention, how=how, tiles=tiles, **static)(*arguments)
    return result, jitted(reference.ring_attention, **static)(*arguments)


def run_own_attention(how: Launch, draw: Draw) -> Outputs:
    """Two frames that see each other and a ring whose slots end where their keys do."""
    length, frames = 72, 2
    ring = Ring(*(store[:, :length] for store in draw.ring()))
    own = Ring(draw.array(frames, N, HEADS, D), draw.array(frames, N, HEADS, D))
    q, factors = draw.array(frames * N, HEADS, D), 1 + draw.vector(frames * N).reshape(frames, N)
    turn = jnp.arange(frames)[:, None]
    ages = jnp.concatenate([draw.ages[None] + turn, turn - turn.T], axis=1)
    # the second of two tiles begins with keys that the first had
    static = {"rotary": specs.OURS, "length": length}
    kernel = jitted(
        attention.ring_attention, how=how, tiles=AttentionTiles(64, 1, 64, 8, length, 2), **static
    )
    result = kernel(q, ring, ages, draw.visible, own=own, factors=factors)
    keys = own.keys.astype(jnp.float32) * factors[:, :, None, None]
    joined = Ring(
        jnp.concatenate([ring.keys.astype(jnp.float32), keys[:, :length]]),
        jnp.concatenate([ring.values, own.values[:, :length]]),
    )
    visible = jnp.concatenate([draw.visible, jnp.ones(frames, bool)])
    contract = jitted(reference.ring_attention, **static)
    parts = [contract(q[i * N :][:N], joined, ages[i], visible) for i in range(frames)]
    return result, jnp.concatenate(parts)


def run_prompt(how: Launch, draw: Draw) -> Outputs:
    words = draw.array(64, HEADS, D), draw.array(64, HEADS, D)
    arguments = (draw.array(N, HEADS, D), *words, jnp.int32(draw.length))
    result = jitted(attention.prompt_attention, how=how)(*arguments)
    return result, jitted(reference.prompt_attention)(*arguments)


def run_heads(how: Launch, draw: Draw) -> Outputs:
    arguments = (draw.modulation(), draw.linear(DIM, 3 * DIM), draw.scales(D))
    arguments += (specs.OURS.space_tables(8, 16),)
    x, static = draw.stream(), {"rotary": specs.OURS, "norm": "rms", "qk_norm": "head"}
    kernel = jitted(
        projections.project_qkv, how=how, heads=HEADS, tiles=GemmTiles(192, stages=2), **static
    )
    contract = jitted(reference.project_heads, **static)
    query, ring = contract(x, *arguments, draw.ring(), draw.slot)
    own = Ring(*(store[draw.slot] for store in ring))
    return kernel(Stream.of(x), *arguments)[:2], (query, own)


def run_residual(how: Launch, draw: Draw) -> Outputs:
    x = draw.stream()
    arguments = (draw.array(N, 256), draw.linear(256, DIM), draw.vector(DIM))
    kernel = jitted(
        projections.project_residual, how=how, gate_offset=1.0, tiles=GemmTiles(64, stages=3)
    )
    x_new, moments = kernel(x, *arguments)
    expected = jitted(reference.project_residual, gate_offset=1.0)(x, *arguments)
    return (x_new, moments.sum(0)), (expected, Stream.of(expected).moments.sum(0))


def run_gelu(how: Launch, draw: Draw) -> Outputs:
    x, arguments = draw.stream(), (draw.modulation(), draw.linear(DIM, 256))
    kernel = jitted(projections.project_gelu, how=how, norm="layer", tiles=GemmTiles(256, stages=2))
    return kernel(Stream.of(x), *arguments), jitted(reference.project_gelu, norm="layer")(
        x, *arguments
    )


def run_fp8(how: Launch, draw: Draw) -> Outputs:
    """Against the contract of 8 bits; a rounding that falls the other way is a step of e4m3."""
    x, modulation, plain = draw.stream(), draw.modulation(), draw.linear(DIM, 256)
    weights = rounding.quantise(plain.kernel, plain.bias, 128)
    tiles = GemmTiles(128, stages=2)
    kernel = jitted(projections.project_gelu, how=how, norm="layer", tiles=tiles)
    modulated = reference.norm_modulate(x.astype(jnp.float32), modulation, "layer")
    expected = jax.nn.gelu(rounding.linear8(modulated, weights))
    return kernel(Stream.of(x), modulation, weights), expected


TILES = BlockTiles(*(GemmTiles(columns, stages=2) for columns in (192, 64, 128, 64)))


def run_block(how: Launch, draw: Draw, *, wan: bool, cross: bool, in_one: int) -> Outputs:
    """A whole block; `in_one` is the number of resident blocks, 0 for the chain."""
    rotary, norm, qk, size = specs.OURS, "rms", "head", D
    if wan:
        rotary, norm, qk, size = specs.Rotary(24, (20, 20), interleaved=True), "layer", "full", DIM
    weights = reference.BlockWeights(
        draw.linear(DIM, 3 * DIM),
        draw.scales(size),
        draw.linear(DIM, DIM),
        reference.CrossWeights(draw.linear(DIM, DIM), 1 + draw.vector(size), draw.linear(DIM, DIM))
        if cross
        else None,
        draw.linear(DIM, 256),
        draw.linear(256, DIM),
    )
    modulation = reference.BlockModulation(
        draw.modulation(),
        draw.vector(DIM),
        draw.modulation() if cross else None,
        draw.modulation(),
        draw.vector(DIM),
    )
    words = reference.Prompt(
        draw.array(64, HEADS, D), draw.array(64, HEADS, D), jnp.int32(draw.length)
    )
    seen = reference.Seen(draw.slot, draw.ages, draw.visible, words if cross else None)
    x, ring, space = draw.stream(), draw.ring(), rotary.space_tables(8, 16)
    variant = Variant(rotary, norm, qk, 0.0 if wan else 1.0, 120, TILES)
    contract = jitted(
        reference.block, rotary=rotary, norm=norm, qk_norm=qk,
        gate_offset=variant.gate_offset, length=variant.length,
    )  # fmt: skip
    expected, kept = contract(x, weights, modulation, space, ring, seen)
    stream, arguments = Stream.of(x), (weights, modulation, space)
    ages = jnp.append(draw.ages, jnp.zeros((), draw.ages.dtype))
    past = draw.visible & (jnp.arange(SLOTS) != draw.slot)
    if in_one:
        kernel = jitted(single_pass.single_pass_block, variant=variant, blocks=in_one, how=how)
        stream, own = kernel(stream, *arguments, ring, ages, past, words if cross else None)
    else:
        kernel = jitted(blocks.chunk_chain, variant=variant, how=how)
        both = words[:2] if cross else None
        stream, (own, factors, *_) = kernel(
            stream, *arguments, ring, ages[None], past, both, words=words.length
        )
        if factors is not None:
            own = Ring(own.keys.astype(jnp.float32) * factors[:, None, None], own.values)
    return (stream.x, own), (expected, Ring(*(store[draw.slot] for store in kept)))


def run_model(how: Launch, draw: Draw, **kind: bool) -> Outputs:
    """The model's own block in bfloat16 through the kernels, against float32 through XLA.

    kind: `in_one` or `eight_bits` of `fused_blocks`; the latter against its own contract.
    """
    config = ModelConfig(height=128, width=128, dim=DIM, heads=HEADS, text_dim=32, window=3)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: Block(config, rngs=nnx.Rngs(0))), nnx.Param)
    params = jax.tree.map(
        lambda leaf: (
            draw.array(*leaf.shape, scale=leaf.shape[0] ** -0.5, dtype=leaf.dtype)
            + float(leaf.shape == (D,))
        ),
        shapes,
    )
    n, slots = config.tokens, SLOTS - 1
    x, modulation = draw.array(1, 1, n, DIM), draw.array(1, 1, 6 * DIM, scale=0.3)
    past = [draw.array(1, slots, n, HEADS, D) for _ in range(2)]
    words = [draw.array(24, HEADS, D) for _ in range(2)]
    mask = jnp.arange(24) % 5 != 1  # words that count need not come first
    ages, visible = jnp.array([[3, 2, 1, 0]]), jnp.array([[True, False, True, True]])

    def run(call: Any, dtype: Any, params: Any, x: Any, modulation: Any, past: Any, words: Any):
        block = nnx.merge(graph, params)
        x, modulation, past, words = jax.tree.map(
            lambda leaf: leaf.astype(dtype), (x, modulation, past, words)
        )
        prompt, context = (
            PromptAttention(words[0], words[1], mask),
            Context(past[0], past[1], ages, visible),
        )
        return call(block, x, modulation, prompt, context)

    def alone(blocks: Any, block: Block, x: jax.Array, *told: Any) -> Any:
        x, *own = blocks(x, *([part] for part in told), blocks=[block])
        return x, *(part[0] for part in own)

    kernels = functools.partial(alone, functools.partial(fused.fused_blocks, how=how, **kind))
    contract = Block.__call__
    if kind.get("eight_bits"):
        contract = functools.partial(alone, fused.blocks_in_8_bits)
    arguments = (params, x, modulation, past, words)
    result = jitted(functools.partial(run, kernels, jnp.bfloat16))(*arguments)
    return result, jax.jit(functools.partial(run, contract, jnp.float32))(*arguments)


def run_wan(how: Launch, draw: Draw, *, chunk: int) -> Outputs:
    """Two of the Wan model's blocks on a chunk over a cache, as `run_model`; rows are padded."""
    config = WanConfig(
        height=32, width=68, codec="pixel", dim=DIM, depth=2, heads=HEADS, ffn_dim=256,
        text_length=24, chunk=chunk, window=SLOTS,
    )  # fmt: skip
    graph, shapes = nnx.split(
        nnx.eval_shape(
            lambda: nnx.List([WanBlock(config, rngs=nnx.Rngs(0)) for _ in range(config.depth)])
        ),
        nnx.Param,
    )
    params = jax.tree.map(
        lambda leaf: draw.array(*leaf.shape, scale=leaf.shape[0] ** -0.5, dtype=leaf.dtype), shapes
    )
    n, (rows, columns) = config.tokens, config.latent_size
    x, told = draw.array(1, chunk, n, DIM), draw.array(1, chunk, 6, DIM, scale=0.3)
    past, words = (
        [[draw.array(*shape, HEADS, D) for _ in range(2)] for _ in range(config.depth)]
        for shape in ((1, SLOTS, n), (config.text_length,))
    )

    def run(call: Any, dtype: Any, params: Any, *arrays: Any) -> Any:
        past: list[tuple[jax.Array, jax.Array]]
        x, told, past, words = jax.tree.map(lambda leaf: leaf.astype(dtype), arrays)
        context = [WanContext(*kv, draw.ages[None], draw.visible[None]) for kv in past]
        prompt = [WanPrompt(*kv) for kv in words]
        blocks = list(nnx.merge(graph, params))
        return call(x, told, prompt, context, blocks=blocks, grid=(rows // 2, columns // 2))

    arguments = (params, x, told, past, words)
    kernels = functools.partial(fused_blocks, how=how)
    result = jitted(functools.partial(run, kernels, jnp.bfloat16))(*arguments)
    with dispatch.only("wan blocks", "xla"):
        return result, jax.jit(functools.partial(run, run_blocks, jnp.float32))(*arguments)


KERNELS: dict[str, Kernel] = {
    "attention": run_attention,
    "own_attention": run_own_attention,
    "prompt": run_prompt,
    "heads": run_heads,
    "residual": run_residual,
    "gelu": run_gelu,
    "fp8": run_fp8,
    "model": run_model,
    "model_single_pass": functools.partial(run_model, in_one=True),
    "model_fp8": functools.partial(run_model, eight_bits=True),
    "wan": functools.partial(run_wan, chunk=1),
    "wan_chunk": functools.partial(run_wan, chunk=2),
    "chain": functools.partial(run_block, wan=False, cross=True, in_one=0),
    "chain_wan": functools.partial(run_block, wan=True, cross=True, in_one=0),
    "single_pass": functools.partial(run_block, wan=False, cross=False, in_one=2),
    "single_pass_cross": functools.partial(run_block, wan=False, cross=True, in_one=2),
    "single_pass_loops": functools.partial(run_block, wan=False, cross=False, in_one=1),
}


def relative_error(result: Any, expected: Any) -> float:
    """The largest difference over the reference's maximum, of any leaf; nan if one is."""
    worst = 0.0
    for one, other in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        got, wanted = np.asarray(one, np.float32), np.asarray(other, np.float32)
        assert got.shape == wanted.shape
        worst = max(worst, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
        worst = worst if np.isfinite(got).all() else float("nan")
    return worst


def tell(kernel: Kernel, how: Launch, draw: Draw) -> None:
    """Run once and print what happened."""
    error, raised = None, None
    try:
        error = relative_error(*kernel(how, draw))
    except Exception as problem:
        raised = f"{type(problem).__name__}: {problem}"[:500]
    races = None if raised else gpu_callbacks.get_races().races_found
    print(json.dumps({"defect": how.defect, "error": error, "races": races, "raised": raised}))


def main(name: str, examples: int, defects: list[str]) -> None:
    kernel, sound = KERNELS[name], Launch(interpret=True)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(
        st.integers(0, 99), st.integers(0, 40), st.integers(1, 2), st.integers(0, 1),
        st.integers(1, 64),
    )  # fmt: skip
    def try_sound(seed: int, index: int, window: int, sinks: int, length: int) -> None:
        tell(kernel, sound, Draw(seed, index, window, sinks, length))

    try_sound()
    for defect in defects:
        gpu_callbacks.reset_gpu_interpret_mode_state()
        tell(kernel, Launch(interpret=True, defect=defect), Draw(1, 9, 2, 1, 20))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
