"""What every teacher promises: range, shape, determinism, and the same stream however it is cut."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.cbook
import numpy as np
import pytest
import simplejpeg

from lsdjax.core.events import draw_events
from lsdjax.data import filters, snow, styles
from lsdjax.data.teacher import KINDS, TeacherState, init_state

KEY = jax.random.key(7)
each_teacher = pytest.mark.parametrize(
    "teacher", styles.TEACHERS.values(), ids=list(styles.TEACHERS)
)
stateless = pytest.mark.parametrize(
    "teacher",
    [teacher for teacher in styles.TEACHERS.values() if teacher.kind == "stateless"],
    ids=lambda teacher: teacher.name,
)


@functools.cache
def photo_clip(b: int = 2, t: int = 3, h: int = 64, w: int = 48) -> jax.Array:
    """A real photograph panned by 5 px per frame; every sample starts elsewhere."""
    path = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    photo = simplejpeg.decode_jpeg(Path(str(path)).read_bytes())
    photo = photo[: photo.shape[0] // 3 * 3, : photo.shape[1] // 3 * 3].astype(np.float32) / 255
    photo = photo.reshape(photo.shape[0] // 3, 3, photo.shape[1] // 3, 3, 3).mean((1, 3))
    crops = [
        [photo[40 + 16 * i : 40 + 16 * i + h, 60 + 5 * j : 60 + 5 * j + w] for j in range(t)]
        for i in range(b)
    ]
    return jnp.asarray(np.array(crops), jnp.float32)


@functools.cache
def jitted(name: str):
    return jax.jit(styles.TEACHERS[name].render)


@functools.cache
def rendered(name: str) -> tuple[jax.Array, jax.Array, TeacherState]:
    frames = photo_clip()
    b, _, h, w, _ = frames.shape
    return jitted(name)(frames, init_state(b, h, w), KEY)


def test_eighteen_teachers_of_the_declared_kinds():
    kinds = [teacher.kind for teacher in styles.TEACHERS.values()]
    assert {kind: kinds.count(kind) for kind in KINDS} == {
        "stateless": 11,
        "stateful": 3,
        "generative": 3,
        "identity": 1,
    }
    names = list(styles.TEACHERS)
    assert len(set(names)) == len(styles.TEACHERS) == 18
    assert names[0] == "pencil_sketch" and names[-1] == "original"
    assert all(name == teacher.name for name, teacher in styles.TEACHERS.items())


@each_teacher
def test_shapes_types_and_range(teacher):
    frames = photo_clip()
    inputs, targets, state = rendered(teacher.name)
    for pictures in (inputs, targets):
        assert pictures.shape == frames.shape and pictures.dtype == jnp.float32
        assert float(pictures.min()) >= 0.0 and float(pictures.max()) <= 1.0
    assert state.canvas.shape == (2, 64, 48, 3) and state.canvas.dtype == jnp.float32
    assert state.frame_index.dtype == jnp.int32
    np.testing.assert_array_equal(state.frame_index, 3)


@each_teacher
def test_extreme_frames_stay_finite_and_in_range(teacher):
    # Black, white and a checkerboard, in the shape that is compiled already.
    checks = (jnp.arange(64)[:, None] + jnp.arange(48)[None, :]) % 2
    pictures = jnp.stack([jnp.zeros((64, 48)), jnp.ones((64, 48)), checks.astype(jnp.float32)])
    frames = jnp.broadcast_to(pictures[None, ..., None], (2, 3, 64, 48, 3))
    inputs, targets, _ = jitted(teacher.name)(frames, init_state(2, 64, 48), KEY)
    for pictures in (inputs, targets):
        assert bool(jnp.all((pictures >= 0.0) & (pictures <= 1.0)))


@each_teacher
def test_frame_by_frame_equals_whole_clip(teacher):
    frames = photo_clip()
    inputs, targets, state = rendered(teacher.name)
    stepped = init_state(2, 64, 48)
    for t in range(frames.shape[1]):
        one_in, one_out, stepped = jitted(teacher.name)(frames[:, t : t + 1], stepped, KEY)
        np.testing.assert_allclose(one_in[:, 0], inputs[:, t], atol=1e-5)
        np.testing.assert_allclose(one_out[:, 0], targets[:, t], atol=1e-5)
    np.testing.assert_allclose(stepped.canvas, state.canvas, atol=1e-5)
    np.testing.assert_array_equal(stepped.frame_index, state.frame_index)


@stateless
def test_stateless_ignore_state_and_key(teacher):
    frames = photo_clip()
    other = TeacherState(jnp.full((2, 64, 48, 3), 0.3, jnp.float32), jnp.array([12, 99], jnp.int32))
    inputs, targets, state = jitted(teacher.name)(frames, other, jax.random.key(8))
    np.testing.assert_array_equal(inputs, frames)
    np.testing.assert_array_equal(targets, rendered(teacher.name)[1])
    np.testing.assert_array_equal(state.canvas, other.canvas)
    np.testing.assert_array_equal(state.frame_index, [15, 102])


def test_teach_equals_the_teachers_own_render():
    frames = photo_clip()
    teach = jax.jit(styles.teach)
    for number, name in enumerate(styles.TEACHERS):
        chosen = teach(number, frames, init_state(2, 64, 48), KEY)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, atol=1e-5), chosen, rendered(name)
        )


def test_no_two_teachers_agree_on_a_photo():
    # Generative teachers differ in what they show the model, not in what they ask for.
    pictures = {}
    for teacher in styles.TEACHERS.values():
        inputs, targets, _ = rendered(teacher.name)
        pictures[teacher.name] = inputs if teacher.kind == "generative" else targets
    for number, first in enumerate(styles.TEACHERS):
        for second in list(styles.TEACHERS)[number + 1 :]:
            difference = float(jnp.mean(jnp.abs(pictures[first] - pictures[second])))
            assert difference > 0.01, (first, second, difference)


@pytest.mark.parametrize("name", ["colourise", "sharpen", "fill_mask"])
def test_generative_degrade_the_input_and_ask_for_the_clean_frame(name):
    inputs, targets, _ = rendered(name)
    np.testing.assert_array_equal(targets, photo_clip())
    assert float(jnp.mean(jnp.abs(inputs - targets))) > 0.02


def test_colourise_input_has_no_colour():
    inputs = rendered("colourise")[0]
    np.testing.assert_array_equal(inputs[..., 0], inputs[..., 1])
    np.testing.assert_array_equal(inputs[..., 0], inputs[..., 2])


def test_fill_mask_holes_are_fixed_per_stream_and_differ_between_samples():
    frames = jnp.zeros((8, 2, 128, 96, 3), jnp.float32)
    state = init_state(8, 128, 96)
    inputs, _, state = jitted("fill_mask")(frames, state, KEY)
    later, _, _ = jitted("fill_mask")(frames, state, KEY)
    np.testing.assert_array_equal(inputs, later)
    np.testing.assert_array_equal(inputs[:, 0], inputs[:, 1])
    share = jnp.mean(inputs[:, 0, :, :, 0] > 0, axis=(1, 2))
    assert float(share.min()) > 0.14 and float(share.max()) < 0.26
    assert len({np.asarray(sample).tobytes() for sample in inputs[:, 0]}) == 8


@pytest.mark.parametrize("name", ["motion_trails", "long_exposure"])
def test_canvas_teachers_depend_on_the_previous_output_only(name):
    frames = photo_clip()
    _, targets, state = rendered(name)
    np.testing.assert_allclose(targets[:, 0], frames[:, 0], atol=1e-6)
    np.testing.assert_array_equal(state.canvas, targets[:, -1])
    resumed = TeacherState(targets[:, 1], jnp.array([1, 500], jnp.int32))
    _, last, _ = jitted(name)(frames[:, 2:], resumed, KEY)
    np.testing.assert_allclose(last[:, 0], targets[:, 2], atol=1e-6)


def test_a_restarted_sample_forgets_its_canvas():
    frames = photo_clip()
    stale = TeacherState(jnp.ones((2, 64, 48, 3), jnp.float32), jnp.array([0, 5], jnp.int32))
    _, targets, _ = jitted("motion_trails")(frames[:, :1], stale, KEY)
    np.testing.assert_array_equal(targets[0], frames[0, :1])
    assert bool(jnp.any(targets[1] != frames[1, :1]))


def fallen(h: int, w: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """A stream's first frames: centres of the flakes (frames, h, w, layers), and the events."""
    fall, flakes, seen = jax.jit(snow.fall), jnp.zeros((1, h, w, len(snow.LAYERS))), []
    events = draw_events(KEY, jnp.zeros(1, jnp.int32), frames, h, w)
    for index in range(frames):
        flakes = fall(flakes, events[:, index], jnp.array([index == 0]))
        seen.append(np.asarray(flakes[0]))
    return np.stack(seen), np.asarray(events[0])


