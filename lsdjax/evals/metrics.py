"""Picture metrics on [0, 1] frames, in NumPy: PSNR, SSIM, Fréchet distance, sharpness, snow."""

import functools

import numpy as np
from scipy import linalg, ndimage

FEATURES = "random-conv-96"
_LUMA = np.array([0.299, 0.587, 0.114])


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """10 log10(1 / mean square error) in dB, at most 60; frames (..., h, w, 3) in [0, 1]."""
    error = float(np.mean((np.asarray(first, np.float64) - np.asarray(second, np.float64)) ** 2))
    return 10 * float(np.log10(1 / max(error, 1e-6)))


def luma(frames: np.ndarray) -> np.ndarray:
    """Rec. 601 luma of (..., 3)."""
    return np.asarray(frames, np.float64) @ _LUMA


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity of two frames' luma (Wang et al. 2004): Gaussian window, sigma 1.5."""
    return float(ssim_each(first[None], second[None])[0])


def ssim_each(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The `ssim` of each pair of frames, (n, h, w, 3) twice -> (n,)."""
    x, y = luma(first), luma(second)

    def blur(pictures: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(pictures, 1.5, truncate=3.5, axes=(1, 2))

    mx, my = blur(x), blur(y)
    vx, vy = blur(x * x) - mx * mx, blur(y * y) - my * my
    cov = blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mx * my + c1) * (2 * cov + c2)
    return np.mean(top / ((mx**2 + my**2 + c1) * (vx + vy + c2)), axis=(1, 2))


def sharpness(frame: np.ndarray) -> float:
    """Mean squared Laplacian of the luma: the energy of fine detail."""
    return float(np.mean(ndimage.laplace(luma(frame)) ** 2))


@functools.cache
def _filters() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(20240)
    first = rng.standard_normal((32, 5, 5, 3))
    first -= first.mean(axis=(1, 2, 3), keepdims=True)
    return first / np.sqrt((first**2).sum(axis=(1, 2, 3), keepdims=True)), rng.standard_normal(
        (32, 32)
    ) / np.sqrt(32)


def features(frame: np.ndarray) -> np.ndarray:
    """`random-conv-96`: fixed random 5 x 5 filters, rectified, at three scales, averaged: (96,).

    Random convolutional features rank image statistics well enough for a Fréchet distance without
    any download; they are named with every figure because other features give other numbers.
    """
    return features_each(frame[None])[0]


def features_each(frames: np.ndarray) -> np.ndarray:
    """The `features` of each frame: (n, h, w, 3) -> (n, 96); h and w at least 20."""
    filters, mixing = _filters()
    pictures, found = np.asarray(frames, np.float64), []
    for _ in range(3):
        windows = np.lib.stride_tricks.sliding_window_view(pictures, (5, 5), axis=(1, 2))
        response = np.abs(
            np.einsum("nhwcij,kijc->nhwk", windows[:, ::2, ::2], filters, optimize=True)
        )
        found.append(np.abs(response @ mixing).mean(axis=(1, 2)))
        pictures = 0.25 * (
            pictures[:, ::2, ::2]
            + pictures[:, 1::2, ::2]
            + pictures[:, ::2, 1::2]
            + pictures[:, 1::2, 1::2]
        )
    return np.concatenate(found, axis=1)


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features (n, d).

    Dowson & Landau 1982.
    """
    m1, m2 = first.mean(axis=0), second.mean(axis=0)
    eye = 1e-6 * np.eye(first.shape[1])
    c1, c2 = np.cov(first, rowvar=False) + eye, np.cov(second, rowvar=False) + eye
    root = linalg.sqrtm(c1 @ c2)
    return float(((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * np.real(root)))


def snow_share(output: np.ndarray, original: np.ndarray) -> float:
    """Share of the pixels whose luma is 0.2 or more above the original's and above 0.6: snow.

    The snow teacher lifts a pixel without a flake by less than that. Frames in [0, 1].
    """
    shown = luma(output)
    return float(np.mean((shown - luma(original) > 0.2) & (shown > 0.6)))
