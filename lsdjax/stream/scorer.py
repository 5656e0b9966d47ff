"""What a stream tells of itself inside its step: how a picture looks, whether its state is whole.

A step seals the state that it writes: each slot of the KV ring and the previous output get a
weighted mean, and how far rounding may move it. The next step compares before it looks at anything,
so that what broke in between is dropped before it is seen.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lsdjax.core.types import typechecked
from lsdjax.stream.state import StreamState

_TOLERANCE = 1e-5
"""Of the mean magnitude. Rounding moves a mean by about 3e-7 of it; noise of 10 % in the keys of
one frame and layer by 1e-3."""


class Health(NamedTuple):
    """What one step found, on the host.

    broken: how many slots of the ring were dropped; lost: whether the previous output was; looks
    (2, 8): `describe` of the input and of the output.
    """

    broken: int
    lost: bool
    looks: np.ndarray


def pack_health(broken: jax.Array, lost: jax.Array, looks: jax.Array) -> jax.Array:
    """One array (18,): every array more that the host reads costs it a fifth of a millisecond."""
    parts = (broken[None], lost[None], looks.reshape(-1))
    return jnp.concatenate([part.astype(jnp.float32) for part in parts])


def read_health(packed: jax.Array) -> Health:
    """What `pack_health` packed; waits for it."""
    values = np.asarray(packed)
    return Health(int(values[0]), bool(values[1]), values[2:].reshape(2, 8))


@typechecked
def describe(frame: Float[Array, "height width 3"]) -> Float[Array, "8"]:
    """Means of red, green and blue, their standard deviations, saturation, sharpness.

    Saturation is the mean of max - min over the colours, sharpness the mean magnitude of the
    Laplacian of green. The frame is in [0, 1], sharpness in [0, 4]. Every second pixel is looked
    at, each way: a quarter of the work, which is most of what a step spends on watching itself.
    """
    pixels = frame[1:-1:2, 1:-1:2].reshape(-1, 3)
    saturation = jnp.max(pixels, axis=1, keepdims=True) - jnp.min(pixels, axis=1, keepdims=True)
    mean = _mean(jnp.concatenate([pixels, pixels**2, saturation], axis=1))
    deviation = jnp.sqrt(jnp.maximum(mean[3:6] - mean[:3] ** 2, 0.0))
    green = frame[..., 1]
    above, below = green[:-2:2, 1:-1:2], green[2::2, 1:-1:2]
    left, right = green[1:-1:2, :-2:2], green[1:-1:2, 2::2]
    laplacian = 4.0 * green[1:-1:2, 1:-1:2] - above - below - left - right
    sharpness = _mean(jnp.abs(laplacian).reshape(-1, 1))
    return jnp.concatenate([mean[:3], deviation, mean[6:], sharpness])


@typechecked
def seal_slot(
    keys: Float[Array, "layers b n heads d"], values: Float[Array, "layers b n heads d"]
) -> Float[Array, "parts 2"]:
    """The seal of the slot that holds one frame: its keys, then its values, layer by layer."""
    mark = _mark_slots(keys[:, :, None], values[:, :, None])[0]
    scale = _mark_slots(jnp.abs(keys)[:, :, None], jnp.abs(values)[:, :, None])[0]
    return jnp.stack([mark, _TOLERANCE * scale], axis=-1)


@typechecked
def seal_picture(previous: Float[Array, "1 1 h w ch"]) -> Float[Array, "2"]:
    """The seal of the previous output."""
    scale = _mark_picture(jnp.abs(previous))
    return jnp.stack([_mark_picture(previous), _TOLERANCE * scale])


@typechecked
def mend(
    state: StreamState, anchor: Bool[Array, ""]
) -> tuple[StreamState, Bool[Array, "slots"], Bool[Array, ""]]:
    """Drop what is not as the last step left it; with `anchor`, everything.

    A dropped slot's frame becomes invisible, and what lies there stays: attention does not look at
    it. A dropped output is zeroed, and must be declared absent. What the last step itself wrote is
    dropped where it is not finite. A dropped sink does not come back, other slots are written
    again. Where the seal holds, not a bit changes.

    Returns the state, which slots (empty ones too) and whether the previous output were kept.
    """
    cache, previous, seal = state
    holds = jnp.all(_holds(_mark_slots(cache.keys, cache.values), seal.slots), axis=1)
    whole = (holds | (cache.frames < 0)) & ~anchor
    known = _holds(_mark_picture(previous), seal.previous) & ~anchor
    cache = cache._replace(frames=jnp.where(whole, cache.frames, -1))
    seal = seal._replace(previous=jnp.where(known, seal.previous, 0.0))
    return StreamState(cache, jnp.where(known, previous, 0.0), seal), whole, known


def _holds(mark: jax.Array, seal: jax.Array) -> jax.Array:
    return jnp.abs(mark - seal[..., 0]) <= seal[..., 1]  # False where either is not a number


def _mark_slots(keys: jax.Array, values: jax.Array) -> jax.Array:
    """Weighted means of (layers, b, slots, n, heads, d) for each slot: (slots, parts)."""
    marks = [_weigh(x.reshape(*x.shape[:4], -1)).reshape(-1, x.shape[2]) for x in (keys, values)]
    return jnp.concatenate(marks).T


def _mark_picture(latent: jax.Array) -> jax.Array:
    return _weigh(latent[0, 0].reshape(latent.shape[2], -1))


def _weigh(x: jax.Array) -> jax.Array:
    """Means over the last two axes, each place with a weight of its own: (..., n, k) -> (...).

    In float32, whatever the type of x. Matrix products: XLA's CPU backend does not vectorise sums
    of floats. Two short sums round less than a long one.
    """
    x = x.astype(jnp.float32)
    for _ in range(2):
        k = x.shape[-1]
        weights = jnp.linspace(0.5 / k, 1.5 / k, k, dtype=x.dtype)
        x = jnp.matmul(x, weights, precision=jax.lax.Precision.HIGHEST)
    return x


def _mean(columns: jax.Array) -> jax.Array:
    """The mean of each column, (k, columns) -> (columns,); a matrix product for the same reason."""
    k = columns.shape[0]
    weights = jnp.full((k,), 1.0 / k, columns.dtype)
    return jnp.matmul(weights, columns, precision=jax.lax.Precision.HIGHEST)
