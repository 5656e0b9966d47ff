"""Training examples made inside `jit`: crop, flip, speed, pan, zoom, colour, then the teacher.

Everything after decoding happens on the device, so an accelerator is never starved by the host.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.core.events import draw_events
from lsdjax.data.pool import CANVAS_HEIGHT, CANVAS_WIDTH, Pool
from lsdjax.data.styles import TEACHERS, teach
from lsdjax.data.synthetic import moving_lights, moving_shapes
from lsdjax.data.teacher import Teacher, TeacherState, init_state

BURN_IN = 10
START_SHARE = 0.35
GENERATIVE_START_SHARE = 0.9
"""A past that is the truth would give the answer away, and no stream has one."""
SHAPES_SHARE = 0.08
STILLS_SHARE = 0.5
MAX_TIME = 10_000
"""Frames into its life at which a scene of lights may be met, at most."""


class DevicePool(NamedTuple):
    """A `Pool` as device arrays: frames, starts, lengths, and each source's log weight."""

    frames: jax.Array
    starts: jax.Array
    lengths: jax.Array
    log_weights: jax.Array

    def taught(self, style: jax.Array | np.ndarray) -> "Taught":
        return Taught(self, style)


class Lights(NamedTuple):
    """Moving lights in the place of footage."""

    def taught(self, style: jax.Array | np.ndarray) -> "TaughtLights":
        return TaughtLights(style)


class Examples(NamedTuple):
    """One style's clips.

    inputs, targets, previous: (b, t, height, width, 3) in [-1, 1].
    faint: as `previous`, what it fades to where a model loses hold of its past; `previous` itself
        where fading is no error.
    present: (b, t), 1 where there is a previous output.
    events: (b, t, height / 2, width / 2, 3), what the teacher drew from.
    ambiguous: (), 1 where many pictures answer an input and the target is but one of them.
    """

    inputs: jax.Array
    targets: jax.Array
    previous: jax.Array
    faint: jax.Array
    present: jax.Array
    events: jax.Array
    ambiguous: jax.Array


def device_pool(pool: Pool) -> DevicePool:
    """Move a pool to the device; photos and clips share the draws by `STILLS_SHARE`."""
    stills = pool.lengths == 1
    weights = pool.seconds.copy()
    if stills.any() and not stills.all():
        weights[stills] *= STILLS_SHARE / weights[stills].sum()
        weights[~stills] *= (1 - STILLS_SHARE) / weights[~stills].sum()
    return DevicePool(
        jnp.asarray(pool.frames),
        jnp.asarray(pool.starts),
        jnp.asarray(pool.lengths),
        jnp.log(jnp.asarray(weights / weights.sum(), jnp.float32)),
    )


class Taught(NamedTuple):
    """What one group shows: one style () int32 on footage of the pool."""

    pool: DevicePool
    style: jax.Array | np.ndarray

    def examples(self, key: jax.Array, shape: tuple[int, int, int, int]) -> Examples:
        return make_examples(key, self.pool, jnp.asarray(self.style), shape)


class TaughtLights(NamedTuple):
    """What one group shows: one style () int32 on moving lights."""

    style: jax.Array | np.ndarray

    def examples(self, key: jax.Array, shape: tuple[int, int, int, int]) -> Examples:
        """As `make_examples`, every scene at a random time of its own."""
        b, t, height, width = shape

        def scene(key: jax.Array) -> jax.Array:
            first = jax.random.randint(key, (), 0, MAX_TIME)
            return moving_lights(key, first + jnp.arange(-BURN_IN, t + 1), height, width)[0]

        start_key, scene_key, teacher_key = jax.random.split(key, 3)
        frames = jax.vmap(scene)(jax.random.split(scene_key, b))
        return _teach_streams(
            start_key, teacher_key, jnp.asarray(self.style), lambda part: frames[:, part], shape
        )


class Source(NamedTuple):
    """Where one example's pictures come from.

    raw: uint8 (times, canvas height, canvas width, 3).
    times: (times,) in frames; still: (), whether it is a photo; key: for everything else.
    """

    raw: jax.Array
    times: jax.Array
    still: jax.Array
    key: jax.Array


