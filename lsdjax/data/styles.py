"""The procedural teachers: what each named style does to a clip, frame by frame.

A teacher is a pure function `render(frames, state, key) -> (inputs, targets, state)` that can be
jitted, batched and chosen by number inside `lax.switch`. Rendering a clip at once and rendering it
one frame at a time with the returned state give the same pictures.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.core.events import draw_events
from lsdjax.data import filters, snow

Kind = Literal["stateless", "stateful", "generative", "identity"]
KINDS: tuple[Kind, ...] = ("stateless", "stateful", "generative", "identity")

_TRAIL_DECAY = (0.80, 0.85, 0.90)  # per frame and channel: trails cool down as they fade
_EXPOSURE_KEEP = 0.85
_SHARPEN_SIGMA = 2.5
_FILL_GREY, _FILL_BORDER = 0.5, 0.96


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["canvas", "frame_index"],
    meta_fields=[],
)
@dataclass(frozen=True)
class TeacherState:
    """What a teacher carries between frames; the same for every teacher.

    canvas: f32 (b, h, w, 3) in [0, 1], used by the stateful teachers only: the previous output, for
        snow the centres of its flakes, a channel a layer.
    frame_index: frames rendered so far, i32 (b,); 0 is the start of a stream.
    """

    canvas: jax.Array
    frame_index: jax.Array


Render = Callable[[jax.Array, TeacherState, jax.Array], tuple[jax.Array, jax.Array, TeacherState]]


@dataclass(frozen=True)
class Teacher:
    """One named style.

    render takes frames f32 (b, t, h, w, 3) in [0, 1] with h and w multiples of 16, the state, and a
    typed key that stays the same for a whole stream. It returns inputs (what a model sees), targets
    (what it should show), both shaped like frames, and the state after the last frame.

    lasting: what it remembers is there or not, so a past that has faded is an error to be mended;
    elsewhere fading is part of the look, or mending it would feed on itself: a colour that is made
    stronger because it looks faint drifts.
    """

    name: str
    kind: Kind
    render: Render
    lasting: bool = False


def init_state(b: int, h: int, w: int) -> TeacherState:
    """State at the start of a stream: black canvas, frame 0."""
    return TeacherState(jnp.zeros((b, h, w, 3), jnp.float32), jnp.zeros((b,), jnp.int32))


def teach(
    style_index: jax.Array | int, frames: jax.Array, state: TeacherState, key: jax.Array
) -> tuple[jax.Array, jax.Array, TeacherState]:
    """Renders with TEACHERS[style_index]; style_index may be traced."""
    branches = [teacher.render for teacher in TEACHERS]
    return jax.lax.switch(jnp.asarray(style_index, jnp.int32), branches, frames, state, key)


def _advance(state: TeacherState, frames: jax.Array) -> TeacherState:
    return replace(state, frame_index=state.frame_index + frames.shape[1])


def _stateless(name: str, look: Callable[[jax.Array], jax.Array]) -> Teacher:
    def render(frames, state, key):
        del key
        return frames, jnp.clip(look(frames), 0.0, 1.0), _advance(state, frames)

    return Teacher(name, "stateless", render)


def _generative(name: str, degrade: Callable[[jax.Array, jax.Array], jax.Array]) -> Teacher:
    def render(frames, state, key):
        return jnp.clip(degrade(frames, key), 0.0, 1.0), frames, _advance(state, frames)

    return Teacher(name, "generative", render)


def _canvas(name: str, step: Callable[[jax.Array, jax.Array], jax.Array]) -> Teacher:
    """A teacher with out_t = step(out_{t-1}, frame_t); the first frame stands for its own past."""

    def render(frames, state, key):
        del key
        begins = (state.frame_index == 0)[:, None, None, None]
        canvas = jnp.where(begins, frames[:, 0], state.canvas)

        def advance(previous, frame):
            output = step(previous, frame)
            return output, output

        canvas, outputs = jax.lax.scan(advance, canvas, jnp.swapaxes(frames, 0, 1))
        state = replace(_advance(state, frames), canvas=canvas)
        return frames, jnp.swapaxes(outputs, 0, 1), state

    return Teacher(name, "stateful", render)


def _render_snow(frames, state, key):
    _, t, h, w, _ = frames.shape
    events = draw_events(key, state.frame_index, t, h, w)
    indices = state.frame_index[None, :] + jnp.arange(t, dtype=jnp.int32)[:, None]

    def advance(flakes, frame):
        events, index = frame
        flakes = snow.fall(flakes, events, index == 0)
        return flakes, flakes

    flakes, fallen = jax.lax.scan(advance, state.canvas, (jnp.swapaxes(events, 0, 1), indices))
    centres = jnp.swapaxes(fallen, 0, 1).reshape(-1, h, w, len(snow.LAYERS))
    cover = snow.coverage(centres).reshape(*frames.shape[:4], 1)
    cooled = frames * filters.rgb(0.80, 0.84, 0.88) + filters.rgb(0.06, 0.09, 0.12)
    targets = filters.mix(cooled, filters.rgb(1, 1, 1), cover)
    return frames, targets, replace(_advance(state, frames), canvas=flakes)


def _render_original(frames, state, key):
    del key
    return frames, frames, _advance(state, frames)


def _trail_step(previous: jax.Array, frame: jax.Array) -> jax.Array:
    return jnp.maximum(frame, previous * np.array(_TRAIL_DECAY, np.float32).reshape(1, 1, 1, 3))


def _exposure_step(previous: jax.Array, frame: jax.Array) -> jax.Array:
    return _EXPOSURE_KEEP * previous + (1.0 - _EXPOSURE_KEEP) * frame


def _drop_colour(frames: jax.Array, key: jax.Array) -> jax.Array:
    del key
    return jnp.broadcast_to(filters.luminance(frames), frames.shape)


def _drop_detail(frames: jax.Array, key: jax.Array) -> jax.Array:
    del key
    return filters.convolve_separable(frames, filters.gaussian_taps(_SHARPEN_SIGMA, 6))


def _punch_holes(frames: jax.Array, key: jax.Array) -> jax.Array:
    """Paints framed grey rectangles, drawn once per sample, over every frame."""
    b, _, h, w, _ = frames.shape
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(b, dtype=jnp.uint32))
    inside, border = jax.vmap(functools.partial(_holes, h, w))(keys)
    inside, border = inside[:, None, :, :, None], border[:, None, :, :, None]
    return jnp.where(border, _FILL_BORDER, jnp.where(inside, _FILL_GREY, frames))


def _holes(h: int, w: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two or three disjoint rectangles covering 16 to 24 % together, and their borders: (h, w).

    The picture is cut into equal bands, down or across, with one rectangle somewhere in each.
    """
    k_count, k_turn, k_area, k_width, k_place = jax.random.split(key, 5)
    bands = jax.random.randint(k_count, (), 2, 4)
    count = bands.astype(jnp.float32)
    area = jax.random.uniform(k_area, (), minval=0.16, maxval=0.24)
    share = jax.random.uniform(k_width, (3,), minval=0.45, maxval=0.9)  # of the band's width
    place = jax.random.uniform(k_place, (3, 2))
    turned = jax.random.bernoulli(k_turn)
    rows = (jnp.arange(h, dtype=jnp.float32) + 0.5) / h
    columns = (jnp.arange(w, dtype=jnp.float32) + 0.5) / w
    down = jnp.broadcast_to(rows[:, None], (h, w))
    right = jnp.broadcast_to(columns[None, :], (h, w))
    across, along = jnp.where(turned, down, right), jnp.where(turned, right, down)
    thick = max(1.0, round(h / 64))
    across_thick = jnp.where(turned, thick / h, thick / w)
    along_thick = jnp.where(turned, thick / w, thick / h)
    inside = jnp.zeros((h, w), bool)
    core = jnp.zeros((h, w), bool)
    for number in range(3):
        width, height = share[number] / count, area / share[number]
        left = number / count + place[number, 0] * (1.0 / count - width)
        top = place[number, 1] * (1.0 - height)
        # Signed distance to the rectangle's sides, in fractions of the frame; inside if positive.
        sideways = jnp.minimum(across - left, left + width - across)
        lengthways = jnp.minimum(along - top, top + height - along)
        used = number < bands
        inside |= used & (sideways > 0) & (lengthways > 0)
        core |= used & (sideways > across_thick) & (lengthways > along_thick)
    return inside, inside & ~core


TEACHERS: tuple[Teacher, ...] = (
    _stateless("pencil_sketch", filters.pencil_sketch),
    _stateless("cartoon", filters.cartoon),
    _stateless("sepia_film", filters.sepia_film),
    _stateless("thermal_camera", filters.thermal_camera),
    _stateless("neon_edges", filters.neon_edges),
    _stateless("pixel_art", filters.pixel_art),
    _stateless("blueprint", filters.blueprint),
    _stateless("watercolour", filters.watercolour),
    _stateless("comic_halftone", filters.comic_halftone),
    _stateless("night_vision", filters.night_vision),
    _stateless("negative", filters.negative),
    Teacher("snow", "stateful", _render_snow, lasting=True),
    _canvas("motion_trails", _trail_step),
    _canvas("long_exposure", _exposure_step),
    _generative("colourise", _drop_colour),
    _generative("sharpen", _drop_detail),
    _generative("fill_mask", _punch_holes),
    Teacher("original", "identity", _render_original),
)
NAMES: tuple[str, ...] = tuple(teacher.name for teacher in TEACHERS)
BY_NAME: dict[str, Teacher] = {teacher.name: teacher for teacher in TEACHERS}
