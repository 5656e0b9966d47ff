"""Frames on the host: RGB, uint8, (height, width, 3). Sizes, orientation and resizing."""

import math
from typing import Literal

import av
import numpy as np
from av.video.reformatter import Interpolation

from lsdjax.core.errors import UserError

MIN_SIDE = 16
MAX_SIDE = 8192

# Without the FULL_CHR flags swscale halves the chroma resolution on the way from RGB to RGB.
_ACCURATE = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
SHRINK = int(Interpolation.AREA | _ACCURATE)
ENLARGE = int(Interpolation.LANCZOS | _ACCURATE)


def fit_frame(
    frame: np.ndarray, height: int, width: int, how: Literal["crop", "stretch"] = "crop"
) -> np.ndarray:
    """Bring a uint8 RGB frame (any h, any w, 3) to uint8 (height, width, 3).

    "crop" keeps the proportions and cuts the centre, "stretch" distorts. Shrinking averages over
    areas (no aliasing), enlarging uses Lanczos.

    Raises:
        ValueError: another shape or type of frame, or another word for `how`.
    """
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"a frame is uint8 (h, w, 3), not {frame.dtype} {frame.shape}")
    if how not in ("crop", "stretch"):
        raise ValueError(f"fit is 'crop' or 'stretch', not {how!r}")
    if how == "crop":
        frame = frame[_centre_crop(frame.shape[0], frame.shape[1], height, width)]
    if frame.shape[:2] == (height, width):
        return np.ascontiguousarray(frame)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    shrinks = frame.shape[0] * frame.shape[1] > height * width
    small = picture.reformat(
        width=width, height=height, interpolation=SHRINK if shrinks else ENLARGE
    )
    return small.to_ndarray()


def check_size(name: str, width: int, height: int) -> None:
    """Refuse sides outside MIN_SIDE to MAX_SIDE; (0, 0), a header that does not say, passes.

    Raises:
        UserError: names the source and its size.
    """
    if (width or height) and (min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE):
        raise UserError(
            f"{name}: {width}x{height} pixels; a side must have {MIN_SIDE} to {MAX_SIDE} pixels"
        )


def _centre_crop(h: int, w: int, height: int, width: int) -> tuple[slice, slice]:
    """The largest centred window of (h, w) that has the proportions of (height, width)."""
    crop_w = min(w, max(1, round(h * width / height)))
    crop_h = min(h, max(1, round(w * height / width)))
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    return slice(top, top + crop_h), slice(left, left + crop_w)


def display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """(a, b, c, d) of x' = a x + c y, y' = b x + d y, or None; y points down."""
    if "DISPLAYMATRIX" not in frame.side_data:
        return None
    values = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), np.int32)
    return int(values[0]), int(values[1]), int(values[3]), int(values[4])


def upright(rgb: np.ndarray, matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    """Apply a display matrix, rounded to the nearest quarter turn, mirrored or not."""
    if matrix is None:
        return rgb
    a, b, c, d = matrix
    if math.hypot(b, c) > math.hypot(a, d):
        rgb = rgb.swapaxes(0, 1)
        a, d = c, b
    return np.ascontiguousarray(rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
