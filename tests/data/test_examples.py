"""Pools of decoded footage, and the training examples that are cut from them."""

import logging
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.core.errors import UserError
from lsdjax.data import snow
from lsdjax.data.examples import STILLS_SHARE, Examples, device_pool, make_examples
from lsdjax.data.pool import CANVAS_HEIGHT, CANVAS_WIDTH, Pool, load_pool, read_pool, save_pool
from lsdjax.data.styles import TEACHERS
from lsdjax.evals.sheets import write_png

SHAPE = (8, 3, 64, 64)


@pytest.fixture
def folder(tmp_path: Path, write_video, picture_of) -> Path:
    folder = tmp_path / "footage"
    folder.mkdir()
    write_video(folder / "a-clip.mp4", frames=6)
    write_video(folder / "kept-back.mp4", frames=6)
    (folder / "broken.mp4").write_bytes(b"these are no frames")
    write_png(folder / "photo.png", picture_of(60, 40))
    return folder


def test_pool_skips_damage_and_holds_out(folder: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING, "lsdjax.data.pool"):
        pool = load_pool([folder], holdout=["kept-back"])
    assert pool.names == ("a-clip.mp4", "photo.png")
    assert pool.lengths.tolist() == [6, 1] and pool.starts.tolist() == [0, 6]
    assert pool.frames.shape == (7, CANVAS_HEIGHT, CANVAS_WIDTH, 3)
    assert pool.frames.dtype == np.uint8
    np.testing.assert_allclose(pool.seconds, [0.5, 1.0])
    [warning] = caplog.messages
    assert "skipped broken.mp4" in warning and "\n" not in warning


def test_pool_of_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        load_pool([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no readable video or photo"):
        load_pool([folder], holdout=["a-clip", "kept-back", "photo"])


def test_saved_pool_comes_back(noise_pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "pool.npz"
    save_pool(noise_pool, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pool.npz"]
    stored = read_pool(path)
    assert stored.names == noise_pool.names
    for mine, its in zip(stored[:-1], noise_pool[:-1], strict=True):
        np.testing.assert_array_equal(mine, its)
        assert np.asarray(mine).dtype == np.asarray(its).dtype


def _one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _truncated(path: Path) -> None:
    np.savez(path, frames=np.zeros((9, 9)))
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not an archive"),
        lambda path: np.savez(path, frames=np.zeros(3)),
        _one_array,
        _truncated,
    ],
    ids=["missing", "empty", "text", "other-arrays", "one-array", "truncated"],
)
def test_bad_pools_are_one_clear_line(tmp_path: Path, write) -> None:
    path = tmp_path / "pool.npz"
    write(path)
    with pytest.raises(UserError, match="is not a pool of decoded frames") as raised:
        read_pool(path)
    assert "\n" not in str(raised.value) and "pool.npz" in str(raised.value)


def test_photos_share_the_draws_with_clips(noise_pool: Pool) -> None:
    weights = np.exp(np.asarray(device_pool(noise_pool).log_weights))
    assert weights[2:].sum() == pytest.approx(STILLS_SHARE)
    assert weights[0] / weights[1] == pytest.approx(0.8 / 0.5)


@pytest.fixture(scope="module")
def draw(noise_pool: Pool) -> Callable[[str], Examples]:
    """Examples of a style; one compilation for all."""
    pool = device_pool(noise_pool)
    compiled = jax.jit(lambda key, pool, style: make_examples(key, pool, style, SHAPE))

    def draw(name: str, seed: int = 0) -> Examples:
        drawn = compiled(jax.random.key(seed), pool, np.int32(TEACHERS.index(name)))
        return Examples(*(np.asarray(part) for part in drawn))  # type: ignore[arg-type]

    return draw


@pytest.mark.parametrize("name", ["negative", "snow", "fill_mask", "motion_trails"])
def test_examples_are_pictures_that_follow_each_other(draw, name: str) -> None:
    examples = draw(name)
    pictures = (*SHAPE, 3)
    for part in (examples.inputs, examples.targets, examples.previous):
        assert part.shape == pictures and part.dtype == np.float32
        assert part.min() >= -1 and part.max() <= 1
    assert examples.present.shape == SHAPE[:2]
    assert (examples.present[:, 1:] == 1).all()
    np.testing.assert_array_equal(examples.previous[:, 1:], examples.targets[:, :-1])
    starts = examples.present[:, 0] == 0
    assert (examples.previous[starts, 0] == 0).all()
    assert (np.abs(examples.previous[~starts, 0]).mean(axis=(1, 2, 3)) > 0.01).all()


def test_some_streams_start_and_some_join(draw) -> None:
    def joined(name: str) -> float:
        return np.mean([draw(name, seed=seed).present[:, 0].mean() for seed in range(20)])

    assert 0.45 < joined("negative") < 0.85
    assert 0 < joined("fill_mask") < 0.25  # a past that is the truth would be the answer


def test_examples_are_the_teacher_s(draw) -> None:
    examples = draw("negative")
    np.testing.assert_allclose(examples.targets, -examples.inputs, atol=1e-6)
    np.testing.assert_array_equal(draw("negative").inputs, examples.inputs)
    assert (draw("negative", seed=1).inputs != examples.inputs).any()


def test_snow_falls_from_its_events_and_from_the_frame_before(draw) -> None:
    examples = draw("snow")
    joined = examples.present[:, 0] > 0
    red = {name: (getattr(examples, name)[..., 0] + 1) / 2 for name in Examples._fields[:3]}
    for i in np.flatnonzero(~joined):
        events = jnp.asarray(examples.events[i, :1])
        centres = snow.fall(jnp.zeros((1, *SHAPE[2:], 3)), events, jnp.array([True]))
        cooled = 0.80 * red["inputs"][i, 0] + 0.06
        wanted = cooled + np.asarray(snow.coverage(centres))[0] * (1 - cooled)
        np.testing.assert_allclose(red["targets"][i, 0], wanted, atol=1e-4)
    now, before = (red[name][joined, 0] > 0.97 for name in ("targets", "previous"))
    assert before.mean() > 0.002
    now, explained = now[:, 8:, 8:], np.zeros_like(now)
    for layer in snow.LAYERS:  # an opaque pixel was an opaque one before, one velocity away
        explained |= np.roll(before, snow.velocity(layer, SHAPE[2]), axis=(1, 2))
    # But for the few where flakes of two layers have just met.
    assert now.any() and (now & ~explained[:, 8:, 8:]).sum() < 0.1 * now.sum()


@pytest.mark.parametrize("name", ["snow", "motion_trails"])
def test_only_what_should_last_may_fade(draw, name: str) -> None:
    examples = draw(name)
    if name == "snow":  # fades to what fell into the camera
        np.testing.assert_array_equal(examples.faint[:, 1:], examples.inputs[:, :-1])
    else:
        np.testing.assert_array_equal(examples.faint, examples.previous)
