"""Configs are checked where they are made, and survive JSON."""

import pytest

from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig


def test_round_trip() -> None:
    config = ModelConfig(height=64, width=96, window=7)
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 100}, "height=100"),
        ({"dim": 100}, "dim=100"),
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
