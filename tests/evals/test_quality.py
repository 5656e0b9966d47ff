"""Quality against the teachers: what is asked of a stream, and which frames are judged."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lsdjax.core.errors import UserError
from lsdjax.evals import quality
from lsdjax.evals.quality import evaluate


class HoldingStreamer:
    """Shows each input frame as it came, and where there is none, the last one again."""

    size, steps = (48, 64), 1

    def __init__(self, *_: Any, **__: Any) -> None:
        self.given: list[bool] = []
        streams.append(self)

    def warm_up(self) -> None:
        pass

    def start(self, prompt: str, seed: int) -> Any:
        self.shown = np.zeros((*self.size, 3), np.uint8)
        return SimpleNamespace(submit=self.submit)

    def submit(self, frame: np.ndarray | None) -> np.ndarray:
        self.given.append(frame is not None)
        self.shown = self.shown if frame is None else frame
        return self.shown


streams: list[HoldingStreamer] = []


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write_video: Any) -> Any:
    monkeypatch.setattr(quality, "Streamer", HoldingStreamer)
    monkeypatch.setattr(quality, "load_checkpoint", lambda path: None)
    streams.clear()
    write_video(tmp_path / "clip.mp4", frames=40)

    def call(**options: Any) -> dict[str, Any]:
        options = {"clips": tmp_path, "styles": ["original"], "progress": False} | options
        return evaluate(**options)["styles"]["original"]

    return call


def test_withheld_frames_alone_are_judged(measure: Any) -> None:
    found = measure(drop=0.75)
    [stream] = streams
    assert stream.given[0] and 0.5 < 1 - np.mean(stream.given) < 0.95
    assert found["psnr_db"] == found["held_psnr_db"] < 50  # holding is what the streamer does
    assert found["input_psnr_db"] == 60  # what was withheld is what was wanted


def test_without_gaps_every_frame_is_given(measure: Any) -> None:
    found = measure()
    assert all(streams[0].given) and found["psnr_db"] > 50 and "held_psnr_db" not in found


def test_a_drop_that_leaves_nothing_is_refused(measure: Any) -> None:
    with pytest.raises(UserError, match=r"drop=1\.0; a share in \[0, 1\)"):
        measure(drop=1.0)
    with pytest.raises(UserError, match=r"no frame of 'clip.mp4' was withheld at drop=0\.01"):
        measure(drop=0.01, max_frames=2)
