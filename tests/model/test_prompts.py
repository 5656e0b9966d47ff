"""A model's prompts are read by the encoder that it was trained with, and by no other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig
from lsdjax.model.prompts import VARIABLE, choose_text_encoder, find_tokenizer
from lsdjax.text import register_text_encoder
from lsdjax.text.registry import TEXT_ENCODERS
from lsdjax.text.tokenizer import MAX_WORDS, tokenize


class Versions:
    """Reads nothing; `fingerprint` is the version in force."""

    width = 3
    fingerprint = "1"

    def __call__(self, prompt: str) -> np.ndarray:
        return np.ones((1, 3))


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TEXT_ENCODERS, "_entries", {})
    monkeypatch.delenv(VARIABLE, raising=False)


def refused(config: ModelConfig, where: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        find_tokenizer(config, where)
    assert "\n" not in str(raised.value)


def test_the_built_in_one_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ModelConfig()
    assert config.text_encoder == "ngrams"
    assert find_tokenizer(config) is find_tokenizer(config, "ngrams") is tokenize
    monkeypatch.setenv(VARIABLE, "/nowhere")  # it may lie in the environment for other models
    assert find_tokenizer(config) is tokenize
    assert choose_text_encoder(config, "ngrams") == (config, tokenize)


def test_a_registered_encoder_is_found_by_the_name_in_the_config() -> None:
    register_text_encoder("versions", Versions)
    config, chosen = choose_text_encoder(ModelConfig(), "versions")
    assert (config.text_encoder, config.text_width, config.text_fingerprint) == ("versions", 3, "1")
    assert ModelConfig.from_json(config.to_json()) == config
    np.testing.assert_array_equal(find_tokenizer(config)("snow"), chosen("snow"))
    assert choose_text_encoder(config, "ngrams") == (ModelConfig(), tokenize)
    refused(ModelConfig(), "versions", "text_encoder 'versions', not 'ngrams'")


def test_another_encoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    register_text_encoder("versions", Versions)
    config, _ = choose_text_encoder(ModelConfig(), "versions")
    register_text_encoder("other", Versions)
    refused(config, "other", "text_encoder 'other', not 'versions'")
    refused(config, "ngrams", "text_encoder 'ngrams', not 'versions'")
    monkeypatch.setattr(Versions, "fingerprint", "2")
    refused(config, None, "'versions' is not .* trained with: text_fingerprint '2', not '1'")
    monkeypatch.setattr(Versions, "width", 4)
    refused(config, None, "text_width 4, not 3")
    monkeypatch.setattr(TEXT_ENCODERS, "_entries", {})
    refused(config, None, "no text encoder 'versions'")


def test_a_bert_is_found_by_its_folder(
    write_bert: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = write_bert(tmp_path / "first"), write_bert(tmp_path / "other", seed=1)
    config, _ = choose_text_encoder(ModelConfig(), str(first))
    assert (config.text_encoder, config.text_width) == ("bert", 32)
    refused(config, None, f"its folder is expected, as --text-encoder FOLDER or in {VARIABLE}")
    refused(config, str(other), "text_fingerprint '.{16}', not '.{16}'")
    monkeypatch.setenv(VARIABLE, str(first))
    tokens = find_tokenizer(config)("pencil sketch")
    assert tokens.shape == (MAX_WORDS, 32) and tokens.dtype == np.float32
    assert tokens.any(axis=1).tolist() == [True] * 4 + [False] * (MAX_WORDS - 4)
    refused(config, str(other), "text_fingerprint")  # what is said counts more
