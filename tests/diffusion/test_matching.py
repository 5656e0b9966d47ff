"""Distribution matching against analytic models: data ~ N(mean, spread^2) per dimension."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.diffusion.matching import matching_loss, show
from lsdjax.diffusion.schedule import expand


def normal(mean: jax.Array | float, spread: jax.Array | float) -> Callable[..., jax.Array]:
    """The sample that a diffusion model of N(mean, spread^2) predicts."""

    def predict(x: jax.Array, level: jax.Array, step_size: jax.Array) -> jax.Array:
        del step_size
        s = expand(level, x)
        gain = (1 - s) * spread**2 / ((1 - s) ** 2 * spread**2 + s**2)
        return mean + gain * (x - (1 - s) * mean)

    return predict


def affine(mean: jax.Array, spread: jax.Array) -> Callable[..., jax.Array]:
    """A student whose samples are N(mean, spread^2) in one step from noise."""
    return lambda x, level, step_size: mean + spread * x


NOISE = np.random.default_rng(0).standard_normal((8, 2, 400)).astype(np.float32)


def losses(mean, spread, *, critic, ambiguous: float = 1.0, key: int = 0):
    return matching_loss(
        jax.random.key(key),
        affine(mean, spread),
        critic,
        normal(0.7, 0.3),
        jnp.full(NOISE.shape, 0.7),
        jnp.asarray(NOISE),
        jnp.full((8, 2), ambiguous),
        1,
    )


def test_a_student_that_is_matched_has_the_teachers_mean_and_spread() -> None:
    """The mean of the answers (spread 0) is where it begins, and not where it stays."""

    @jax.jit
    def step(shown, key):
        def loss(shown):
            critic = jax.lax.stop_gradient(shown)
            return losses(*shown, critic=normal(*critic), key=key).likelier

        return shown - 0.5 * jax.grad(loss)(shown)

    shown = jnp.array([0.2, 0.05])
    for number in range(300):
        shown = step(shown, number)
    np.testing.assert_allclose(shown, [0.7, 0.3], atol=0.03)


def test_a_critic_learns_what_is_shown_and_the_student_nothing_from_it() -> None:
    def critical(critic, shown):
        return losses(*shown, critic=normal(*critic)).critic

    right = jnp.array([0.2, 0.1])
    at = jax.jit(jax.value_and_grad(critical, argnums=(0, 1)))
    (value, (slope, of_student)) = at(right, right)
    assert float(jnp.abs(of_student).max()) == 0.0
    for wrong in ([0.3, 0.1], [0.1, 0.1], [0.2, 0.2]):
        assert float(at(jnp.array(wrong), right)[0]) > float(value)
    assert abs(float(slope[0])) < 0.02


def test_what_the_input_determines_is_learned_from_the_truth() -> None:
    found = losses(jnp.array(0.7), jnp.array(0.0), critic=normal(0.0, 1.0), ambiguous=0.0)
    assert float(found.truer) < 1e-12 and float(found.likelier) == float(found.critic) == 0.0
    assert float(losses(jnp.array(0.6), jnp.array(0.0), critic=normal(0.0, 1.0)).truer) == 0.0


def test_a_student_is_met_at_each_of_its_steps() -> None:
    def student(x, level, step_size):
        return 0.5 * x + expand(level + step_size, x)

    seen = set()
    for number in range(12):
        shown, level = show(jax.random.key(number), student, jnp.asarray(NOISE), 4)
        seen |= set(np.unique(level).tolist())
        assert (np.ptp(level, axis=1) == 0).all()  # all frames of a clip at the same
        x, at = NOISE[0], 1.0
        while at > float(level[0, 0]):
            sample = 0.5 * x + at + 0.25
            x, at = x - 0.25 * (x - sample) / at, at - 0.25
        np.testing.assert_allclose(shown[0], 0.5 * x + at + 0.25, atol=1e-5)
    assert seen == {0.25, 0.5, 0.75, 1.0}
