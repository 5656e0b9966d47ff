import jax
import numpy as np
import pytest

from lsdjax.core import noise


@pytest.mark.parametrize("shape", [(1, 1, 64, 64, 12), (3, 5), (1,)])
@pytest.mark.parametrize(
    "ours, theirs",
    [
        (noise.random_bits, jax.random.bits),
        (noise.uniform, jax.random.uniform),
        (noise.normal, jax.random.normal),
    ],
)
def test_the_numbers_are_those_of_jax(ours, theirs, shape):
    keys = jax.random.split(jax.random.key(11), 4)
    for key in keys[:2]:
        found = jax.jit(ours, static_argnums=1)(key, shape)
        expected = theirs(key, shape)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    over = jax.jit(jax.vmap(lambda key: ours(key, shape)))
    np.testing.assert_array_equal(over(keys)[3], theirs(keys[3], shape))


def test_a_key_of_another_kind_gives_its_own_numbers():
    key = jax.random.key(11, impl="rbg")
    found = jax.jit(noise.normal, static_argnums=1)(key, (64,))
    np.testing.assert_array_equal(found, jax.random.normal(key, (64,)))


def test_the_tails_are_those_of_jax():
    ends = np.nextafter(np.array([-1, 1], np.float32), np.float32(0))
    u = np.concatenate([ends, np.array([0, 0.999], np.float32)])
    np.testing.assert_array_equal(jax.jit(noise._erfinv)(u), jax.lax.erf_inv(u))
