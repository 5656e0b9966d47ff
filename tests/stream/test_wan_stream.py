"""Streams of a Wan model: how many frames a step takes, how video enters, prompt switches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from lsdjax import cli
from lsdjax.checkpoint.convert import COMPONENTS, import_checkpoint
from lsdjax.checkpoint.layouts import public_shapes
from lsdjax.checkpoint.tree import unflatten
from lsdjax.codec.taehv import TaehvConfig
from lsdjax.codec.video import pixel_codec, video_codec
from lsdjax.core.errors import UserError
from lsdjax.core.sharding import make_mesh
from lsdjax.diffusion.motion import INPUT_GAIN, motion_level
from lsdjax.diffusion.renoise import solve_renoising
from lsdjax.diffusion.video_input import noised_input
from lsdjax.model.wan_config import WanConfig
from lsdjax.stream.wan import WanStreamer
from lsdjax.stream.wan_load import load_wan_streamer
from lsdjax.text.embeddings import PromptFile, save_embeddings

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = WanConfig(
    height=8, width=12, codec="pixel", dim=24, depth=1, heads=2, ffn_dim=16, frequency_dim=8,
    text_dim=6, text_length=3, chunk=2, window=3, sinks=1, timesteps=(800, 400), noise_shift=1.0,
)  # fmt: skip
PROMPTS = {"snow": 0, "neon night": 1}


def read(prompt: str) -> np.ndarray:
    return np.random.default_rng(PROMPTS[prompt]).standard_normal((2, 6)).astype(np.float32)


def parameters(config: WanConfig) -> dict:
    rng = np.random.default_rng(0)
    flat = {}
    for name, shape in COMPONENTS["wan"].shapes(config).items():
        value = rng.standard_normal(shape) / (shape[0] ** 0.5 if len(shape) > 1 else 5)
        flat[name] = (value + ("scale" in name)).astype(np.float32)
    return unflatten(flat)


@pytest.fixture(scope="module")
def streamer() -> WanStreamer:
    return WanStreamer(CONFIG, parameters(CONFIG), pixel_codec(), read, dtype="float32")


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 12, 3), dtype=np.uint8)


def test_a_step_says_how_many_frames_it_takes(streamer):
    assert (streamer.first_step_frames, streamer.frames_per_step) == (2, 2)
    tiny = video_codec("taehv", TaehvConfig(), {})
    three = dataclasses.replace(CONFIG, chunk=3)
    slow = WanStreamer(three, parameters(three), tiny, read)
    assert (slow.first_step_frames, slow.frames_per_step) == (9, 12)
    assert slow.structural_delay_ms(16) == pytest.approx(687.5)
    assert streamer.structural_delay_ms(20) == pytest.approx(50)
    with pytest.raises(ValueError, match=r"uint8 \(2, 8, 12, 3\) is expected"):
        streamer.start("snow").submit(frames(3))
    with pytest.raises(ValueError, match="frames are expected: the input is 'noised'"):
        streamer.start("snow").submit()


def test_a_stream_can_be_replayed_and_follows_its_input(streamer):
    def run(seed: int, shown: int) -> np.ndarray:
        stream = streamer.start("snow", seed=seed)
        return np.concatenate([stream.submit(frames(2, shown + i)) for i in range(3)])

    first = run(0, 0)
    assert first.shape == (6, 8, 12, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, run(0, 0))
    assert (first != run(1, 0)).any() and (first != run(0, 5)).any()


def test_a_prompt_switch_recomputes_the_window_and_keeps_the_sinks(streamer):
    stream = streamer.start("snow")
    for i in range(4):
        stream.submit(frames(2, i))
    before = jax.tree.map(np.asarray, stream._cache)
    stream.set_prompt("neon night")
    after = jax.tree.map(np.asarray, stream._cache)
    np.testing.assert_array_equal(after.frames, before.frames)
    assert after.length == before.length == 8
    for slot, frame in enumerate(before.frames):
        same = (after.keys[:, :, slot] == before.keys[:, :, slot]).all()
        # The first block sees the prompt after its keys are made: with one block, keys depend on
        # the latents alone, which are those that the stream showed.
        assert np.allclose(after.keys[:, :, slot], before.keys[:, :, slot], atol=1e-4)
        assert same or frame >= 1
    switched = np.asarray(stream.submit(frames(2, 4)))
    stream.set_prompt("snow", how="forget")
    fresh = streamer.start("snow")
    np.testing.assert_array_equal(stream.submit(frames(2)), fresh.submit(frames(2)))
    old = streamer.start("snow")
    kept = [np.asarray(old.submit(frames(2, i))) for i in range(5)][-1]
    assert (switched != kept).any()


def test_recached_keys_are_those_of_a_stream_that_always_had_the_prompt():
    """With two blocks the keys of the second depend on the prompt."""
    config = dataclasses.replace(CONFIG, depth=2, window=4, sinks=1)
    streamer = WanStreamer(
        config, parameters(config), pixel_codec(), read, input="none", dtype="float32"
    )
    stream = streamer.start("snow")
    made = [np.asarray(stream.submit()) for _ in range(2)]
    assert made[0].shape == (2, 8, 12, 3) and (made[0] != made[1]).any()
    with pytest.raises(ValueError, match="no frames are expected: the input is 'none'"):
        stream.submit(frames(2))
    before = jax.tree.map(np.asarray, stream._cache)
    recent = list(stream._recent)
    stream.set_prompt("neon night")
    after = jax.tree.map(np.asarray, stream._cache)
    fresh = streamer.start("neon night")
    cache = fresh._cache
    for chunk in recent:
        cache = streamer._recache(
            streamer._params, cache, chunk.inputs, chunk.latents, fresh._encoded
        )
    sink = before.frames == 0
    np.testing.assert_array_equal(after.keys[:, :, sink], before.keys[:, :, sink])
    redone = (before.frames > 0) & (before.frames < 4)
    np.testing.assert_allclose(
        after.keys[:, :, redone], np.asarray(cache.keys)[:, :, redone], atol=1e-5
    )
    assert np.abs(after.keys[1][:, redone] - before.keys[1][:, redone]).max() > 1e-3


def test_what_took_part_most_is_kept_in_a_stream():
    """Chunks are those of a plain window until frames are let go; then what was kept is seen."""
    made = {}
    for policy in ("deep-sinks", "participative"):
        config = dataclasses.replace(
            CONFIG, depth=2, window=4, chunk=1, timesteps=(500,), rope="window", cache_policy=policy
        )
        streamer = WanStreamer(config, parameters(config), pixel_codec(), read, dtype="float32")
        stream = streamer.start("snow")
        made[policy] = []
        for i in range(12):
            stream.submit(frames(1, i))
            made[policy].append(np.asarray(stream._recent[-1].latents))
            if policy == "participative":
                mixed = stream._cache.frames[config.policy.slots :].tolist()
                kept = min(max(0, i - 4), 2)  # one sink and four of the window come first
                assert mixed == [0] * kept + [-1] * (2 - kept), f"frame {i}"
    cache = jax.tree.map(np.asarray, stream._cache)
    assert cache.keys.shape[2] == config.slots == 1 + 4 + 2
    assert sorted(cache.frames[:5].tolist()) == [0, 8, 9, 10, 11]
    plain, mixed = (np.concatenate(made[policy]) for policy in made)
    assert np.isfinite(mixed).all() and np.isfinite(cache.keys).all()
    np.testing.assert_allclose(mixed[:6], plain[:6], atol=1e-5)
    assert all(np.abs(x - y).max() > 1e-3 for x, y in zip(mixed[6:], plain[6:], strict=True))
    forgetful = cache._replace(frames=np.where(np.arange(7) < 5, cache.frames, -1))
    given = (streamer._blank, jnp.float32(0.5), stream._encoded, jax.random.key(0))
    kept, lost = (
        streamer._step(streamer._params, jax.tree.map(jnp.array, x), *given)[1]
        for x in (cache, forgetful)
    )
    assert np.abs(kept - lost).max() > 1e-3


def test_eight_devices_make_what_one_makes(streamer):
    mesh = make_mesh("fsdp=4,tensor=2")
    shared = WanStreamer(
        CONFIG, parameters(CONFIG), pixel_codec(), read, dtype="float32", mesh=mesh
    )
    kernel = shared._params["blocks"][0]["up"]["kernel"]
    assert len(kernel.sharding.device_set) == 8
    assert kernel.addressable_shards[0].data.size == kernel.size // 8
    one, eight = (x.start("snow") for x in (streamer, shared))
    for i in range(2):
        np.testing.assert_allclose(
            np.asarray(one.submit(frames(2, i)), np.int32),
            np.asarray(eight.submit(frames(2, i)), np.int32),
            atol=1,
        )
    assert eight._cache.keys.addressable_shards[0].data.shape[4] == CONFIG.heads // 2


def test_input_enters_as_the_model_was_made(streamer):
    with pytest.raises(UserError, match="input='beside'; the model takes its input noised"):
        WanStreamer(CONFIG, {}, pixel_codec(), read, input="beside")
    beside = dataclasses.replace(CONFIG, beside=True)
    with pytest.raises(UserError, match="beside the noise"):
        WanStreamer(beside, {}, pixel_codec(), read, input="none")


def test_motion_lowers_the_noise_of_the_input_and_lags():
    still = jnp.zeros((2, 4, 4, 3))
    moving = still.at[1].set(0.1)
    last = jnp.zeros((4, 4, 3))
    level = motion_level(still, last, jnp.float32(0.7), 0.8, INPUT_GAIN)
    assert float(level) == pytest.approx(0.79)
    expected = 0.9 * (0.8 - 0.1 * 0.5) + 0.1 * 0.7
    level = motion_level(moving, last, jnp.float32(0.7), 0.8, INPUT_GAIN)
    assert float(level) == pytest.approx(expected)
    start, declared = noised_input(jnp.ones((1, 2, 1)), jnp.full((1, 2, 1), 3.0), jnp.float32(0.75))
    assert float(declared) == pytest.approx(0.65)
    np.testing.assert_allclose(start, 0.25 + 0.75 * 3.0)


def test_renoising_ends_at_what_a_sure_denoiser_says():
    """A denoiser that knows the sample: its velocity is (x - sample) / s at every level."""
    sample = jnp.arange(6.0).reshape(1, 2, 3)
    seen = []

    def denoise(x, level):
        seen.append((x, float(level[0, 0])))
        return (x - sample) / level[..., None], len(seen)

    noise = jnp.stack([jnp.full((1, 2, 3), 5.0)])
    made, kept = solve_renoising(denoise, 7 + sample, jnp.array([1.0, 0.25]), noise)
    np.testing.assert_allclose(made, sample, atol=1e-6)
    assert kept == 2 and [level for _, level in seen] == [1.0, 0.25]
    np.testing.assert_allclose(seen[1][0], 0.75 * sample + 0.25 * 5.0, atol=1e-6)


def test_a_converted_folder_streams(tmp_path, capsys, write_video):
    """Public names in, frames out, with prompts from a file and latents of the tiny codec."""
    rng = np.random.default_rng(0)
    tiny = TaehvConfig(channels=16, width=4, widths=(4, 4, 4))
    dit = dataclasses.replace(CONFIG, codec="wan2.1", height=32, width=48, chunk=1)
    changes = {
        name: getattr(dit, name)
        for name in ("height", "width", "heads", "text_length", "chunk", "window", "sinks")
    }
    for kind, config, told in (("wan", dit, changes), ("taehv", tiny, {})):
        shapes = public_shapes(COMPONENTS[kind], config)
        weights = {
            name: (0.2 * rng.standard_normal(shape)).astype(np.float32)
            for name, shape in shapes.items()
        }
        save_file(weights, tmp_path / f"{kind}-theirs.safetensors")
        if kind == "taehv":
            with pytest.raises(UserError, match="no codec in"):
                load_wan_streamer(tmp_path / "ours", read)
        import_checkpoint(tmp_path / f"{kind}-theirs.safetensors", tmp_path / "ours", changes=told)
    save_embeddings(tmp_path / "prompts.safetensors", {name: read(name) for name in PROMPTS})
    prompts = PromptFile(tmp_path / "prompts.safetensors")
    assert prompts.prompts == tuple(PROMPTS) and prompts.width == 6
    streamer = load_wan_streamer(tmp_path / "ours", prompts, dtype="bfloat16")
    stream = streamer.start("neon night")
    for count in (1, 4):
        assert stream.frames_per_step == count
        shown = rng.integers(0, 256, (count, 32, 48, 3), dtype=np.uint8)
        assert stream.submit(shown).shape == shown.shape
    with pytest.raises(UserError, match="prompt 'rain' is not among those"):
        stream.set_prompt("rain")
    with pytest.raises(UserError, match="is not a file of prompts' features"):
        PromptFile(tmp_path / "ours" / "wan.json")
    clip, out = write_video(tmp_path / "clip.mp4", frames=3), tmp_path / "out.mp4"
    told = ["--checkpoint", str(tmp_path / "ours"), "--prompt", "snow", "--prompt-at", "2:rain"]
    told += ["--text-encoder", str(tmp_path / "prompts.safetensors")]
    assert cli.main(["stream", str(clip), str(out), *told]) == 2  # before the first frame
    assert "prompt 'rain' is not among those" in capsys.readouterr().err and not out.exists()
