"""`lsdjax convert`: public checkpoints into ours and back, bit for bit.

A folder of ours holds, for each network in it, `<kind>.safetensors` and `<kind>.json`. What is read
is mapped and what is written leaves in slabs, so a file may be larger than the memory; what was
interrupted goes on where it stopped; a name appears once its file is whole.
"""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lsdjax.checkpoint.codecs import TaehvComponent, Umt5Component, WanVaeComponent
from lsdjax.checkpoint.layouts import Component, check_fit, public_shapes
from lsdjax.checkpoint.lora import Lora
from lsdjax.checkpoint.source import describe_source, read_tensors
from lsdjax.checkpoint.tensors import Stored, read_safetensors, write_safetensors
from lsdjax.checkpoint.wan import WanComponent
from lsdjax.core.errors import UserError

FORMAT = 1
_FLOATS = ("bfloat16", "float16", "float32", "float64")
COMPONENTS: dict[str, Component] = {
    component.kind: component
    for component in (WanComponent(), WanVaeComponent(), TaehvComponent(), Umt5Component())
}


class Conversion(NamedTuple):
    """What was written: `path` holds `tensors` of `parameters` numbers in `bytes`, as `dtypes`."""

    kind: str
    path: Path
    tensors: int
    parameters: int
    bytes: int
    dtypes: tuple[str, ...]
    resumed: bool
    dropped: tuple[str, ...]


class Loaded(NamedTuple):
    """One network of a folder of ours; tensors are mapped files until they are used."""

    kind: str
    config: Any
    tensors: dict[str, np.ndarray]


def import_checkpoint(
    source: Path,
    target: Path,
    *,
    entry: str | None = None,
    changes: Mapping[str, Any] | None = None,
    drop: tuple[str, ...] = (),
    lora: Path | None = None,
    lora_alpha: float | None = None,
) -> Conversion:
    """Put the public checkpoint at `source` into the folder `target`, under our names.

    changes: of the config, what the tensors do not tell. drop: beginnings of the names of tensors
    that may be left out. lora, lora_alpha: updates to add to the matrices, see
    `lsdjax.checkpoint.lora`.

    Raises:
        UserError: it cannot be read, is of no kind that we have, has tensors that are missing,
            unused or of other shapes, or there is no room for it.
    """
    found = read_tensors(source, entry)
    component, found = _recognise(found, source)
    named = {component.public_name(name): tensor for name, tensor in found.items()}
    if len(named) < len(found):
        raise UserError(
            f"{str(source)!r} has a tensor under its public name and diffusers' at once"
        )
    found = named
    dropped = tuple(name for name in found if drop and name.startswith(drop))
    found = {name: tensor for name, tensor in found.items() if name not in dropped}
    if wrong := sorted({x.dtype.name for x in found.values()} - set(_FLOATS)):
        raise UserError(
            f"{str(source)!r} holds {', '.join(wrong)}; {', '.join(_FLOATS)} are expected "
            "(quantised weights are not read)"
        )
    shapes = {name: tensor.shape for name, tensor in found.items()}
    config = component.infer(shapes, changes or {})
    check_fit(public_shapes(component, config), shapes, str(source))
    views: dict[str, Any] = {
        rule.ours: rule.layout.ours(found[rule.public].view()) for rule in component.rules(config)
    }
    told = describe_source(found)
    if lora is not None:
        updates = Lora(lora, component.public_name, lora_alpha)
        updates.check_used(found)
        for rule in component.rules(config):
            views[rule.ours] = updates.merge(rule.public, shapes[rule.public], views[rule.ours])
        told += updates.describe()
    if (target / f"{component.kind}.safetensors").resolve() in {
        tensor.path.resolve() for tensor in found.values()
    }:
        raise UserError(f"{str(target)!r} holds the source itself; another folder is expected")
    path, resumed = save_component(target, component.kind, config, views, source=told)
    return _report(component.kind, path, views, resumed, dropped)


