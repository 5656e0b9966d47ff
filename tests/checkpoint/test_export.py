"""Checkpoints: whole or not at all, and refused in one line when they do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from lsdjax.checkpoint.export import (
    CONFIG,
    WEIGHTS,
    Checkpoint,
    abstract_params,
    load_checkpoint,
    save_checkpoint,
)
from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT

MODEL = ModelConfig(
    height=32, width=32, dim=32, depth=1, heads=1, channels=8, experts=2, text_dim=32,
    text_depth=1, window=2,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, random_like) -> Path:
    model = nnx.eval_shape(lambda: CausalDiT(MODEL, rngs=nnx.Rngs(0)))
    params = random_like(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    return save_checkpoint(tmp_path / "model", Checkpoint(MODEL, params, {"note": "x"}))


def test_round_trip(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.config == MODEL and loaded.meta == {"note": "x"}
    assert not list(folder.glob("*.partial"))
    kernel = loaded.params["blocks"][0]["qkv"]["kernel"]
    assert kernel.dtype == np.float32 and kernel.shape == (32, 96)
    assert load_checkpoint(folder / WEIGHTS).config == MODEL
    assert "blocks.0.qkv.kernel" in abstract_params(MODEL)


def test_format_1_tied_its_sizes(folder: Path) -> None:
    def tie(description: dict) -> None:
        sizes = ("head_dim", "mlp_hidden", "observed_channels", "fused_channels", "wide_channels")
        for name in sizes:
            del description["model"][name]
        description["model"]["mlp_ratio"] = 2
        description["format"] = 1

    before = load_checkpoint(folder)
    edit(folder, tie)
    assert load_checkpoint(folder).config == before.config == MODEL


def edit(folder: Path, change) -> None:
    description = json.loads((folder / CONFIG).read_text())
    change(description)
    (folder / CONFIG).write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / WEIGHTS).unlink(), "no model.safetensors"),
        (lambda f: (f / CONFIG).unlink(), "no config.json"),
        (lambda f: (f / CONFIG).write_text("{"), "not a checkpoint's config"),
        (lambda f: (f / CONFIG).write_text("[]"), "not a checkpoint's config"),
        (lambda f: (f / WEIGHTS).write_bytes(b"not tensors"), "not a readable safetensors"),
        (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:-99]), "not a readable"),
        (lambda f: edit(f, lambda d: d.update(format=99)), "format 99"),
        (lambda f: edit(f, lambda d: d["model"].update(dim=64)), "do not fit their config"),
        (lambda f: edit(f, lambda d: d["model"].update(depth=2)), "do not fit their config"),
        (lambda f: edit(f, lambda d: d["model"].update(head_dim=7)), "head_dim=7"),
    ],
)
def test_damage_is_one_clear_line(folder: Path, damage, message: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=message) as raised:
        load_checkpoint(folder)
    assert "\n" not in str(raised.value)
