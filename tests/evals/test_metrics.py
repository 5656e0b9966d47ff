"""Metrics on pictures whose answer is known."""

import numpy as np
import pytest
from scipy import ndimage

from lsdjax.evals import metrics


@pytest.fixture
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((48, 64, 3)), (1.5, 1.5, 0))
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


def test_psnr_of_a_known_error(picture: np.ndarray) -> None:
    assert metrics.psnr(picture, picture + 0.1) == pytest.approx(20.0)
    assert metrics.psnr(picture, picture + 0.01) == pytest.approx(40.0)
    assert metrics.psnr(picture, picture) == pytest.approx(60.0)  # the ceiling, not infinity


def test_ssim_falls_with_noise(picture: np.ndarray) -> None:
    noise = np.random.default_rng(1).standard_normal(picture.shape)
    clean, some, much = (metrics.ssim(picture, picture + a * noise) for a in (0.0, 0.05, 0.3))
    assert clean == pytest.approx(1.0)
    assert clean > some > much > 0
    other = metrics.ssim(picture + 0.05 * noise, picture)
    assert other == pytest.approx(some)


def test_sharpness_falls_with_blur(picture: np.ndarray) -> None:
    blurred = ndimage.gaussian_filter(picture, (1.5, 1.5, 0))
    assert metrics.sharpness(blurred) < 0.5 * metrics.sharpness(picture)
    assert metrics.sharpness(np.full((16, 16, 3), 0.4)) == pytest.approx(0.0)


def test_frechet_is_the_distance_of_gaussians() -> None:
    x = np.random.default_rng(0).standard_normal((400, 6))
    assert metrics.frechet(x, x) == pytest.approx(0.0, abs=1e-6)
    assert metrics.frechet(x, x + 0.5) == pytest.approx(6 * 0.25, rel=1e-6)
    assert metrics.frechet(x, x + 1.0) == pytest.approx(6 * 1.0, rel=1e-6)
    spread = metrics.frechet(x, 2 * x - x.mean(axis=0))  # same means, twice the deviation
    assert spread == pytest.approx(np.trace(np.cov(x, rowvar=False)), rel=1e-4)


def test_features_are_fixed_and_tell_blur_from_detail(picture: np.ndarray) -> None:
    found = metrics.features(picture)
    assert found.shape == (96,) and metrics.FEATURES.endswith("96")
    np.testing.assert_array_equal(found, metrics.features(picture))
    blurred = metrics.features(ndimage.gaussian_filter(picture, (2, 2, 0)))
    brighter = metrics.features(picture + 0.01)
    assert np.abs(blurred - found).sum() > 10 * np.abs(brighter - found).sum()


def test_snow_share_counts_flakes_alone() -> None:
    original = np.full((32, 32, 3), 0.3)
    snowed = original + 0.1  # the teacher lifts every pixel a little
    assert metrics.snow_share(snowed, original) == 0.0
    snowed[:8] = 1.0
    assert metrics.snow_share(snowed, original) == 0.25
    bright = np.full((32, 32, 3), 0.9)
    assert metrics.snow_share(bright, bright) == 0.0
