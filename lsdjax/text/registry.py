"""Text encoders by name: what turns a prompt into the one array that the model takes.

The built-in one hashes n-grams, whose table is trained with the model. Every other one is frozen
and lies outside of the model, which learns a projection of its features: a BERT by its folder, or
one of a user's own that `register_text_encoder` has made known.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.core.registry import Registry, blame
from lsdjax.text.tokenizer import MAX_WORDS, find_words

NGRAMS, BERT = "ngrams", "bert"

Tokenizer = Callable[[str], np.ndarray]
"""Prompt -> what the model's `TextEncoder` takes of it; one shape for all prompts."""


class FrozenEncoder(Protocol):
    """Makes features of a prompt's words, once a prompt.

    Attributes:
        width: features a word.
        fingerprint: another one wherever the features are others; checkpoints keep it.
    """

    @property
    def width(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, prompt: str) -> np.ndarray:
        """Features (words, width) of any scale; a word whose features are all zero is not seen.

        The prompt has a word in it. Of more than `MAX_WORDS` words the first ones count.
        """
        ...


TEXT_ENCODERS: Registry[Callable[[], FrozenEncoder]] = Registry("text encoder", {})


def register_text_encoder(name: str, factory: Callable[[], FrozenEncoder]) -> None:
    """Make a frozen encoder known as `name`, for `--text-encoder` and `ModelConfig.text_encoder`.

    Raises:
        UserError: the name is taken.
    """
    if name in (NGRAMS, BERT):
        raise UserError(f"text encoder {name!r} is built in; another name is expected")
    TEXT_ENCODERS.register(name, factory)


def load_encoder(where: str) -> tuple[str, FrozenEncoder]:
    """A frozen encoder and its name, from a BERT's folder or the name of one that is registered.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    path = Path(where)
    if path.is_dir():
        from lsdjax.text.pretrained import load_bert  # the only one that needs JAX

        return BERT, load_bert(path)
    if where not in TEXT_ENCODERS:
        raise UserError(
            f"no text encoder {where!r}; {NGRAMS}, a BERT's folder or one of "
            f"{sorted(TEXT_ENCODERS)} is expected (a file given with --plugin may bring others)"
        )
    with blame(f"text encoder {where!r}"):
        return where, TEXT_ENCODERS[where]()


def padded(name: str, encoder: FrozenEncoder) -> Tokenizer:
    """The tokenizer of a frozen encoder: its features in float32, with rows of zeros behind them.

    It raises UserError for a prompt without words and for features of another shape or not finite.
    """

    def tokenize(prompt: str) -> np.ndarray:
        find_words(prompt)
        features = np.asarray(encoder(prompt), np.float32)
        if features.ndim != 2 or features.shape[1] != encoder.width:
            raise UserError(
                f"text encoder {name!r} made features {features.shape} of {prompt!r}; "
                f"(words, {encoder.width}) is expected"
            )
        if not np.isfinite(features).all():
            raise UserError(
                f"text encoder {name!r} made features of {prompt!r} that are not finite"
            )
        tokens = np.zeros((MAX_WORDS, encoder.width), np.float32)
        tokens[: len(features)] = features[:MAX_WORDS]
        return tokens

    return tokenize
