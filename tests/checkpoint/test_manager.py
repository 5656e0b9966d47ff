"""A run's checkpoints: whole or not there."""

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lsdjax.checkpoint.manager import RunCheckpoints, is_disk_full

# Killed at the moment when everything is written but the name that makes it count.
KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
import numpy as np
from lsdjax.checkpoint.manager import RunCheckpoints

def kill_at_rename(event, arguments):
    if event == "os.rename" and "/2.orbax" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill_at_rename)
checkpoints = RunCheckpoints(Path(sys.argv[1]))
checkpoints.save(1, {"weights": np.full(1000, 1.0, np.float32)})
checkpoints.save(2, {"weights": np.full(1000, 2.0, np.float32)})
checkpoints.close()
"""


def test_a_half_written_checkpoint_is_never_picked_up(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(folder)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    names = {path.name.partition(".")[0]: path for path in folder.iterdir()}
    assert set(names) == {"1", "2"} and "tmp" in names["2"].name
    assert any(path.is_file() for path in names["2"].rglob("*"))

    checkpoints = RunCheckpoints(folder)
    state = checkpoints.restore({"weights": np.zeros(1000, np.float32)})
    np.testing.assert_array_equal(state["weights"], np.full(1000, 1.0, np.float32))
    checkpoints.save(2, {"weights": np.full(1000, 3.0, np.float32)})
    checkpoints.close()
    assert {path.name for path in folder.iterdir()} == {"1", "2"}


def test_without_a_checkpoint_the_state_stays_as_it_is(tmp_path: Path) -> None:
    state = {"weights": np.ones(3, np.float32)}
    checkpoints = RunCheckpoints(tmp_path / "checkpoints")
    assert checkpoints.restore(state) is state
    checkpoints.close()


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (ValueError("RESOURCE_EXHAUSTED: write failed [No space left on device]"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("shapes differ"), False),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error: Exception, full: bool) -> None:
    assert is_disk_full(error) is full
    with pytest.raises(RuntimeError) as raised:
        try:
            raise error
        except (OSError, ValueError) as cause:
            raise RuntimeError("saving failed") from cause
    assert is_disk_full(raised.value) is full
