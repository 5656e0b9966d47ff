"""Do streams drift? `lsdjax bench drift`: ten thousand frames of scenes whose contents are known.

With an intact input drift hides, so it is measured beside what takes the input away (`quarter`,
`none`) and beside what puts the past right (`reseeded`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lsdjax.checkpoint.export import Checkpoint, load_checkpoint
from lsdjax.data.phrases import PHRASES
from lsdjax.evals.drift_plot import plot_drift, write_drift_sheet
from lsdjax.evals.drift_report import summarise
from lsdjax.evals.drift_watch import SETTINGS, DriftPlan, Setting, StreamModel, Watched, watch
from lsdjax.evals.lights import Contents, reference_features
from lsdjax.evals.report import plain
from lsdjax.evals.sheets import write_json
from lsdjax.stream.rollout import Rollout


def measure_drift(
    checkpoint: Checkpoint | str | Path | None = None,
    *,
    frames: int = 10_000,
    seeds: int = 3,
    rollouts: int = 8,
    segments: int = 50,
    style: str = "original",
    settings: Mapping[str, Setting] = SETTINGS,
    steps: int | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """How the streams of a checkpoint change over `frames` frames, in each setting.

    The scenes are `moving_lights`, one for each of `seeds` x `rollouts` streams, and the prompt is
    the first phrase of `style`, whose teacher says what should be shown. out: a folder for
    `drift.json`, `drift.png` and `drift_pictures.png`.

    Returns {"settings": {name: {"metrics", "kept", "colour_bias_growth"}}, "truth",
    "intact_minus_reseeded_db", "early_against_late", ...}. A metric is {"curves": seeds x segments,
    "slope_per_1000": {"mean", "low", "high", "n"}}, or None where it says nothing; intervals are
    95 % t intervals over the n rollouts (for `frechet`, seeds). The metrics:

    - psnr_db, ssim: against the teacher's picture; None in `none`, where after the input has gone
      no frame is the right one;
    - frechet: of `metrics.FEATURES` to 2,048 frames of other scenes. Few scenes and samples bias
      it upwards; `truth.frechet` is what true frames get. It is coarse: at 32 x 32 with 8 rollouts
      and 20 samples, blur over 5 pixels, noise of 5 %, lights faded by 30 % and a tint of 10 grey
      levels raised it for each of 6 seeds, blur over 3 pixels and noise of 1 % for 4 of them, and
      with 15 samples even noise of 5 % may lower it;
    - colour_bias: |mean output - mean truth|, the largest over the channels, in 1/255;
    - sharpness: mean squared Laplacian of the luma; motion: mean |x_t - x_{t-1}| in 1/255;
    - count_error, mass_error: of the lights, see `Contents`; None for a style that changes them.

    kept: the share of the rollouts with both of the last at most 0.35 over the 50 frames before
    each milestone. early_against_late: 10-20 % of the frames against 90-100 %, rollout by rollout,
    where no input comes. Its `frechet` is that of a single scene, whose contents outweigh the look:
    blur over 5 pixels raised it for 13 of 24 rollouts, faded lights for 17, an empty room for all.
    No difference there does not mean that nothing has changed.

    Raises:
        UserError: a bad checkpoint, an unknown style, or a number that makes no sense.
    """
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(checkpoint)
    size = (loaded.config.height, loaded.config.width)
    plan = DriftPlan(size, style, frames, seeds, rollouts, segments)
    model = Rollout(loaded, PHRASES[style][0], plan.stream_seeds, steps=steps)
    result, watched = measure_model(model, plan, settings, progress=progress)
    path = None if loaded.path is None else str(loaded.path)
    result = {"checkpoint": path, "steps": model.steps, **result}
    if out is not None:
        folder = Path(out)
        write_json(folder / "drift.json", result)
        plot_drift({"model": result}, folder / "drift.png")
        pictures = {name: each.pictures for name, each in watched.items()}
        write_drift_sheet(folder / "drift_pictures.png", plan.shown, pictures)
    return result


def measure_model(
    model: StreamModel,
    plan: DriftPlan,
    settings: Mapping[str, Setting] = SETTINGS,
    *,
    progress: bool = True,
) -> tuple[dict[str, Any], dict[str, Watched]]:
    """Drift of anything that makes pictures from inputs; the result is ready for JSON."""
    contents = Contents.of(np.asarray(next(plan.scenes())[1]))
    total = plan.frames * len(settings)
    watched = {}
    with tqdm(total=total, unit="frame", disable=None if progress else True) as bar:
        for name, setting in settings.items():
            bar.set_postfix_str(name)
            watched[name] = watch(model, plan, setting, contents, bar)
    reference = reference_features(plan.style, plan.size)
    return plain(summarise(plan, settings, watched, contents, reference)), watched
