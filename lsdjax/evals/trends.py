"""Small statistics: a mean with its interval, a slope over time, early against late."""

from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def interval(values: np.ndarray) -> dict[str, Any]:
    """Mean of independent values (n,) and its 95 % t interval; without one where n is 1."""
    values = np.asarray(values, np.float64)
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return {"mean": mean, "low": None, "high": None, "n": n}
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "n": n}


def slopes(curves: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Least-squares slope of each curve per 1,000 frames: (n, points), (points,) -> (n,)."""
    centred = (np.asarray(frames, np.float64) - np.mean(frames)) / 1000
    return curves @ centred / np.sum(centred**2)


def paired(early: np.ndarray, late: np.ndarray) -> dict[str, Any]:
    """Has it changed? late - early of the same n rollouts, with its interval and a paired t test.

    p is that of a difference as large where there is none; None where nothing varies.
    """
    difference = np.asarray(late, np.float64) - np.asarray(early, np.float64)
    varies = len(difference) > 1 and np.ptp(difference) > 1e-12
    return {
        "early": float(np.mean(early)),
        "late": float(np.mean(late)),
        "late_minus_early": interval(difference),
        "p": float(stats.ttest_rel(late, early)[1]) if varies else None,
    }
