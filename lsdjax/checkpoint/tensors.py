"""Safetensors files, read and written tensor by tensor: memory does not grow with the file.

A tensor is a view of the mapped file until somebody copies it, so a file larger than the memory can
be looked at, and converted slab by slab.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from lsdjax.core.errors import UserError

SLAB_BYTES = 1 << 26
_MAX_HEADER = 1 << 25
MAX_RANK = 8
_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


class Stored(NamedTuple):
    """Where a tensor lies: at byte `offset` of `path`, with `strides` counted in elements."""

    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self) -> np.ndarray:
        """The tensor, mapped and not copied; it is read-only."""
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        count = 1 + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        raw = np.memmap(
            self.path, np.uint8, "r", offset=self.offset, shape=(count * self.dtype.itemsize,)
        )
        strides = tuple(step * self.dtype.itemsize for step in self.strides)
        return np.ndarray(self.shape, self.dtype, raw, strides=strides)


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of an array that lies row by row."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def read_safetensors(path: Path) -> dict[str, Stored]:
    """What a safetensors file holds.

    Raises:
        UserError: it is none, it is truncated, or its header lies about the data.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, _MAX_HEADER):
            raise UserError(f"{str(path)!r} is not a readable safetensors file (its header)")
        try:
            header = read_json(file.read(length))
            header.pop("__metadata__", None)
            found = {name: _stored(path, 8 + length, told) for name, told in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{str(path)!r} is not a readable safetensors file "
                f"({type(error).__name__} in its header: {error})"
            ) from error
    for name, tensor in found.items():
        end = tensor.offset + math.prod(tensor.shape) * tensor.dtype.itemsize
        if end > size:
            raise UserError(
                f"{str(path)!r} is truncated: {name} ends at byte {end}, the file at {size}"
            )
    end = 8 + length
    for name, tensor in sorted(found.items(), key=lambda item: item[1].offset):
        if tensor.offset != end and 0 not in tensor.shape:
            raise UserError(
                f"{str(path)!r} is damaged: {name} begins at {tensor.offset}, not {end}"
            )
        end += math.prod(tensor.shape) * tensor.dtype.itemsize
    if end != size:
        raise UserError(f"{str(path)!r} is damaged: its tensors end at byte {end}, it at {size}")
    return found


def read_json(text: str | bytes) -> Any:
    """JSON of which no object has a name twice; raises ValueError or RecursionError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(made := dict(pairs)) < len(pairs):
            raise ValueError("a name stands there twice")
        return made

    return json.loads(text, object_pairs_hook=once)


def _stored(path: Path, base: int, told: Mapping[str, Any]) -> Stored:
    shape = tuple(told["shape"])
    start, end = told["data_offsets"]
    if told["dtype"] not in _DTYPES:
        raise ValueError(f"dtype {told['dtype']}")
    dtype = _DTYPES[told["dtype"]]
    whole = all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, start, end))
    if not whole or len(shape) > MAX_RANK or end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{shape} of {dtype} in bytes {start} to {end}")
    return Stored(path, base + start, dtype, shape, row_major(shape))


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], source: str) -> bool:
    """Write views one after the other, each in slabs; return whether an earlier try was gone on.

    source: says of what the tensors are; what was written of the same tensors of the same source
    before an interruption is kept. The name `path` appears once the file is whole.
    """
    header, ends = _header(tensors)
    plan = hashlib.sha256(header + source.encode()).hexdigest()[:12]
    partial = path.with_name(f"{path.name}.{plan}.partial")
    resumed = partial.exists()
    with partial.open("r+b" if resumed else "w+b") as file:
        done = _whole_tensors(file.read(len(header)) == header, partial, header, ends)
        if done < 0:
            file.seek(0)
            file.write(header)
            done = 0
        file.seek(len(header) + (ends[done - 1] if done else 0))
        file.truncate()
        for tensor in list(tensors.values())[done:]:
            for slab in _slabs(tensor):
                file.write(slab)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    for other in path.parent.glob(f"{path.name}.*.partial"):
        other.unlink()
    return resumed


def _header(tensors: Mapping[str, np.ndarray]) -> tuple[bytes, list[int]]:
    """The file's first bytes, and where each tensor's data ends behind them."""
    told, ends = {}, [0]
    for name, tensor in tensors.items():
        ends.append(ends[-1] + tensor.nbytes)
        told[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": ends[-2:],
        }
    text = json.dumps(told, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, ends[1:]


def _whole_tensors(same: bool, partial: Path, header: bytes, ends: list[int]) -> int:
    """How many tensors an earlier try wrote in full; -1 where not even its header is there."""
    if not same:
        return -1
    written = partial.stat().st_size - len(header)
    return sum(end <= written for end in ends)


def _slabs(tensor: np.ndarray) -> Iterator[bytes]:
    rows = max(1, SLAB_BYTES * len(tensor) // max(tensor.nbytes, 1)) if tensor.ndim else 1
    tensor = tensor if tensor.ndim else tensor[None]
    for start in range(0, len(tensor), rows):
        yield np.ascontiguousarray(tensor[start : start + rows]).tobytes()
