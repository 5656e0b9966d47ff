"""A BERT from its folder: the same numbers as the equations give, whatever lies around."""

import dataclasses
import functools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lsdjax.core.errors import UserError
from lsdjax.text.bert import BertConfig, encode
from lsdjax.text.pretrained import CONFIG, TOKENIZER, WEIGHTS, load_bert
from lsdjax.text.tokenizer import MAX_WORDS

IDS = [2, 5, 6, 7, 1, 3]  # "[CLS] pencil sketch ##es [UNK] [SEP]"
PROMPT = "Pencil SKETCHES, "  # the comma is the unknown token


def reference(folder: Path, ids: list[int]) -> np.ndarray:
    """Hidden states (n, hidden) of one sentence, in float64 and word by word, without a mask."""
    config = json.loads((folder / CONFIG).read_text())
    w = {name: value.astype(np.float64) for name, value in load_file(folder / WEIGHTS).items()}

    def norm(rows: np.ndarray, name: str) -> np.ndarray:
        out = []
        for row in rows:
            scaled = (row - row.mean()) / math.sqrt(row.var() + config["layer_norm_eps"])
            out.append(scaled * w[f"{name}.weight"] + w[f"{name}.bias"])
        return np.array(out)

    def dense(rows: np.ndarray, name: str) -> np.ndarray:
        return np.array([w[f"{name}.weight"] @ row + w[f"{name}.bias"] for row in rows])

    def gelu(x: float) -> float:
        if config["hidden_act"] == "gelu_new":
            return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))

    e = "embeddings"
    x = np.array(
        [
            w[f"{e}.word_embeddings.weight"][token]
            + w[f"{e}.position_embeddings.weight"][place]
            + w[f"{e}.token_type_embeddings.weight"][0]
            for place, token in enumerate(ids)
        ]
    )
    x = norm(x, f"{e}.LayerNorm")
    size = config["hidden_size"] // config["num_attention_heads"]
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        q, k, v = (dense(x, f"{name}.attention.self.{p}") for p in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(config["num_attention_heads"]):
            part = slice(head * size, (head + 1) * size)
            for n in range(len(ids)):
                weights = np.exp([q[n, part] @ other[part] / math.sqrt(size) for other in k])
                mixed[n, part] = weights @ v[:, part] / weights.sum()
        attended = dense(mixed, f"{name}.attention.output.dense")
        x = norm(x + attended, f"{name}.attention.output.LayerNorm")
        inner = np.vectorize(gelu)(dense(x, f"{name}.intermediate.dense"))
        x = norm(x + dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    return x


@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_hidden_states_are_those_of_the_equations(
    write_bert: Callable[..., Path], tmp_path: Path, activation: str
) -> None:
    folder = write_bert(tmp_path / "bert", hidden_act=activation, layer_norm_eps=1e-3)
    bert = load_bert(folder)
    made = bert(PROMPT)
    assert made.dtype == np.float32 and made.shape == (len(IDS), bert.width) == (6, 32)
    np.testing.assert_allclose(made, reference(folder, IDS), atol=2e-5)


def test_neither_padding_nor_the_batch_matters(
    write_bert: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_bert(tmp_path / "bert")
    values = json.loads((folder / CONFIG).read_text())
    names = [field.name for field in dataclasses.fields(BertConfig)]
    config = BertConfig(**{name: values[name] for name in names})
    params = jax.tree.map(jnp.asarray, load_file(folder / WEIGHTS))
    other = [2, 9, 3]
    ids = np.full((2, 8), 11, np.int32)  # the padding is a word that would count
    ids[0, :6], ids[1, :3] = IDS, other
    mask = np.arange(8) < np.array([[6], [3]])
    read = functools.partial(jax.jit(functools.partial(encode, config=config)), params)
    both = read(ids, np.zeros_like(ids), mask)
    for row, alone in zip(both, (IDS, other), strict=True):
        short = np.array([alone], np.int32)
        single = read(short, np.zeros_like(short), short >= 0)
        np.testing.assert_allclose(row[: len(alone)], single[0], atol=1e-5)
    swapped = read(ids[::-1], np.zeros_like(ids), mask[::-1])
    np.testing.assert_allclose(swapped[::-1], both, atol=1e-5)


def test_long_prompts_are_cut_and_keep_their_end_token(
    write_bert: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_bert(tmp_path / "bert")
    made = load_bert(folder)("word " * 100)
    cut = [2, *[12] * (MAX_WORDS - 2), 3]
    np.testing.assert_allclose(made, reference(folder, cut), atol=2e-5)


def test_names_and_what_is_not_needed_do_not_matter(
    write_bert: Callable[..., Path], tmp_path: Path
) -> None:
    plain = load_bert(write_bert(tmp_path / "plain"))
    prefixed = load_bert(write_bert(tmp_path / "prefixed", prefix="bert.", extra=True))
    old = write_bert(tmp_path / "old")
    renamed = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): value
        for name, value in load_file(old / WEIGHTS).items()
    }
    save_file(renamed, old / WEIGHTS)
    for other in (prefixed, load_bert(old)):
        assert other.fingerprint == plain.fingerprint
        np.testing.assert_array_equal(other("snow falls"), plain("snow falls"))


def test_the_fingerprint_is_of_weights_settings_and_vocabulary(
    write_bert: Callable[..., Path], tmp_path: Path
) -> None:
    first = write_bert(tmp_path / "first")
    cased = write_bert(tmp_path / "cased")
    edit_json(cased / TOKENIZER, lambda v: v["normalizer"].update(lowercase=False))
    uncut = write_bert(tmp_path / "uncut")
    edit_json(uncut / TOKENIZER, lambda v: v.update(truncation=None, padding=None))
    others = [
        write_bert(tmp_path / "seed", seed=1),
        write_bert(tmp_path / "act", hidden_act="gelu_new"),
        cased,
    ]
    prints = [load_bert(folder).fingerprint for folder in (first, *others)]
    assert len(set(prints)) == 4
    assert load_bert(uncut).fingerprint == prints[0]


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def edit_tensors(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / WEIGHTS).unlink(), "no model.safetensors"),
        (lambda f: (f / TOKENIZER).unlink(), "no tokenizer.json"),
        (lambda f: (f / CONFIG).write_text("{"), "config.json' is not JSON"),
        (lambda f: (f / CONFIG).write_text("[]"), "config.json' holds no JSON object"),
        (lambda f: (f / TOKENIZER).write_text('{"model": 1}'), "is not a tokenizer"),
        (
            lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-99]),
            "not a readable safetensors",
        ),
        (lambda f: edit_tensors(f, lambda t: t.pop(QUERY)), f"lacks {QUERY}$"),
        (
            lambda f: edit_tensors(f, lambda t: t.update({QUERY: t[QUERY][:, :16].copy()})),
            rf"{QUERY} is \(32, 16\); \(32, 32\) is expected",
        ),
        (lambda f: edit_json(f / CONFIG, lambda v: v.update(model_type="roberta")), "'roberta'"),
        (lambda f: edit_json(f / CONFIG, lambda v: v.pop("model_type")), "model_type=None"),
        (
            lambda f: edit_json(f / CONFIG, lambda v: v.update(position_embedding_type="relative")),
            "position_embedding_type='relative'; 'absolute' is expected",
        ),
        (lambda f: edit_json(f / CONFIG, lambda v: v.update(hidden_act="relu")), "='relu'; one of"),
        (lambda f: edit_json(f / CONFIG, lambda v: v.update(hidden_size=30)), "hidden_size=30"),
        (lambda f: edit_json(f / CONFIG, lambda v: v.pop("vocab_size")), "lacks vocab_size"),
        (lambda f: edit_json(f / CONFIG, lambda v: v.update(vocab_size=9)), "has 14 tokens"),
        (lambda f: edit_json(f / CONFIG, lambda v: v.update(num_hidden_layers=5)), "and 45 more"),
    ],
)
def test_damage_is_one_clear_line(
    write_bert: Callable[..., Path], tmp_path: Path, damage: Callable, message: str
) -> None:
    folder = write_bert(tmp_path / "bert")
    damage(folder)
    with pytest.raises(UserError, match=message) as raised:
        load_bert(folder)
    assert "\n" not in str(raised.value) and str(folder) in str(raised.value)


def test_without_the_package_a_line_says_what_to_install(
    write_bert: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bert(tmp_path / "bert")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"pip install 'lsdjax\[bert\]'"):
        load_bert(folder)
