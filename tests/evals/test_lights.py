"""What a picture of lights holds is read off it as it was drawn."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.data.synthetic import moving_lights
from lsdjax.evals.lights import Contents, count_lights, light_mass, light_scenes

SCENES = 32


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_truth_is_read_as_it_was_drawn(size: tuple[int, int]) -> None:
    times = jnp.array([0, 7, 500, 9_999])
    keys = jax.random.split(jax.random.key(1), SCENES)
    frames, lit = jax.jit(jax.vmap(lambda key: moving_lights(key, times, *size)))(keys)
    frames = np.asarray(frames).swapaxes(0, 1)
    contents = Contents.of(frames[0])
    np.testing.assert_array_equal(contents.counts, np.asarray(lit).astype(int))
    assert set(contents.counts.sum(axis=1)) == {1, 2, 3}
    for later in frames:
        counts, masses = contents.read(np.rint(255 * later) / 255)
        np.testing.assert_array_equal(counts, contents.counts)
        assert contents.count_error(counts[None]).max() == 0
        assert contents.mass_error(masses[None]).max() < 0.03


def test_lights_are_counted_apart_and_specks_are_not() -> None:
    frames = np.full((2, 32, 32, 3), 0.1)
    frames[0, 2:7, 2:7, 0] = frames[0, 20:25, 20:25, 0] = 0.9  # two reds
    frames[0, 2:7, 2:7, 1] = 0.9  # a green one on top of a red one
    frames[1, 4:7, 4:7, 2] = 0.9  # 9 pixels, of the 63 that a light has
    frames[1, 10:15, 10:15, 2] = 0.45  # half as bright
    assert count_lights(frames, 0.5).tolist() == [[2, 1, 0], [0, 0, 0]]
    frames[1] += 0.04  # what nobody sees weighs nothing
    expected = [[50 * 0.8, 25 * 0.8, 0], [0, 0, 9 * 0.84 + 25 * 0.39]]
    np.testing.assert_allclose(light_mass(frames, 0.1), expected)


def test_errors_are_shares_of_what_is_there() -> None:
    contents = Contents(0.1, 0.9, np.array([[1, 1, 0]]), np.array([[30.0, 50.0, 0.0]]))
    right, swapped = np.array([[1, 1, 0]]), np.array([[1, 0, 1]])
    assert contents.count_error(np.stack([right, right, swapped])) == 0  # the median
    assert contents.count_error(np.stack([swapped, swapped, right])) == 1
    assert contents.mass_error(np.array([[[30.0, 40.0, 0.0]]])) == pytest.approx(0.2)
    assert contents.mass_error(np.array([[[15.0, 50.0, 10.0]]])) == pytest.approx(0.5)
    assert contents.mass_error(np.array([[[30.0, 50.0, 32.0]]])) == pytest.approx(0.8)


def test_scenes_follow_their_teacher_across_chunks() -> None:
    """A style with a memory, frame by frame, against what it remembers written out."""
    keys = jax.random.split(jax.random.key(0), 2)
    plain = [t for _, t in itertools.islice(light_scenes("original", keys, keys, (32, 32)), 20)]
    shown = list(itertools.islice(light_scenes("long_exposure", keys, keys, (32, 32)), 20))
    expected = plain[0]
    for frame, (given, target) in zip(plain, shown, strict=True):
        np.testing.assert_allclose(given / 255, frame, atol=1e-6)
        expected = 0.85 * expected + 0.15 * frame
        np.testing.assert_allclose(target, expected, atol=1.1 / 255)  # two roundings
    assert np.abs(plain[8] - plain[7]).max() > 0.05  # they move on from chunk to chunk
