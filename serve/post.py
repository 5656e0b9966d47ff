"""What may be done to a picture on its way out: steadied, sharpened, enlarged. NumPy and PyAV."""

from dataclasses import dataclass

import numpy as np

from lsdjax.data.frames import fit_frame

_STILL = 12.0  # of 255: a pixel that changed by less is taken for still
_MOST_OLD = 0.8


@dataclass(frozen=True)
class Finish:
    """How far: `stabilise` and `sharpen` from 0 to 1; `scale` enlarges both sides."""

    stabilise: float = 0.0
    sharpen: float = 0.0
    scale: int = 1

    @property
    def does_nothing(self) -> bool:
        """Whether a picture stays as it is."""
        return self == Finish()


class Finisher:
    """The pictures of one session, in their order."""

    def __init__(self) -> None:
        self._steadied: np.ndarray | None = None

    def apply(self, frame: np.ndarray, how: Finish, *, discontinuity: bool) -> np.ndarray:
        """The finished picture: uint8 (h, w, 3) -> uint8 (scale * h, scale * w, 3)."""
        picture = frame
        if how.stabilise > 0:
            old = None if discontinuity else self._steadied
            self._steadied = steady(picture.astype(np.float32), old, how.stabilise)
            picture = _to_uint8(self._steadied)
        else:
            self._steadied = None
        if how.sharpen > 0:
            picture = _to_uint8(sharpen(picture.astype(np.float32), how.sharpen))
        if how.scale > 1:
            height, width, _ = picture.shape
            picture = fit_frame(picture, how.scale * height, how.scale * width, "stretch")
        return picture


def steady(new: np.ndarray, old: np.ndarray | None, amount: float) -> np.ndarray:
    """A temporal mean of what stands still, float (h, w, 3): flicker goes, motion stays sharp.

    out = new + w (old - new), w = 0.8 amount exp(-(change / 12)²), where the change of a pixel is
    the largest of its colours.
    """
    if old is None or old.shape != new.shape:
        return new
    difference = old - new
    change = np.abs(difference).max(axis=2, keepdims=True)
    return new + _MOST_OLD * amount * np.exp(-((change / _STILL) ** 2)) * difference


def sharpen(picture: np.ndarray, amount: float) -> np.ndarray:
    """Unsharp masking against a 3 x 3 mean, float (h, w, 3)."""
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    blurred = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9.0
    return picture + amount * (picture - blurred)


def _to_uint8(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
