"""The real model behind a real server: what a client gets is what the model makes."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import traverse_util

from lsdjax.checkpoint.export import (
    Checkpoint,
    abstract_params,
    load_checkpoint,
    save_checkpoint,
)
from lsdjax.model.config import ModelConfig
from lsdjax.serve.client import LiveClient
from lsdjax.serve.protocol import Codec
from lsdjax.stream.session import Streamer

ENGINE = "lsdjax.serve.model:load_streamer"
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny, untrained model; wide, so that swapped axes would show."""
    config = ModelConfig(
        height=32, width=48, dim=32, depth=1, heads=1, channels=8, experts=2, text_dim=32,
        text_depth=1, window=2,
    )  # fmt: skip
    random = np.random.default_rng(0)
    flat = {
        tuple(name.split(".")): random.normal(0, 0.1, leaf.shape).astype(np.float32)
        for name, leaf in abstract_params(config).items()
    }
    params = traverse_util.unflatten_dict(flat)
    folder = tmp_path_factory.mktemp("checkpoint")
    return save_checkpoint(folder, Checkpoint(config, params, {"name": "tiny"}))


def test_a_client_gets_what_the_model_makes(
    start_server: Callable[..., Any], checkpoint: Path
) -> None:
    # one step: a server compiles every number of steps up to its own
    server = start_server({"engine": ENGINE, "checkpoint": str(checkpoint), "steps": 1})
    pictures = np.random.default_rng(0).integers(0, 256, (8, 32, 48, 3), np.uint8)

    async def served() -> list[np.ndarray]:
        async with (
            asyncio.timeout(TIMEOUT_S),
            LiveClient(server.url, prompt="pencil sketch", codecs=(Codec.RGB24,)) as client,
        ):
            outputs = []
            for index, picture in enumerate(pictures):
                if index == 4:
                    await client.set_params(
                        prompt="falling snow", strength=0.5, seed=3, motion_noise=True
                    )
                await client.send(picture)
                outputs.append((await client.receive()).frame)
            return outputs

    outputs = asyncio.run(served())
    streamer = Streamer(load_checkpoint(checkpoint), steps=1)
    first = streamer.start("pencil sketch")
    second = streamer.start("falling snow", seed=3, strength=0.5)
    second.motion_noise = True
    expected = [np.asarray((first, second)[i // 4].submit(p)) for i, p in enumerate(pictures)]
    for output, wanted in zip(outputs, expected, strict=True):
        assert np.abs(output.astype(int) - wanted).max() <= 1
    messages = [line["message"] for line in server.get_json("/readyz")["progress"]]
    assert any("loading checkpoint" in message for message in messages)
    assert any("compiling" in message for message in messages)
    status, output, errors = server.end()
    assert status == 0
    assert "traced again" not in output
    assert "Traceback" not in errors


def test_what_a_spare_process_imports_touches_no_device() -> None:
    code = (
        "import lsdjax.serve.model; from jax._src import xla_bridge; "
        "assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=TIMEOUT_S)


def test_a_plugin_is_run_in_the_device_process(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("import lsdjax\nraise RuntimeError('ran')\n")
    options = {"engine": ENGINE, "plugins": [str(plugin)]}
    status, _, errors = start_server(options, ready=False).wait_end()
    assert (status, errors) == (2, f"lsdjax: {plugin}, line 2: RuntimeError: ran\n")


def test_a_folder_without_a_checkpoint_is_one_line(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    options = {"engine": ENGINE, "checkpoint": str(tmp_path)}
    status, _, errors = start_server(options, ready=False).wait_end()
    assert status == 2
    assert errors.count("\n") == 1 and str(tmp_path) in errors
