"""What `gpu_check` runs, a task a process: check one forward against the contract, then time it.

A forward is `layers` blocks on one frame, each with its own weights, as a stream's denoising step
has them: so weights come from memory, not from the cache.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.evals import gpu_stream
from lsdjax.pallas import baseline, blocks, reference, single_pass
from lsdjax.pallas.blocks import Variant
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.projections import Stream
from lsdjax.pallas.reference import BlockModulation, BlockWeights, HeadNorm, Linear, Modulation
from lsdjax.pallas.specs import SHAPES, BlockShape

CEILING_FLOPS, CEILING_BYTES = 790e12, 4.3e12
"""Per second, measured on an H200: dense bfloat16 products, and memory."""

FORWARDS = 10
"""In one timed call."""

PER_PRODUCT = 2.0**-7
"""Relative error of one bfloat16 product, of the reference's maximum."""


@dataclasses.dataclass(frozen=True)
class Task:
    """path: "chain", "single pass", "xla" or "torch"; shape: a name of `specs.SHAPES`.

    stream: the whole stream step of the model of that name, in place of its blocks alone.
    """

    path: str
    shape: str
    stream: bool = False

    @property
    def name(self) -> str:
        return f"{self.shape}: {'stream on ' if self.stream else ''}{self.path}"


PATHS = ("chain", "single pass", "xla", "torch")


def _both(shape: str) -> list[Task]:
    """Of blocks, then of the stream."""
    return [Task(path, shape) for path in PATHS] + [Task(p, shape, True) for p in PATHS[:3]]


TASKS = _both("student-294m") + [
    Task(path, shape)
    for shape in ("wan-1.3b-w9", "wan-1.3b-w21")
    for path in PATHS
    if path != "single pass"
]
DRY_TASKS = _both("tiny")


