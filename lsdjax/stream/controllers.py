"""Notice that a stream has drifted: its output no longer looks as its input implies."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

LEARN_FRAMES = 60
"""Two seconds at 30 frames a second; for as long, too, an output may remember its inputs."""

COLOUR_LIMIT = 0.12
"""In units of [0, 1]; a statistic of a frame is one of means, deviations and saturation."""

SHARPNESS_LIMIT = 0.5
"""A natural logarithm of a ratio."""

# Measured on ten styles over ten scenes, each scene judged by the relation learnt in another: the
# output never left by more than 0.06 in colour, 0.1 in sharpness, beyond what these gains allow.
_COLOUR_GAIN = 3.0
_SHARPNESS_GAINS = (2.0, 1.0)  # for the input's colour, for its sharpness
_GAINS = np.array([(_COLOUR_GAIN, 0.0), _SHARPNESS_GAINS])
_LIMITS = np.array([COLOUR_LIMIT, SHARPNESS_LIMIT])
_PATIENCE_FRAMES = 5
_ELSEWHERE = 0.1
_SHARPNESS_FLOOR = 0.02

Reason = Literal["cache", "previous", "colour", "sharpness"]


@dataclass(frozen=True)
class RepairEvent:
    """One repair of a running stream.

    Attributes:
        frame_index: the first frame that was made after it.
        reason: "cache" and "previous": so many slots of the KV ring, or the previous output, were
            not as the last step left them, and were dropped. "colour" and "sharpness": the output
            had drifted, and this frame was made from the input alone.
        value: how many slots, 1, or how far the output was beyond what its input allows.
        limit: how much of it is allowed.
    """

    frame_index: int
    reason: Reason
    value: float
    limit: float


class Controller:
    """Learns how input and output look in the first seconds; then says when the output leaves that.

    The output may be off its mean by a limit, and by a multiple of what the input is or lately was
    off its own: a style follows the scene in its own way, and some remember (trails, long
    exposure). It has drifted when it stays beyond for a few frames. When the input has gone
    elsewhere for good, the relation is learnt again.

    Attributes:
        score: how far the last output was beyond what is allowed, in units of its limit, at least
            0; 0 while nothing is known.
    """

    def __init__(self) -> None:
        self._recent = np.zeros((LEARN_FRAMES, 2, 8))  # a ring: no order is needed
        self._seen = 0
        self._mean: np.ndarray | None = None
        self._beyond = 0
        self.score = 0.0

    def judge(self, frame_index: int, looks: np.ndarray) -> RepairEvent | None:
        """Take the looks (2, 8) of one frame, see `scorer.describe`; the event when it has drifted.

        After an event the controller has done its work: what starts anew needs a new one.
        """
        if not np.isfinite(looks).all():  # `scorer.mend` sees to it
            return None
        sharpness = np.log(looks[:, 7:] + _SHARPNESS_FLOOR)
        place = self._seen % LEARN_FRAMES
        self._recent[place, :, :7] = looks[:, :7]
        self._recent[place, :, 7:] = sharpness
        self._seen += 1
        if self._mean is None:
            if self._seen == LEARN_FRAMES:
                self._mean = np.mean(self._recent, axis=0)
            return None
        off = np.abs(self._recent - self._mean)
        off = np.stack([off[..., :7].max(axis=-1), off[..., 7]], axis=-1)  # (frames, 2, 2)
        if off[:, 0, 0].min() > _ELSEWHERE:
            self._mean, self._seen, self.score = None, 0, 0.0
            return None
        excess = off[place, 1] - _GAINS @ off[:, 0].max(axis=0)
        worst = int(np.argmax(excess / _LIMITS))
        self.score = max(0.0, float(excess[worst] / _LIMITS[worst]))
        self._beyond = self._beyond + 1 if excess[worst] > _LIMITS[worst] else 0
        if self._beyond < _PATIENCE_FRAMES:
            return None
        reason: Reason = "sharpness" if worst else "colour"
        return RepairEvent(frame_index, reason, float(excess[worst]), float(_LIMITS[worst]))
