"""Procedural video: textured shapes that move over a gradient, for scenes that footage lacks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SHAPES = 5


def moving_shapes(key: jax.Array, times: jax.Array, height: int, width: int) -> jax.Array:
    """Discs and boxes with stripes that drift, bounce off nothing and overlap.

    times (t,) in frames -> (t, height, width, 3) float32 in [0, 1]. The same key gives the same
    scene, whatever the times asked for.
    """
    keys = jax.random.split(key, 9)
    y = (jnp.arange(height, dtype=jnp.float32)[:, None] + 0.5) / height
    x = (jnp.arange(width, dtype=jnp.float32)[None, :] + 0.5) / width
    corners = jax.random.uniform(keys[0], (4, 3))[:, None, None, :]
    background = (
        (1 - y)[..., None] * ((1 - x)[..., None] * corners[0] + x[..., None] * corners[1])
        + y[..., None] * ((1 - x)[..., None] * corners[2] + x[..., None] * corners[3])
    )  # fmt: skip
    centre = jax.random.uniform(keys[1], (SHAPES, 2))
    speed = 0.02 * jax.random.normal(keys[2], (SHAPES, 2))
    size = jax.random.uniform(keys[3], (SHAPES,), minval=0.06, maxval=0.3)
    aspect = jax.random.uniform(keys[4], (SHAPES,), minval=0.5, maxval=2.0)
    colour = jax.random.uniform(keys[5], (SHAPES, 2, 3))[:, :, None, None, :]
    stripes = jax.random.uniform(keys[6], (SHAPES,), minval=10.0, maxval=80.0)
    angle = jax.random.uniform(keys[7], (SHAPES,), minval=0.0, maxval=jnp.pi)
    boxes = jax.random.bernoulli(keys[8], 0.5, (SHAPES,))

    def frame(time: jax.Array) -> jax.Array:
        picture = background
        for i in range(SHAPES):
            middle = (centre[i] + speed[i] * time + 0.3) % 1.6 - 0.3
            dy, dx = (y - middle[0]) * aspect[i], x - middle[1]
            disc = jnp.sqrt(dy**2 + dx**2)
            box = jnp.maximum(jnp.abs(dy), jnp.abs(dx))
            distance = jnp.where(boxes[i], jnp.broadcast_to(box, disc.shape), disc)
            cover = jax.nn.sigmoid((size[i] - distance) * height)[..., None]
            wave = jnp.sin(stripes[i] * (jnp.cos(angle[i]) * dy + jnp.sin(angle[i]) * dx))
            mixture = (0.5 + 0.5 * wave)[..., None]
            paint = mixture * colour[i, 0] + (1 - mixture) * colour[i, 1]
            picture = picture * (1 - cover) + paint * cover
        return picture

    return jax.vmap(frame)(times.astype(jnp.float32))


LIGHTS = 3
"""Lights of a scene at most, one for each colour channel."""
_DARK = 0.08


class Lights(NamedTuple):
    """A scene of moving lights: which channels have one (3,), and their radii (3,) in heights."""

    lit: jax.Array
    radius: jax.Array


def moving_lights(
    key: jax.Array, times: jax.Array, height: int, width: int
) -> tuple[jax.Array, Lights]:
    """One to three discs of red, green and blue light that cross a dark room and bounce off walls.

    Light adds up, so nothing is ever hidden, and what a scene holds is known for all time: how many
    lights, and how much light in each channel. Free generation can be judged by it where no
    later frame is the right one. times (t,) in frames -> (t, height, width, 3) float32 in [0, 1].
    """
    keys = jax.random.split(key, 5)
    lit = jax.random.permutation(keys[0], jnp.arange(LIGHTS)) <= jax.random.randint(
        keys[1], (), 0, LIGHTS
    )
    radius = jax.random.uniform(keys[2], (LIGHTS,), minval=0.1, maxval=0.18)
    angle = jax.random.uniform(keys[3], (LIGHTS,), maxval=2 * jnp.pi)
    pace, *start = jax.random.uniform(keys[4], (3, LIGHTS))
    speed = (0.01 + 0.02 * pace)[None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    room = jnp.array([1.0, width / height])[:, None] - 2 * radius[None]
    frame = times.astype(jnp.float32)[:, None, None]
    path = (jnp.stack(start) * 2 * room)[None] + speed[None] * frame
    place = (radius[None] + room)[None] - jnp.abs(path % (2 * room)[None] - room[None])
    y = (jnp.arange(height, dtype=jnp.float32) + 0.5) / height
    x = (jnp.arange(width, dtype=jnp.float32) + 0.5) / height
    dy = y[None, :, None, None] - place[:, None, None, 0]
    dx = x[None, None, :, None] - place[:, None, None, 1]
    cover = jax.nn.sigmoid(2 * height * (radius[None, None, None] - jnp.sqrt(dy**2 + dx**2 + 1e-9)))
    frames = _DARK + (0.95 - _DARK) * cover * lit.astype(jnp.float32)[None, None, None]
    return frames, Lights(lit, radius)
