"""What a step of a Wan model costs in arithmetic and in bytes, counted from its sizes."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from lsdjax.checkpoint.convert import COMPONENTS, kinds_in, load_component
from lsdjax.model.wan_config import CODECS, WanConfig
from lsdjax.stream.wan_step import runs_on

# What one H200 was measured to reach: dense bfloat16 matrix products, twice that in float8, and
# reads of its memory.
H200_FLOPS, H200_BYTES = 790e12, 4.3e12
_BFLOAT16 = 2


@dataclasses.dataclass(frozen=True)
class PassCost:
    """One pass over one chunk; a prompt's keys and values are there.

    Attributes:
        matrix_flops, attention_flops: multiplications and additions of the layers' matrices, and of
            attention to frames and words.
        weight_bytes, cache_bytes: read once, in bfloat16; what is written is little beside it.
    """

    matrix_flops: float
    attention_flops: float
    weight_bytes: float
    cache_bytes: float

    @property
    def flops(self) -> float:
        return self.matrix_flops + self.attention_flops

    @property
    def bytes(self) -> float:
        return self.weight_bytes + self.cache_bytes


def pass_cost(config: WanConfig) -> PassCost:
    """Count one pass with a full KV cache."""
    dim, depth = config.dim, config.depth
    rows, seen = config.chunk * config.tokens, (config.slots + config.chunk) * config.tokens
    # q, k, v, out of the frames; q, out of the words; up, down.
    block = 6 * dim**2 + 2 * dim * config.ffn_dim
    edges = 4 * dim * (config.input_channels + config.channels)
    told = dim * (config.frequency_dim + 7 * dim)
    return PassCost(
        matrix_flops=2 * rows * (depth * block + edges) + 2 * config.chunk * told,
        attention_flops=4.0 * rows * (seen + config.text_length) * dim * depth,
        weight_bytes=_BFLOAT16 * (depth * (block + 6 * dim) + edges + told),
        cache_bytes=_BFLOAT16 * 2 * depth * dim
        * (config.slots * config.tokens + config.text_length),
    )  # fmt: skip


def step_cost(config: WanConfig) -> dict[str, Any]:
    """What a step of a stream costs, and how fast one H200 could be at the best.

    A step makes `chunk` latent frames; each is four frames of video, but for the pixel codec's.
    """
    cost = pass_cost(config)
    passes = len(config.timesteps) + config.clean_pass
    frames = config.chunk * (1 if config.codec == "pixel" else 4)
    compute, fast = (1e3 * cost.flops / peak for peak in (H200_FLOPS, 2 * H200_FLOPS))
    memory = 1e3 * cost.bytes / H200_BYTES
    floor = passes * max(compute, memory)
    return {
        "latent frames a step": config.chunk,
        "video frames a step": frames,
        "tokens a latent frame": config.tokens,
        "passes a step": passes,
        "one pass": {
            "TFLOP": cost.flops / 1e12,
            "of it attention, per cent": 100 * cost.attention_flops / cost.flops,
            "weights GB": cost.weight_bytes / 1e9,
            "KV cache GB": cost.cache_bytes / 1e9,
            "H200 bfloat16 floor ms": compute,
            "H200 float8 floor ms": fast,
            "H200 memory floor ms": memory,
        },
        "H200 floor of a step ms": floor,
        "video frames a second at that floor": 1e3 * frames / floor,
    }


def parameter_count(config: WanConfig) -> int:
    """Parameters of the DiT; all blocks are alike, so two tell of any number."""
    one, two = (
        sum(
            math.prod(shape)
            for shape in COMPONENTS["wan"].shapes(dataclasses.replace(config, depth=depth)).values()
        )
        for depth in (1, 2)
    )
    return one + (config.depth - 1) * (two - one)


def describe_folder(folder: Path) -> dict[str, Any]:
    """What a folder that `lsdjax convert` wrote holds, empty where it is none.

    Raises:
        UserError: it is damaged.
    """
    networks: dict[str, Any] = {}
    for kind in kinds_in(folder):
        loaded = load_component(folder, kind)
        networks[kind] = {
            "parameters": sum(math.prod(view.shape) for view in loaded.tensors.values()),
            "bytes": sum(view.nbytes for view in loaded.tensors.values()),
            "config": dataclasses.asdict(loaded.config),
        }
        if kind == "wan":
            networks[kind]["cost"] = step_cost(loaded.config)
            networks[kind]["runs_on"] = _runs_on(loaded.config)
    return networks


def describe_config(config: WanConfig) -> dict[str, Any]:
    """The same of a DiT that need not exist."""
    parameters = parameter_count(config)
    return {
        "parameters": parameters,
        "bytes in bfloat16": _BFLOAT16 * parameters,
        "pixels a side of a latent": CODECS[config.codec][0],
        "config": dataclasses.asdict(config),
        "cost": step_cost(config),
        "runs_on": _runs_on(config),
    }


def _runs_on(config: WanConfig) -> list[dict[str, Any]]:
    return [dataclasses.asdict(choice) for choice in runs_on(config)]
