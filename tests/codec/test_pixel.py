"""The pixel codec loses nothing and keeps frames apart."""

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.codec import PixelCodec
from lsdjax.codec.pixel import depth_to_space, space_to_depth


def test_round_trip_is_exact() -> None:
    frames = jax.random.normal(jax.random.key(0), (2, 3, 8, 12, 3))
    codec = PixelCodec()
    latents = codec.encode(frames)
    assert latents.shape == (2, 3, 4, 6, codec.channels)
    np.testing.assert_array_equal(codec.decode(latents), frames)


def test_a_position_holds_its_own_block() -> None:
    frames = jnp.arange(4 * 4, dtype=jnp.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(space_to_depth(frames, 2)[0, 0, 1], [2, 3, 6, 7])
    np.testing.assert_array_equal(depth_to_space(space_to_depth(frames, 2), 2), frames)
