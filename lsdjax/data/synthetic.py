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