def draw_source(key: jax.Array, pool: DevicePool, times: jax.Array) -> Source:
    """Choose a source, a start and a speed, and fetch its frames at `times` (times,).

    A clip that is too short is played back and forth. This is the only place that touches the
    pool: inside a branch XLA would copy all of it.
    """
    keys = jax.random.split(key, 5)
    source = jax.random.categorical(keys[0], pool.log_weights)
    length = pool.lengths[source]
    speed = jnp.where(jax.random.bernoulli(keys[1], 0.3), 2, 1)
    direction = jnp.where(jax.random.bernoulli(keys[2], 0.2), -1, 1)
    index = jax.random.randint(keys[3], (), 0, length) + direction * speed * times
    fold = jnp.maximum(2 * length - 2, 1)
    index = index % fold
    index = jnp.where(index >= length, fold - index, index)
    return Source(pool.frames[pool.starts[source] + index], times, length == 1, keys[4])


def render_source(source: Source, height: int, width: int) -> jax.Array:
    """The moving view of a source: (times, height, width, 3) in [0, 1].

    Photos are panned and zoomed, clips are cropped, a few sources are procedural shapes instead;
    then all get the light of another lamp and another camera.
    """
    kind_key, view_key, colour_key = jax.random.split(source.key, 3)
    view = jax.lax.cond(
        jax.random.bernoulli(kind_key, SHAPES_SHARE),
        lambda: moving_shapes(view_key, source.times, height, width),
        lambda: _view(view_key, source, height, width),
    )
    return _recolour(colour_key, view)


def _view(key: jax.Array, source: Source, height: int, width: int) -> jax.Array:
    keys = jax.random.split(key, 5)
    times = source.times.astype(jnp.float32)
    motion = jnp.where(source.still, 1.0, 0.15)
    zoom = jax.random.uniform(keys[0], (), minval=0.62, maxval=1.0)
    rate = motion * 0.006 * jax.random.normal(keys[1], ())
    scale = jnp.clip(zoom + rate * times, 0.55, 1.0)
    drift = motion * 0.012 * jax.random.normal(keys[2], (2,))
    centre = jax.random.uniform(keys[3], (2,))
    place = jnp.clip(centre[None] + drift[None] * times[:, None], 0.0, 1.0)

    def crop(frame: jax.Array, scale: jax.Array, place: jax.Array) -> jax.Array:
        side = scale * CANVAS_HEIGHT
        room = jnp.array([CANVAS_HEIGHT, CANVAS_WIDTH], jnp.float32) - side
        factor = jnp.array([height, width], jnp.float32) / side
        return jax.image.scale_and_translate(
            frame.astype(jnp.float32) / 255.0,
            (height, width, 3),
            (0, 1),
            factor,
            -place * room * factor,
            method="linear",
        )

    view = jnp.clip(jax.vmap(crop)(source.raw, scale, place), 0.0, 1.0)
    return jnp.where(jax.random.bernoulli(keys[4], 0.5), view[:, :, ::-1], view)


def _recolour(key: jax.Array, frames: jax.Array) -> jax.Array:
    """Random gain, gamma, saturation and, seldom, swapped channels: other lamps, other cameras."""
    keys = jax.random.split(key, 5)
    gain = jnp.exp(0.15 * jax.random.normal(keys[0], (3,)))
    gain = jnp.where(jax.random.bernoulli(keys[1], 0.5), gain, jnp.ones(3))
    gamma = jnp.exp(0.25 * jax.random.normal(keys[2], ()))
    gamma = jnp.where(jax.random.bernoulli(keys[1], 0.5), gamma, 1.0)
    saturation = jax.random.uniform(keys[3], (), minval=0.5, maxval=1.5)
    grey = frames.mean(axis=-1, keepdims=True)
    frames = grey + saturation * (frames - grey)
    order = jax.random.permutation(keys[4], 3)
    frames = jnp.where(jax.random.bernoulli(keys[4], 0.15), frames[..., order], frames)
    return jnp.clip(frames * gain[None, None, None, :], 1e-4, 1.0) ** gamma