@pytest.mark.parametrize("number", range(len(snow.LAYERS)))
def test_flakes_move_by_their_velocity_and_are_born_of_events(number):
    flakes, events = (part[..., number] for part in fallen(128, 96, 12))
    down, right = snow.velocity(snow.LAYERS[number], 128)
    assert flakes[0].sum() > 3
    np.testing.assert_array_equal(flakes[0, 1::2, 1::2], events[0])
    for index in range(1, 12):
        before, after = flakes[index - 1], flakes[index]
        np.testing.assert_array_equal(after[down:, right:], before[: 128 - down, : 96 - right])
        np.testing.assert_array_equal(after[:down][1::2, 1::2], events[index, : down // 2])
        np.testing.assert_array_equal(after[:, :right][1::2, 1::2], events[index, :, : right // 2])


@pytest.mark.parametrize("h, w", [(128, 128), (128, 224), (256, 256)])
def test_the_share_of_snow_stays(h, w):
    """What blows out is replaced, at every size of picture."""
    cover = np.asarray(jax.jit(snow.coverage)(jnp.asarray(fallen(h, w, 200)[0])))
    assert cover.min() >= 0 and cover.max() <= 1
    share = (cover > 0.5).mean(axis=(1, 2))
    assert 0.025 <= share[0] <= 0.06
    assert 0.03 <= share[100:].mean() <= 0.055


def test_snow_is_composited_where_flakes_are():
    frames = photo_clip()
    _, targets, state = rendered("snow")
    cover = np.asarray(snow.coverage(state.canvas))
    opaque = cover > 0.99
    assert opaque.any()
    assert float(targets[:, -1][opaque].min()) > 0.98
    clear = cover == 0
    red = 0.80 * np.asarray(frames[:, -1, ..., 0]) + 0.06
    np.testing.assert_allclose(targets[:, -1, ..., 0][clear], red[clear], atol=1e-6)


def test_posterise_keeps_its_levels_and_is_monotonic():
    levels = jnp.linspace(0.0, 1.0, 5)
    np.testing.assert_allclose(filters.posterise(levels, 4, 5.0), levels, atol=1e-6)
    assert bool(jnp.all(jnp.diff(filters.posterise(jnp.linspace(0.0, 1.0, 401), 4, 5.0)) >= 0))


def test_palette_passes_through_its_stops():
    stops = ((0.0, 0.1, 0.2), (0.5, 0.4, 0.3), (1.0, 0.9, 0.8))
    got = filters.palette(jnp.linspace(0.0, 1.0, 3).reshape(1, 1, 3, 1, 1), stops)
    np.testing.assert_allclose(got.reshape(3, 3), np.array(stops), atol=1e-6)
