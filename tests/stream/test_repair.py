"""The shipped model with faults put into its running streams: it mends itself, and only then."""

import itertools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lsdjax
from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.data.phrases import PHRASES
from lsdjax.data.styles import TEACHERS
from lsdjax.data.teacher import init_state
from lsdjax.evals.behaviour import bounce
from lsdjax.evals.metrics import psnr
from lsdjax.evals.quality import read_clip
from lsdjax.stream.controllers import LEARN_FRAMES
from lsdjax.stream.scorer import seal_picture
from lsdjax.stream.session import Stream, Streamer

SAMPLE = Path(lsdjax.__path__[0]) / "assets" / "sample.mp4"
FAULT_AT, BACK_WITHIN, ON = 10, 30, 5
STYLES = ("watercolour", "long_exposure")


@pytest.fixture(scope="module")
def streamer() -> Streamer:
    streamer = Streamer(load_checkpoint())
    streamer.warm_up()
    return streamer


@pytest.fixture(scope="module")
def plain() -> Streamer:
    return Streamer(load_checkpoint(), repair=False)


@pytest.fixture(scope="module")
def clip(streamer: Streamer) -> list[np.ndarray]:
    frames = bounce(list(read_clip(SAMPLE, streamer.size, None)))
    return list(itertools.islice(frames, FAULT_AT + BACK_WITHIN + ON))


