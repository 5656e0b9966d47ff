"""How far a video moves, as a noise level that follows it."""

import jax
import jax.numpy as jnp

INPUT_GAIN = -0.1
"""For an input that denoising starts from: less noise where it moves, so that it keeps up."""
HISTORY_GAIN = 0.1
"""For the past beside an input: more noise where it moves, so that it is leant on less."""
_FULL_MOTION, _INERTIA = 0.2, 0.1


def motion_level(
    frames: jax.Array, last: jax.Array, level: jax.Array, base: float, gain: float
) -> jax.Array:
    """The noise level of a stretch of video: `base` where it stands still, `base + gain` at most.

    d = clip(max_t rms(x_t - x_{t-1}) / 0.2, 0, 1);  s <- 0.9 (base + gain d) + 0.1 s, within 0..1

    [StreamDiffusionV2, Feng et al. 2025.] Shapes: frames (t, height, width, 3) in [-1, 1], last
    (height, width, 3) the frame before them, level () that of the stretch before.
    """
    before = jnp.concatenate([last[None], frames[:-1]])
    rms = jnp.sqrt(jnp.mean((frames - before) ** 2, axis=(1, 2, 3)))
    motion = jnp.clip(jnp.max(rms) / _FULL_MOTION, 0.0, 1.0)
    level = (1 - _INERTIA) * (base + gain * motion) + _INERTIA * level
    return jnp.clip(level, 0.0, 1.0)