class Inputs:
    """Fresh random weights, ring and frame of a shape."""

    def __init__(self, shape: BlockShape, layers: int, seed: int) -> None:
        self.shape, self.key = shape, jax.random.key(seed)
        self.variant = Variant.of(shape)
        self.rows = -(-shape.tokens // 128) * 128
        self.x = self.array(self.rows, shape.dim)
        self.layers = [(self.weights(), self.modulation()) for _ in range(layers)]
        slots, d = shape.slots, shape.head_dim
        store = (slots, self.rows, shape.heads, d)
        self.rings = [reference.Ring(self.array(*store), self.array(*store)) for _ in range(layers)]
        words = (shape.words, shape.heads, d)
        self.prompts = [
            reference.Prompt(self.array(*words), self.array(*words), jnp.int32(shape.words))
            if shape.words
            else None
            for _ in range(layers)
        ]
        space = shape.rotary.space_tables(*shape.grid)
        pad = ((0, self.rows - shape.tokens), (0, 0))
        cos, sin = (jnp.pad(table, pad) for table in space)
        self.space = (cos, sin)
        self.slot = jnp.int32(1)
        self.ages = (1 - jnp.arange(slots)) % slots
        self.visible = jnp.ones((slots,), bool)

    def array(self, *shape: int, scale: float = 1.0, dtype: Any = jnp.bfloat16) -> jax.Array:
        self.key, key = jax.random.split(self.key)
        return _normal(key, shape, scale, dtype)

    def vector(self, size: int) -> jax.Array:
        return self.array(size, scale=0.3, dtype=jnp.float32)

    def modulation(self) -> BlockModulation:
        dim = self.shape.dim

        def both() -> Modulation:
            return Modulation(self.vector(dim), self.vector(dim))

        cross = both() if self.shape.words else None
        return BlockModulation(both(), self.vector(dim), cross, both(), self.vector(dim))

    def weights(self) -> BlockWeights:
        dim, hidden = self.shape.dim, self.shape.hidden
        size = self.shape.head_dim if self.shape.qk_norm == "head" else dim

        def linear(inputs: int, outputs: int) -> Linear:
            kernel = self.array(inputs, outputs, scale=inputs**-0.5)
            return Linear(kernel, self.vector(outputs))

        cross = None
        if self.shape.words:
            cross = reference.CrossWeights(
                linear(dim, dim), 1 + self.vector(size), linear(dim, dim)
            )
        return BlockWeights(
            linear(dim, 3 * dim),
            HeadNorm(1 + self.vector(size), 1 + self.vector(size)),
            linear(dim, dim),
            cross,
            linear(dim, hidden),
            linear(hidden, dim),
        )

    def seen(self, layer: int) -> reference.Seen:
        return reference.Seen(self.slot, self.ages, self.visible, self.prompts[layer])

    def arguments(self) -> tuple[Any, ...]:
        seen = [self.seen(layer) for layer in range(len(self.layers))]
        return self.x, self.layers, self.rings, seen, self.space


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _normal(key: jax.Array, shape: tuple[int, ...], scale: float, dtype: Any) -> jax.Array:
    return (scale * jax.random.normal(key, shape)).astype(dtype)


def forward(path: str, shape: BlockShape, how: Launch) -> Callable[..., Any]:
    """(x, layers, rings, seen, space) -> (x, rings) through `path`, layers unrolled."""
    variant = Variant.of(shape)

    def run(x: Any, layers: Any, rings: Any, seen: Any, space: Any) -> Any:
        stream = Stream.of(x)
        kept = []
        for (weights, modulation), ring, sees in zip(layers, rings, seen, strict=True):
            common = (weights, modulation, space)
            past = sees.visible & (jnp.arange(len(sees.visible)) != sees.slot)
            ages = jnp.append(sees.ages, jnp.zeros((), sees.ages.dtype))
            if path == "xla":
                out, ring = baseline.xla_block(stream.x, *common, ring, sees, variant=variant)
                stream = Stream(out, stream.moments)
            elif path == "single pass":
                stream, _ = single_pass.single_pass_block(
                    stream, *common, ring, ages, past, sees.prompt, variant=variant, how=how
                )
            else:
                words = sees.prompt
                stream, _ = blocks.chunk_chain(
                    stream, *common, ring, ages[None], past, words and words[:2],
                    words=words.length if words else 0, variant=variant, how=how,
                )  # fmt: skip
            kept.append(ring)
        return stream.x, kept

    return run


def contract(shape: BlockShape) -> Callable[..., Any]:
    """The same through the reference, one layer."""
    variant = Variant.of(shape)

    def run(x: Any, layers: Any, rings: Any, seen: Any, space: Any) -> Any:
        ((weights, modulation),), (ring,), (sees,) = layers, rings, seen
        return reference.block(
            x, weights, modulation, space, ring, sees,
            rotary=shape.rotary, norm=shape.norm, qk_norm=shape.qk_norm,
            gate_offset=shape.gate_offset, length=variant.length,
        )  # fmt: skip

    return run


def error_of(path: str, shape: BlockShape, seed: int, how: Launch) -> float:
    """Largest difference of one block's result to the contract, over the contract's maximum."""
    arguments = Inputs(shape, 1, seed).arguments()
    out, _ = jax.jit(forward(path, shape, how))(*arguments)
    expected, _ = jax.jit(contract(shape))(*arguments)
    got, wanted = (np.asarray(each[: shape.tokens], np.float32) for each in (out, expected))
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def differing_repeats(path: str, shape: BlockShape, repeats: int, seed: int, how: Launch) -> int:
    """How many of `repeats` runs on the same inputs differ from the first by any bit."""
    arguments = Inputs(shape, 1, seed).arguments()
    run = jax.jit(forward(path, shape, how))
    first, _ = run(*arguments)
    same = jax.jit(lambda one, other: jnp.array_equal(one, other))
    return sum(not bool(same(first, run(*arguments)[0])) for _ in range(repeats))


def milliseconds(
    call: Callable[[], Any], wait: Callable[[Any], Any], samples: int, forwards: int, warm: int = 3
) -> list[float]:
    """Sorted times of a forward; a call makes several, so that the host does not count."""
    for _ in range(warm):
        wait(call())
    times = []
    for _ in range(samples):
        start = time.perf_counter()
        wait(call())
        times.append((time.perf_counter() - start) * 1e3 / forwards)
    return sorted(times)


def floor_ms(shape: BlockShape, layers: int) -> float:
    """The least that `layers` blocks can take: arithmetic, or weights and ring read once."""
    weights = 4 * shape.dim**2 + 2 * shape.dim * shape.hidden
    weights += 2 * shape.dim**2 if shape.words else 0
    ring = 2 * shape.slots * shape.tokens * shape.dim
    moved = 2 * (weights + ring + 12 * shape.tokens * shape.dim)
    return 1e3 * layers * max(shape.flops() / CEILING_FLOPS, moved / CEILING_BYTES)


def run_task(task: Task, seed: int, layers: int, *, dry: bool) -> dict[str, Any]:
    """Check and time one task; the parts that do not apply are left out."""
    shape = SHAPES[task.shape]
    layers, samples, repeats = (1, 2, 2) if dry else (layers or shape.layers, 50, 1000)
    how = Launch(interpret=dry, dependent=not dry)
    found: dict[str, Any] = {"task": task.name, "seed": seed, "layers": layers}
    found["floor_ms"] = floor_ms(shape, layers)
    if task.stream:
        return found | _stream(task, layers, samples, seed, dry=dry)
    if task.path == "torch":
        if not baseline.has_torch() or dry:
            return found | {"skipped": "no torch" if not baseline.has_torch() else "dry run"}
        return found | _torch_times(shape, layers, samples, seed)
    found["error"] = error_of(task.path, shape, seed, how)
    products = 7 if shape.words else 5
    found["passed"] = found["error"] <= products**0.5 * PER_PRODUCT
    if task.path == "single pass":
        found["differing_repeats"] = differing_repeats(task.path, shape, repeats, seed + 1, how)
        found["passed"] = found["passed"] and found["differing_repeats"] == 0
    x, weights, rings, *rest = Inputs(shape, layers, seed + 2).arguments()
    one = forward(task.path, shape, how)

    def several(x: Any, weights: Any, rings: Any, *rest: Any) -> Any:
        """Each forward on what the last one made: nothing can be left out or moved ahead."""
        if dry:
            return one(x, weights, rings, *rest)
        return jax.lax.fori_loop(
            0, FORWARDS, lambda _, carry: one(carry[0], weights, carry[1], *rest), (x, rings)
        )

    run = jax.jit(several, donate_argnums=2).lower(x, weights, rings, *rest).compile()

    def call() -> jax.Array:
        nonlocal rings  # which are written in place
        out, rings = run(x, weights, rings, *rest)
        return out

    forwards = 1 if dry else FORWARDS
    return found | _summary(milliseconds(call, jax.block_until_ready, samples, forwards))


def _stream(task: Task, layers: int, samples: int, seed: int, *, dry: bool) -> dict[str, Any]:
    """A step waits for nothing, as in a stream; what the host does between two is in the time."""
    told = gpu_stream.measure(task.path, task.shape, seed, layers, dry=dry)
    one, forwards = told.pop("call"), 1 if dry else FORWARDS

    def several() -> jax.Array:
        return [one() for _ in range(forwards)][-1]

    warm = 0 if dry else 3  # it has made frames by now
    times = milliseconds(several, jax.block_until_ready, samples, forwards, warm)
    return told | _summary(times)


def _torch_times(shape: BlockShape, layers: int, samples: int, seed: int) -> dict[str, Any]:
    inputs = Inputs(shape, layers, seed)
    told = []
    for (weights, modulation), ring in zip(inputs.layers, inputs.rings, strict=True):
        past = [
            np.asarray(store[1:, : shape.tokens], np.float32)
            .reshape(1, -1, shape.heads, shape.head_dim)
            .transpose(0, 2, 1, 3)
            for store in ring
        ]
        told.append((weights, modulation, *past))
    prompts = [
        tuple(np.asarray(part, np.float32).transpose(1, 0, 2)[None] for part in prompt[:2])
        if prompt
        else ()
        for prompt in inputs.prompts
    ]
    x = np.asarray(inputs.x[: shape.tokens], np.float32)
    call = baseline.torch_forward(x, told, prompts, variant=inputs.variant, heads=shape.heads)
    wait = call.synchronize  # pyright: ignore[reportFunctionMemberAccess]

    def several() -> None:
        for _ in range(FORWARDS):
            call()

    return _summary(milliseconds(several, lambda _: wait(), samples, FORWARDS))


def _summary(times: list[float]) -> dict[str, Any]:
    spread = times[-1 - len(times) // 10] - times[len(times) // 10]
    return {"median_ms": statistics.median(times), "spread_ms": spread, "samples": len(times)}
