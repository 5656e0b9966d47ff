"""Objectives and solver against an analytic denoiser: data ~ N(mean, spread^2) per dimension."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.diffusion.forcing import balanced, draw_levels, forcing_loss
from lsdjax.diffusion.history import (
    BUCKETS,
    ENTRIES,
    FADED,
    PATCH,
    drifted_history,
    erred_history,
    faded_history,
    fill_bank,
    init_bank,
    noisy_history,
    own_history,
)
from lsdjax.diffusion.schedule import (
    add_noise,
    expand,
    sample_from_velocity,
    step_levels,
    velocity_from_sample,
    warp,
)
from lsdjax.diffusion.solver import solve

MEAN, SPREAD = 0.7, 0.3


def posterior_mean(x: jax.Array, level: jax.Array) -> jax.Array:
    """E[sample | x] for x = (1 - s) sample + s noise with Gaussian data."""
    s = expand(level, x)
    gain = (1 - s) * SPREAD**2 / ((1 - s) ** 2 * SPREAD**2 + s**2)
    return MEAN + gain * (x - (1 - s) * MEAN)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_conversions_are_inverse() -> None:
    sample, noise = normal(0, 2, 3, 4), normal(1, 2, 3, 4)
    level = np.random.default_rng(2).uniform(0.1, 1.0, (2, 3)).astype(np.float32)

    @jax.jit
    def there_and_back(sample, noise, level):
        x = add_noise(sample, noise, level)
        velocity = velocity_from_sample(x, sample, level)
        return velocity, sample_from_velocity(x, velocity, level)

    velocity, again = there_and_back(sample, noise, level)
    np.testing.assert_allclose(velocity, noise - sample, atol=1e-4)
    np.testing.assert_allclose(again, sample, atol=1e-5)


def test_step_levels_run_from_noise_to_clean() -> None:
    for shift in (1.0, 5.0):
        levels = np.asarray(step_levels(4, shift))
        assert levels[0] == 1 and levels[-1] == 0 and (np.diff(levels) < 0).all()
    assert float(warp(jnp.asarray(0.5), 5.0)) > 0.8


def test_solver_reaches_the_analytic_distribution() -> None:
    def denoise(x, level, size):
        return posterior_mean(x, level), level

    sample, last = jax.jit(lambda noise: solve(denoise, noise, step_levels(64)))(
        normal(0, 1, 1, 20_000)
    )
    assert abs(float(sample.mean()) - MEAN) < 0.01
    assert abs(float(sample.std()) - SPREAD) < 0.01
    assert float(last[0, 0]) > 0


def test_one_step_gives_the_mean() -> None:
    def denoise(x, level, size):
        return posterior_mean(x, level), level

    sample, _ = jax.jit(lambda noise: solve(denoise, noise, step_levels(1)))(normal(0, 1, 1, 100))
    np.testing.assert_allclose(sample, MEAN, atol=1e-5)


def test_solver_is_told_the_step_sizes() -> None:
    told = []

    def denoise(x, level, size):
        told.append((float(level[0, 0]), float(size[0, 0])))
        return x, level

    with jax.disable_jit():
        solve(denoise, jnp.ones((1, 1, 2)), step_levels(4))
    np.testing.assert_allclose(told, [(1, 0.25), (0.75, 0.25), (0.5, 0.25), (0.25, 0.25)])


def test_forcing_loss_is_least_at_the_posterior_mean() -> None:
    sample, noise = (
        np.float32(MEAN) + np.float32(SPREAD) * normal(0, 64, 4, 50),
        normal(1, 64, 4, 50),
    )
    rng = np.random.default_rng(2)
    levels = np.where(rng.random((64, 4)) < 0.5, 1.0, rng.random((64, 4))).astype(np.float32)

    @jax.jit
    def loss(sample, noise, levels, bias):
        return forcing_loss(lambda x, s: posterior_mean(x, s) + bias, sample, noise, levels)

    best = loss(sample, noise, levels, np.float32(0))
    for bias in (-0.05, 0.05):
        worse = loss(sample, noise, levels, np.float32(bias))
        assert float(worse.weighted) > float(best.weighted)
    np.testing.assert_allclose(best.squared_error, SPREAD**2, rtol=0.05)


def test_levels_are_independent_per_frame() -> None:
    levels = np.asarray(draw_levels(jax.random.key(0), (4000, 2), 0.5))
    pure = levels == 1
    assert abs(pure.mean() - 0.5) < 0.03
    assert abs(np.corrcoef(pure[:, 0], pure[:, 1])[0, 1]) < 0.06
    assert levels.min() >= 0.02


def test_balanced_loss_has_twice_the_gradient_of_the_root() -> None:
    gradient = jax.grad(lambda x: balanced(x, 0.1))(jnp.asarray(0.4))
    np.testing.assert_allclose(gradient, 1 / 0.5**0.5, rtol=1e-6)


def test_history_declares_what_it_did() -> None:
    previous, present = np.ones((200, 3, 50), np.float32), np.ones((200, 3), np.float32)
    present[:, 0] = 0
    corrupt = jax.jit(functools.partial(noisy_history, max_level=0.3, drop=0.25))
    noisy, level = (np.asarray(x) for x in corrupt(jax.random.key(0), previous, present))
    assert (level[:, 0] == 1).all()
    rest = level[:, 1:]
    dropped = rest == 1
    assert 0.15 < float(dropped.mean()) < 0.35
    assert rest[~dropped].max() <= 0.3
    measured = np.std(noisy[:, 1:], axis=-1)
    np.testing.assert_allclose(measured, rest, atol=0.35)
    assert np.corrcoef(measured.ravel(), rest.ravel())[0, 1] > 0.95


def test_declared_history_tells_a_level_and_adds_no_noise() -> None:
    previous, present = normal(0, 400, 2, 5), np.ones((400, 2), np.float32)
    declare = jax.jit(functools.partial(noisy_history, max_level=0.3, drop=0.0, declared=0.25))
    told, level = (np.asarray(x) for x in declare(jax.random.key(0), previous, present))
    clean = np.abs(told - (1 - level[..., None]) * previous).max(axis=(1, 2)) < 1e-6
    assert 0.15 < clean.mean() < 0.35  # the others are noised
    assert level[clean].std() > 0.05 and level.max() <= 0.3


def test_error_bank_sorts_by_level_and_keeps_the_latest() -> None:
    fill = jax.jit(fill_bank)
    bank = init_bank((1, 1, 1))
    levels = np.linspace(0, 1, 4 * BUCKETS, dtype=np.float32)
    for number in range(60):
        errors = (1 + levels)[:, None, None, None]
        bank = fill(jax.random.key(number), bank, errors, levels)
    held = np.asarray(bank.errors)[..., 0, 0, 0]
    assert held.shape == (BUCKETS, ENTRIES) and (held > 0).mean() > 0.95
    for bucket, errors in enumerate(held):
        found = errors[errors > 0] - 1
        assert (bucket / BUCKETS <= found).all()
        assert (found <= (bucket + 1) / BUCKETS).all()


def test_erred_history_adds_errors_of_the_bank() -> None:
    previous = normal(0, 400, 2, 3, 3, 2)
    err = jax.jit(functools.partial(erred_history, share=0.25))
    empty = init_bank((3, 3, 2))
    np.testing.assert_array_equal(err(jax.random.key(0), previous, empty), previous)
    full = empty._replace(errors=jnp.ones_like(empty.errors))
    added = np.asarray(err(jax.random.key(0), previous, full)) - previous
    chosen = np.abs(added).max(axis=(1, 2, 3, 4)) > 0
    assert 0.15 < chosen.mean() < 0.35
    gain = added[chosen].reshape(-1, 18)
    assert np.ptp(gain, axis=1).max() < 1e-5  # one gain a frame
    assert 0.69 < gain.min() < 0.75 and 1.25 < gain.max() < 1.31


def test_drifted_history_blurs_tints_and_keeps_its_amounts_for_a_clip() -> None:
    clip = np.tile(np.clip(0.4 * normal(0, 200, 1, 16, 16, 3), -1, 1), (1, 3, 1, 1, 1))
    drift = jax.jit(functools.partial(drifted_history, share=0.5))
    drifted = np.asarray(drift(jax.random.key(0), clip))
    np.testing.assert_allclose(drifted[:, 1:], drifted[:, :1].repeat(2, axis=1), atol=1e-6)
    changed = np.abs(drifted - clip).max(axis=(1, 2, 3, 4)) > 0
    assert 0.4 < changed.mean() < 0.6 and np.abs(drifted).max() <= 1
    cast = (drifted - clip)[changed].mean(axis=(1, 2, 3))
    assert cast.std(axis=0).min() > 0.05 and np.ptp(cast, axis=1).mean() > 0.05
    edges = [np.abs(np.diff(x[changed, 0], axis=2)).mean(axis=(1, 2, 3)) for x in (drifted, clip)]
    assert np.median(edges[0] / edges[1]) < 0.8


def test_faded_history_fades_patches_of_some_clips() -> None:
    previous, faint = np.ones((400, 2, 8, 12, 3), np.float32), np.zeros((400, 2, 8, 12, 3))
    fade = jax.jit(functools.partial(faded_history, share=0.25))
    result = np.asarray(fade(jax.random.key(0), previous, faint.astype(np.float32)))
    chosen = (result != 1).any(axis=(1, 2, 3, 4))
    assert 0.15 < chosen.mean() < 0.35
    patches = result[chosen].reshape(-1, 2, 8 // PATCH, PATCH, 12 // PATCH, PATCH, 3)
    assert (np.ptp(patches, axis=(3, 5, 6)) == 0).all()  # alike inside a patch, not between them
    gains = patches[:, :, :, 0, :, 0, 0]
    assert gains.std(axis=(1, 2, 3)).min() > 0
    assert FADED <= gains.min() < FADED + 0.05 and 0.95 < gains.max() <= 1
    same = fade(jax.random.key(0), previous, previous)  # a past that fades to itself
    np.testing.assert_array_equal(same, previous)


def test_own_history_is_the_prediction_of_the_frame_before() -> None:
    previous = jnp.asarray(normal(0, 400, 3, 5))

    def own(scale: jax.Array) -> jax.Array:
        key = jax.random.key(1)
        return own_history(key, lambda told: scale * told + 9, previous, share=0.25, depth=1)

    scale = jnp.asarray(0.1)
    assert float(jax.grad(lambda x: own(x).sum())(scale)) == 0.0  # the past is given
    result = np.asarray(own(scale))
    np.testing.assert_array_equal(result[:, 0], previous[:, 0])
    changed = (result != previous).any(axis=(1, 2))
    assert 0.15 < changed.mean() < 0.35
    np.testing.assert_array_equal(result[changed, 1:], 1.0)  # clipped to the range of pictures


def test_own_history_goes_as_deep_as_it_is_told() -> None:
    previous = jnp.zeros((1, 5, 2))
    key, count = jax.random.key(0), lambda told: told + 0.1  # shows how many frames came before
    for depth in (1, 2, 4):
        told = own_history(key, count, previous, share=1.0, depth=depth)
        np.testing.assert_allclose(told[0, :, 0], 0.1 * np.minimum(np.arange(5), depth), atol=1e-6)
