"""What 8 bits are here: e4m3 values, a scale for each row and 128 inputs, and for each weight tile.

In plain jnp: the contract of the kernels of `fp8`, and what stands in for them elsewhere.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

DEPTH = 128
"""Inputs that share a scale: 128 bytes, the width of a swizzled row of SMEM."""

LARGEST = 448.0
"""Of e4m3."""


class Linear8(NamedTuple):
    """kernel (outputs, inputs) e4m3; scale (inputs / 128, outputs / columns); bias (outputs,).

    Inputs and outputs of the kernel may be more than there are, with zeros.
    """

    kernel: jax.Array
    scale: jax.Array
    bias: jax.Array


def quantise(kernel: jax.Array, bias: jax.Array, columns: int) -> Linear8:
    """Round a kernel (inputs, outputs) to 8 bits, one scale for each tile of 128 x `columns`."""
    spare = [(0, -size % unit) for size, unit in zip(kernel.shape, (DEPTH, columns), strict=True)]
    kernel = jnp.pad(kernel.astype(jnp.float32), spare)
    inputs, outputs = kernel.shape
    tiles = kernel.reshape(inputs // DEPTH, DEPTH, outputs // columns, columns)
    scale = jnp.maximum(jnp.abs(tiles).max(axis=(1, 3)), 1e-12) / LARGEST
    rounded = (tiles / scale[:, None, :, None]).reshape(inputs, outputs)
    return Linear8(rounded.T.astype(jnp.float8_e4m3fn), scale, bias)


def linear8(x: jax.Array, weights: Linear8) -> jax.Array:
    """The contract: x (n, inputs) rounded to 8 bits by row and 128 inputs, times the weights."""
    (outputs, inputs), parts = weights.kernel.shape, weights.scale.shape
    x = jnp.pad(x.astype(jnp.float32), ((0, 0), (0, inputs - x.shape[1])))
    tiles = x.reshape(len(x), parts[0], DEPTH)
    scale = jnp.maximum(jnp.abs(tiles).max(axis=-1, keepdims=True), 1e-12) / LARGEST
    rounded = (tiles / scale).astype(jnp.float8_e4m3fn).astype(jnp.float32) * scale
    kernel = weights.kernel.astype(jnp.float32).T.reshape(parts[0], DEPTH, parts[1], -1)
    kernel = (kernel * weights.scale[:, None, :, None]).reshape(inputs, outputs)
    product = jnp.matmul(rounded.reshape(len(x), inputs), kernel, precision="highest")
    return product[:, : len(weights.bias)] + weights.bias[None]
