"""Text encoders by name: what turns a prompt into the one array that the model takes.

The built-in one hashes n-grams, whose table is trained with the model. Every other one is frozen
and lies outside of the model, which learns a projection of its features: a BERT by its folder, or
one of a user's own that `register` has made known.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from lsdjax.core.errors import UserError
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


_FACTORIES: dict[str, Callable[[], FrozenEncoder]] = {}


def register(name: str, factory: Callable[[], FrozenEncoder]) -> None:
    """Make a text encoder known as `name`; a later one of the same name takes its place.

    Raises:
        UserError: the name is a built-in one's.
    """
    if name in (NGRAMS, BERT):
        raise UserError(f"text encoder {name!r} is built in; another name is expected")
    _FACTORIES[name] = factory


def load_encoder(where: str) -> tuple[str, FrozenEncoder]:
    """A frozen encoder and its name, from a BERT's folder, a name, or a .py file that registers it.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    path = Path(where)
    if path.is_dir():
        from lsdjax.text.pretrained import load_bert  # the only one that needs JAX

        return BERT, load_bert(path)
    name = _registered_by(path) if path.suffix == ".py" else where
    if name not in _FACTORIES:
        raise UserError(
            f"no text encoder {where!r}; a BERT's folder, a .py file that registers one, "
            f"or one of {sorted(_FACTORIES)} is expected"
        )
    return name, _FACTORIES[name]()


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


def _registered_by(path: Path) -> str:
    """Run a file; the name of the one text encoder that it registers."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"no file {str(path)!r}; one that registers a text encoder is expected")
    before = dict(_FACTORIES)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    names = [name for name in _FACTORIES if _FACTORIES[name] is not before.get(name)]
    if len(names) != 1:
        raise UserError(f"{str(path)!r} registers {names}; one text encoder is expected")
    return names[0]
