"""UMT5's sizes, and its prompts from the command line; its numbers are checked in ../peers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from lsdjax import cli
from lsdjax.core.errors import UserError
from lsdjax.text.embeddings import PromptFile
from lsdjax.text.umt5 import Umt5Config, encode, parameter_shapes, position_buckets

TINY = Umt5Config(vocabulary=11, dim=8, attention_dim=12, ffn_dim=16, heads=3, depth=2, buckets=8)


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
    ids = jnp.array([4, 5, 1])
    expected = encode(params, TINY, ids, jnp.ones(3, bool))
    np.testing.assert_allclose(known("snow  falls"), expected, rtol=0.01, atol=0.02)
    assert known("rain").shape == (2, 8)
    for wrong, told in (
        (["--prompt", " . "], "empty prompt"),
        ([], "--prompt TEXT is missing"),
    ):
        assert cli.main(["embed", str(folder), str(out), *wrong]) == 2
        assert told in capsys.readouterr().err
    for place, told in ((tmp_path, "a folder, the name of"), (out / "x", "cannot be written")):
        assert cli.main(["embed", str(folder), str(place), "--prompt", "rain"]) == 2
        assert told in capsys.readouterr().err


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
