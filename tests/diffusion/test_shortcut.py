"""Distillation targets against an analytic teacher: data ~ N(mean, spread^2) per dimension."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.diffusion.schedule import expand, step_levels, velocity_from_sample
from lsdjax.diffusion.shortcut import (
    DISTILLATIONS,
    FINEST,
    Predictors,
    distillation_loss,
    draw_steps,
    meanflow_target,
    shortcut_target,
    trajectory_target,
    walk,
)
from lsdjax.diffusion.solver import solve

MEAN, SPREAD = 0.7, 0.3


def spread_at(level: jax.Array) -> jax.Array:
    return jnp.sqrt((1 - level) ** 2 * SPREAD**2 + level**2)


def teacher(x: jax.Array, level: jax.Array, step_size: jax.Array) -> jax.Array:
    """E[sample | x], whatever the step size: what infinitely small steps go by."""
    s = expand(level, x)
    gain = (1 - s) * SPREAD**2 / spread_at(s) ** 2
    return MEAN + gain * (x - (1 - s) * MEAN)


def perfect(x: jax.Array, level: jax.Array, step_size: jax.Array) -> jax.Array:
    """The sample of which one Euler step lands where the probability flow does.

    The flow keeps (x - (1 - s) MEAN) / spread_at(s).
    """
    s, d = expand(level, x), expand(step_size, x)
    end = (1 - s + d) * MEAN + spread_at(s - d) * (x - (1 - s) * MEAN) / spread_at(s)
    return x - s * (x - end) / d


def noisy(level: float, step_size: float) -> tuple[jax.Array, jax.Array, jax.Array]:
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 2, 500), np.float32))
    s = jnp.full((1, 2), level)
    return (1 - level) * MEAN + spread_at(expand(s, x)) * x, s, jnp.full((1, 2), step_size)


def test_steps_lie_on_the_grid_of_a_sampler() -> None:
    level, size = draw_steps(jax.random.key(0), (200, 50))
    np.testing.assert_array_equal(level / size, np.round(level / size))
    assert float(level.min()) == 1 / FINEST and float(level.max()) == 1
    assert float((level - size).min()) == 0
    sizes, counts = np.unique(size, return_counts=True)
    np.testing.assert_array_equal(sizes, [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])
    np.testing.assert_allclose(counts / counts.sum(), 0.2, atol=0.02)


@pytest.mark.parametrize(("level", "step_size"), [(1.0, 1.0), (1.0, 0.5), (0.5, 0.25)])
def test_many_small_steps_reach_the_flow(level: float, step_size: float) -> None:
    x, s, d = noisy(level, step_size)
    exact = perfect(x, s, d)
    far, near = (np.abs(walk(teacher, x, s, d, n) - exact).max() for n in (4, 256))
    assert near < 0.02 and near < far / 8


def test_a_walk_is_spaced_as_its_samplers_steps_are() -> None:
    x, s, d = noisy(1.0, 1.0)
    met = []

    def watched(x, level, step_size):
        met.append((float(level[0, 0]), float(step_size[0, 0])))
        return teacher(x, level, step_size)

    target = walk(watched, x, s, d, 4, 10.0)
    levels = step_levels(4, 10.0)
    np.testing.assert_allclose(met, np.stack([levels[:-1], levels[:-1] - levels[1:]], 1), atol=1e-6)
    sampled, _ = solve(lambda x, s, d: (teacher(x, s, d), ()), x, levels)
    np.testing.assert_allclose(target, sampled, atol=1e-5)  # a step from 1 to 0 lands on X
    x, s, d = noisy(0.5, 0.5)
    even = walk(teacher, x, s, d, 4)
    assert np.abs(walk(teacher, x, s, d, 4, 10.0) - even).max() > 0.01


def test_a_teacher_walks_a_frame_in_no_more_steps_than_it_is_allowed() -> None:
    """Each size of step in its share of them, and whoever has arrived stays."""
    sizes = jnp.asarray([[1.0, 0.5, 0.25, 1 / 16]])
    x, s, _ = noisy(1.0, 1.0)
    x, s = jnp.repeat(x[:, :1], 4, axis=1), jnp.ones((len(x), 4))
    d = jnp.broadcast_to(sizes, s.shape)

    def watched(x, level, step_size):
        assert float(level.min()) > 0 and float(step_size.min()) > 0  # what a model can be asked
        return teacher(x, level, step_size)

    for allowed, counts in ((64, (4, 4, 4, 4)), (4, (4, 2, 1, 1)), (2, (2, 1, 1, 1))):
        models = Predictors(perfect, perfect, watched, shift=3.0, teacher_steps=allowed)
        target = trajectory_target(models, x, x, s, d)
        for frame, count in enumerate(counts):
            alone = walk(teacher, x, s, d, count, 3.0)[:, frame]
            np.testing.assert_allclose(target[:, frame], alone, atol=1e-5)


def test_two_exact_halves_are_an_exact_step() -> None:
    for level, step_size in ((1.0, 1.0), (0.75, 0.25)):
        x, s, d = noisy(level, step_size)
        np.testing.assert_allclose(walk(perfect, x, s, d, 2), perfect(x, s, d), atol=2e-5)


def test_the_smallest_steps_are_the_teachers_and_the_others_ones_own() -> None:
    x, s, _ = noisy(0.5, 0.0)
    models = Predictors(perfect, mean=lambda x, s, d: x + 1, teacher=teacher)
    d = jnp.asarray([[1 / FINEST, 0.5]])
    target = shortcut_target(models, x, x, s, d)
    np.testing.assert_allclose(target[:, 0], walk(teacher, x, s, d, 2)[:, 0], atol=1e-6)
    np.testing.assert_allclose(target[:, 1], walk(models.mean, x, s, d, 2)[:, 1], atol=1e-6)


@pytest.mark.parametrize(("level", "step_size"), [(1.0, 1.0), (0.75, 0.5)])
def test_the_mean_flow_is_its_own_target(level: float, step_size: float) -> None:
    """With the marginal velocity, MeanFlow's identity holds for the exact mean velocity."""
    x, s, d = noisy(level, step_size)
    velocity = velocity_from_sample(x, teacher(x, s, d), s)
    models = Predictors(perfect, mean=perfect, teacher=teacher)
    target = meanflow_target(models, x, velocity, s, d)
    np.testing.assert_allclose(target, perfect(x, s, d), atol=2e-3)
    wrong = meanflow_target(models, x, velocity + 0.1, s, d)
    assert np.abs(wrong - perfect(x, s, d)).max() > 0.02


@pytest.mark.parametrize("name", sorted(DISTILLATIONS))
def test_what_the_input_determines_is_learned_from_the_truth(name: str) -> None:
    x, s, d = noisy(1.0, 1.0)
    truth = jnp.full_like(x, 0.3)

    def loss(ambiguous: float, student) -> float:
        models = Predictors(student, mean=teacher, teacher=teacher)
        at = s, d
        mask = jnp.full((1, 2), ambiguous)
        return float(distillation_loss(DISTILLATIONS[name], models, truth, x, mask, *at).weighted)

    def knowing(x, s, d):
        return jnp.full_like(x, 0.3) + 0 * expand(d, x)

    assert loss(0.0, knowing) == 0.0
    assert loss(1.0, knowing) > 0.01


def test_no_gradient_passes_through_a_target() -> None:
    x, s, d = noisy(1.0, 0.5)

    @jax.grad
    def slope(gain):
        def scaled(x, s, d):
            return gain * x

        models = Predictors(lambda x, s, d: 0.0 * x, mean=scaled, teacher=scaled)
        return sum(jnp.sum(make(models, x, x, s, d)) for make in DISTILLATIONS.values())

    assert float(slope(jnp.ones(()))) == 0.0
