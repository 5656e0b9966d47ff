"""Rotary embeddings as three arrays: a cosine, a sine, and a matrix that swaps the pairs.

x turned = x * cos + (x @ swap) * sin. The swap is a signed permutation, so the product is exact in
bfloat16, and one formula serves pairs that lie side by side and pairs that lie half a section
apart. Su et al. 2021, RoFormer, eq. 34.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Rotary:
    """How a head's dimensions are paired, and which of them turn with what.

    Attributes:
        time: dimensions that turn with a frame's age; they come first.
        space: dimensions of each part that turns with the position in space: the rows, the columns.
        interleaved: pairs are (0, 1), (2, 3), ... Otherwise the time part and the whole space part
            are each split into two halves, and a pair has one dimension of either.
        time_base, space_base: of the geometric frequencies.
    """

    time: int
    space: tuple[int, int]
    interleaved: bool = False
    time_base: float = 100.0
    space_base: float = 100.0

    @property
    def dims(self) -> int:
        return self.time + sum(self.space)

    def swap(self) -> np.ndarray:
        """The signed permutation (d, d): -1 from a pair's second to its first, +1 the other way."""
        matrix = np.zeros((self.dims, self.dims), np.float32)
        for first, second in self._pairs():
            matrix[second, first], matrix[first, second] = -1.0, 1.0
        return matrix

    def age_tables(self, ages: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Cosine and sine (slots, d), float32, that turn queries by their distance to a slot.

        ages (slots,). A query turned by +age meets the key as the key turned by -age meets the
        query.
        """
        angles = ages.astype(jnp.float32)[:, None] * _frequencies(self.time, self.time_base)
        still = jnp.zeros((len(ages), sum(self.space) // 2), jnp.float32)
        return self._tables(angles, still)

    def space_tables(self, rows: int, columns: int) -> tuple[jax.Array, jax.Array]:
        """Cosine and sine (rows * columns, d), float32, of tokens row by row."""
        y = jnp.repeat(jnp.arange(rows, dtype=jnp.float32), columns)[:, None]
        x = jnp.tile(jnp.arange(columns, dtype=jnp.float32), rows)[:, None]
        angles = [
            at * _frequencies(dims, self.space_base)
            for at, dims in zip((y, x), self.space, strict=True)
        ]
        still = jnp.zeros((rows * columns, self.time // 2), jnp.float32)
        return self._tables(still, jnp.concatenate(angles, axis=-1))

    def _pairs(self) -> list[tuple[int, int]]:
        if self.interleaved:
            return [(dim, dim + 1) for dim in range(0, self.dims, 2)]
        pairs, start = [], 0
        for dims in (self.time, sum(self.space)):
            pairs += [(start + i, start + dims // 2 + i) for i in range(dims // 2)]
            start += dims
        return pairs

    def _tables(self, time: jax.Array, space: jax.Array) -> tuple[jax.Array, jax.Array]:
        if self.interleaved:
            angles = jnp.repeat(jnp.concatenate([time, space], axis=-1), 2, axis=-1)
        else:
            angles = jnp.concatenate([time, time, space, space], axis=-1)
        return jnp.cos(angles), jnp.sin(angles)


def _frequencies(dims: int, base: float) -> jax.Array:
    """Geometric frequencies (1, dims / 2) from 1 down to nearly 1 / base."""
    return (base ** (-jnp.arange(0, dims, 2, dtype=jnp.float32) / dims))[None, :]


def turn(x: jax.Array, cos: jax.Array, sin: jax.Array, swap: np.ndarray) -> jax.Array:
    """x (..., d) turned, in float32; cos and sin have the rank of x."""
    x = x.astype(jnp.float32)
    return x * cos + jnp.matmul(x, jnp.asarray(swap), precision="highest") * sin
