"""Configs are checked where they are made, and survive JSON."""

import pytest

from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig


def test_round_trip() -> None:
    config = ModelConfig(height=64, width=96, window=7)
    assert ModelConfig.from_json(config.to_json()) == config


def test_sizes_follow_from_others_unless_they_are_stated() -> None:
    tied = ModelConfig(dim=64, heads=2, channels=8)
    assert (tied.head_dim, tied.mlp_hidden) == (32, 128)
    assert (tied.observed_channels, tied.fused_channels, tied.wide_channels) == (8, 8, 16)
    stated = ModelConfig(dim=80, heads=1, head_dim=32, mlp_hidden=48, wide_channels=24)
    assert (stated.head_dim, stated.mlp_hidden, stated.wide_channels) == (32, 48, 24)
    assert ModelConfig.from_json(stated.to_json()) == stated


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 100}, "height=100"),
        ({"dim": 100}, "dim=100"),
        ({"dim": 96, "heads": 5}, "dim=96 over heads=5"),
        ({"head_dim": 24}, "head_dim=24"),
        ({"mlp_hidden": -1}, "mlp_hidden=-1"),
        ({"window": 0}, "window=0"),
        ({"history_level": 1.5}, "history_level=1.5"),
        ({"text_encoder": "bert"}, "text_encoder='bert', text_width=0"),
        ({"text_width": 8}, "text_encoder='ngrams', text_width=8"),
        ({"text_encoder": "bert", "text_width": -1}, "text_width=-1"),
    ],
)
def test_bad_sizes_are_named(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ModelConfig(**change)


def test_foreign_json_is_refused() -> None:
    stored = ModelConfig().to_json()
    with pytest.raises(UserError, match="unknown entries"):
        ModelConfig.from_json({**stored, "colour": 1})
    with pytest.raises(UserError, match="lacks"):
        ModelConfig.from_json({k: v for k, v in stored.items() if k != "dim"})
    with pytest.raises(UserError, match="dim='wide'"):
        ModelConfig.from_json({**stored, "dim": "wide"})
