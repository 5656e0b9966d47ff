"""A table of how long the parts of a stream step take on this machine, timed as they are asked for.

A whole step is the sum of its parts and a rest that no size changes (HELP, Lee et al. 2021, and
Nemotron-Flash, Fu et al. 2025, choose sizes by measured latency as well). Parts are timed alone,
where XLA cannot fuse them with their neighbours: the table ranks sizes, a whole step decides.
"""

import dataclasses
import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lsdjax.codec.pixel import PixelCodec
from lsdjax.core.errors import UserError
from lsdjax.core.events import CHANNELS
from lsdjax.model.config import ModelConfig
from lsdjax.model.layers import (
    Block,
    Context,
    DynamicConv,
    Film,
    Linear,
    PromptAttention,
    run_blocks,
)
from lsdjax.text.tokenizer import MAX_WORDS

RUNS, SPAN_S = 20, 0.1
"""A part is run so often, and at least so long; the fastest counts: others only ever slow it."""


class Part(NamedTuple):
    """One kind of work at one size.

    kind: "conv" (rows, columns, side of the kernel, inputs, outputs), "film" the same with `Film`
    after it, "linear" (tokens, inputs, outputs), "block" (rows, columns, slots, dim, heads, head
    dim, hidden).
    """

    kind: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.kind} {'x'.join(map(str, self.sizes))}"


def step_parts(config: ModelConfig, steps: int) -> Counter[Part]:
    """How often a stream step with `steps` denoising steps does each kind of work."""
    latent = PixelCodec().channels
    ch, observed, fused = config.channels, config.observed_channels, config.fused_channels
    wide = config.wide_channels
    passes = steps + config.clean_pass
    half, quarter = ((config.height // factor, config.width // factor) for factor in (2, 4))
    found: Counter[Part] = Counter()
    found[Part("film", (*half, 3, 2 * latent + 2 + CHANNELS, observed))] += 1
    found[Part("conv", (*half, 3, observed, ch))] += 1
    for kind, sizes, times in (
        ("film", (*half, 3, latent, ch), 1),
        ("conv", (*quarter, 1, 4 * ch, wide), 1),
        ("film", (*quarter, 3, wide, wide), 2),
        ("linear", (config.tokens, 16 * wide, config.dim), 1),
        ("block", _block_sizes(config), config.depth),
        ("linear", (config.tokens, config.dim, 16 * wide), 1),
        ("conv", (*quarter, 1, wide, 4 * ch), 1),
        ("film", (*half, 3, ch + observed, fused), 1),
        ("film", (*half, 3, fused, fused), 1),
        ("conv", (*half, 3, fused, latent), 1),
    ):
        found[Part(kind, sizes)] += times * passes
    return found


def _block_sizes(config: ModelConfig) -> tuple[int, ...]:
    attention = (config.heads, config.head_dim)
    return (*config.grid, config.slots, config.dim, *attention, config.mlp_hidden)


def machine() -> str:
    """What a time was measured on."""
    device = jax.devices()[0]
    cores = f"{os.cpu_count()} cores, " if device.platform == "cpu" else ""
    return f"{_processor()}{device.device_kind} ({cores}jax {jax.__version__})"


def _processor() -> str:
    """The processor's own name where the system tells it."""
    if jax.devices()[0].platform != "cpu":
        return ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} "
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} "


def time_part(part: Part, config: ModelConfig) -> float:
    """Milliseconds of one part, compiled and run alone; text sizes and window are the config's."""
    function, arguments = _build(part, config)
    run = jax.jit(function)
    jax.block_until_ready(run(*arguments))
    best, began, runs = float("inf"), time.perf_counter(), 0
    while runs < RUNS or time.perf_counter() - began < SPAN_S:
        start = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        best = min(best, time.perf_counter() - start)
        runs += 1
    return 1e3 * best


