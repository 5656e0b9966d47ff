"""A frozen BERT from a folder as sentence-transformers writes it, without torch or transformers."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lsdjax.core.errors import UserError
from lsdjax.text.bert import BertConfig, encode, parameter_shapes
from lsdjax.text.tokenizer import MAX_WORDS

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"

_USUAL = {"position_embedding_type": "absolute", "is_decoder": False}
_NEW_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class Bert:
    """A `FrozenEncoder`: the last hidden states of a prompt's tokens, [CLS] and [SEP] among them.

    It computes on the host, where it does not wait for what the accelerator is at.
    """

    def __init__(
        self, config: BertConfig, params: dict[str, np.ndarray], tokenizer: Any, fingerprint: str
    ) -> None:
        """tokenizer: of the `tokenizers` package; one that neither pads nor cuts."""
        self.width = config.hidden_size
        self.fingerprint = fingerprint
        self._length = min(MAX_WORDS, config.max_position_embeddings)
        tokenizer.enable_truncation(self._length)
        self._tokenizer = tokenizer
        self._params = jax.device_put(params, _host_device())
        self._encode = jax.jit(functools.partial(encode, config=config))

    def __call__(self, prompt: str) -> np.ndarray:
        encoded = self._tokenizer.encode(prompt)
        count = len(encoded.ids)
        padded = np.zeros((3, 1, self._length), np.int32)  # one shape: compiled once
        padded[:, 0, :count] = encoded.ids, encoded.type_ids, np.ones(count)
        ids, types, mask = padded
        return np.asarray(self._encode(self._params, ids, types, mask > 0))[0, :count]


def load_bert(folder: Path) -> Bert:
    """The BERT of a folder with model.safetensors, config.json and tokenizer.json.

    The fingerprint is of what the features depend on: sizes, weights and vocabulary. Other tensors
    and files, such as those of a pooling layer, are not looked at.

    Raises:
        UserError: a file is missing or damaged, a tensor is missing or has another shape, the model
            is no BERT, or the package `tokenizers` is not there.
    """
    for name in (WEIGHTS, CONFIG, TOKENIZER):
        if not (folder / name).is_file():
            raise UserError(f"no {name} in {str(folder)!r}; the folder of a BERT is expected")
    config = _read_config(folder / CONFIG)
    tokenizer, vocabulary = _read_tokenizer(folder / TOKENIZER, config)
    params = _read_params(folder / WEIGHTS, config)
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config)).encode())
    digest.update(vocabulary.encode())
    for name in sorted(params):
        digest.update(params[name].tobytes())
    return Bert(config, params, tokenizer, digest.hexdigest()[:16])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise UserError(f"{str(path)!r} holds no JSON object")
    return values


def _read_config(path: Path) -> BertConfig:
    values = {"model_type": None, **_USUAL, **_read_json(path)}
    for name, expected in {"model_type": "bert", **_USUAL}.items():
        if values[name] != expected:
            raise UserError(f"{str(path)!r}: {name}={values[name]!r}; {expected!r} is expected")
    fields = dataclasses.fields(BertConfig)
    required = {field.name for field in fields if field.default is dataclasses.MISSING}
    if missing := sorted(required - set(values)):
        raise UserError(f"{str(path)!r} lacks {', '.join(missing)}")
    try:
        return BertConfig(**{f.name: values[f.name] for f in fields if f.name in values})
    except UserError as error:
        raise UserError(f"{str(path)!r}: {error}") from error


def _read_tokenizer(path: Path, config: BertConfig) -> tuple[Any, str]:
    """The tokenizer, and as text all of it that tells which ids a prompt has."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserError(
            "a BERT needs the package tokenizers: pip install 'lsdjax[bert]'"
        ) from error
    values = _read_json(path) | {"padding": None, "truncation": None}
    try:
        tokenizer = Tokenizer.from_str(json.dumps(values))
    except Exception as error:  # the package raises nothing narrower
        raise UserError(f"{str(path)!r} is not a tokenizer ({error})") from error
    size = tokenizer.get_vocab_size()
    if size > config.vocab_size:
        raise UserError(
            f"{str(path)!r} has {size} tokens; at most vocab_size={config.vocab_size} are expected"
        )
    return tokenizer, json.dumps(values, sort_keys=True)


def _read_params(path: Path, config: BertConfig) -> dict[str, np.ndarray]:
    """The parameters in float32 under their names without the prefix "bert."."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{str(path)!r} is not a readable safetensors file ({error})") from error
    found = {}
    for stored, tensor in tensors.items():
        name = stored.removeprefix("bert.")
        for old, new in _NEW_NAMES.items():  # of the oldest checkpoints
            name = name.replace(old, new)
        found[name] = tensor
    shapes = parameter_shapes(config)
    if missing := sorted(set(shapes) - set(found)):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(f"{str(path)!r} lacks {', '.join(missing[:3])}{more}")
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise UserError(f"{str(path)!r}: {name} is {found[name].shape}; {shape} is expected")
    return {name: np.asarray(found[name], np.float32) for name in shapes}


def _host_device() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to use an accelerator alone
        return jax.local_devices()[0]
