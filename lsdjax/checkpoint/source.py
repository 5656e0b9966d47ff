"""What lies at a path: one safetensors file, a folder of shards with an index, or a torch file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsdjax.checkpoint.tensors import Stored, read_json, read_safetensors
from lsdjax.checkpoint.torch_file import read_torch
from lsdjax.core.errors import UserError

INDEX = ".safetensors.index.json"
_MAX_INDEX = 1 << 25
_TORCH = (".pt", ".pth", ".bin", ".ckpt")
_ENTRIES = (
    "generator_ema", "generator", "generator_lora", "ema", "model_ema",
    "model", "module", "state_dict", "params",
)  # fmt: skip
_LFS = b"version https://git-lfs"
_WRAPPERS = ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod.")


def read_tensors(path: Path, entry: str | None = None) -> dict[str, Stored]:
    """The tensors at `path` under the names that are written there, less those of wrappers.

    entry: the one of a torch file's dicts to take, such as "generator"; without it the averaged
    weights where there are any.

    Raises:
        UserError: there is nothing, or nothing that can be read.
    """
    try:
        found = _read(path, entry)
    except OSError as error:
        raise UserError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    if strange := [name for name in found if not name.isprintable() or len(name) > 200]:
        raise UserError(
            f"{str(path)!r} has a tensor called {strange[0][:200]!r}; a name is expected"
        )
    return {_unwrapped(name): tensor for name, tensor in found.items()}


def describe_source(tensors: Mapping[str, Stored]) -> str:
    """Where `tensors` lie, in files of which sizes and times: another text once one of it changes.

    A file may hold several sets of weights of the same names and shapes.
    """
    paths = sorted({tensor.path for tensor in tensors.values()})
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    places = [(name, tensor.path.name, tensor.offset) for name, tensor in tensors.items()]
    return json.dumps([files, places])


def _read(path: Path, entry: str | None) -> dict[str, Stored]:
    if path.is_dir():
        path = _only(path)
    if not path.is_file():
        raise UserError(f"no file or folder {str(path)!r}; a checkpoint is expected")
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise UserError(f"{str(path)!r} is a pointer of Git LFS, not the file: git lfs pull")
    if path.name.endswith(INDEX):
        found = _read_shards(path)
    elif path.suffix == ".safetensors":
        found = read_safetensors(path)
    elif path.suffix in _TORCH:
        return _choose(read_torch(path), path, entry)
    else:
        raise UserError(
            f"{str(path)!r}: a .safetensors file, {', '.join(_TORCH)} or a folder is expected"
        )
    if entry is not None:
        raise UserError(f"{str(path)!r} has no entries such as {entry!r}, torch files alone have")
    return found


def _only(folder: Path) -> Path:
    """The one checkpoint of a folder: its index where it has one."""
    for pattern in (f"*{INDEX}", "*.safetensors", *(f"*{suffix}" for suffix in _TORCH)):
        found = sorted(folder.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{str(folder)!r} holds {', '.join(path.name for path in found)}; "
                "one of them is expected by its name"
            )
    raise UserError(f"no checkpoint in {str(folder)!r}; a .safetensors or torch file is expected")


def _read_shards(index: Path) -> dict[str, Stored]:
    try:
        if index.stat().st_size > _MAX_INDEX:
            raise ValueError(f"more than {_MAX_INDEX} bytes")
        places = read_json(index.read_bytes())["weight_map"]
        shards = {name: set(places) for name in set(places.values())}
        if any(Path(name).name != name for name in shards):
            raise ValueError("a shard outside of its folder")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{str(index)!r} is not an index of shards ({error})") from error
    found: dict[str, Stored] = {}
    for name in sorted(shards):
        if not (index.parent / name).is_file():
            raise UserError(f"{str(index)!r} names {name}, which is missing")
        shard = read_safetensors(index.parent / name)
        if wrong := sorted(set(shard) ^ {x for x, where in places.items() if where == name}):
            raise UserError(f"{str(index)!r} and {name} differ in {', '.join(wrong)}")
        found |= shard
    return found


def _choose(tree: dict[str, Any], path: Path, entry: str | None) -> dict[str, Stored]:
    """The dict of tensors in a torch file."""
    if entry is not None:
        if not isinstance(tree.get(entry), dict):
            known = ", ".join(name for name in tree if isinstance(tree[name], dict)) or "none"
            raise UserError(f"{str(path)!r} has no entry {entry!r}; there is {known}")
        tree = tree[entry]
    while inside := [name for name in _ENTRIES if isinstance(tree.get(name), dict)]:
        tree = tree[inside[0]]
    found = {name: value for name, value in tree.items() if isinstance(value, Stored)}
    if not found:
        raise UserError(f"{str(path)!r} holds no tensors by name; a state dict is expected")
    return found


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name
