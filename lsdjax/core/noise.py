"""Random numbers of the stream step: those of `jax.random` to the bit, in a fraction of the time.

On a CPU `jax.random` runs the cipher's rounds as loops over arrays in memory, and XLA does not
vectorise its inverse error function; for a small model that is a fifth of a step. Written out, both
become one pass over vector registers.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def _threefry(key: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011) of the words (0, counts)."""
    first, second = key[0], key[1]
    words = (first, second, first ^ second ^ np.uint32(_PARITY))
    x, y = jnp.broadcast_to(first, counts.shape), counts + second
    for block in range(5):
        for bits in _ROTATIONS[block % 2]:
            x = x + y
            y = x ^ (y << np.uint32(bits) | y >> np.uint32(32 - bits))
        x = x + words[(block + 1) % 3]
        y = y + words[(block + 2) % 3] + np.uint32(block + 1)
    return x, y


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """What `jax.random.bits(key, shape)` gives for a key of its default kind: uint32."""
    if str(jax.random.key_impl(key)) != "threefry2x32" or not jax.config.jax_threefry_partitionable:
        return jax.random.bits(key, shape)
    counts = jax.lax.iota(jnp.uint32, math.prod(shape))
    x, y = _threefry(jax.random.key_data(key), counts)
    return (x ^ y).reshape(shape)


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """What `jax.random.uniform(key, shape)` gives: float32 in [0, 1), in steps of 2^-23."""
    bits = random_bits(key, shape) >> np.uint32(9) | np.uint32(0x3F800000)  # a float in [1, 2)
    return jax.lax.bitcast_convert_type(bits, jnp.float32) - 1.0


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """What `jax.random.normal(key, shape)` gives: float32, sqrt(2) erfinv(u) for u in (-1, 1)."""
    low = np.nextafter(np.float32(-1.0), np.float32(0.0))
    spread = uniform(key, (math.prod(shape),)) * (np.float32(1.0) - low) + low
    return (np.float32(math.sqrt(2)) * _erfinv(jnp.maximum(spread, low))).reshape(shape)


_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
    -0.00125372503, -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
    -0.0076224613, 0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def _erfinv(x: jax.Array) -> jax.Array:
    """The inverse error function in float32, by the polynomials of Giles (2010)."""
    # The logarithm by itself: together with what follows, XLA's CPU backend does not vectorise it.
    w = jax.lax.optimization_barrier(-jnp.log1p(-x * x))
    central = w < 5.0
    w = jnp.where(central, w - 2.5, jnp.sqrt(w) - 3.0)
    polynomial = jnp.where(central, _CENTRE[0], _TAIL[0])
    for centre, tail in zip(_CENTRE[1:], _TAIL[1:], strict=True):
        polynomial = jnp.where(central, centre, tail) + polynomial * w
    return polynomial * x
