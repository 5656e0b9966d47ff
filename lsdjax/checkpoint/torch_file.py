"""Files that `torch.save` wrote, read without torch and without running anything of them.

Such a file is a zip with a pickle of the structure and one raw entry a storage. A pickle can name
any function of any installed module and have it called while it is read. Here it gets five names:
an ordered dict, the two functions that put a tensor together from a storage, and the storages'
types; all of them only note what the file says. Whatever else it names is refused by name.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from lsdjax.checkpoint.tensors import MAX_RANK, Stored
from lsdjax.core.errors import UserError

_MAX_PICKLE = 1 << 25
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


# Tuples, for a pickle can set the attributes of whatever has any.
class _Storage(NamedTuple):
    name: str
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _StorageType(NamedTuple):
    name: str


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    shape, strides = tuple(shape), tuple(strides)
    numbers = (offset, *shape, *strides)
    whole = all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)
    if len(shape) != len(strides) or len(shape) > MAX_RANK or not whole:
        raise pickle.UnpicklingError(f"a tensor of shape {shape}, strides {strides}")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _Refused(Exception):
    """The pickle names what is none of a tensor's business."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _StorageType(name)
        if (module, name) not in _NAMES:
            raise _Refused(f"{f'{module}.{name}'[:100]!r}")
        return _NAMES[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, _StorageType) or type(count) is not int:
            raise pickle.UnpicklingError(f"a reference to {kind!r}")
        return _Storage(storage.name, str(key), count)


def read_torch(path: Path) -> dict[str, Any]:
    """The nested dicts of a torch file; tensors are `Stored`, all else is left out.

    Raises:
        UserError: it is no such file, it is truncated, or it names anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            places = _places(path, archive)
            pickled = [name for name in places if name.split("/")[-1] == "data.pkl"]
            if len(pickled) != 1:
                raise UserError(f"{str(path)!r} is a zip, but none that torch.save wrote")
            root = pickled[0].removesuffix("data.pkl")
            if archive.getinfo(pickled[0]).file_size > _MAX_PICKLE:
                raise UserError(f"{str(path)!r} has a pickle of more than {_MAX_PICKLE} bytes")
            if (name := f"{root}byteorder") in places:
                with archive.open(name) as order:
                    if order.read(9) != b"little":
                        raise UserError(f"{str(path)!r} is big-endian; little-endian is expected")
            content = archive.read(pickled[0])
    except UserError:
        raise
    except Exception as error:  # whatever a damaged zip may lead to
        told = " ".join(str(error).split())[:200]
        raise UserError(
            f"{str(path)!r} is truncated, or not a file that torch.save wrote since version 1.6 "
            f"({told})"
        ) from error
    try:
        _check_places(content)
        tree = _Unpickler(io.BytesIO(content)).load()
        places = {name.removeprefix(f"{root}data/"): place for name, place in places.items()}
        return _resolve(tree, path, places) if isinstance(tree, Mapping) else {}
    except UserError:
        raise
    except _Refused as error:
        raise UserError(
            f"{str(path)!r} names {error}: only tensors are read, nothing of a file is run; "
            "a safetensors file, or one with the state dict alone, is expected"
        ) from None
    except Exception as error:  # whatever a damaged pickle may lead to
        told = " ".join(str(error).split())[:200]
        raise UserError(f"{str(path)!r} is damaged ({type(error).__name__}: {told})") from error


def _check_places(content: bytes) -> None:
    """Refuse a pickle that stores at a place so far up that the table alone fills the memory."""
    for opcode, argument, _ in pickletools.genops(content):
        if "PUT" in opcode.name and int(argument or 0) > len(content):
            raise pickle.UnpicklingError(f"{opcode.name} {argument}")


def _places(path: Path, archive: zipfile.ZipFile) -> dict[str, tuple[int, int]]:
    """Of each entry that is not packed, the byte where it begins, and its size."""
    places = {}
    length = path.stat().st_size
    if len({entry.filename for entry in archive.infolist()}) < len(archive.infolist()):
        raise zipfile.BadZipFile("two entries of one name")
    with path.open("rb") as file:
        for entry in archive.infolist():
            file.seek(entry.header_offset)
            header = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            if entry.compress_type == zipfile.ZIP_STORED and header[0] == b"PK\x03\x04":
                start = entry.header_offset + _LOCAL_HEADER.size + header[-2] + header[-1]
                if start + entry.file_size > length:
                    raise zipfile.BadZipFile(f"{entry.filename[:100]!r} ends behind the file")
                places[entry.filename] = (start, entry.file_size)
    return places


def _resolve(tree: Mapping, path: Path, places: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, _Tensor):
            found[str(name)] = _locate(str(name), value, path, places)
        elif isinstance(value, Mapping) and (inside := _resolve(value, path, places)):
            found[str(name)] = inside
    return found


def _locate(
    name: str, tensor: _Tensor, path: Path, places: Mapping[str, tuple[int, int]]
) -> Stored:
    storage, dtype = tensor.storage, _STORAGES[tensor.storage.name]
    start, size = places.get(storage.key, (0, -1))
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    count = math.prod(tensor.shape)
    needed = (tensor.offset + max(last + 1, count)) * dtype.itemsize if count else 0
    if size < max(needed, storage.length * dtype.itemsize):
        raise UserError(
            f"{str(path)!r} is damaged, or has a tensor that repeats itself, which is not read: "
            f"{name} needs {needed} bytes of a storage of {size}"
        )
    offset = start + tensor.offset * dtype.itemsize
    return Stored(path, offset, dtype, tensor.shape, tensor.strides)
