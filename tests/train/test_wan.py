"""A Wan-shaped model is trained, resumed, exported, and streams a clip from the command line."""

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from lsdjax import cli
from lsdjax.checkpoint.convert import load_component
from lsdjax.configs.wan import TINY_WAN, WAN_RECIPES, WanRecipe
from lsdjax.core.errors import UserError
from lsdjax.data.video import open_source
from lsdjax.pallas import dispatch

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = WanRecipe(
    dataclasses.replace(TINY_WAN, depth=1, dim=24, ffn_dim=32, window=2, chunk=2),
    steps=4, groups=2, clips=1, frames=4, warmup=2, checkpoint_every=2,
)  # fmt: skip


@pytest.fixture
def pairs(tmp_path: Path, write_video) -> Path:
    for side in ("input", "target"):
        (tmp_path / "pairs" / side).mkdir(parents=True)
        write_video(tmp_path / "pairs" / side / "a.mp4", frames=7)
    told = '{"file": "a.mp4", "prompt": "leave it"}\n'
    (tmp_path / "pairs" / "prompts.jsonl").write_text(told)
    return tmp_path / "pairs"


def test_it_trains_resumes_and_streams(pairs, tmp_path, monkeypatch, capsys, write_video):
    monkeypatch.setitem(WAN_RECIPES, "small", SMALL)
    train = ["train", "small", "--data", str(pairs), "--run"]
    with monkeypatch.context() as patch:  # kernels have no gradient: nobody may ask one
        known = dispatch._IMPLEMENTATIONS["wan blocks"]
        patch.setitem(dispatch._IMPLEMENTATIONS, "wan blocks", {"kernel": cast(Any, None), **known})
        assert cli.main([*train, str(tmp_path / "whole")]) == 0
    assert cli.main([*train, str(tmp_path / "parts"), "--stop-after", "2"]) == 0
    assert cli.main([*train, str(tmp_path / "parts")]) == 0
    folder = tmp_path / "whole" / "export"
    first, second = (
        load_component(x / "export", "wan") for x in (tmp_path / "whole", tmp_path / "parts")
    )
    for name, tensor in first.tensors.items():
        np.testing.assert_array_equal(tensor, second.tensors[name], err_msg=name)
    assert np.abs(first.tensors["head.kernel"]).max() > 0  # it is zero at the start
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3]
    clip, out = write_video(tmp_path / "clip.mp4", frames=7), tmp_path / "out.mp4"
    capsys.readouterr()
    stream = ["stream", str(clip), str(out), "--checkpoint", str(folder), "--prompt", "leave it"]
    assert cli.main(stream) == 0
    assert "7 frames, 48x32 pixels; 2 frames a step" in capsys.readouterr().out
    with open_source(out) as made:
        assert len(list(made)) == 7
    assert cli.main([*stream, "--steps", "3", "--overwrite"]) == 2
    assert "--steps and --strength do not apply" in capsys.readouterr().err
    assert cli.main([*train, str(tmp_path / "whole"), "--mesh", "data=8"]) == 2
    assert "--mesh does not go with 'small'" in capsys.readouterr().err


def test_recipes_are_checked():
    with pytest.raises(UserError, match="only 'pixel' can be trained on"):
        WanRecipe(dataclasses.replace(TINY_WAN, codec="wan2.1"))
    with pytest.raises(UserError, match="frames=5"):
        dataclasses.replace(SMALL, frames=5)
