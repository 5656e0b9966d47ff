"""What a frame is told can be withheld in training, and weighed in sampling."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Guidance(NamedTuple):
    """Weights of the conditions in sampling; 1 takes the prediction as it is, and costs nothing.

    Each other weight costs one more prediction a denoising step.
    """

    prompt: float = 1.0
    history: float = 1.0


UNGUIDED = Guidance()


def withhold_inputs(key: jax.Array, shape: tuple[int, int], share: float) -> jax.Array:
    """The noise level of each input frame (b, t): 1 where it is withheld, else 0.

    In a `share` of the clips each frame is withheld with a probability of its clip, ~ U(0, 1), so
    one model learns the stream with a full input, with gaps of any length and with none at all.
    """
    clip_key, chance_key, frame_key = jax.random.split(key, 3)
    clip = (shape[0], 1)
    chosen = jax.random.bernoulli(clip_key, share, clip)
    chance = jnp.where(chosen, jax.random.uniform(chance_key, clip), 0.0)
    return (jax.random.uniform(frame_key, shape) < chance).astype(jnp.float32)


def guide(told: jax.Array, withheld: jax.Array, weight: float) -> jax.Array:
    """(w - 1) (x - x'): what to add to a prediction to move it away from one that was told less.

    told: the prediction x under all conditions; withheld: x', without one of them. Without the
    prompt this is classifier-free guidance (Ho & Salimans 2022), without the past history guidance
    (Song et al. 2025); several add up.
    """
    return (weight - 1.0) * (told - withheld)
