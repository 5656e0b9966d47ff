"""Meshes, and how arrays are laid out on them."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from lsdjax.core.errors import UserError
from lsdjax.core.sharding import batch_size, local_copy, make_mesh, parse_mesh, place, split_axes


def test_without_sizes_every_device_is_on_data() -> None:
    assert dict(make_mesh().shape) == {"data": 8, "fsdp": 1, "tensor": 1}
    assert batch_size(make_mesh("fsdp=2,data=2,tensor=2")) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model=2", "'model' is none of data, fsdp, tensor"),
        ("", "'' is none of"),
        ("data=2,data=4", "'data' is named twice"),
        ("data", "data=; a positive number"),
        ("data=0", "data=0; a positive number"),
        ("fsdp=-1", "fsdp=-1; a positive number"),
        ("data=2,fsdp=2", "data=2 x fsdp=2 x tensor=1 takes 4 devices, but there are 8"),
        ("tensor=16", "takes 16 devices, but there are 8"),
    ],
)
def test_a_bad_mesh_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        make_mesh(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("shape", "fsdp", "tensor", "spec"),
    [
        ((), 2, 2, ()),
        ((6,), 2, 2, ("fsdp",)),
        ((7,), 2, 2, ()),
        ((4, 6), 1, 1, ()),
        ((4, 6), 2, 1, (None, "fsdp")),
        ((4, 6), 2, 2, ("fsdp", "tensor")),
        ((4, 7), 2, 2, ("fsdp",)),
        ((3, 3, 8, 10), 4, 5, (None, None, "fsdp", "tensor")),
        ((16, 3, 8, 9), 4, 2, ("fsdp",)),
    ],
)
def test_the_largest_axis_that_divides_is_split(shape, fsdp, tensor, spec) -> None:
    sizes = {"data": 8, "fsdp": fsdp, "tensor": tensor}
    assert split_axes(shape, sizes) == PartitionSpec(*spec)


def test_a_placed_tree_is_split_and_comes_back_whole() -> None:
    mesh = make_mesh("data=2,fsdp=2,tensor=2")
    tree = {"kernel": np.arange(24.0, dtype=np.float32).reshape(4, 6), "step": np.int32(3)}
    placed = place(tree, mesh)
    assert {shard.data.shape for shard in placed["kernel"].addressable_shards} == {(2, 3)}
    assert placed["step"].is_fully_replicated
    back = local_copy(placed, mesh)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(back))
    jax.tree.map(np.testing.assert_array_equal, back, tree)


def test_sizes_of_axes_not_named_are_one() -> None:
    assert parse_mesh(" fsdp = 4 ") == {"data": 1, "fsdp": 4, "tensor": 1}
