"""Windows of a user's own pairs: both sides alike, the same again for the same index."""

import json
from collections.abc import Iterator
from pathlib import Path

import av
import jax
import numpy as np
import pytest
from av.video.stream import VideoStream

from lsdjax.core.errors import UserError
from lsdjax.data.paired import load_paired
from lsdjax.data.pipeline import (
    DecodedPair,
    PairedGroup,
    PairedWindows,
    decode_pairs,
    paired_batches,
)

SHAPE = (3, 2, 32, 48)  # windows of three frames


def gradients(frames: int) -> Iterator[np.ndarray]:
    """Red grows to the right, green downwards, blue by 10 a frame: a window tells where it is."""
    image = np.empty((60, 90, 3), np.uint8)
    image[..., 0] = 2 * np.arange(90)
    image[..., 1] = 3 * np.arange(60)[:, None]
    for index in range(frames):
        image[..., 2] = 10 * index
        yield image


def write_lossless(path: Path, frames: int, *, inverted: bool = False, fps: int = 8) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 90, 60, "bgr0"
        for image in gradients(frames):
            shown = 255 - image if inverted else image
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips, 1 s and 3 s, whose targets are their negatives; the second has two prompts."""
    for side in ("input", "target"):
        (tmp_path / side).mkdir()
        write_lossless(tmp_path / side / "a.mkv", 8, inverted=side == "target")
        write_lossless(tmp_path / side / "b.mkv", 24, inverted=side == "target")
    prompts = [("a.mkv", "negative"), ("b.mkv", "invert it"), ("b.mkv", "swap dark and light")]
    lines = [json.dumps({"file": name, "prompt": prompt}) for name, prompt in prompts]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def pairs(folder: Path) -> tuple[DecodedPair, ...]:
    return decode_pairs(load_paired(folder), 32, 48, frames=2)


def draw(pairs: tuple[DecodedPair, ...], steps: int, seed: int = 0) -> list[PairedGroup]:
    return [group for step in range(steps) for group in batch(pairs, step, seed)]


def batch(pairs: tuple[DecodedPair, ...], step: int, seed: int = 0) -> list[PairedGroup]:
    groups = paired_batches(pairs, SHAPE, groups=4, seed=seed)[step]
    assert groups is not None
    return groups


def same(first: PairedGroup, second: PairedGroup) -> bool:
    return first[1:] == second[1:] and all(map(np.array_equal, first.windows, second.windows))


def test_clips_are_decoded_whole_with_a_margin(pairs) -> None:
    assert [pair.inputs.shape for pair in pairs] == [(8, 40, 60, 3), (24, 40, 60, 3)]
    assert [pair.seconds for pair in pairs] == [1.0, 3.0]
    assert [pair.name for pair in pairs] == ["a.mkv", "b.mkv"]


def test_both_sides_show_the_same_frames_crop_and_flip(pairs) -> None:
    flips, widths = set(), set()
    for group in draw(pairs, steps=4):
        inputs, targets = (np.asarray(side, int) for side in group.windows)
        assert inputs.shape == targets.shape == (3, 3, 32, 48, 3)
        assert np.abs(inputs + targets - 255).max() <= 2
        blue = inputs[..., 2].mean(axis=(2, 3))
        np.testing.assert_allclose(np.diff(blue, axis=1), 10, atol=0.5)  # consecutive frames
        across = inputs[:, :, 16, -4, 0] - inputs[:, :, 16, 4, 0]
        assert (np.abs(across - across[:, :1]) <= 2).all()  # one view for all frames of a window
        flips |= set(np.sign(across[:, 0]).tolist())
        widths |= set(np.abs(across[:, 0]).tolist())
        assert (inputs[:, :, -4, 24, 1] > inputs[:, :, 4, 24, 1]).all()  # never upside down
    assert flips == {-1, 1}
    assert len(widths) > 5


def test_a_step_is_a_function_of_the_seed_and_its_number(pairs) -> None:
    straight = draw(pairs, steps=5)
    assert all(map(same, straight[16:], batch(pairs, 4)))
    assert not any(map(same, straight[:16], straight[4:]))
    assert not all(map(same, straight, draw(pairs, steps=5, seed=1)))


def test_a_pair_comes_once_for_every_second_with_any_of_its_prompts(pairs) -> None:
    groups = draw(pairs, steps=10)
    assert [group.name for group in groups].count("b.mkv") == 30
    asked = {(group.name, group.prompt) for group in groups}
    assert asked == {
        ("a.mkv", "negative"),
        ("b.mkv", "invert it"),
        ("b.mkv", "swap dark and light"),
    }


def test_examples_know_what_came_before() -> None:
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(0, 256, (2, 16, 3, 16, 16, 3), dtype=np.uint8)
    examples = PairedWindows(inputs, targets).examples(jax.random.key(0), (16, 2, 16, 16))
    scaled = targets.astype(np.float32) / 127.5 - 1
    present = np.asarray(examples.present)
    assert set(map(tuple, present.tolist())) == {(0.0, 1.0), (1.0, 1.0)}
    for i, joins in enumerate(present[:, 0].astype(int)):
        np.testing.assert_allclose(examples.targets[i], scaled[i, joins : joins + 2], atol=1e-6)
        np.testing.assert_allclose(examples.previous[i, 1], examples.targets[i, 0], atol=1e-6)
        before = scaled[i, 0] if joins else np.zeros_like(scaled[i, 0])
        np.testing.assert_allclose(examples.previous[i, 0], before, atol=1e-6)
        shown = inputs[i, joins : joins + 2] / np.float32(127.5) - 1
        np.testing.assert_allclose(examples.inputs[i], shown, atol=1e-6)


def test_clips_that_do_not_serve_are_named(folder: Path) -> None:
    clips = load_paired(folder)
    with pytest.raises(UserError, match=r"input/a\.mkv: 8 frames; at least 9 expected"):
        decode_pairs(clips, 32, 48, frames=8)
    write_lossless(folder / "target" / "b.mkv", 23)
    with pytest.raises(UserError, match=r"target/b\.mkv: 23 frames, but .* has 24"):
        decode_pairs(clips, 32, 48, frames=2)
