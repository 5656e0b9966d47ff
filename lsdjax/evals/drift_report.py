"""What the watched streams say about drift: curves, slopes, what was kept, early against late."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lsdjax.evals import metrics
from lsdjax.evals.drift_watch import WINDOW, DriftPlan, Setting, Watched
from lsdjax.evals.lights import Contents
from lsdjax.evals.trends import interval, paired, slopes

TRUTH_METRICS = ("psnr_db", "ssim")
"""They compare with the true frame, which is the right one only while inputs come."""
LIGHT_METRICS = ("count_error", "mass_error")
"""They need a teacher that shows the lights as they are."""
METRICS = (*TRUTH_METRICS, "frechet", "colour_bias", "sharpness", "motion", *LIGHT_METRICS)
KEPT_ERROR = 0.35
"""What a rollout may be wrong by, in count and in mass, and still have kept its lights."""

_COLOUR_RANGE = (250, 1000)


class Summary:
    """Figures of one setting; `reference`: features of the data (n, 96)."""

    def __init__(
        self,
        plan: DriftPlan,
        setting: Setting,
        watched: Watched,
        contents: Contents,
        reference: np.ndarray,
    ) -> None:
        self._plan, self._setting, self._watched = plan, setting, watched
        self._contents, self._reference = contents, reference
        self._row = {int(frame): row for row, frame in enumerate(plan.sampled)}

    def curves(self, metric: str) -> np.ndarray | None:
        """A curve over the segments for each stream, of `frechet` for each seed; None: undefined.

        (streams or seeds, segments).
        """
        if metric in TRUTH_METRICS and self._setting.presence == 0:
            return None
        if metric in LIGHT_METRICS and not self._plan.shows_the_scene:
            return None
        if metric in ("psnr_db", "colour_bias", "sharpness", "motion"):
            return getattr(self._watched, metric).T
        return np.stack([self._close(metric, frames) for frames in self._plan.grid], axis=1)

    def _close(self, metric: str, frames: np.ndarray) -> np.ndarray:
        """A metric of the frames looked at closely: (streams,), of `frechet` (seeds,)."""
        rows = [self._row[int(frame)] for frame in frames]
        if metric == "ssim":
            return self._watched.ssim[rows].mean(axis=0)
        if metric == "count_error":
            return self._contents.count_error(self._watched.counts[rows])
        if metric == "mass_error":
            return self._contents.mass_error(self._watched.masses[rows])
        return self._frechet(rows, self._plan.seeds)

    def _frechet(self, rows: list[int], groups: int) -> np.ndarray:
        """The distance to the data of each of `groups` equal groups of streams: (groups,)."""
        found = np.split(self._watched.features[rows], groups, axis=1)
        flat = (each.reshape(-1, each.shape[-1]) for each in found)
        return np.array([metrics.frechet(each, self._reference) for each in flat])

    def report(self) -> dict[str, Any]:
        plan = self._plan
        middle = (np.arange(plan.segments) + 0.5) * plan.segment_frames
        found: dict[str, Any] = {}
        for metric in METRICS:
            curves = self.curves(metric)
            if curves is None:
                found[metric] = None
                continue
            by_seed = curves.reshape(plan.seeds, -1, plan.segments).mean(axis=1)
            slope = interval(slopes(curves, middle))
            found[metric] = {"curves": by_seed, "slope_per_1000": slope}
        return {
            "metrics": found,
            "kept": self._kept() if plan.shows_the_scene else None,
            "colour_bias_growth": self._colour_bias_growth(),
        }

    def _kept(self) -> dict[int, dict[str, Any]]:
        """The share of the rollouts that hold what they should, over the frames to a milestone."""
        kept = {}
        for end, frames in self._plan.milestones.items():
            worst = np.maximum(*(self._close(metric, frames) for metric in LIGHT_METRICS))
            right = (worst <= KEPT_ERROR).reshape(self._plan.seeds, -1)
            kept[end] = {"share": right.mean(), "by_seed": right.mean(axis=1)}
        return kept

    def _colour_bias_growth(self) -> dict[str, Any] | None:
        """From the first to the last segment within frames 250 to 1,000; None without two."""
        each, (low, high) = self._plan.segment_frames, _COLOUR_RANGE
        inside = [s for s in range(self._plan.segments) if s * each >= low]
        inside = [s for s in inside if (s + 1) * each <= high]
        if len(inside) < 2:
            return None
        first, last = inside[0], inside[-1]
        bias = self._watched.colour_bias
        return {
            "from_frames": [first * each, (first + 1) * each],
            "to_frames": [last * each, (last + 1) * each],
            **interval(bias[last] - bias[first]),
        }

    def early_against_late(self) -> dict[str, Any] | None:
        """Each rollout's errors and Fréchet distance in 10-20 % and 90-100 % of the frames.

        None where the run is too short to have two frames looked at in each.
        """
        grid, length = self._plan.grid.ravel(), self._plan.frames
        early, late = (
            grid[(grid >= share * length) & (grid < (share + 0.1) * length)] for share in (0.1, 0.9)
        )
        samples = min(len(early), len(late))
        if samples < 2:
            return None
        windows = early[:samples], late[:samples]
        found: dict[str, Any] = {
            "early_frames": [round(0.1 * length), round(0.2 * length)],
            "late_frames": [round(0.9 * length), length],
            "samples": samples,
        }
        if self._plan.shows_the_scene:
            for metric in LIGHT_METRICS:
                found[metric] = paired(*(self._close(metric, frames) for frames in windows))
        rows = ([self._row[int(frame)] for frame in frames] for frames in windows)
        found["frechet"] = paired(*(self._frechet(each, self._plan.streams) for each in rows))
        return found


def summarise(
    plan: DriftPlan,
    settings: Mapping[str, Setting],
    watched: Mapping[str, Watched],
    contents: Contents,
    reference: np.ndarray,
) -> dict[str, Any]:
    """All figures; see `lsdjax.evals.drift.measure_drift`."""
    summaries = {
        name: Summary(plan, setting, watched[name], contents, reference)
        for name, setting in settings.items()
    }
    some = next(iter(watched.values()))
    result = {
        "style": plan.style,
        "size": list(plan.size),
        "frames": plan.frames,
        "seeds": plan.seeds,
        "rollouts": plan.rollouts,
        "segment_frames": plan.segment_frames,
        "window_frames": WINDOW,
        "features": metrics.FEATURES,
        "truth": {
            "frechet": _frechet_of_truth(plan, reference),
            "sharpness": some.true_sharpness.mean(axis=0).reshape(plan.seeds, -1).mean(axis=1),
            "motion": some.true_motion.mean(axis=0).reshape(plan.seeds, -1).mean(axis=1),
        },
        "settings": {name: summary.report() for name, summary in summaries.items()},
        "intact_minus_reseeded_db": None,
        "early_against_late": {
            name: summary.early_against_late()
            for name, summary in summaries.items()
            if settings[name].presence == 0
        },
    }
    if {"intact", "reseeded"} <= set(watched):
        gain = watched["intact"].psnr_db - watched["reseeded"].psnr_db
        result["intact_minus_reseeded_db"] = interval(gain.mean(axis=0))
    return result


def _frechet_of_truth(plan: DriftPlan, reference: np.ndarray) -> np.ndarray:
    """What true frames of the same scenes get, (seeds,): a segment's few scenes are not all data.

    It has as many samples as a segment's figure, and so the same bias.
    """
    wanted, found = set(plan.grid[0].tolist()), []
    for index, (_, target) in zip(range(plan.segment_frames), plan.scenes(), strict=False):
        if index in wanted:
            found.append(metrics.features_each(target))
    groups = np.split(np.stack(found), plan.seeds, axis=1)
    return np.array([metrics.frechet(g.reshape(-1, g.shape[-1]), reference) for g in groups])
