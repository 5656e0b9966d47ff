"""What a model's structures are worth, on calibration batches.

Two rankings, by first-order Taylor expansion and by activation, say which structures of a group to
drop first; what dropping them costs is then measured, by masking them. A loss is a function
(params, key, batch) -> (), so that nothing here knows what is learned.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from lsdjax.compress.structure import (
    Mask,
    Path,
    Structures,
    axes,
    flatten,
    full_mask,
    mask_params,
    shapes,
)
from lsdjax.model.config import ModelConfig

# (params, key, batch) -> loss ()
Loss = Callable[[Any, jax.Array, Any], jax.Array]

Importance = Structures[np.ndarray]
"""A number of at least 0 for every structure; only the order within a group means anything."""


class Calibration(NamedTuple):
    """A loss and what to evaluate it on; the i-th batch always has the i-th key."""

    loss: Loss
    batches: Sequence[Any]

    def keyed(self) -> list[tuple[jax.Array, Any]]:
        root = jax.random.key(0)
        return [(jax.random.fold_in(root, i), batch) for i, batch in enumerate(self.batches)]


def taylor_importance(
    params: dict[str, Any], config: ModelConfig, calibration: Calibration
) -> Importance:
    """sum over a structure's parameters w of |w dL/dw|, added up over the batches.

    The first-order change of the loss as each parameter goes to zero (Molchanov et al. 2019,
    Importance Estimation for Neural Network Pruning). Blocks get the sum of all that is in them.
    """

    @jax.jit
    def add(total, params, key, batch):
        gradient = jax.grad(calibration.loss)(params, key, batch)
        return jax.tree.map(lambda t, w, g: t + jnp.abs(w * g), total, params, gradient)

    params = jax.device_put(params)
    total = jax.tree.map(jnp.zeros_like, params)
    for key, batch in calibration.keyed():
        total = add(total, params, key, batch)
    return _by_structure(flatten(jax.device_get(total)), config)


def _by_structure(flat: dict[Path, np.ndarray], config: ModelConfig) -> Importance:
    found = Structures(*(np.zeros(shape) for shape in shapes(config)))
    for path, leaf in flat.items():
        if path[0] == "blocks":
            found.blocks[int(path[1])] += leaf.sum()
        for axis, segments in axes(path, config).items():
            along = leaf.sum(axis=tuple(a for a in range(leaf.ndim) if a != axis))
            begin = 0
            for group, tile, repeat in segments:
                values = getattr(found, group)
                values = values[int(path[1])] if values.ndim == 2 else values
                end = begin + tile * len(values) * repeat
                values += along[begin:end].reshape(tile, len(values), repeat).sum(axis=(0, 2))
                begin = end
    return found


def activation_importance(
    params: dict[str, Any], config: ModelConfig, calibration: Calibration
) -> Importance:
    """The mean square of what each structure puts out, added up over batches and places.

    The model names these values (`checkpoint_name`) after their groups; the graph of the loss is
    cut off at them. Blocks get no number of their own, all alike.
    """
    params = jax.device_put(params)
    keyed = calibration.keyed()
    names, watch = _watch(calibration.loss, params, *keyed[0])
    found = Structures(*(np.zeros(shape) for shape in shapes(config)))
    for key, batch in keyed:
        met = dict.fromkeys(names, 0)
        for name, square in zip(names, watch(params, key, batch), strict=True):
            values = getattr(found, name)
            if values.ndim == 2:  # one value for each block, in turn
                values = values[met[name]]
                met[name] += 1
            values += np.asarray(square)
    return found


def _watch(
    loss: Loss, params: Any, key: jax.Array, batch: Any
) -> tuple[list[str], Callable[..., list[jax.Array]]]:
    """Names, and the function (params, key, batch) -> mean squares, of all values with a name."""
    closed = jax.make_jaxpr(loss)(params, key, batch)
    named = [
        equation
        for equation in closed.jaxpr.eqns
        if equation.primitive.name == "name" and equation.params["name"] in Structures._fields
    ]
    names = [equation.params["name"] for equation in named]
    outputs = [equation.outvars[0] for equation in named]
    values_of = jaxpr_as_fun(closed.replace(jaxpr=closed.jaxpr.replace(outvars=outputs)))

    @jax.jit
    def squares(params, key, batch):
        found = []
        values = values_of(*jax.tree.leaves((params, key, batch)))
        for name, value in zip(names, values, strict=True):
            kept = value.ndim - (2 if name in ("heads", "prompt_heads") else 1)
            rest = tuple(axis for axis in range(value.ndim) if axis != kept)
            found.append(jnp.mean(jnp.square(value.astype(jnp.float32)), axis=rest))
        return found

    return names, squares


def make_evaluate(
    params: dict[str, Any], config: ModelConfig, calibration: Calibration
) -> Callable[[Mask], float]:
    """The function mask -> mean loss over the calibration batches of the masked model."""
    loss, keyed = jax.jit(calibration.loss), calibration.keyed()

    def evaluate(mask: Mask) -> float:
        masked = jax.device_put(mask_params(params, config, mask))
        return float(np.mean([loss(masked, key, batch) for key, batch in keyed]))

    return evaluate


def removal_importance(config: ModelConfig, evaluate: Callable[[Mask], float]) -> np.ndarray:
    """What the loss gains when each block alone is taken out: (depth,)."""
    full = full_mask(config)
    without = [full._replace(blocks=np.arange(config.depth) != i) for i in range(config.depth)]
    return np.array([evaluate(mask) for mask in without]) - evaluate(full)
