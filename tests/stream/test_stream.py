"""A stream: replayable, compiled once, deaf to what it no longer should hear."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax.checkpoint.export import Checkpoint, load_checkpoint, save_checkpoint
from lsdjax.codec import PixelCodec
from lsdjax.core.errors import UserError
from lsdjax.diffusion.schedule import add_noise, step_levels, velocity_from_sample
from lsdjax.model.cache import init_cache, write
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT, cached_context
from lsdjax.stream.session import Streamer
from lsdjax.text.tokenizer import tokenize

CONFIG = ModelConfig(
    height=32, width=48, dim=32, depth=1, heads=2, channels=8, experts=2, text_dim=32,
    text_depth=1, window=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    model = CausalDiT(CONFIG, rngs=nnx.Rngs(0))
    return Checkpoint(CONFIG, nnx.to_pure_dict(nnx.state(model, nnx.Param)), {})


@pytest.fixture(scope="module")
def streamer(checkpoint: Checkpoint) -> Streamer:
    streamer = Streamer(checkpoint)
    streamer.warm_up()
    return streamer


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 48, 3), dtype=np.uint8)


def run(stream, clip: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(stream.submit(frame)) for frame in clip])


def test_same_seed_same_stream(streamer: Streamer) -> None:
    clip = frames(5)
    first = run(streamer.start("cartoon", seed=3), clip)
    np.testing.assert_array_equal(run(streamer.start("cartoon", seed=3), clip), first)
    assert (run(streamer.start("cartoon", seed=4), clip) != first).any()


def test_reset_is_a_fresh_start(streamer: Streamer) -> None:
    clip = frames(4)
    stream = streamer.start("cartoon", seed=3)
    first = run(stream, clip)
    stream.reset()
    np.testing.assert_array_equal(run(stream, clip), first)
    assert stream.frame_index == 4


def test_prompt_switch_leaves_nothing_of_the_old_prompt(streamer: Streamer) -> None:
    clip = frames(6)
    stream = streamer.start("cartoon", seed=3)
    run(stream, clip)
    stream.set_prompt("snow")
    np.testing.assert_array_equal(run(stream, clip), run(streamer.start("snow", seed=3), clip))


def test_nothing_compiles_after_warm_up(streamer: Streamer) -> None:
    before = streamer.trace_count
    stream = streamer.start("neon", seed=9, strength=0.5)
    run(stream, frames(4))
    stream.set_prompt("a much longer prompt about rain on the windows of a train")
    stream.strength = 0.25
    run(stream, frames(2))
    stream.reset()
    run(stream, frames(1))
    assert streamer.trace_count == before


def test_strength_blends_input_and_output(streamer: Streamer) -> None:
    clip = frames(1)
    np.testing.assert_array_equal(run(streamer.start("neon", strength=0.0), clip), clip)
    full = run(streamer.start("neon"), clip).astype(float)
    half = run(streamer.start("neon", strength=0.5), clip).astype(float)
    np.testing.assert_allclose(half, (full + clip) / 2, atol=1.01)


def test_step_equals_a_plain_loop(streamer: Streamer, checkpoint: Checkpoint) -> None:
    """The compiled step against the model called by hand, without cache reuse tricks."""
    clip, seed = frames(4), 5
    shown = run(streamer.start("pencil sketch", seed=seed), clip)
    graph = nnx.split(CausalDiT(CONFIG, rngs=nnx.Rngs(0)), nnx.Param)[0]
    model = nnx.merge(graph, nnx.State(checkpoint.params))
    prompt = model.prompt(model.embed(jnp.asarray(tokenize("pencil sketch"))))
    codec, cache = PixelCodec(), init_cache(CONFIG, 1, jnp.dtype(jnp.float32))
    previous = jnp.zeros((1, 1, 16, 24, 12))
    levels = np.asarray(step_levels(2))
    for index, frame in enumerate(clip):
        inputs = codec.encode(jnp.asarray(frame, jnp.float32) / 127.5 - 1)[None, None]
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), index))
        history = jnp.full((1, 1), CONFIG.history_level if index else 1.0)
        told = add_noise(previous, jax.random.normal(keys[1], inputs.shape), history)
        observation = model.observe(inputs, told, history, prompt)
        x = jax.random.normal(keys[0], inputs.shape)
        for level, following in zip(levels[:-1], levels[1:], strict=True):
            s = jnp.full((1, 1), level)
            out = model.denoise(
                x, s, jnp.zeros((1, 1)), observation, prompt, cached_context(cache, CONFIG)
            )
            x = x - (level - following) * velocity_from_sample(x, out.sample, s)
        cache = write(cache, out.keys[:, :, 0], out.values[:, :, 0], CONFIG.sinks)
        previous = jnp.clip(x, -1, 1)
        picture = jnp.round((codec.decode(previous)[0, 0] + 1) * 127.5)
        np.testing.assert_allclose(shown[index].astype(float), np.clip(picture, 0, 255), atol=1.01)


def test_wrong_frames_and_options_are_refused(streamer: Streamer, checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match=r"\(32, 48, 3\)"):
        streamer.start("neon").submit(np.zeros((48, 32, 3), np.uint8))
    with pytest.raises(UserError, match="strength 1.5"):
        streamer.start("neon", strength=1.5)
    with pytest.raises(UserError, match="0 denoising steps"):
        Streamer(checkpoint, steps=0)
    stream = streamer.start("neon")
    with pytest.raises(UserError, match="empty prompt"):
        stream.set_prompt("  ...")
    assert stream.prompt == "neon"


def test_exported_checkpoint_streams_the_same(checkpoint: Checkpoint, tmp_path) -> None:
    rounded = load_checkpoint(save_checkpoint(tmp_path / "first", checkpoint))
    again = load_checkpoint(save_checkpoint(tmp_path / "second", rounded))
    clip = frames(3)
    first = run(Streamer(rounded).start("snow"), clip)
    np.testing.assert_array_equal(run(Streamer(again).start("snow"), clip), first)
