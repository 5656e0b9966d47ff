"""Events: the same for teacher and stream however they are cut, and as many at every size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.core.events import CHANNELS, draw_events

KEY = jax.random.key(3)


def drawn(first: list[int], frames: int, h: int = 32, w: int = 48) -> np.ndarray:
    return np.asarray(draw_events(KEY, jnp.array(first, jnp.int32), frames, h, w))


def test_a_frame_has_its_own_events_wherever_the_cut() -> None:
    whole = drawn([5, 10_000_000], 4)
    assert whole.shape == (2, 4, 16, 24, CHANNELS)
    for index in range(4):
        one = drawn([5 + index, 10_000_000 + index], 1)
        np.testing.assert_array_equal(one[:, 0], whole[:, index])
    assert (whole[0] != drawn([6, 5], 4)[1]).any()  # two samples of a batch differ
    assert (whole[:, 0] != whole[:, 1]).any()


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_picture_holds_as_many_events_at_every_size(size: int) -> None:
    events = drawn([0, 0, 0], 50, size, size)
    assert set(np.unique(events)) == {0.0, 1.0}
    np.testing.assert_allclose(events.sum(axis=(2, 3)).mean(axis=(0, 1)), [32, 16, 8], rtol=0.1)
