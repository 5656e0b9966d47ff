"""Numbers that look random and are the same everywhere: by name and place, in whole numbers."""

import math
import zlib

import numpy as np


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 in [-1, 1)."""
    x = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x ^= np.uint64(zlib.crc32(name.encode()) << 32)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return ((x >> np.uint64(40)).astype(np.float32) / 2**23 - 1).reshape(shape)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter under its name: norms are about 1, those of queries and keys 2."""
    value = uniform(name, shape)
    if "norm_q" in name or "norm_k" in name:
        return 2 + 0.3 * value
    if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
        return 1 + 0.3 * value
    if len(shape) > 1 and not name.endswith(("table", "modulation")):
        return value * np.float32(math.sqrt(3 / math.prod(shape[1:])))
    return 0.3 * value
