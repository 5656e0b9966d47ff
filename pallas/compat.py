"""What differs between the versions of JAX that are supported (0.11.2 and 0.12), and only that."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental.pallas import mosaic_gpu as plgpu

_PARAMETERS = inspect.signature(plgpu.kernel).parameters
_OUTPUTS = "out_type" if "out_type" in _PARAMETERS else "out_shape"
_SCRATCH = "scratch_types" if "scratch_types" in _PARAMETERS else "scratch_shapes"


def gpu_kernel(
    body: Callable[..., None],
    outputs: Sequence[jax.ShapeDtypeStruct],
    scratch: dict[str, Any],
    **settings: Any,
) -> Callable[..., Any]:
    """`plgpu.kernel` under the names that the installed version gives to its arguments."""
    return plgpu.kernel(body, **{_OUTPUTS: tuple(outputs), _SCRATCH: scratch}, **settings)
