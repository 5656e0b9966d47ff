"""Features of prompts without a text encoder: from a file made before, or one row a word."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lsdjax.core.errors import UserError
from lsdjax.text.tokenizer import find_words

_PROMPTS = "prompts"


def save_embeddings(path: Path, features: Mapping[str, np.ndarray]) -> None:
    """Write features (words, width) by prompt, in bfloat16; raises UserError where it cannot."""
    tensors = {str(i): x.astype(ml_dtypes.bfloat16) for i, x in enumerate(features.values())}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, {_PROMPTS: json.dumps(list(features))})
    except (SafetensorError, OSError) as error:
        raise UserError(f"{str(path)!r} cannot be written ({error})") from error


class PromptFile:
    """A `lsdjax.text.registry.FrozenEncoder` that knows some prompts by heart.

    Attributes:
        prompts: those that it knows.
        width: features a word.
    """

    def __init__(self, path: Path) -> None:
        """Raises UserError where `path` is no file that `save_embeddings` wrote."""
        self._path = path
        try:
            with safe_open(path, "numpy") as file:
                self.prompts = tuple(json.loads((file.metadata() or {})[_PROMPTS]))
                rows = [file.get_tensor(str(i)) for i in range(len(self.prompts))]
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{str(path)!r} is not a file of prompts' features ({error})"
            ) from error
        widths = {row.shape[-1] if row.ndim == 2 else 0 for row in rows}
        if len(widths) != 1 or 0 in widths:
            raise UserError(f"{str(path)!r}: features (words, width) of one width are expected")
        self.width = widths.pop()
        self._rows = dict(zip(self.prompts, rows, strict=True))

    def __call__(self, prompt: str) -> np.ndarray:
        """Features (words, width) in float32; raises UserError where the prompt is not known."""
        if prompt not in self._rows:
            raise UserError(
                f"prompt {prompt!r} is not among those of {str(self._path)!r}: "
                f"{', '.join(map(repr, self.prompts))}"
            )
        return np.asarray(self._rows[prompt], np.float32)


class HashedWords:
    """Random features of each word, always the same: enough for a model that learns few prompts."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, prompt: str) -> np.ndarray:
        """Features (words, width) of unit scale; raises UserError where there is no word."""
        rows = []
        for word in find_words(prompt):
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
            rows.append(np.random.default_rng(seed).standard_normal(self.width, np.float32))
        return np.stack(rows)