@pytest.fixture(scope="module")
def targets(clip: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What each style's teacher makes of the clip, in [0, 1]."""
    frames = jnp.asarray(np.stack(clip)[None], jnp.float32) / 255.0
    start, key = init_state(1, *clip[0].shape[:2]), jax.random.key(0)
    renders = {name: jax.jit(TEACHERS[name].render) for name in STYLES}
    return {name: np.asarray(render(frames, start, key)[1][0]) for name, render in renders.items()}


@pytest.fixture(scope="module")
def undisturbed(streamer: Streamer, clip: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    shown = {}
    for style in STYLES:
        stream = streamer.start(PHRASES[style][0])
        shown[style] = run(stream, clip)
        assert not stream.events
    return shown


def run(
    stream: Stream, clip: list[np.ndarray], fault: Callable[[Stream], None] | None = None
) -> list[np.ndarray]:
    shown = []
    for index, frame in enumerate(clip):
        if fault is not None and index == FAULT_AT:
            fault(stream)
        shown.append(np.asarray(stream.submit(frame)))
    return shown


def behind_db(
    shown: list[np.ndarray], undisturbed: list[np.ndarray], targets: np.ndarray
) -> np.ndarray:
    """From the fault on: how much farther from the teacher than the undisturbed stream, in dB."""
    three = zip(shown, undisturbed, targets, strict=True)
    gaps = [psnr(u / 255.0, t) - psnr(s / 255.0, t) for s, u, t in three]
    return np.array(gaps[FAULT_AT:])


def nan_in_cache(stream: Stream) -> None:
    cache = stream._state.cache
    values = cache.values.at[0, 0, 1, 0, 0, 0].set(jnp.nan)
    stream._state = stream._state._replace(cache=cache._replace(values=values))


def noise_in_cache(stream: Stream) -> None:
    cache = stream._state.cache
    noise = 2 * np.random.default_rng(0).standard_normal((2, *cache.keys.shape), np.float32)
    cache = cache._replace(keys=cache.keys + noise[0], values=cache.values + noise[1])
    stream._state = stream._state._replace(cache=cache)


def saturated_previous(stream: Stream) -> None:
    stream._state = stream._state._replace(previous=jnp.ones_like(stream._state.previous))


def nan_previous(stream: Stream) -> None:
    previous = jnp.full_like(stream._state.previous, jnp.nan)
    stream._state = stream._state._replace(previous=previous)


def drift_to_white(stream: Stream) -> None:
    """As if the model itself had made it: the seal is right."""
    saturated_previous(stream)
    seal = stream._state.seal._replace(previous=seal_picture(stream._state.previous))
    stream._state = stream._state._replace(seal=seal)


FAULTS: dict[Callable[[Stream], None], tuple[str, int]] = {
    nan_in_cache: ("cache", 1),
    noise_in_cache: ("cache", 4),
    saturated_previous: ("previous", 1),
    nan_previous: ("previous", 1),
}


def test_pictures_of_a_healthy_stream_are_the_same_with_and_without_repair(
    plain: Streamer, clip: list[np.ndarray], undisturbed: dict[str, list[np.ndarray]]
) -> None:
    without = run(plain.start(PHRASES["watercolour"][0]), clip)
    np.testing.assert_array_equal(without, undisturbed["watercolour"])


def test_in_bfloat16_pictures_are_close_and_nothing_is_mended(
    clip: list[np.ndarray], undisturbed: dict[str, list[np.ndarray]]
) -> None:
    """52 to 57 dB over the styles: less than a step of 8 bits."""
    half = Streamer(load_checkpoint(), dtype="bfloat16")
    for style in STYLES:
        stream = half.start(PHRASES[style][0])
        pairs = zip(run(stream, clip[:12]), undisturbed[style], strict=False)
        assert min(psnr(shown / 255.0, other / 255.0) for shown, other in pairs) > 48.0
        assert stream._state.cache.keys.dtype == half.dtype == jnp.bfloat16
        assert not stream.events


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_state_is_mended(
    streamer: Streamer,
    clip: list[np.ndarray],
    targets: dict[str, np.ndarray],
    undisturbed: dict[str, list[np.ndarray]],
    fault: Callable[[Stream], None],
    style: str,
) -> None:
    traces = streamer.trace_count
    stream = streamer.start(PHRASES[style][0])
    behind = behind_db(run(stream, clip, fault), undisturbed[style], targets[style])
    assert behind[BACK_WITHIN:].max() < 1.0
    events = [(event.frame_index, event.reason, event.value) for event in stream.events]
    assert events == [(FAULT_AT, *FAULTS[fault])]
    assert streamer.trace_count == traces


@pytest.mark.parametrize("fault", [nan_in_cache, nan_previous])
def test_without_repair_it_stays_broken(
    plain: Streamer, clip: list[np.ndarray], fault: Callable[[Stream], None]
) -> None:
    """A picture that is none is replaced by the input."""
    stream = plain.start(PHRASES["watercolour"][0])
    assert np.abs(run(stream, clip, fault)[-1].astype(int) - clip[-1]).max() <= 1
    assert not stream.events


def test_an_anchor_is_no_visible_cut(
    streamer: Streamer, clip: list[np.ndarray], undisturbed: dict[str, list[np.ndarray]]
) -> None:
    def anchor(stream: Stream) -> None:
        stream._anchor = True

    stream = streamer.start(PHRASES["watercolour"][0])
    pairs = zip(run(stream, clip, anchor), undisturbed["watercolour"], strict=True)
    alike = [psnr(shown / 255.0, other / 255.0) for shown, other in pairs]
    assert np.isfinite(alike).all() and min(alike[:FAULT_AT]) == 60.0
    assert 30.0 < min(alike[FAULT_AT:]) < 60.0
    assert not stream.events  # it was asked for, and nothing was broken


def test_drift_is_seen_and_ended(streamer: Streamer, plain: Streamer) -> None:
    """Long exposure keeps most of what it is told; told white for six frames, it is white."""
    source = bounce(list(read_clip(SAMPLE, streamer.size, None)))
    learnt, after = list(itertools.islice(source, LEARN_FRAMES)), list(itertools.islice(source, 15))
    shown = []
    for which, drifting in ((streamer, 0), (streamer, 6), (plain, 6)):
        stream = which.start(PHRASES["long_exposure"][0])
        for frame in learnt:
            np.asarray(stream.submit(frame))
        pictures = []
        for number, frame in enumerate(after):
            if number < drifting:
                drift_to_white(stream)
            pictures.append(np.asarray(stream.submit(frame)))
        shown.append((pictures, list(stream.events)))
    (undisturbed, none), (repaired, events), (left_alone, _) = shown
    assert not none
    assert [event.reason for event in events] == ["colour"]
    assert LEARN_FRAMES + 5 <= events[0].frame_index <= LEARN_FRAMES + 10
    final = [psnr(s[-1] / 255.0, undisturbed[-1] / 255.0) for s in (repaired, left_alone)]
    assert final[0] > final[1] + 3.0  # which mends itself as well, by 2 dB a frame


def test_other_scenes_raise_no_alarm(streamer: Streamer) -> None:
    frames = list(read_clip(SAMPLE, streamer.size, LEARN_FRAMES))
    scenes = [frames, [f[::-1] // 2 for f in frames[:20]], frames, [255 - f for f in frames[:20]]]
    stream = streamer.start(PHRASES["motion_trails"][0])
    run(stream, [frame for scene in [*scenes, frames] for frame in scene])
    assert not stream.events


@pytest.mark.slow
@pytest.mark.parametrize("style", ["watercolour", "long_exposure", "snow", "colourise"])
def test_no_false_alarm_in_twenty_thousand_frames(streamer: Streamer, style: str) -> None:
    source = bounce(list(read_clip(SAMPLE, streamer.size, None)))
    stream = streamer.start(PHRASES[style][0])
    for frame in itertools.islice(source, 20_000):
        np.asarray(stream.submit(frame))
        assert not stream.events
