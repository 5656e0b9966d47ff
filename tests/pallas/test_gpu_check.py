"""The measuring script: what it tells of failures, and a dry run of the whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lsdjax.evals import gpu_check
from lsdjax.evals.gpu_tasks import Task, floor_ms, run_task
from lsdjax.pallas.specs import SHAPES


def test_a_task_that_hangs_or_dies_is_told_and_does_not_stop_the_rest():
    hangs = gpu_check._run([sys.executable, "-c", "import time; time.sleep(60)"], 0.5, {})
    assert hangs == {"passed": False, "failed": "not done after 0 s"}
    dies = gpu_check._run([sys.executable, "-c", "raise SystemExit('no device')"], 60, {})
    assert dies == {"passed": False, "failed": "no device"}


def test_table_has_a_row_a_task():
    table = gpu_check.as_table(
        [
            {"task": "a", "layers": 4, "median_ms": 1.5, "floor_ms": 1.0, "error": 0.001},
            {"task": "b", "skipped": "no torch"},
        ]
    )
    assert table.splitlines()[2:] == [
        "| a | 4 | 1.5 |  | 1 | 0.001 |  |",
        "| b |  |  |  |  |  | no torch |",
    ]


def test_floors_are_of_arithmetic_at_the_named_shapes():
    wan = SHAPES["wan-1.3b-w9"]
    assert floor_ms(wan, wan.layers) == pytest.approx(10.2, rel=0.02)


def test_a_stream_is_held_to_float32():
    task = Task("xla", "tiny", stream=True)
    found = run_task(task, seed=1, layers=1, dry=True)
    assert found["passed"] and found["samples"] == 2
    assert found["error"] == found["xla_error"] > 0


@pytest.mark.slow
def test_dry_run_goes_through_everything(tmp_path: Path):
    out = tmp_path / "found.json"
    command = [sys.executable, "-m", "lsdjax.evals.gpu_check", "--dry-run", f"--out={out}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())["results"]
    paths = ("chain", "single pass", "xla")
    streams = [f"tiny: stream on {path}" for path in paths]
    assert [one["task"] for one in found] == [
        *(f"tiny: {path}" for path in paths), "tiny: torch", *streams,
    ]  # fmt: skip
    assert all(one["passed"] and one["samples"] == 2 for one in found[:3] + found[4:])
    assert found[1]["differing_repeats"] == 0
