"""Runs that are killed, that find the disk full, or that several processes share."""

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest

from lsdjax.checkpoint.manager import RunCheckpoints
from lsdjax.core.sharding import local_copy, make_mesh, place
from lsdjax.train.state import TrainState

TIMEOUT_S = 600


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    """Wait for the end; stderr."""
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == status, errors
    return errors


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def straight(runs) -> Path:
    """A run that never stopped."""
    finish(runs.start("straight"))
    return runs.path("straight")


def stored_state(run: Path, child: ModuleType, mesh: str) -> TrainState:
    """The newest checkpoint, loaded onto `mesh`."""
    onto = make_mesh(mesh)
    checkpoints = RunCheckpoints(run / "checkpoints")
    state = checkpoints.restore(place(child.quick_state(child.CONFIG)[1], onto))
    checkpoints.close()
    return local_copy(state, onto)


def test_a_killed_run_ends_as_one_that_never_stopped(
    runs, straight: Path, child: ModuleType
) -> None:
    killed_after = random.randrange(5, 18)
    process = runs.start("killed", environment={"LSDJAX_TEST_PAUSE": "0.1"})
    log = runs.path("killed") / "metrics.jsonl"
    deadline = time.monotonic() + TIMEOUT_S
    while not log.exists() or log.read_text().count("\n") < killed_after:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    finish(process, -signal.SIGKILL)
    log.write_text(log.read_text() + '{"step": 3, "lo')  # as if it died writing
    begun = len(metrics_until_torn(log))
    assert begun < child.CONFIG.total_steps and not (runs.path("killed") / "export").exists()

    finish(runs.start("killed", "--profile", str(runs.path("trace"))))
    assert [path.stat().st_size > 0 for path in runs.path("trace").rglob("*.xplane.pb")] == [True]
    expected = stored_state(straight, child, "data=8")
    resumed = stored_state(runs.path("killed"), child, "data=2,fsdp=2,tensor=2")
    assert int(resumed.step) == child.CONFIG.total_steps
    jax.tree.map(np.testing.assert_array_equal, resumed, expected)
    started = child.quick_state(child.CONFIG)[1].params["model"]
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), started, resumed.params["model"])
    assert sum(jax.tree.leaves(moved)) > len(jax.tree.leaves(moved)) / 2
    lines, others = metrics(runs.path("killed")), metrics(straight)
    assert [line["step"] for line in lines] == list(range(child.CONFIG.total_steps))
    assert [line["loss"] for line in lines] == [line["loss"] for line in others]


def metrics_until_torn(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.endswith("}")]


def test_two_processes_lose_what_one_loses(runs, straight: Path, child: ModuleType) -> None:
    job = runs.start_job("job", "--mesh", "fsdp=2", processes=2)
    for process in job:
        finish(process)
    mine, theirs = ([line["loss"] for line in metrics(run)] for run in (runs.path("job"), straight))
    assert len(mine) == child.CONFIG.total_steps
    np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_a_full_disk_is_one_line_and_the_last_checkpoint_survives(runs) -> None:
    run = runs.path("full")
    errors = finish(runs.start("full", environment={"LSDJAX_TEST_FULL_AT": "12"}), 2)
    assert errors == (
        f"lsdjax: no space left on the disk of {str(run)!r}; "
        "the last checkpoint, of step 8, is kept\n"
    )
    finish(runs.start("full", "--stop-after", "9"))
    assert [line["step"] for line in metrics(run)] == list(range(9))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--mesh", "rows=2", "none of data, fsdp, tensor"),
        ("--mesh", "data=3", "takes 3 devices, but there are 1"),
        ("--peak-tflops", "0", "--peak-tflops must be positive"),
    ],
)
def test_mistakes_about_devices_are_one_line(runs, option: str, value: str, message: str) -> None:
    errors = finish(runs.start("wrong", option, value), 2)
    assert errors.startswith("lsdjax: ") and errors.count("\n") == 1 and message in errors
    assert not runs.path("wrong").exists()
