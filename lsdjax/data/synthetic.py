"""Procedural video: textured shapes that move over a gradient, for scenes that footage lacks."""

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
RADIUS = 0.14
"""Of every light, in heights of the frame."""
_DARK = 0.08


def moving_lights(
    key: jax.Array, times: jax.Array, height: int, width: int
) -> tuple[jax.Array, jax.Array]:
    """One to three discs of red, green and blue light that cross a dark room and bounce off walls.

    Bouncing balls (Sutskever et al. 2008) whose light adds up, so that nothing is ever hidden, and
    what a scene holds is known for all time. Free generation can be judged by it where no later
    frame is the right one. times (t,) in frames -> (t, height, width, 3) float32 in [0, 1], and
    which channels have a light, (3,) bool.
    """
    keys = jax.random.split(key, 4)
    lit = jax.random.permutation(keys[0], jnp.arange(LIGHTS)) <= jax.random.randint(
        keys[1], (), 0, LIGHTS
    )
    angle = jax.random.uniform(keys[2], (LIGHTS,), maxval=2 * jnp.pi)
    pace, *start = jax.random.uniform(keys[3], (3, LIGHTS))
    speed = (0.01 + 0.02 * pace)[None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    room = jnp.array([1.0, width / height])[:, None] - 2 * RADIUS
    frame = times.astype(jnp.float32)[:, None, None]
    path = (jnp.stack(start) * 2 * room)[None] + speed[None] * frame
    place = RADIUS + room[None] - jnp.abs(path % (2 * room)[None] - room[None])
    y = (jnp.arange(height, dtype=jnp.float32) + 0.5) / height
    x = (jnp.arange(width, dtype=jnp.float32) + 0.5) / height
    dy = y[None, :, None, None] - place[:, None, None, 0]
    dx = x[None, None, :, None] - place[:, None, None, 1]
    cover = jax.nn.sigmoid(2 * height * (RADIUS - jnp.sqrt(dy**2 + dx**2 + 1e-9)))
    frames = _DARK + (0.95 - _DARK) * cover * lit.astype(jnp.float32)[None, None, None]
    return frames, lit
