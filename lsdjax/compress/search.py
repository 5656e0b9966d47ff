"""Which sizes reach a step time at the least loss."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

from lsdjax.compress.profile import SIZES, resized, size_of
from lsdjax.compress.sensitivity import Curves
from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig

Sizes = dict[str, int]

LOOK_AHEAD, TRIED = 2, 4
"""Faster sizes of a group that are weighed at a time, for each may have to be timed first; and cuts
that look best by their curves, of which the loss of all cuts together chooses one."""


def search_sizes(
    config: ModelConfig,
    curves: Curves,
    step_ms: Callable[[ModelConfig], float],
    loss_of: Callable[[Sizes], float],
    target_ms: float,
) -> Sizes:
    """Greedy: the cut that loses least for each millisecond saved, until the target is met.

    Then sizes are given back where the target holds without the cut. The curves, measured one group
    at a time, say which cuts to try: two that are harmless alone may not be together, so the loss
    of all sizes at once decides. What a cut saves depends on the others and is asked for anew.

    step_ms: milliseconds of a step at some sizes; loss_of: the loss at some sizes, all together.

    Raises:
        UserError: the smallest sizes are too slow.
    """
    sizes = {group: size_of(config, group) for group in SIZES}

    def cost(group: str, size: int) -> float:
        return step_ms(resized(config, {**sizes, group: size}))

    def gain(group: str, size: int) -> float:
        return curves[group][size].loss - curves[group][sizes[group]].loss

    def faster(group: str, now: float) -> list[Move]:
        """Smaller sizes, falling, and what they save; those that save nothing are passed over."""
        smaller = (size for size in curves[group] if size < sizes[group])
        moves = (Move(group, size, now - cost(group, size)) for size in smaller)
        return list(itertools.islice((move for move in moves if move.saved > 0), LOOK_AHEAD))

    now = step_ms(resized(config, sizes))
    loss = loss_of(sizes)
    while now > target_ms:
        moves = [move for group in curves for move in faster(group, now)]
        if not moves:
            raise UserError(
                f"no cut reaches {target_ms:.2f} ms a step; the least is {now:.2f} ms, "
                f"with {_as_text(sizes)}"
            )
        moves.sort(key=lambda move: _price(gain(move.group, move.size), move.saved))
        tried = {move: loss_of({**sizes, move.group: move.size}) for move in moves[:TRIED]}
        best = min(tried, key=lambda move: _price(tried[move] - loss, move.saved))
        sizes[best.group], loss = best.size, tried[best]
        now -= best.saved
    while True:
        wider = [
            Move(group, size, 0.0)
            for group, cuts in curves.items()
            for size in cuts
            if size > sizes[group] and cost(group, size) <= target_ms
        ]
        wider.sort(key=lambda move: gain(move.group, move.size))
        tried = {move: loss_of({**sizes, move.group: move.size}) for move in wider[:TRIED]}
        best = min(tried, key=lambda move: tried[move], default=None)
        if best is None or tried[best] >= loss:
            return sizes
        sizes[best.group], loss = best.size, tried[best]


class Move(NamedTuple):
    """A group at another size, and the milliseconds that it saves."""

    group: str
    size: int
    saved: float


def _price(loss: float, saved: float) -> tuple[float, float]:
    """Loss for each millisecond; of free cuts, the one that saves most.

    A cut that even helps (the noise of few batches) is as good as a free one.
    """
    return max(loss, 0.0) / saved, -saved


def _as_text(sizes: Sizes) -> str:
    return ", ".join(f"{SIZES[group]}={size}" for group, size in sizes.items())
