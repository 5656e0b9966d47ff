"""The table of times: every part of a step is in it once, and nothing is timed twice."""

import dataclasses
import json
from pathlib import Path

import pytest

from lsdjax.checkpoint.export import abstract_params
from lsdjax.compress import latency
from lsdjax.compress.latency import LatencyTable, Part, step_parts, time_part
from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig

CONFIG = ModelConfig(
    height=32, width=48, dim=32, depth=3, heads=1, head_dim=16, mlp_hidden=48, channels=8,
    observed_channels=6, fused_channels=7, wide_channels=12, experts=2, text_dim=32,
    text_depth=1, window=2,
)  # fmt: skip


def test_parts_are_those_of_the_model() -> None:
    """Every convolution and linear map of the picture is timed at the shape that it has."""
    shapes = {name: leaf.shape for name, leaf in abstract_params(CONFIG).items()}
    parts = step_parts(CONFIG, 2)
    convs = {
        part.sizes[2:]: times for part, times in parts.items() if part.kind in ("conv", "film")
    }
    others = ("route", "skip")  # once a prompt, and of pixels, which are never cut
    for name, shape in shapes.items():
        _, part, *rest = name.split(".")
        if name.startswith("convs") and rest == ["kernel"] and part not in others:
            assert shape[1:] in convs, name
    assert convs[3, 12, 12] == 4  # mix and head, in two passes
    assert convs[3, 8 + 6, 7] == 2 and convs[3, 6, 8] == 1
    linear = {part.sizes for part in parts if part.kind == "linear"}
    assert linear == {(6, *shapes[f"{name}.kernel"]) for name in ("tokens_in", "tokens_out")}
    assert parts[Part("block", (2, 3, 2, 32, 1, 16, 48))] == 6


def test_a_clean_pass_is_one_more() -> None:
    config = dataclasses.replace(CONFIG, clean_pass=True)
    assert step_parts(config, 1) == step_parts(CONFIG, 2)


@pytest.fixture
def counted():
    timed: list[Part] = []

    def time_one(part: Part, config: ModelConfig) -> float:
        timed.append(part)
        return float(len(timed))

    return timed, time_one


def test_nothing_is_timed_twice(tmp_path: Path, counted) -> None:
    timed, time_one = counted
    path = tmp_path / "deep" / "small.latency.json"
    first = LatencyTable(path, CONFIG, time_one).parts_ms(CONFIG, 2)
    assert len(timed) == len(set(timed)) == len(step_parts(CONFIG, 2))
    again = LatencyTable(path, CONFIG, time_one)
    assert again.parts_ms(CONFIG, 2) == first
    assert again.parts_ms(CONFIG, 4) > first
    assert len(timed) == len(set(timed)) == len(step_parts(CONFIG, 2))
    again.parts_ms(dataclasses.replace(CONFIG, fused_channels=3), 2)
    assert len(timed) == len(step_parts(CONFIG, 2)) + 3  # fuse, detail, pixel
    assert not list(path.parent.glob("*.partial"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a table of times"),
        ("[]", "is not a table of times"),
        (json.dumps({"machine": "abacus", "times_ms": {}}), "was timed on abacus, and this is"),
    ],
)
def test_a_table_of_another_machine_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        LatencyTable(path, CONFIG)


@pytest.mark.parametrize(
    "part",
    [
        Part("conv", (4, 6, 1, 5, 3)),
        Part("film", (4, 6, 3, 5, 3)),
        Part("linear", (6, 8, 4)),
        Part("block", (2, 3, 2, 16, 1, 16, 24)),
    ],
)
def test_every_kind_of_part_can_be_timed(monkeypatch: pytest.MonkeyPatch, part: Part) -> None:
    monkeypatch.setattr(latency, "RUNS", 1)
    monkeypatch.setattr(latency, "SPAN_S", 0.0)
    assert time_part(part, CONFIG) > 0
