"""What cutting a group down to each of its candidate sizes costs in loss."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lsdjax.compress.importance import Importance
from lsdjax.compress.structure import Mask, full_mask
from lsdjax.model.config import ModelConfig


class Cut(NamedTuple):
    """What stays of a group at one size, by field of `Mask`, and what the loss gains by it."""

    loss: float
    keep: Mapping[str, np.ndarray]


Curves = Mapping[str, Mapping[int, Cut]]
"""By group and size; the size that it has now costs nothing."""


def strongest(importance: np.ndarray, size: int) -> np.ndarray:
    """Bool of the same shape: the `size` most important of each row; of equals, the first."""
    order = np.argsort(-importance, axis=-1, kind="stable")
    keep = np.zeros(importance.shape, bool)
    np.put_along_axis(keep, order[..., :size], True, axis=-1)
    return keep


def measure_curves(
    config: ModelConfig,
    evaluate: Callable[[Mask], float],
    rankings: Sequence[Importance],
    choices: Mapping[str, Sequence[int]],
    progress: Callable[[str], None] = lambda message: None,
) -> Curves:
    """Mask each group down to each of its `choices`, alone, as every ranking says; keep the best.

    No ranking is right for every group (a channel may be large and useless, or small and needed),
    and a forward pass tells which one is.

    choices: sizes by group, the one that it has now first.
    """
    full = full_mask(config)
    base = evaluate(full)
    curves: dict[str, dict[int, Cut]] = {}
    for group, (now, *smaller) in choices.items():
        fields = ("heads", "prompt_heads") if group == "heads" else (group,)
        curves[group] = {now: Cut(0.0, {name: getattr(full, name) for name in fields})}
        for size in smaller:
            found: dict[bytes, Cut] = {}
            for ranking in rankings:
                keep = {name: strongest(getattr(ranking, name), size) for name in fields}
                mark = b"".join(part.tobytes() for part in keep.values())
                if mark not in found:
                    found[mark] = Cut(evaluate(full._replace(**keep)) - base, keep)
            curves[group][size] = min(found.values(), key=lambda cut: cut.loss)
            progress(f"{group} {size} of {now}: loss {curves[group][size].loss:+.4f}")
    return curves


def mask_of(config: ModelConfig, curves: Curves, sizes: Mapping[str, int]) -> Mask:
    """The mask that keeps `sizes` of the groups."""
    keep = {
        name: part
        for group, size in sizes.items()
        for name, part in curves[group][size].keep.items()
    }
    return full_mask(config)._replace(**keep)
