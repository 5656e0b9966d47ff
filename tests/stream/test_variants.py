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
    streamer = Streamer(checkpoint, steps=2, variants=(1,), batch=3)
    streamer.warm_up()
    return streamer


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 32, 3), dtype=np.uint8)


def run(stream: Stream, clip: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(stream.submit(frame)) for frame in clip])


def test_a_stream_may_take_fewer_steps_and_more_again(
    streamer: Streamer, checkpoint: Checkpoint
) -> None:
    assert streamer.variants == (1, 2) and streamer.steps == 2
    clip, before = frames(4), streamer.trace_count
    stream = streamer.start("neon")
    first = run(stream, clip)
    stream.reset()
    stream.steps = 1
    fewer = run(stream, clip)
    np.testing.assert_array_equal(fewer, run(Streamer(checkpoint, steps=1).start("neon"), clip))
    assert (fewer != first).any()
    stream.reset()
    stream.steps = 2
    np.testing.assert_array_equal(run(stream, clip), first)
    assert streamer.trace_count == before
    with pytest.raises(UserError, match="3 denoising steps; one of 1, 2"):
        stream.steps = 3


def test_streams_that_are_stepped_together_are_as_they_would_be_alone(streamer: Streamer) -> None:
    assert streamer.batches == (1, 2)  # powers of two, up to what was asked for
    clip, before = frames(10), streamer.trace_count
    kinds = [("neon", 1, 1.0), ("a cartoon", 2, 0.5)]
    alone = [
        run(streamer.start(prompt, seed=seed, strength=strength), clip[index:][:8])
        for index, (prompt, seed, strength) in enumerate(kinds)
    ]
    streams = [streamer.start(prompt, seed=seed, strength=how) for prompt, seed, how in kinds]
    for step in range(8):
        if step == 5:  # one of them alone in between
            together = [np.asarray(stream.submit(clip[i + 5])) for i, stream in enumerate(streams)]
        else:
            both = [clip[index + step] for index in range(2)]
            together = list(np.asarray(streamer.submit_batch(streams, both)))
        for index, picture in enumerate(together):
            assert np.abs(picture.astype(int) - alone[index][step]).max() <= 1
    assert [stream.frame_index for stream in streams] == [8, 8]
    assert streamer.trace_count == before


def test_where_the_model_makes_no_number_the_input_is_shown(checkpoint: Checkpoint) -> None:
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), checkpoint.params)
    clip = frames(4)
    stream = Streamer(Checkpoint(CONFIG, broken, {})).start("neon")
    np.testing.assert_array_equal(run(stream, clip), clip)
