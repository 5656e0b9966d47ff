"""Runs of a tiny preset in processes of their own."""

import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("child.py")


@dataclasses.dataclass(frozen=True)
class Runs:
    """Starts `lsdjax train tiny` on the pairs in `folder`; what one compiles the next one finds."""

    folder: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def start(
        self, name: str, *options: str, devices: int = 1, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        command = [sys.executable, str(CHILD), "train", "tiny", "--data", self.path("pairs")]
        return subprocess.Popen(
            [*map(str, command), "--run", str(self.path(name)), *options],
            env={
                **os.environ,
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                "JAX_COMPILATION_CACHE_DIR": str(self.path("cache")),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                **(environment or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_job(self, name: str, *options: str, processes: int) -> list[subprocess.Popen[str]]:
        """As SLURM's `srun` would start them, each with one device."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        job = {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "SLURM_JOB_ID": "1",
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_STEP_NUM_NODES": "1",
            "SLURM_NTASKS": str(processes),
        }
        numbers = [
            {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)}
            for number in range(processes)
        ]
        return [
            self.start(name, "--distributed", *options, environment=job | number)
            for number in numbers
        ]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Runs:
    runs = Runs(tmp_path_factory.mktemp("runs"))
    for side in ("input", "target"):
        runs.path(f"pairs/{side}").mkdir(parents=True)
        write_video(runs.path(f"pairs/{side}/a.mp4"), frames=6)
    runs.path("pairs/prompts.jsonl").write_text('{"file": "a.mp4", "prompt": "leave it"}\n')
    return runs
