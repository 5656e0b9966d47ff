"""UMT5's encoder against NumPy in float64, written apart; no public weights are at hand."""

import math

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from lsdjax import cli
from lsdjax.core.errors import UserError
from lsdjax.text.embeddings import PromptFile
from lsdjax.text.umt5 import Umt5Config, encode, parameter_shapes, position_buckets

TINY = Umt5Config(vocabulary=11, dim=8, attention_dim=12, ffn_dim=16, heads=3, depth=2, buckets=8)


def bucket(distance: int, buckets: int) -> int:
    """One distance (key - query) at a time, as Raffel et al. 2020 put it in words."""
    half, size = buckets // 2, abs(distance)
    exact = half // 2
    number = size
    if size >= exact:
        share = math.log(size / exact) / math.log(128 / exact)
        number = min(half - 1, exact + int(np.float32(share) * (half - exact)))
    return number + (half if distance > 0 else 0)


def reference(params, ids, mask):
    p = {name: value.astype(np.float64) for name, value in params.items()}

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p[f"{name}.weight"]

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    x = p["token_embedding.weight"][ids]
    for i in range(TINY.depth):
        y, table = norm(x, f"blocks.{i}.norm1"), p[f"blocks.{i}.pos_embedding.embedding.weight"]
        q, k, v = (y @ p[f"blocks.{i}.attn.{part}.weight"].T for part in "qkv")
        mixed = np.zeros_like(q)
        for head in range(TINY.heads):
            now = slice(4 * head, 4 * head + 4)
            for row in range(len(ids)):
                bias = [table[bucket(col - row, 8), head] for col in range(len(ids))]
                logits = np.where(mask, k[:, now] @ q[row, now] + bias, -np.inf)
                weights = np.exp(logits - logits.max())
                mixed[row, now] = weights @ v[:, now] / weights.sum()
        x = x + mixed @ p[f"blocks.{i}.attn.o.weight"].T
        y = norm(x, f"blocks.{i}.norm2")
        gate = gelu(y @ p[f"blocks.{i}.ffn.gate.0.weight"].T)
        x = x + (gate * (y @ p[f"blocks.{i}.ffn.fc1.weight"].T)) @ p[f"blocks.{i}.ffn.fc2.weight"].T
    return norm(x, "norm")


def test_the_encoder_is_the_reference():
    rng = np.random.default_rng(0)
    params = {
        name: (0.5 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in parameter_shapes(TINY).items()
    }
    ids, mask = rng.integers(0, 11, 40), np.arange(40) < 34
    made = jax.jit(lambda p, i, m: encode(p, TINY, i, m))(params, ids, mask)
    np.testing.assert_allclose(made[:34], reference(params, ids, mask)[:34], atol=1e-4)


def test_prompts_are_embedded_from_the_command_line(tmp_path, capsys):
    """Public tensors and a tokenizer in, a file of features out, which a stream reads."""
    tokenizers = pytest.importorskip("tokenizers", reason="UMT5 needs the package tokenizers")
    rng = np.random.default_rng(0)
    params = {
        name: (0.5 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in parameter_shapes(TINY).items()
    }
    save_file(params, tmp_path / "theirs.safetensors")
    folder, out = tmp_path / "ours", tmp_path / "prompts.safetensors"
    assert cli.main(["convert", str(tmp_path / "theirs.safetensors"), str(folder)]) == 0
    embed = ["embed", str(folder), str(out), "--prompt", "snow  falls", "--prompt", "rain"]
    assert cli.main(embed) == 2
    assert "the tokenizer.json of UMT5 is expected" in capsys.readouterr().err
    words = {"<unk>": 2, "</s>": 1, "snow": 4, "falls": 5}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    made.save(str(folder / "tokenizer.json"))
    assert cli.main(embed) == 0
    known = PromptFile(out)
    ids = np.array([4, 5, 1])
    expected = reference(params, ids, np.ones(3, bool))
    np.testing.assert_allclose(known("snow  falls"), expected, rtol=0.01, atol=0.02)
    assert known("rain").shape == (2, 8)


def test_buckets_are_the_published_ones():
    table = position_buckets(300, 32)
    assert table[0, 0] == 0 and table[5, 0] == 5 and table[0, 5] == 21
    assert [table[d, 0] for d in (7, 8, 16, 32, 64, 128, 299)] == [7, 8, 10, 12, 14, 15, 15]
    assert table.max() == 31


def test_the_defaults_are_those_of_xxl():
    shapes = parameter_shapes(Umt5Config())
    assert len(shapes) == 242
    assert sum(math.prod(shape) for shape in shapes.values()) == 5_680_910_336
    with pytest.raises(UserError, match="heads=3"):
        Umt5Config(heads=3)
