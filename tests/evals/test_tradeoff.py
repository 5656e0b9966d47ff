"""Quality against time: what is kept, what is measured again, and what the table says."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lsdjax.core.errors import UserError
from lsdjax.evals import tradeoff
from lsdjax.evals.tradeoff import Entry, as_markdown, measure_tradeoff, summarise


class Judge:
    """Stands in for `evaluate` and `time_all`: more steps are better and slower."""

    weights = "first"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int]] = []

    def evaluate(self, folder: Path, *, steps: int, seed: int, **_: Any) -> dict[str, Any]:
        self.asked.append((folder.name, steps, seed))
        sketch = {"kind": "stateless", "psnr_db": 30.0 + steps + seed}
        colour = {"kind": "generative", "psnr_db": 9.0, "frechet": 0.1 / steps}
        colour["sharpness_ratio"] = 0.5
        return {"styles": {"sketch": sketch, "colour": colour}, "clips": ["a.mp4"]}

    @staticmethod
    def time_all(entries: dict[str, Entry], steps: list[int], frames: int) -> dict[Any, float]:
        return {(name, count): 5.0 * count for name in entries for count in steps}


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Judge:
    judge = Judge()
    monkeypatch.setattr(tradeoff, "evaluate", judge.evaluate)
    monkeypatch.setattr(tradeoff, "time_all", judge.time_all)
    monkeypatch.setattr(
        tradeoff, "load_checkpoint", lambda folder: SimpleNamespace(digest=lambda: judge.weights)
    )
    return judge


@pytest.fixture
def measure(tmp_path: Path) -> Any:
    def call(*entries: str, **more: Any) -> dict[str, Any]:
        parsed = [Entry.parse(text) for text in entries]
        options = {"clips": tmp_path, "run": tmp_path / "run", "out": tmp_path / "out"}
        return measure_tradeoff(parsed, **options, steps=(1, 2), **more)

    return call


def test_what_was_measured_is_kept_until_something_changes(judge: Judge, measure: Any) -> None:
    measure("teacher=a", "small=b", seeds=2)
    assert sorted(judge.asked) == [(f, n, s) for f in "ab" for n in (1, 2) for s in (0, 1)]
    judge.asked.clear()
    measure("teacher=a", "small=b", seeds=2)
    assert judge.asked == []
    measure("small=b", seeds=1, max_frames=3)
    assert judge.asked == [("b", 1, 0), ("b", 2, 0)]
    judge.asked.clear()
    judge.weights = "trained on"
    measure("teacher=a", seeds=1)
    assert judge.asked == [("a", 1, 0), ("a", 2, 0)]


def test_a_name_given_twice_is_one_model_trained_again(judge: Judge, measure: Any) -> None:
    measure("small=a", "small=b", seeds=3)
    assert {(folder, seed) for folder, _, seed in judge.asked} == {("a", 0), ("b", 1), ("a", 2)}


def test_the_table_tells_kinds_apart_and_gives_intervals(
    judge: Judge, measure: Any, tmp_path: Path
) -> None:
    report = measure("teacher=a", seeds=3)
    one, two = report["rows"]
    assert (one["steps"], one["ms"], two["ms"]) == (1, 5.0, 10.0)
    assert one["psnr_db"]["mean"] == pytest.approx(32.0)  # 31, 32, 33: the generative one is not in
    assert one["psnr_db"]["high"] == pytest.approx(32.0 + 4.303 / 3**0.5, abs=1e-3)
    assert one["frechet"]["mean"] == pytest.approx(0.1) and two["frechet"]["mean"] < 0.06
    assert "| teacher | 1 | 5.0 | 32.00 ± 2.48 | 0.1000 ± 0.0000 | 0.50 ± 0.00 |" in (
        as_markdown(report)
    )
    assert json.loads((tmp_path / "out" / "tradeoff.json").read_text()) == report
    assert (tmp_path / "out" / "tradeoff.png").read_bytes().startswith(b"\x89PNG")


def test_without_generative_styles_their_columns_are_empty() -> None:
    row = summarise([{"styles": {"sketch": {"kind": "stateless", "psnr_db": 30.0}}}])
    assert row["frechet"] is None and row["psnr_db"]["low"] is None


@pytest.mark.parametrize("text", ["runs/a", "=runs/a", "name=", "a/b=runs/a"])
def test_an_entry_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="NAME=CHECKPOINT"):
        Entry.parse(text)


def test_an_entry_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.safetensors"):
        Entry.parse(f"teacher={tmp_path}")


def test_nothing_to_compare_is_refused(judge: Judge, measure: Any) -> None:
    with pytest.raises(UserError, match="no checkpoints"):
        measure()
    with pytest.raises(UserError, match="seeds=0"):
        measure("teacher=a", seeds=0)
