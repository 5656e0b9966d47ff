"""History augmentation: corrupt what a frame is told of the past, so that a stream mends itself.

A stream is told its own outputs, errors and all; a model that only ever saw the truth there passes
the errors on. Each form is a pure function of the previous outputs, and they compose.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lsdjax.diffusion.schedule import add_noise

FADED = 0.3
"""The least that is left of a faded past."""
PATCH = 4
"""Side of the squares, in latent positions, that fade alike."""
BUCKETS = 8
"""Noise levels that an error bank tells apart."""
ENTRIES = 32
"""Errors that it keeps of each."""
BLOCK = 8
"""Side of a codec's squares, in pixels."""


def noisy_history(
    key: jax.Array,
    previous: jax.Array,
    present: jax.Array,
    *,
    max_level: float,
    drop: float,
    declared: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Noise the previous output to a level ~ U[0, max_level], or drop it.

    A model trained so trusts its own past only as far as the declared level allows (Self-Forcing's
    `aug_t`). In a share `declared` of the clips the level is told, and the picture left as it is
    (open-oasis). Shapes: previous (b, t, ...), present (b, t) -> the same and its level (b, t), 1
    where there is nothing.
    """
    level_key, noise_key, drop_key, declare_key = jax.random.split(key, 4)
    level = jax.random.uniform(level_key, present.shape, maxval=max_level)
    dropped = jax.random.bernoulli(drop_key, drop, present.shape[:1])[:, None]
    level = jnp.where((present > 0) & ~dropped, level, 1.0)
    noise = jax.random.normal(noise_key, previous.shape, previous.dtype)
    noise = jnp.where(_choose(declare_key, declared, previous), 0.0, noise)
    return add_noise(previous, noise, level), level


def faded_history(
    key: jax.Array, previous: jax.Array, faint: jax.Array, *, share: float
) -> jax.Array:
    """Let patches of the previous output fade towards `faint`, in a `share` of the clips.

    p' = f + g (p - f), g ~ U[FADED, 1] for each patch of each frame. The target is not faded: so
    the map from one frame to the next becomes a contraction towards what should be there, where
    otherwise every frame passes on a little less than it was told (measured: snow lost 20 % a
    frame). Shapes: previous, faint (b, t, h, w, ch) with h and w multiples of PATCH.
    """
    gain_key, clip_key = jax.random.split(key)
    b, t, h, w, _ = previous.shape
    patches = (b, t, h // PATCH, w // PATCH, 1)
    gain = jax.random.uniform(gain_key, patches, minval=FADED)
    gain = jnp.repeat(jnp.repeat(gain, PATCH, axis=2), PATCH, axis=3).astype(previous.dtype)
    return jnp.where(
        _choose(clip_key, share, previous), faint + gain * (previous - faint), previous
    )


class ErrorBank(NamedTuple):
    """The model's own errors, sorted by the noise level that it erred at.

    errors (BUCKETS, ENTRIES, h, w, ch): predicted sample - sample; zeros where none came yet.
    """

    errors: jax.Array


def init_bank(shape: tuple[int, ...]) -> ErrorBank:
    """An empty bank for pictures of `shape` (h, w, ch)."""
    return ErrorBank(jnp.zeros((BUCKETS, ENTRIES, *shape), jnp.float32))


def fill_bank(
    key: jax.Array, bank: ErrorBank, errors: jax.Array, noise_level: jax.Array
) -> ErrorBank:
    """Put errors (n, h, w, ch) made at noise levels (n,) in the place of random older ones."""
    bucket = jnp.minimum((noise_level * BUCKETS).astype(jnp.int32), BUCKETS - 1)
    entry = jax.random.randint(key, bucket.shape, 0, ENTRIES)
    return ErrorBank(bank.errors.at[bucket, entry].set(errors.astype(jnp.float32)))


def erred_history(
    key: jax.Array, previous: jax.Array, bank: ErrorBank, *, share: float
) -> jax.Array:
    """Add an error of the bank to each previous output, in a `share` of the clips.

    p' = p + g e, g ~ U[0.7, 1.3], e of a random level (LongLive 2, Stable Video Infinity).
    previous (b, t, h, w, ch), as large as the bank's pictures.
    """
    bucket_key, entry_key, gain_key, clip_key = jax.random.split(key, 4)
    frames = previous.shape[:2]
    bucket = jax.random.randint(bucket_key, frames, 0, BUCKETS)
    entry = jax.random.randint(entry_key, frames, 0, ENTRIES)
    gain = jax.random.uniform(gain_key, (*frames, 1, 1, 1), minval=0.7, maxval=1.3)
    erred = previous + (gain * bank.errors[bucket, entry]).astype(previous.dtype)
    return jnp.where(_choose(clip_key, share, previous), erred, previous)


def drifted_history(key: jax.Array, previous: jax.Array, *, share: float) -> jax.Array:
    """Make the previous outputs look as if a stream had drifted, in a `share` of the clips.

    Blur, gain, colour cast, saturation and a codec's blocks, each by a random amount that a clip
    keeps. previous: pixels (b, t, height, width, 3) in [-1, 1], sides multiples of BLOCK.
    """
    keys = jax.random.split(key, 6)
    b, t, height, width, _ = previous.shape

    def amount(number: int, low: float, high: float, *shape: int) -> jax.Array:
        drawn = jax.random.uniform(keys[number], (b, 1, 1, 1, *shape), minval=low, maxval=high)
        return drawn.astype(previous.dtype)

    x = previous + amount(0, 0.0, 1.0, 1) * (_blurred(previous) - previous)
    blocks = (b, t, height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3)
    mean = jnp.mean(x.reshape(blocks), axis=(3, 5), keepdims=True)
    mean = jnp.broadcast_to(mean, blocks).reshape(x.shape)
    x = x + amount(1, 0.0, 0.4, 1) * (mean - x)
    grey = jnp.mean(x, axis=-1, keepdims=True)
    x = grey + amount(2, 0.6, 1.4, 1) * (x - grey)
    x = amount(3, 0.75, 1.25, 1) * (x + 1) - 1 + amount(4, -0.12, 0.12, 3)
    drifted = jnp.clip(x, -1.0, 1.0)
    return jnp.where(_choose(keys[5], share, previous), drifted, previous)


def own_history(
    key: jax.Array,
    predict: Callable[[jax.Array], jax.Array],
    previous: jax.Array,
    *,
    share: float,
    depth: int,
) -> jax.Array:
    """Put the model's own pictures in the place of the teacher's, in a `share` of the clips.

    What a model shows of frame i is what it is told before frame i + 1, so that it meets its own
    errors while a target says what they should have been (Self-Forcing's self-rollout, for all
    frames at once): after `depth` rounds, frame i stands on a rollout of min(i, depth) frames.
    `predict` maps previous outputs (b, t, ...) to samples of the same shape; no gradient passes
    through it. Each clip's first frame keeps what it had.
    """
    told = previous
    for _ in range(depth):
        own = jnp.clip(jax.lax.stop_gradient(predict(told)), -1.0, 1.0)
        told = jnp.concatenate([previous[:, :1], own[:, :-1]], axis=1)
    return jnp.where(_choose(key, share, previous), told, previous)


def _choose(key: jax.Array, share: float, like: jax.Array) -> jax.Array:
    """A `share` of the clips of `like` (b, ...), to choose with: (b, 1, ...)."""
    chosen = jax.random.bernoulli(key, share, like.shape[:1])
    return chosen.reshape(-1, *[1] * (like.ndim - 1))


def _blurred(x: jax.Array) -> jax.Array:
    """Each pixel of (b, t, h, w, ch) as the mean of the 3 x 3 around it."""
    for axis in (2, 3):
        first, last = (jnp.take(x, jnp.array([i]), axis=axis) for i in (0, -1))
        padded = jnp.concatenate([first, x, last], axis=axis)
        size = x.shape[axis]
        shifted = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)]
        x = (shifted[0] + shifted[1] + shifted[2]) / 3
    return x
