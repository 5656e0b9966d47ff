"""Decoded footage as arrays: every clip and photo of a folder on one canvas size.

A pool is what an accelerator samples from without touching the host again. It can be saved as one
`.npz`, so that a machine without a video decoder trains from the same frames.
"""

import logging
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsdjax.core.errors import UserError

logger = logging.getLogger(__name__)

CANVAS_HEIGHT, CANVAS_WIDTH = 192, 256


class Pool(NamedTuple):
    """Every source's frames, one source after the other.

    frames: uint8 (n, CANVAS_HEIGHT, CANVAS_WIDTH, 3).
    starts, lengths: (sources,) int32, where each source's frames are.
    seconds: (sources,) float32, 1 for a photo; names: of the files.
    """

    frames: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    seconds: np.ndarray
    names: tuple[str, ...]

    @property
    def weights(self) -> np.ndarray:
        """Sampling by seconds, so that twenty short clips of one room don't outweigh a long one."""
        return (self.seconds / self.seconds.sum()).astype(np.float32)


def load_pool(folders: Sequence[Path], *, holdout: Sequence[str] = ()) -> Pool:
    """Decode every video and picture below `folders`, without those whose stem is in `holdout`.

    A damaged file is skipped with a warning that names it.

    Raises:
        UserError: a folder is missing, or nothing could be read.
    """
    from lsdjax.data.video import list_images, list_videos, load_image

    frames: list[np.ndarray] = []
    lengths: list[int] = []
    seconds: list[float] = []
    names: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"no folder {str(folder)!r}; a folder of videos or photos is expected")
        for path in [*list_videos(folder), *list_images(folder)]:
            if path.stem in holdout:
                continue
            try:
                clip, fps = _read(path, load_image)
            except UserError as error:
                logger.warning("skipped %s: %s", path.name, error)
                continue
            frames.append(clip)
            lengths.append(len(clip))
            seconds.append(len(clip) / fps if len(clip) > 1 else 1.0)
            names.append(path.name)
    if not frames:
        raise UserError(f"no readable video or photo below {[str(folder) for folder in folders]}")
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return Pool(
        np.concatenate(frames),
        starts.astype(np.int32),
        np.array(lengths, np.int32),
        np.array(seconds, np.float32),
        tuple(names),
    )


def _read(path: Path, load_image) -> tuple[np.ndarray, float]:
    from lsdjax.data.video import IMAGE_SUFFIXES, fit_frame, open_source

    if path.suffix.lower() in IMAGE_SUFFIXES:
        return fit_frame(load_image(path), CANVAS_HEIGHT, CANVAS_WIDTH)[None], 1.0
    clip: list[np.ndarray] = []
    with open_source(path) as source:
        try:
            clip.extend(fit_frame(frame, CANVAS_HEIGHT, CANVAS_WIDTH) for frame in source)
        except UserError as error:
            if not clip:
                raise
            logger.warning("%s: kept the %d frames before the damage (%s)", path, len(clip), error)
        return np.stack(clip), source.fps


def save_pool(pool: Pool, path: Path) -> None:
    """Write a pool as one `.npz` (to a temporary name, then renamed)."""
    temporary = path.with_name(path.name + ".partial.npz")
    np.savez(temporary, **{**pool._asdict(), "names": np.array(pool.names)})
    os.replace(temporary, path)


def read_pool(path: Path) -> Pool:
    """Read what `save_pool` wrote.

    Raises:
        UserError: the file is missing or is not a pool.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in Pool._fields}
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{str(path)!r} is not a pool of decoded frames ({error})") from error
    arrays["names"] = tuple(str(name) for name in arrays["names"])
    return Pool(**arrays)
