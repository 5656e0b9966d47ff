"""Streams that change their steps, that are stepped together, and whose model is broken."""

import jax
import numpy as np
import pytest
from flax import nnx

from lsdjax.checkpoint.export import Checkpoint
from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT
from lsdjax.stream.session import Stream, Streamer

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = ModelConfig(
    height=16, width=32, dim=16, depth=1, heads=1, channels=4, experts=1, text_dim=16,
    text_depth=1, window=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(random_like) -> Checkpoint:
    model = nnx.eval_shape(lambda: CausalDiT(CONFIG, rngs=nnx.Rngs(0)))
    return Checkpoint(CONFIG, random_like(nnx.to_pure_dict(nnx.state(model, nnx.Param))), {})


@pytest.fixture(scope="module")
def streamer(checkpoint: Checkpoint) -> Streamer:
    """One step a frame, alone or two or three at once; compiled when it is first used."""
    return Streamer(checkpoint, steps=1, batch=3)


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 32, 3), dtype=np.uint8)


def run(stream: Stream, clip: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(stream.submit(frame)) for frame in clip])


def test_a_stream_may_take_fewer_steps_and_more_again(
    streamer: Streamer, checkpoint: Checkpoint
) -> None:
    both = Streamer(checkpoint, steps=2, variants=(1,))
    assert both.variants == (1, 2) and both.steps == 2
    clip, stream = frames(3), both.start("neon")
    first = run(stream, clip)
    stream.reset()
    stream.steps = 1
    fewer, traces = run(stream, clip), both.trace_count
    np.testing.assert_array_equal(fewer, run(streamer.start("neon"), clip))
    assert (fewer != first).any()
    stream.reset()
    stream.steps = 2
    np.testing.assert_array_equal(run(stream, clip), first)
    assert both.trace_count == traces
    with pytest.raises(UserError, match="3 denoising steps; one of 1, 2"):
        stream.steps = 3


def test_streams_that_are_stepped_together_are_as_they_would_be_alone(streamer: Streamer) -> None:
    assert streamer.batches == (1, 2)  # powers of two, up to what was asked for
    clip = frames(10)
    kinds = [("neon", 1, 1.0), ("a cartoon", 2, 0.5)]
    alone = [
        run(streamer.start(prompt, seed=seed, strength=strength), clip[index:][:8])
        for index, (prompt, seed, strength) in enumerate(kinds)
    ]
    streams = [streamer.start(prompt, seed=seed, strength=how) for prompt, seed, how in kinds]
    traces = 0
    for step in range(8):
        if step == 5:  # one of them alone in between
            together = [np.asarray(stream.submit(clip[i + 5])) for i, stream in enumerate(streams)]
        else:
            both = [clip[index + step] for index in range(2)]
            together = list(np.asarray(streamer.submit_batch(streams, both)))
            traces = streamer.trace_count if step < 3 else traces
        for index, picture in enumerate(together):
            assert np.abs(picture.astype(int) - alone[index][step]).max() <= 1
    assert [stream.frame_index for stream in streams] == [8, 8]
    assert streamer.trace_count == traces


def test_where_the_model_makes_no_number_the_input_is_shown(
    streamer: Streamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, clip = streamer.start("neon"), frames(4)
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), streamer._params)
    monkeypatch.setattr(streamer, "_params", broken)
    np.testing.assert_array_equal(run(stream, clip), clip)
