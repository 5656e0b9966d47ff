"""Rotary position embeddings: two spatial axes at write time, age (in frames) at read time.

A head of size d is split into a temporal quarter and two spatial parts of 3d/8 each. Positions in
space never change, so the keys in the cache carry them; positions in time are ages relative to the
frame being made, so they are applied when the cache is read and stay small forever.
"""

import jax
import jax.numpy as jnp

TIME_BASE = 100.0
SPACE_BASE = 100.0


def temporal_dims(head_dim: int) -> int:
    """How many of a head's dimensions rotate with age; the rest rotate with position in space."""
    return head_dim // 4


def _angles(positions: jax.Array, dims: int, base: float) -> jax.Array:
    frequencies = base ** (-jnp.arange(0, dims, 2, dtype=jnp.float32) / dims)
    frequencies = frequencies.reshape((1,) * positions.ndim + (-1,))
    return positions.astype(jnp.float32)[..., None] * frequencies


def rotate(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Rotate pairs (x[:half], x[half:]) of the last axis by angles, in float32.

    Shapes: x (..., d), angles (..., d/2) of the same rank.

    Su et al. 2021, RoFormer, eq. 34 (in the half-split layout).
    """
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    turned = jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
    return turned.astype(x.dtype)


def rotate_space(x: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Rotate the spatial part of queries or keys: x (..., n, heads, d), n tokens row by row."""
    rows, columns = grid
    dims = x.shape[-1] - temporal_dims(x.shape[-1])
    y = _angles(jnp.repeat(jnp.arange(rows), columns), dims // 2, SPACE_BASE)
    x_ = _angles(jnp.tile(jnp.arange(columns), rows), dims // 2, SPACE_BASE)
    angles = jnp.concatenate([y, x_], axis=-1)[:, None, :]
    angles = angles.reshape((1,) * (x.ndim - 3) + angles.shape)
    time, space = jnp.split(x, [temporal_dims(x.shape[-1])], axis=-1)
    return jnp.concatenate([time, rotate(space, angles)], axis=-1)


def rotate_age(keys: jax.Array, ages: jax.Array) -> jax.Array:
    """Keys of the cache as each frame sees them, turned by -age.

    keys (b, slots, m, heads, d), ages (t, slots) -> (b, t, slots, m, heads, d).
    """
    time, space = jnp.split(keys[:, None], [temporal_dims(keys.shape[-1])], axis=-1)
    angles = -_angles(ages, time.shape[-1], TIME_BASE)[None, :, :, None, None, :]
    shape = (keys.shape[0], ages.shape[0], *keys.shape[1:-1])
    time = rotate(jnp.broadcast_to(time, (*shape, time.shape[-1])), angles)
    return jnp.concatenate([time, jnp.broadcast_to(space, (*shape, space.shape[-1]))], axis=-1)
