"""A stream: replayable, compiled once, deaf to what it no longer should hear."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax.checkpoint.export import Checkpoint, load_checkpoint, save_checkpoint
from lsdjax.codec import PixelCodec
from lsdjax.core.errors import UserError
from lsdjax.core.events import draw_events
from lsdjax.diffusion.conditioning import Guidance
from lsdjax.diffusion.schedule import add_noise, step_levels, velocity_from_sample
from lsdjax.model.cache import init_cache, write
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT, Told, cached_context, model_graph
from lsdjax.stream.session import Streamer

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = ModelConfig(
    height=32, width=48, dim=32, depth=1, heads=2, channels=8, experts=2, text_dim=32,
    text_depth=1, window=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, random_like) -> Checkpoint:
    """Exported and loaded, as everything that is streamed."""
    model = nnx.eval_shape(lambda: CausalDiT(CONFIG, rngs=nnx.Rngs(0)))
    params = random_like(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    folder = tmp_path_factory.mktemp("exported")
    return load_checkpoint(save_checkpoint(folder, Checkpoint(CONFIG, params, {})))


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
    graph, codec = model_graph(CONFIG), PixelCodec()
    steps = list(itertools.pairwise(np.asarray(step_levels(2))))

    @jax.jit
    def by_hand(params, prompt, cache, previous, frame, index):
        model = nnx.merge(graph, nnx.State(params))
        inputs = codec.encode(frame.astype(jnp.float32) / 127.5 - 1)[None, None]
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), index))
        history = jnp.where(index > 0, CONFIG.history_level, 1.0).reshape(1, 1)
        told = add_noise(previous, jax.random.normal(keys[1], inputs.shape), history)
        events = draw_events(jax.random.key(seed), index[None], 1, CONFIG.height, CONFIG.width)
        told = Told(inputs, jnp.zeros((1, 1)), told, history, events)
        observation = model.observe(told, prompt)
        context = cached_context(cache, CONFIG)
        x, out = jax.random.normal(keys[0], inputs.shape), None
        for level, following in steps:
            s = jnp.full((1, 1), level)
            out = model.denoise(x, s, jnp.zeros((1, 1)), observation, prompt, context)
            x = x - (level - following) * velocity_from_sample(x, out.sample, s)
        assert out is not None
        cache = write(cache, out.keys[:, :, 0], out.values[:, :, 0], CONFIG.policy)
        previous = jnp.clip(x, -1, 1)
        return cache, previous, (codec.decode(previous)[0, 0] + 1) * 127.5

    prompt = streamer.encode("pencil sketch")
    cache, previous = init_cache(CONFIG, 1, jnp.dtype(jnp.float32)), jnp.zeros((1, 1, 16, 24, 12))
    for index, frame in enumerate(clip):
        cache, previous, picture = by_hand(
            checkpoint.params, prompt, cache, previous, frame, np.int32(index)
        )
        picture = np.clip(np.rint(picture), 0, 255)
        np.testing.assert_allclose(shown[index].astype(float), picture, atol=1.01)


def test_a_stream_goes_on_without_input(streamer: Streamer) -> None:
    clip = frames(4)
    stream = streamer.start("cartoon", strength=0.0)
    run(stream, clip[:2])
    free = [np.asarray(stream.submit(None)) for _ in range(2)]
    again = streamer.start("cartoon", strength=0.7)
    run(again, clip[:2])
    np.testing.assert_array_equal(free[0], again.submit(None))  # there is nothing to blend with
    assert (free[0] != free[1]).any() and stream.frame_index == 4


def test_guidance_moves_away_from_what_was_told_less(checkpoint: Checkpoint) -> None:
    clip = frames(2)

    def shown(dtype: str = "float32", **weights: float) -> np.ndarray:
        streamer = Streamer(checkpoint, steps=1, guidance=Guidance(**weights), dtype=dtype)
        return run(streamer.start("pencil sketch", seed=1), clip).astype(float)

    plain, half, full = shown(), shown(prompt=0.5), shown(prompt=0.0)
    inside = (np.minimum(plain, full)[0] > 0) & (np.maximum(plain, full)[0] < 255)
    assert inside.mean() > 0.05
    np.testing.assert_allclose(half[0][inside], (plain + full)[0][inside] / 2, atol=1.01)
    assert np.abs(full - plain).max() > 2
    forgetful = shown(history=0.0)
    np.testing.assert_allclose(forgetful[0], plain[0], atol=1.01)  # there was no past yet
    assert np.abs(forgetful[1] - plain[1]).max() > 2
    assert 0 < np.abs(shown("bfloat16", prompt=0.5) - half).mean() < 2


def test_wrong_frames_and_options_are_refused(streamer: Streamer, checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match=r"\(32, 48, 3\)"):
        streamer.start("neon").submit(np.zeros((48, 32, 3), np.uint8))
    with pytest.raises(UserError, match=r"strength 1\.5"):
        streamer.start("neon", strength=1.5)
    with pytest.raises(UserError, match="0 denoising steps"):
        Streamer(checkpoint, steps=0)
    stream = streamer.start("neon")
    with pytest.raises(UserError, match="empty prompt"):
        stream.set_prompt("  ...")
    assert stream.prompt == "neon"


def test_exporting_again_changes_nothing(checkpoint: Checkpoint, tmp_path) -> None:
    again = load_checkpoint(save_checkpoint(tmp_path / "again", checkpoint))
    jax.tree.map(np.testing.assert_array_equal, again.params, checkpoint.params)


def test_motion_noise_follows_the_motion_and_off_is_as_if_it_had_never_been(
    streamer: Streamer,
) -> None:
    clip, before = frames(6), streamer.trace_count  # each frame is unlike the last
    plain = run(streamer.start("cartoon", seed=3), clip)
    stream = streamer.start("cartoon", seed=3)
    stream.motion_noise = True
    moved = run(stream, clip)
    np.testing.assert_array_equal(moved[0], plain[0])  # nothing is known of what moves
    assert all((a != b).any() for a, b in zip(moved[1:], plain[1:], strict=True))
    stream.reset()
    np.testing.assert_array_equal(run(stream, clip), moved)
    stream.motion_noise = False
    stream.reset()
    np.testing.assert_array_equal(run(stream, clip), plain)
    assert streamer.trace_count == before


def test_motion_noise_changes_nothing_where_nothing_moves(streamer: Streamer) -> None:
    clip = np.repeat(frames(1), 4, axis=0)
    stream = streamer.start("cartoon", seed=3)
    stream.motion_noise = True
    difference = run(stream, clip).astype(int) - run(streamer.start("cartoon", seed=3), clip)
    assert np.abs(difference).max() <= 1


def test_streams_of_a_batch_have_noise_of_their_own(checkpoint: Checkpoint) -> None:
    both, clip = Streamer(checkpoint, steps=1, batch=2), frames(3)
    pair = [both.start("cartoon", seed=3) for _ in range(2)]
    pair[1].motion_noise = True
    together = [np.asarray(both.submit_batch(pair, [frame, frame])) for frame in clip]
    alone = both.start("cartoon", seed=3)
    alone.motion_noise = True
    for pictures, wanted in zip(together, run(alone, clip), strict=True):
        assert np.abs(pictures[1].astype(int) - wanted).max() <= 1
    assert (together[2][0] != together[2][1]).any()