def make_examples(
    key: jax.Array, pool: DevicePool, style: jax.Array, shape: tuple[int, int, int, int]
) -> Examples:
    """One style's examples on footage: shape (b, t, height, width), style () int32."""
    b, t, height, width = shape
    start_key, window_key, teacher_key = jax.random.split(key, 3)
    window_keys = jax.random.split(window_key, b)
    times = jnp.arange(-BURN_IN, t + 1, dtype=jnp.int32)
    sources = jax.vmap(draw_source, in_axes=(0, None, None))(window_keys, pool, times)

    def window(part: slice) -> jax.Array:
        chosen = sources._replace(raw=sources.raw[:, part], times=sources.times[:, part])
        return jax.lax.map(lambda source: render_source(source, height, width), chosen)

    return _teach_streams(start_key, teacher_key, style, window, shape)


def _teach_streams(
    start_key: jax.Array,
    teacher_key: jax.Array,
    style: jax.Array,
    window: Callable[[slice], jax.Array],
    shape: tuple[int, int, int, int],
) -> Examples:
    """One style's examples of scenes; `window` renders a part of their BURN_IN + t + 1 frames.

    Some start a stream (nothing came before the first frame), the others join one in the middle:
    there the teacher has run for a while and its last output is given as `previous`.
    """
    b, t, height, width = shape
    starts = jax.random.bernoulli(start_key, _of_style(_start_share, style), (b,))
    fresh = init_state(b, height, width)

    def burnt_in() -> TeacherState:
        frames = window(slice(0, BURN_IN))
        state = teach(style, frames, fresh, teacher_key)[2]
        blank = starts[:, None, None, None]
        return TeacherState(
            jnp.where(blank, fresh.canvas, state.canvas),
            jnp.where(starts, fresh.frame_index, state.frame_index),
        )

    state = jax.lax.cond(
        _of_style(lambda teacher: teacher.kind == "stateful", style), burnt_in, lambda: fresh
    )
    frames = window(slice(BURN_IN, None))
    inputs, targets, _ = teach(style, frames, state, teacher_key)
    events = draw_events(teacher_key, state.frame_index, t + 1, height, width)
    inputs, targets = 2 * inputs - 1, 2 * targets - 1
    faint = jnp.where(_of_style(lambda teacher: teacher.lasting, style), inputs, targets)
    ambiguous = _of_style(lambda teacher: float(teacher.kind == "generative"), style)
    return join_streams(starts, inputs, targets, faint, events, ambiguous)


def _of_style(fact: Callable[[Teacher], bool | float], style: jax.Array) -> jax.Array:
    """A fact about the style of that number, ()."""
    return jnp.asarray([fact(teacher) for teacher in TEACHERS.values()])[style]


def _start_share(teacher: Teacher) -> float:
    return GENERATIVE_START_SHARE if teacher.kind == "generative" else START_SHARE


def join_streams(
    starts: jax.Array,
    inputs: jax.Array,
    targets: jax.Array,
    faint: jax.Array,
    events: jax.Array,
    ambiguous: jax.Array,
) -> Examples:
    """Examples of t frames from t + 1 frames.

    Where a stream starts, the first t of them; elsewhere the last t, with what came before them.
    Shapes: starts (b,); inputs, targets, faint (b, t + 1, height, width, 3) in [-1, 1], events as
    in `Examples`, as is ambiguous. faint: what each target fades to.
    """
    b, t = targets.shape[0], targets.shape[1] - 1

    def choose(at_start: jax.Array, joined: jax.Array) -> jax.Array:
        return jnp.where(starts.reshape(b, *[1] * (at_start.ndim - 1)), at_start, joined)

    def before(frames: jax.Array) -> jax.Array:
        blank = jnp.zeros_like(frames[:, :1])
        return choose(jnp.concatenate([blank, frames[:, :-2]], axis=1), frames[:, :-1])

    first = jnp.concatenate([jnp.zeros((b, 1)), jnp.ones((b, t - 1))], axis=1)
    return Examples(
        inputs=choose(inputs[:, :-1], inputs[:, 1:]),
        targets=choose(targets[:, :-1], targets[:, 1:]),
        previous=before(targets),
        faint=before(faint),
        present=choose(first, jnp.ones((b, t))),
        events=choose(events[:, :-1], events[:, 1:]),
        ambiguous=ambiguous,
    )
