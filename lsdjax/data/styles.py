"""The procedural teachers: what each named style does to a clip, frame by frame."""

import functools
from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.core.events import draw_events
from lsdjax.core.registry import Registry
from lsdjax.data import filters, snow
from lsdjax.data.phrases import register_phrases
from lsdjax.data.teacher import (
    Teacher,
    TeacherState,
    advance,
    check_teacher,
    generative,
    recursive,
    stateless,
)

_TRAIL_DECAY = (0.80, 0.85, 0.90)  # per frame and channel: trails cool down as they fade
_EXPOSURE_KEEP = 0.85
_SHARPEN_SIGMA = 2.5
_FILL_GREY, _FILL_BORDER = 0.5, 0.96


def _render_snow(frames, state, key):
    _, t, h, w, _ = frames.shape
    events = draw_events(key, state.frame_index, t, h, w)
    indices = state.frame_index[None, :] + jnp.arange(t, dtype=jnp.int32)[:, None]

    def fall(flakes, frame):
        events, index = frame
        flakes = snow.fall(flakes, events, index == 0)
        return flakes, flakes

    flakes, fallen = jax.lax.scan(fall, state.canvas, (jnp.swapaxes(events, 0, 1), indices))
    centres = jnp.swapaxes(fallen, 0, 1).reshape(-1, h, w, len(snow.LAYERS))
    cover = snow.coverage(centres).reshape(*frames.shape[:4], 1)
    cooled = frames * filters.rgb(0.80, 0.84, 0.88) + filters.rgb(0.06, 0.09, 0.12)
    targets = filters.mix(cooled, filters.rgb(1, 1, 1), cover)
    return frames, targets, replace(advance(state, frames), canvas=flakes)


def _render_original(frames, state, key):
    del key
    return frames, frames, advance(state, frames)


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


_BUILT_IN: tuple[Teacher, ...] = (
    stateless("pencil_sketch", filters.pencil_sketch),
    stateless("cartoon", filters.cartoon),
    stateless("sepia_film", filters.sepia_film),
    stateless("thermal_camera", filters.thermal_camera),
    stateless("neon_edges", filters.neon_edges),
    stateless("pixel_art", filters.pixel_art),
    stateless("blueprint", filters.blueprint),
    stateless("watercolour", filters.watercolour),
    stateless("comic_halftone", filters.comic_halftone),
    stateless("night_vision", filters.night_vision),
    stateless("negative", filters.negative),
    Teacher("snow", "stateful", _render_snow, lasting=True),
    recursive("motion_trails", _trail_step),
    recursive("long_exposure", _exposure_step),
    generative("colourise", _drop_colour),
    generative("sharpen", _drop_detail),
    generative("fill_mask", _punch_holes),
    Teacher("original", "identity", _render_original),
)
TEACHERS: Registry[Teacher] = Registry("style", {teacher.name: teacher for teacher in _BUILT_IN})
"""By name. The number of a style is its place: the prompt classifier and the draws go by it."""


def register_teacher(teacher: Teacher, phrases: Sequence[str]) -> None:
    """Add a style, after all others, and the phrases that ask for it.

    phrases: at least `MIN_PHRASES`; what a stream is asked for when the style is judged comes
        first.

    Raises:
        UserError: the name is taken, render does not keep its contract, or there are too few
            phrases, or one that asks for another style.
    """
    check_teacher(teacher)
    register_phrases(teacher.name, phrases)
    TEACHERS.register(teacher.name, teacher)


def teach(
    style_index: jax.Array | int, frames: jax.Array, state: TeacherState, key: jax.Array
) -> tuple[jax.Array, jax.Array, TeacherState]:
    """Renders with the teacher of that number; style_index may be traced."""
    branches = [teacher.render for teacher in TEACHERS.values()]
    return jax.lax.switch(jnp.asarray(style_index, jnp.int32), branches, frames, state, key)
