"""The mesh of devices, and how an array is laid out on it.

Three axes. Groups of clips are dealt over `data` and `fsdp`; what `data` replicates, `fsdp` splits
as well (ZeRO, Rajbhandari et al. 2020); `tensor` splits the features of every matrix, so that the
devices along it share the work of one group.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lsdjax.core.errors import UserError

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")


def parse_mesh(text: str) -> dict[str, int]:
    """Sizes from "data=2,fsdp=4"; an axis that is not named has size 1.

    Raises:
        UserError: an axis is unknown or named twice, or a size is no positive number.
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = (piece.strip() for piece in part.partition("="))
        if name not in AXES or name in sizes:
            wrong = "named twice" if name in sizes else f"none of {', '.join(AXES)}"
            raise UserError(f"mesh {text!r}: axis {name!r} is {wrong}; data=2,fsdp=4 is a mesh")
        if not size.isdecimal() or int(size) < 1:
            raise UserError(f"mesh {text!r}: {name}={size}; a positive number is expected")
        sizes[name] = int(size)
    return {axis: sizes.get(axis, 1) for axis in AXES}


def make_mesh(text: str | None = None, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over `devices` (all of every process, unless given); None puts all of them on `data`.

    Raises:
        UserError: `text` is no mesh, or its sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = parse_mesh(f"data={len(devices)}" if text is None else text)
    needed = math.prod(sizes.values())
    if needed != len(devices):
        product = " x ".join(f"{axis}={size}" for axis, size in sizes.items())
        raise UserError(f"mesh {product} takes {needed} devices, but there are {len(devices)}")
    shape = tuple(sizes.values())
    types = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh(shape, AXES, types, devices=devices)


def batch_size(mesh: Mesh) -> int:
    """How many groups are worked on at once."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def split_axes(shape: Sequence[int], sizes: Mapping[str, int]) -> PartitionSpec:
    """Which mesh axis splits each axis of an array of `shape`.

    `tensor` takes the last axis (a layer's output features) of all but vectors, `fsdp` the largest
    other one; an axis that a size does not divide stays whole. Equal shapes are split alike, so the
    moments of an optimizer lie where their parameters do.
    """
    axes: list[str | None] = [None] * len(shape)
    if len(shape) > 1 and sizes["tensor"] > 1 and shape[-1] % sizes["tensor"] == 0:
        axes[-1] = "tensor"
    free = [n for n, axis in enumerate(axes) if axis is None and shape[n] % sizes["fsdp"] == 0]
    if free and sizes["fsdp"] > 1:
        axes[max(free, key=lambda n: shape[n])] = "fsdp"
    while axes and axes[-1] is None:  # as XLA writes the layout of a result
        axes.pop()
    return PartitionSpec(*axes)


def sharding_of(shape: Sequence[int], mesh: Mesh) -> NamedSharding:
    """Where an array of the training state lives."""
    return NamedSharding(mesh, split_axes(shape, mesh.shape))


def place(tree: Any, mesh: Mesh, spec: PartitionSpec | None = None) -> Any:
    """Put a tree that every process holds whole onto the mesh, by `spec` or by `split_axes`."""

    def put(leaf: Any) -> jax.Array:
        host = np.asarray(leaf)
        sharding = sharding_of(host.shape, mesh) if spec is None else NamedSharding(mesh, spec)
        return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

    return jax.tree.map(put, tree)


def constrain(tree: Any, mesh: Mesh) -> Any:
    """Inside `jit`: let a tree be laid out by `split_axes`."""
    return jax.tree.map(
        lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding_of(leaf.shape, mesh)), tree
    )


def local_copy(tree: Any, mesh: Mesh) -> Any:
    """The whole tree on one device of this process; every process of the mesh has to ask."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), _gather(tree, mesh))


@functools.partial(jax.jit, static_argnums=1)
def _gather(tree: Any, mesh: Mesh) -> Any:
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))
