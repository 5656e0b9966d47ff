"""Servers in processes of their own, with a real device process that runs the fake model."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TIMEOUT_S = 300


class RunningServer:
    """A server process; `lines` are what it printed until it was ready."""

    def __init__(self, options: dict[str, Any], environment: dict[str, str]) -> None:
        # On a machine that is busy with other things a frame may well be late, and a step take ten
        # times as long as another: tests that are not about that do not notice.
        defaults = {"port": 0, "engine": "fake_engine:make", "deadline_ms": 600_000}
        defaults |= {"max_sessions": 4, "overload_ratio": 1e9, "step_timeout_s": 600.0}
        defaults |= {"spare": "none"}
        spec = defaults | options
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lsdjax.serve", json.dumps(spec)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path} | environment,
        )
        self.lines: list[str] = []
        self.url = ""

    def wait_ready(self) -> None:
        """Reads until the line that says where the server is."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("ready: "):
                self.url = line.removeprefix("ready: ").strip()
                return
        raise AssertionError(f"no ready line: {self.lines} {self.end()}")

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws"

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any, bytes]:
        """Status, headers and body of a GET."""
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def get_json(self, path: str) -> Any:
        return json.loads(self.get(path)[2])

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit status, rest of standard output, standard error."""
        self.process.send_signal(number)
        return self.wait_end()

    def wait_end(self) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, output, errors

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def start_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers that end with the module: `start_server({"max_sessions": 1}, FAKE_…="…")`."""
    running: list[RunningServer] = []
    cache = {"XDG_CACHE_HOME": str(tmp_path_factory.getbasetemp() / "cache")}

    def start(
        options: dict[str, Any] | None = None, *, ready: bool = True, **environment: str
    ) -> RunningServer:
        server = RunningServer(options or {}, cache | environment)
        running.append(server)
        if ready:
            server.wait_ready()
        return server

    yield start
    for server in running:
        server.close()


@pytest.fixture(scope="module")
def server(start_server: Callable[..., RunningServer]) -> RunningServer:
    """A server with many seats, shared by the tests of a module."""
    return start_server({"max_sessions": 16})
