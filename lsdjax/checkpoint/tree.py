"""Parameters of a model as names with dots, and back."""

from collections.abc import Callable, Mapping
from typing import Any

from flax import nnx, traverse_util


def parameter_shapes(make: Callable[[nnx.Rngs], nnx.Module]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of what `make` makes, without making them."""
    model = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    pure = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    flat: dict[Any, Any] = traverse_util.flatten_dict(dict(pure))
    return {".".join(map(str, path)): tuple(leaf.shape) for path, leaf in flat.items()}


def unflatten(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dict that `nnx.State` takes; numbers in names are indices."""
    paths = {
        tuple(int(key) if key.isdigit() else key for key in name.split(".")): value
        for name, value in tensors.items()
    }
    return traverse_util.unflatten_dict(paths)
