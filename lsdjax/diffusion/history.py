"""History augmentation: corrupt what a frame is told of the past, and tell it how much."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lsdjax.diffusion.schedule import add_noise

FADED = 0.3
"""The least that is left of a faded past."""
PATCH = 4
"""Side of the squares, in latent positions, that fade alike."""


def noisy_history(
    key: jax.Array, previous: jax.Array, present: jax.Array, *, max_level: float, drop: float
) -> tuple[jax.Array, jax.Array]:
    """Noise the previous output to a level ~ U[0, max_level], or drop it.

    A model trained so trusts its own past only as far as the declared level allows (Self-Forcing's
    `aug_t`). Shapes: previous (b, t, ...), present (b, t) -> the same and its level (b, t), 1 where
    there is nothing.
    """
    level_key, noise_key, drop_key = jax.random.split(key, 3)
    level = jax.random.uniform(level_key, present.shape, maxval=max_level)
    dropped = jax.random.bernoulli(drop_key, drop, present.shape[:1])[:, None]
    level = jnp.where((present > 0) & ~dropped, level, 1.0)
    noise = jax.random.normal(noise_key, previous.shape, previous.dtype)
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
    chosen = jax.random.bernoulli(clip_key, share, (b, 1, 1, 1, 1))
    return jnp.where(chosen, faint + gain * (previous - faint), previous)


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
    chosen = jax.random.bernoulli(key, share, previous.shape[:1])
    return jnp.where(chosen.reshape(-1, *[1] * (previous.ndim - 1)), told, previous)
