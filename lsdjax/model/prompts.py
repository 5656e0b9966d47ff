"""How a model's prompts are read: by the text encoder that its config names."""

import dataclasses
import os

from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig
from lsdjax.text.registry import BERT, NGRAMS, Tokenizer, load_encoder, padded
from lsdjax.text.tokenizer import tokenize

VARIABLE = "LSDJAX_TEXT_ENCODER"


def choose_text_encoder(config: ModelConfig, where: str) -> tuple[ModelConfig, Tokenizer]:
    """The config of a new model that reads prompts by the encoder at `where`, and its tokenizer.

    where: "ngrams", or what `load_encoder` takes.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    if where == NGRAMS:
        built_in = {"text_encoder": NGRAMS, "text_width": 0, "text_fingerprint": ""}
        return dataclasses.replace(config, **built_in), tokenize
    name, encoder = load_encoder(where)
    chosen = {
        "text_encoder": name,
        "text_width": encoder.width,
        "text_fingerprint": encoder.fingerprint,
    }
    return dataclasses.replace(config, **chosen), padded(name, encoder)


def find_tokenizer(config: ModelConfig, where: str | None = None) -> Tokenizer:
    """The tokenizer of a model that exists.

    where: None is the value of `LSDJAX_TEXT_ENCODER` where the model needs one, or else the encoder
    that was registered under the model's name for it.

    Raises:
        UserError: there is none, it cannot be used, or the model was trained with another one.
    """
    if where is None and config.text_encoder == NGRAMS:
        return tokenize
    where = where or os.environ.get(VARIABLE)
    if where is None and config.text_encoder == BERT:
        raise UserError(
            "the model reads prompts with a BERT; its folder is expected, "
            f"as --text-encoder FOLDER or in {VARIABLE}"
        )
    where = where or config.text_encoder
    found, read = choose_text_encoder(config, where)
    for name in ("text_encoder", "text_width", "text_fingerprint"):
        ours, theirs = getattr(config, name), getattr(found, name)
        if ours != theirs:
            raise UserError(
                f"text encoder {where!r} is not the one that the model was trained with: "
                f"{name} {theirs!r}, not {ours!r}"
            )
    return read
