"""Streams side by side are the streams alone."""

import jax
import numpy as np
import pytest
from flax import nnx

from lsdjax.checkpoint.export import Checkpoint
from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT
from lsdjax.stream.rollout import Rollout
from lsdjax.stream.session import Streamer

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = ModelConfig(
    height=32, width=48, dim=32, depth=1, heads=2, channels=8, experts=2, text_dim=32,
    text_depth=1, window=2,
)  # fmt: skip
SEEDS = (5, 9, 12)
PROMPT = "cartoon"


@pytest.fixture(scope="module")
def checkpoint(random_like) -> Checkpoint:
    model = nnx.eval_shape(lambda: CausalDiT(CONFIG, rngs=nnx.Rngs(0)))
    return Checkpoint(CONFIG, random_like(nnx.to_pure_dict(nnx.state(model, nnx.Param))), {})


@pytest.fixture(scope="module")
def rollout(checkpoint: Checkpoint) -> Rollout:
    return Rollout(checkpoint, PROMPT, SEEDS)


def frames(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, len(SEEDS), 32, 48, 3), dtype=np.uint8)


def run(rollout: Rollout, clip: np.ndarray, levels: np.ndarray | None = None) -> np.ndarray:
    levels = np.zeros(clip.shape[:2]) if levels is None else levels
    return np.stack(
        [np.asarray(rollout.step(f, level)) for f, level in zip(clip, levels, strict=True)]
    )


def test_each_stream_is_the_stream_alone(checkpoint: Checkpoint, rollout: Rollout) -> None:
    clip = frames(6)
    levels = np.array([[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [0, 1, 1], [0, 0, 1]])
    rollout.restart()
    together = run(rollout, clip, levels).astype(int)
    streamer = Streamer(checkpoint, repair=False)
    for number, seed in enumerate(SEEDS):
        stream = streamer.start(PROMPT, seed=seed)
        for index in range(len(clip)):
            frame = None if levels[index, number] else clip[index, number]
            alone = np.asarray(stream.submit(frame)).astype(int)
            np.testing.assert_allclose(together[index, number], alone, atol=1)
    assert (np.abs(together[0, 0] - together[0, 1]) > 1).any()  # they are not one stream


def test_restart_is_a_fresh_start(rollout: Rollout) -> None:
    clip = frames(4)
    rollout.restart()
    first = run(rollout, clip)
    rollout.restart()
    np.testing.assert_array_equal(run(rollout, clip), first)


def test_reseeding_leaves_nothing_of_the_past(rollout: Rollout) -> None:
    truth, after = frames(1, seed=3)[0], frames(3, seed=4)

    def following(past: int, *, reseed: bool) -> np.ndarray:
        rollout.restart()
        run(rollout, frames(4, seed=past))
        if reseed:
            rollout.reseed(truth)
        return run(rollout, after)

    np.testing.assert_array_equal(following(1, reseed=True), following(2, reseed=True))
    assert (following(1, reseed=False) != following(2, reseed=False)).any()
    assert jax.device_get(rollout._state.cache.length).tolist() == [7] * len(SEEDS)  # it goes on
    rollout.restart()
    rollout.reseed(frames(1, seed=8)[0])
    told = run(rollout, after)
    rollout.restart()
    np.testing.assert_array_equal(run(rollout, after)[0], told[0])  # nothing comes before frame 0


def test_wrong_frames_and_options_are_refused(checkpoint: Checkpoint, rollout: Rollout) -> None:
    with pytest.raises(ValueError, match=r"\(3, 32, 48, 3\)"):
        rollout.step(np.zeros((2, 32, 48, 3), np.uint8), np.zeros(2))
    with pytest.raises(ValueError, match="float64"):
        rollout.reseed(np.zeros((3, 32, 48, 3)))
    with pytest.raises(UserError, match="65 denoising steps; 1 to 64"):
        Rollout(checkpoint, PROMPT, SEEDS, steps=65)
    with pytest.raises(UserError, match="no seeds"):
        Rollout(checkpoint, PROMPT, ())
