"""The example of a text encoder of one's own is short, and a model runs on it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsdjax.checkpoint.export import Checkpoint, abstract_params, load_checkpoint, save_checkpoint
from lsdjax.configs import Stage, preset
from lsdjax.core.errors import UserError
from lsdjax.model.prompts import choose_text_encoder
from lsdjax.stream.session import Streamer
from lsdjax.text.registry import TEXT_ENCODERS
from lsdjax.text.tokenizer import MAX_WORDS
from lsdjax.train.loop import draw_prompts

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "text_encoder.py"

pytestmark = pytest.mark.skipif(not EXAMPLE.is_file(), reason="runs from a checkout")


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 30


def test_a_model_trains_and_streams_on_it(
    tmp_path: Path, plugins: Callable, monkeypatch: pytest.MonkeyPatch, random_like: Callable
) -> None:
    plugins(EXAMPLE)
    tiny = dataclasses.replace(preset("tiny"), stages=(Stage("all", steps=1, groups=2, prompts=3),))
    model, tokenize = choose_text_encoder(tiny.model, "bag-of-words")
    assert model.text_encoder == "bag-of-words"
    words = tokenize("A pencil xyzzy SKETCH")
    assert words.sum() == 3 and (words.sum(axis=1)[:3] == 1).all()  # xyzzy is no word of it
    np.testing.assert_array_equal(words, tokenize("a pencil sketch"))
    batch = draw_prompts(dataclasses.replace(tiny, model=model), tokenize, 0)
    assert batch.prompts.shape == (2, MAX_WORDS, model.text_width)
    assert batch.text_prompts.any(axis=(1, 2)).all()

    params = random_like(abstract_params(model))
    folder = save_checkpoint(tmp_path, Checkpoint(model, params, {}))
    streamer = Streamer(load_checkpoint(folder))
    sketch, snow, order, nothing = (
        np.asarray(streamer.encode(prompt).pooled)
        for prompt in ("pencil sketch", "snow", "sketch pencil", "xyzzy")
    )
    assert min(np.abs(sketch - other).max() for other in (snow, order, nothing)) > 1e-3
    monkeypatch.setattr(TEXT_ENCODERS, "_entries", {})
    with pytest.raises(UserError, match="no text encoder 'bag-of-words'"):
        Streamer(load_checkpoint(folder))
