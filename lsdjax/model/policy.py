"""Cache policies: where a frame's keys and values go, and which frames a frame sees at which age.

Both are functions of frame indices alone. The training mask asks them about all frames of a
sequence, a stream about those that its cache holds; a policy is right where the two agree, which is
checked when it is registered.
"""

import abc
import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.core.registry import Registry, blame


@dataclasses.dataclass(frozen=True)
class CachePolicy(abc.ABC):
    """What a policy decides, from the `window` and the `sinks` of the model's config.

    slots: frames that the cache holds. Frames are written in order, 0, 1, 2, ...; every one of them
    goes somewhere, if only to be overwritten by the next.
    """

    window: int
    sinks: int

    @property
    @abc.abstractmethod
    def slots(self) -> int: ...

    @property
    def compressed(self) -> int:
        """How many frames' worth of tokens are kept of those that were let go.

        They are the tokens that recent queries attend to most, of any frames; so neither `slot` nor
        `sees` is asked about them, and no training sees them. Only `lsdjax.model.wan` has them.
        """
        return 0

    @abc.abstractmethod
    def slot(self, index: jax.Array) -> jax.Array:
        """Where frame `index` () int32 is written: () int32 in 0..slots - 1."""

    @abc.abstractmethod
    def sees(self, index: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        """How old each of `frames` is to the frame `index`, and whether it is seen.

        Ages turn the keys (rotary embedding) and should stay small in an endless stream. Frames of
        the future and empty slots (-1) are left out by the caller. Each frame's answer depends on
        `index` and on that frame alone.
        Shapes: index () and frames (n,) int32 -> ages (n,) int32, visible (n,) bool.
        """


class RingWithSinks(CachePolicy):
    """The last `window` frames, and the first `sinks` ones of the stream, which are kept for good.

    A sink older than the window keeps the age window + 1 (Xiao et al. 2024, StreamingLLM).
    """

    @property
    def slots(self) -> int:
        return self.sinks + self.window

    def slot(self, index: jax.Array) -> jax.Array:
        return jnp.where(index < self.slots, index, self.sinks + (index - self.sinks) % self.window)

    def sees(self, index: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        age = index - frames
        visible = (age <= self.window) | (frames < self.sinks)
        return jnp.clip(age, 0, self.window + 1), visible


class DeepSinks(RingWithSinks):
    """As `RingWithSinks`, with the sinks always right before the window, each at its own age.

    So many sinks (40 to 60 % of all that is seen) keep a scene in place only if they seem near:
    their ages end at window + sinks, as if what lies between had never been (Deep Forcing, 2025;
    LongLive does so too).
    """

    def sees(self, index: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        age = index - frames
        visible = (age <= self.window) | (frames < self.sinks)
        behind = self.window + self.compressed
        nearest = jnp.where(frames < self.sinks, behind + self.sinks - frames, behind)
        return jnp.clip(age, 0, nearest), visible


class Participative(DeepSinks):
    """As `DeepSinks`; of the frames let go, the tokens that take part most stay between the two.

    They fill half as many frames as the window (Deep Forcing's participative compression, 2025).
    """

    @property
    def compressed(self) -> int:
        return max(1, self.window // 2)


class RollingSink(RingWithSinks):
    """The last `window` frames, and as sinks the first frames that came after the start-up.

    The first `window` frames of a stream still show what it was started from; they are let go, and
    the next `sinks` are kept for good, right before the window (after Live Avatar, 2025, whose sink
    is the first frame that the model made by itself).
    """

    def _is_sink(self, frames: jax.Array) -> jax.Array:
        return (frames >= self.window) & (frames < self.slots)

    def slot(self, index: jax.Array) -> jax.Array:
        return jnp.where(self._is_sink(index), index, index % self.window)

    def sees(self, index: jax.Array, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
        age, sink = index - frames, self._is_sink(frames)
        nearest = jnp.where(sink, self.window + self.slots - frames, self.window)
        return jnp.clip(age, 0, nearest), (age <= self.window) | sink


CACHE_POLICIES: Registry[type[CachePolicy]] = Registry(
    "cache policy",
    {
        "sinks": RingWithSinks,
        "deep-sinks": DeepSinks,
        "rolling-sink": RollingSink,
        "participative": Participative,
    },
)


def register_cache_policy(name: str, policy: type[CachePolicy]) -> None:
    """Make `policy` known as `ModelConfig.cache_policy` and as `--cache-policy`.

    Raises:
        UserError: the name is taken, a method does not keep its contract, or a stream would see
            other frames than training does.
    """
    with blame(f"cache policy {name!r}"):
        for window, sinks in ((4, 0), (3, 1)):
            _check(policy(window, sinks))
    CACHE_POLICIES.register(name, policy)


def _check(policy: CachePolicy, length: int = 40) -> None:
    """Follow a stream of `length` frames and compare what it sees with the training mask."""
    index = np.arange(length, dtype=np.int32)
    written = np.asarray(jax.vmap(policy.slot)(jnp.asarray(index)))
    if not np.issubdtype(written.dtype, np.integer) or written.shape != index.shape:
        raise UserError(f"slot gives {written.dtype} {written.shape[1:]}; int32 () is expected")
    if written.min() < 0 or written.max() >= policy.slots:
        raise UserError(
            f"slot gives {written.min()} to {written.max()}; 0 to {policy.slots - 1} are expected"
        )
    held, cache = [], np.full(policy.slots, -1, np.int32)
    for frame, slot in enumerate(written):
        held.append(cache.copy())
        cache[slot] = frame
    masks = [_seen(policy, index, rows) for rows in ([index] * length, held)]
    for frame, (training, stream) in enumerate(zip(*masks, strict=True)):
        if frame not in training:
            raise UserError(f"frame {frame} does not see itself")
        past = {key: age for key, age in training.items() if key < frame}
        if past != stream:
            raise UserError(
                f"at window={policy.window}, sinks={policy.sinks}, frame {frame} sees the frames "
                f"(with ages) {past} in training, but {stream} in a stream"
            )


def _seen(
    policy: CachePolicy, index: np.ndarray, rows: Sequence[np.ndarray]
) -> list[dict[int, int]]:
    """Of each frame of `index` (t,), the age by frame of what it sees of its row of frames."""
    frames = np.stack(rows)
    ages, visible = map(np.asarray, jax.vmap(policy.sees)(jnp.asarray(index), jnp.asarray(frames)))
    if not np.issubdtype(ages.dtype, np.integer) or visible.dtype != bool:
        raise UserError(f"sees gives {ages.dtype} and {visible.dtype}; int32 and bool are expected")
    if ages.shape != frames.shape or visible.shape != frames.shape:
        raise UserError("sees gives other shapes than that of frames, which both must have")
    visible = visible & (frames >= 0) & (frames <= index[:, None])
    return [
        {int(f): int(a) for f, a, v in sorted(zip(*row, strict=True)) if v}
        for row in zip(frames, ages, visible, strict=True)
    ]