def _build(part: Part, config: ModelConfig) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function that does the work, and arguments for it: random parameters and inputs."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape, np.float32))

    def drawn(make: Callable[[nnx.Rngs], nnx.Module]) -> tuple[nnx.GraphDef, Any]:
        graph, params = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param)
        return graph, jax.tree.map(lambda leaf: draw(*leaf.shape), params)

    if part.kind == "linear":
        tokens, inputs, outputs = part.sizes
        graph, params = drawn(lambda rngs: Linear(inputs, outputs, rngs=rngs))
        return lambda params, x: nnx.merge(graph, params)(x), (params, draw(1, 1, tokens, inputs))
    if part.kind == "block":
        return _build_block(part, config, draw, drawn)
    rows, columns, side, inputs, outputs = part.sizes
    one = dataclasses.replace(config, experts=1)  # kernels are mixed once a prompt, not in a step
    graph, params = drawn(lambda rngs: DynamicConv(inputs, outputs, side, one, rngs=rngs))
    x, kernel = draw(1, 1, rows, columns, inputs), draw(side, side, inputs, outputs)
    if part.kind == "conv":
        return lambda params, x, kernel: nnx.merge(graph, params)(x, kernel), (params, x, kernel)
    film_graph, film = drawn(lambda rngs: Film(outputs, one, rngs=rngs))

    def filmed(params, film, x, kernel, condition):
        return nnx.merge(film_graph, film)(nnx.merge(graph, params)(x, kernel), condition)

    return filmed, (params, film, x, kernel, draw(1, 1, config.text_dim))


def _build_block(part: Part, config: ModelConfig, draw: Callable, drawn: Callable):
    rows, columns, slots, dim, heads, head_dim, hidden = part.sizes
    sizes = dataclasses.replace(
        config,
        height=16 * rows,
        width=16 * columns,
        dim=dim,
        heads=heads,
        head_dim=head_dim,
        mlp_hidden=hidden,
    )
    graph, params = drawn(lambda rngs: Block(sizes, rngs=rngs))
    cached, words = (1, slots, sizes.tokens, heads, head_dim), (MAX_WORDS, heads, head_dim)
    ages = jnp.arange(slots, -1, -1, dtype=jnp.int32)[None]
    context = Context(draw(*cached), draw(*cached), ages, ages >= 0)
    prompt = PromptAttention(draw(*words), draw(*words), jnp.ones(MAX_WORDS, bool))

    def block(params, x, condition, prompt, context):
        blocks = [nnx.merge(graph, params)]
        return run_blocks(x, condition, [prompt], [context], blocks=blocks)

    x = draw(1, 1, sizes.tokens, dim)
    return block, (params, x, draw(1, 1, config.text_dim), prompt, context)


class LatencyTable:
    """Times of parts on this machine, kept in a file as they come.

    Attributes:
        times: milliseconds by the part's name.
    """

    def __init__(
        self,
        path: Path,
        config: ModelConfig,
        time_one: Callable[[Part, ModelConfig], float] = time_part,
    ) -> None:
        """Go on with what `path` holds.

        Raises:
            UserError: it is no such table, or one of another machine.
        """
        self._path, self._config, self._time = path, config, time_one
        self.times: dict[str, float] = {}
        if not path.exists():
            return
        try:
            stored = json.loads(path.read_text())
            where, times = stored["machine"], stored["times_ms"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{str(path)!r} is not a table of times ({error})") from error
        if where != machine():
            raise UserError(
                f"{str(path)!r} was timed on {where}, and this is {machine()}; "
                "delete it to time anew"
            )
        self.times = times

    def part_ms(self, part: Part) -> float:
        """Milliseconds of a part, timed if it never was."""
        name = str(part)
        if name not in self.times:
            self.times[name] = round(self._time(part, self._config), 5)
            self._save()
        return self.times[name]

    def parts_ms(self, config: ModelConfig, steps: int) -> float:
        """The sum of a stream step's parts."""
        return sum(times * self.part_ms(part) for part, times in step_parts(config, steps).items())

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_text(json.dumps({"machine": machine(), "times_ms": self.times}, indent=1))
        os.replace(partial, self._path)
