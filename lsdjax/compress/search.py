"""Which sizes reach a step time at the least loss."""

import itertools
from collections.abc import Callable, Iterator, Mapping

from lsdjax.compress.profile import SIZES, resized, size_of
from lsdjax.compress.sensitivity import Curves
from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig

Sizes = dict[str, int]

LOOK_AHEAD = 2
"""Faster sizes of a group that are weighed at a time: each may have to be timed first."""


def search_sizes(
    config: ModelConfig,
    curves: Curves,
    step_ms: Callable[[ModelConfig], float],
    target_ms: float,
) -> Sizes:
    """Greedy: the cut that loses least for each millisecond saved, until the target is met.

    Then sizes are given back, dearest first, where the target holds without the cut. The losses of
    cuts are taken to add up; what a cut saves depends on the others, and is asked for each time.

    Raises:
        UserError: the smallest sizes are too slow.
    """
    sizes = {group: size_of(config, group) for group in SIZES}

    def cost(changed: Mapping[str, int]) -> float:
        return step_ms(resized(config, {**sizes, **changed}))

    def gain(group: str, size: int) -> float:
        return curves[group][size].loss - curves[group][sizes[group]].loss

    def faster(group: str, now: float) -> Iterator[tuple[int, float]]:
        """Smaller sizes, falling, and what they save; those that save nothing are passed over."""
        smaller = (size for size in curves[group] if size < sizes[group])
        saved = ((size, now - cost({group: size})) for size in smaller)
        return itertools.islice((pair for pair in saved if pair[1] > 0), LOOK_AHEAD)

    now = cost({})
    while now > target_ms:
        best: tuple[tuple[float, float], str, int] | None = None
        for group in curves:
            for size, saved in faster(group, now):
                # A cut that even helps (the noise of few batches) is as good as a free one.
                rank = (max(gain(group, size), 0.0) / saved, -saved)
                best = min(best or (rank, group, size), (rank, group, size))
        if best is None:
            raise UserError(
                f"no cut reaches {target_ms:.2f} ms a step; the least is {now:.2f} ms, "
                f"with {_as_text(sizes)}"
            )
        sizes[best[1]] = best[2]
        now = cost({})
    while larger := [
        (gain(group, size), group, size)
        for group, cuts in curves.items()
        for size in cuts
        if size > sizes[group] and gain(group, size) < 0 and cost({group: size}) <= target_ms
    ]:
        _, group, size = min(larger)
        sizes[group] = size
    return sizes


def _as_text(sizes: Sizes) -> str:
    return ", ".join(f"{SIZES[group]}={size}" for group, size in sizes.items())