def save_component(
    target: Path, kind: str, config: Any, tensors: Mapping[str, np.ndarray], *, source: str = ""
) -> tuple[Path, bool]:
    """Write one network under our names, its config last; the path, and whether it was gone on.

    source: of what the tensors are; an interrupted write of the same source is gone on with.

    Raises:
        UserError: there is no room.
    """
    path, partial = target / f"{kind}.safetensors", target / f"{kind}.json.partial"
    description = {"format": FORMAT, "kind": kind, "config": dataclasses.asdict(config)}
    with _explained(path):
        target.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(description, indent=1) + "\n")
        resumed = write_safetensors(path, tensors, source or os.urandom(8).hex())
        os.replace(partial, target / f"{kind}.json")
    return path, resumed


def export_checkpoint(source: Path, target: Path, *, diffusers: bool = False) -> list[Conversion]:
    """Write each network of the folder `source`, one of ours, under its public names.

    diffusers: under those of diffusers instead, where all of them are known.

    Raises:
        UserError: the folder is damaged, a name is not known, or there is no room.
    """
    if source.resolve() == target.resolve():
        raise UserError(f"{str(target)!r} is the source itself; another folder is expected")
    networks: dict[str, dict[str, np.ndarray]] = {}
    for kind in kinds_in(source):  # all of them before any is written
        loaded, component = load_component(source, kind), COMPONENTS[kind]
        networks[kind] = {
            component.diffusers_name(rule.public) if diffusers else rule.public: rule.layout.public(
                loaded.tensors[rule.ours]
            )
            for rule in component.rules(loaded.config)
        }
    made = []
    for kind, views in networks.items():
        path = target / f"{kind}.safetensors"
        stored = read_safetensors(source / f"{kind}.safetensors")
        with _explained(path):
            target.mkdir(parents=True, exist_ok=True)
            resumed = write_safetensors(path, views, describe_source(stored))
        made.append(_report(kind, path, views, resumed, ()))
    return made


def kinds_in(folder: Path) -> list[str]:
    """Which networks a folder of ours holds."""
    return [kind for kind in COMPONENTS if (folder / f"{kind}.json").is_file()]


def load_component(folder: Path, kind: str) -> Loaded:
    """One network of a folder that `import_checkpoint` wrote.

    Raises:
        UserError: a file is missing or damaged, or the tensors do not fit the config.
    """
    weights, description = folder / f"{kind}.safetensors", folder / f"{kind}.json"
    for path in (weights, description):
        if not path.is_file():
            raise UserError(f"no {path.name} in {str(folder)!r}; lsdjax convert makes it")
    try:
        told = json.loads(description.read_text())
        version, config = told["format"], told["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(description)!r} is not a config ({error})") from error
    if version != FORMAT:
        raise UserError(f"{str(description)!r} has format {version!r}; {FORMAT} is expected")
    component = COMPONENTS[kind]
    config = component.read_config(config, str(description))
    stored = read_safetensors(weights)
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    check_fit(component.shapes(config), shapes, str(weights))
    return Loaded(kind, config, {name: tensor.view() for name, tensor in stored.items()})


def _recognise(found: Mapping[str, Stored], source: Path) -> tuple[Component, dict[str, Stored]]:
    """Which network it is, by a tensor that only that one has; names without what precedes it."""
    for component in COMPONENTS.values():
        ends = [name for name in found if name.endswith(component.anchor)]
        prefixes = {name.removesuffix(component.anchor) for name in ends}
        if len(prefixes) == 1 and (prefix := prefixes.pop()) in ("", *_PREFIXES):
            return component, {name.removeprefix(prefix): x for name, x in found.items()}
    names = list(found)
    shown = ", ".join(names[:3]) or "none"
    raise UserError(
        f"{str(source)!r} holds none of {', '.join(COMPONENTS)}; its {len(names)} tensors are "
        f"{shown}{', ...' if len(names) > 3 else ''}"
    )


_PREFIXES = ("model.", "module.", "generator.", "diffusion_model.", "model.diffusion_model.")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{str(path)!r}: {error.strerror}; the same command goes on where it stopped"
        ) from error


def _report(
    kind: str,
    path: Path,
    views: Mapping[str, np.ndarray],
    resumed: bool,
    dropped: tuple[str, ...],
) -> Conversion:
    return Conversion(
        kind=kind,
        path=path,
        tensors=len(views),
        parameters=sum(math.prod(view.shape) for view in views.values()),
        bytes=path.stat().st_size,
        dtypes=tuple(sorted({view.dtype.name for view in views.values()})),
        resumed=resumed,
        dropped=dropped,
    )
