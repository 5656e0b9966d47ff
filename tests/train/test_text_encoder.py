"""A model on a frozen BERT: trained, exported, and streamed with the same BERT only."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from lsdjax import cli
from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.configs import Stage, TrainConfig, preset
from lsdjax.configs.presets import PRESETS
from lsdjax.core.errors import UserError
from lsdjax.core.sharding import make_mesh
from lsdjax.data.pipeline import DecodedPair
from lsdjax.data.pool import Pool
from lsdjax.model.prompts import VARIABLE, choose_text_encoder
from lsdjax.stream.session import Streamer
from lsdjax.text.tokenizer import MAX_WORDS
from lsdjax.train import loop
from lsdjax.train.state import Graph, TrainState

pytestmark = pytest.mark.usefixtures("quick_compilation")

TINY = dataclasses.replace(
    preset("tiny"),
    stages=(
        Stage("text", steps=2, groups=0, prompts=3),
        Stage("crops", steps=2, groups=1, clips=1, prompts=1, crop=16),
    ),
)


def test_draws_hold_the_features_of_their_prompts(
    write_bert: Callable[..., Path], tmp_path: Path
) -> None:
    model, tokenize = choose_text_encoder(TINY.model, str(write_bert(tmp_path / "bert")))
    config = dataclasses.replace(TINY, model=model)
    text, crops = (loop.draw_prompts(config, tokenize, step) for step in (0, 2))
    assert text.prompts.shape == (0, MAX_WORDS, 32) and text.prompts.dtype == np.float32
    assert text.text_prompts.shape == (3, MAX_WORDS, 32)
    assert crops.prompts.shape == (1, MAX_WORDS, 32) and crops.prompts.any()


@pytest.fixture
def begun(child: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[TrainState]:
    """The states that runs of this test began with; what is slow about them is replaced."""
    begun: list[TrainState] = []

    def quick_state(config: TrainConfig) -> tuple[Graph, TrainState]:
        graph, state = child.quick_state(config)
        begun.append(state)
        return graph, state

    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(loop, "init_state", quick_state)
    monkeypatch.setattr(loop, "SampleSheet", child.NoSheet)
    return begun


@pytest.fixture
def mesh() -> Mesh:
    return make_mesh("data=1", jax.devices()[:1])


def has_learned(before: Any, after: Any) -> bool:
    return bool((before["text"]["project"]["kernel"] != after["text"]["project"]["kernel"]).any())


def test_a_bert_trains_and_its_export_takes_no_other(
    write_bert: Callable[..., Path],
    write_video: Callable[..., Path],
    noise_pool: Pool,
    begun: list[TrainState],
    mesh: Mesh,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bert, other = write_bert(tmp_path / "bert"), write_bert(tmp_path / "other", seed=1)
    config = dataclasses.replace(TINY, stages=TINY.stages[:1])
    export = loop.train(config, noise_pool, tmp_path / "run", mesh=mesh, text_encoder=str(bert))
    learned = load_checkpoint(export)
    assert learned.config.text_encoder == "bert" and learned.config.text_width == 32
    assert learned.params["text"]["project"]["kernel"].shape == (32, TINY.model.text_dim)
    assert "pieces" not in learned.params["text"]
    assert has_learned(jax.device_get(begun[0].params["model"]), learned.params)

    streamer = Streamer(learned, text_encoder=str(bert))
    same, again, different = (
        np.asarray(streamer.encode(prompt).pooled)
        for prompt in ("pencil sketch", "Pencil SKETCH", "snow")
    )
    np.testing.assert_array_equal(same, again)
    assert np.abs(same - different).max() > 1e-3
    with pytest.raises(UserError, match="its folder is expected"):
        Streamer(learned)
    with pytest.raises(UserError, match="text_fingerprint"):
        Streamer(learned, text_encoder=str(other))

    monkeypatch.setitem(PRESETS, "tiny", TINY)
    clip = write_video(tmp_path / "a.mp4", frames=2)
    out = ("--checkpoint", export, "--prompt", "snow")
    data = ("tiny", "--data", tmp_path, "--init", export, "--run", tmp_path / "new")
    for argv, message in (
        (("stream", clip, tmp_path / "b.mp4", *out), "its folder is expected"),
        (("stream", clip, tmp_path / "b.mp4", *out, "--text-encoder", other), "text_fingerprint"),
        (("eval", "--clips", tmp_path, export, "--text-encoder", other), "text_fingerprint"),
        (("train", *data, "--text-encoder", other), "than the preset's: text_fingerprint="),
        (("train", *data), "than the preset's: text_encoder=bert, not ngrams"),
    ):
        assert cli.main([str(part) for part in argv]) == cli.USER_ERROR
        printed = capsys.readouterr().err
        assert message in printed and printed.count("\n") == 1


@pytest.mark.slow
def test_a_bert_trains_on_pictures_and_streams(
    write_bert: Callable[..., Path], begun: list[TrainState], mesh: Mesh, tmp_path: Path
) -> None:
    bert = str(write_bert(tmp_path / "bert"))
    clip = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    pairs = [DecodedPair(clip, 255 - clip, 1.0, "a.mp4", ("snow falls",))]
    export = loop.train(TINY, pairs, tmp_path / "run", mesh=mesh, text_encoder=bert)
    learned = load_checkpoint(export)
    assert has_learned(jax.device_get(begun[0].params["model"]), learned.params)
    streamer = Streamer(learned, text_encoder=bert)
    streamer.warm_up()
    traced = streamer.trace_count
    frame = np.full((*streamer.size, 3), 90, np.uint8)
    streams = [streamer.start(prompt) for prompt in ("pencil sketch", "Pencil SKETCH", "snow")]
    same, again, different = (np.asarray(stream.submit(frame)) for stream in streams)
    np.testing.assert_array_equal(same, again)
    assert (same != different).any()
    assert streamer.trace_count == traced
