"""The device process: the only one that imports JAX, and the only owner of the accelerator.

It answers a doorbell, one JSON object a line, in both directions. Frames lie in the shared slots.
"""

import importlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lsdjax.core.errors import UserError
from lsdjax.core.plugins import load_plugins
from lsdjax.serve.slots import Slots
from lsdjax.serve.steploop import StepLoop
from lsdjax.serve.streams import StreamerLike

_BATCH = 4  # streams at once on an accelerator; one core gains nothing from it
_MOST_VARIANTS = 4


def load_streamer(
    checkpoint: str | None,
    steps: int | None,
    text_encoder: str | None,
    dtype: str | None,
    batch: int | None,
    progress: Callable[[str], None],
) -> tuple[StreamerLike, dict[str, Any]]:
    """The real model and its card: imports JAX, then loads the checkpoint (None: the shipped one).

    Every number of steps up to `steps` is compiled, or three of them where those are many; what is
    compiled is kept on disk, so that the next start is quick.

    Raises: UserError when the checkpoint or its text encoder cannot be used.
    """
    progress("starting JAX")
    import jax

    from lsdjax.checkpoint.export import load_checkpoint
    from lsdjax.stream.session import Streamer

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(_cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    device = jax.devices()[0]
    progress(f"loading checkpoint on {device.device_kind}")
    loaded = load_checkpoint(checkpoint)
    most = loaded.config.steps if steps is None else steps
    if batch is None:
        batch = 1 if device.platform == "cpu" else _BATCH
    streamer = Streamer(
        loaded,
        steps=steps,
        variants=range(1, most) if most <= _MOST_VARIANTS else (1, most // 2),
        batch=batch,
        text_encoder=text_encoder,
        dtype=dtype,
    )
    return streamer, {**loaded.meta, "device": str(device.device_kind)}


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lsdjax" / "compiled"


class Engine:
    """The doorbell, and what is behind it once the model is loaded."""

    def __init__(self, bell: socket.socket) -> None:
        self._bell = bell
        self._send_lock = threading.Lock()
        self._loop: StepLoop | None = None
        self._told_to_stop = False
        self._turn = threading.Event()

    def listen(self) -> None:
        """Starts the thread that reads the doorbell. When the front goes away, so does this."""
        threading.Thread(target=self._read_bell, name="doorbell", daemon=True).start()

    def run(self, spec: dict[str, Any]) -> None:
        """Loads, compiles, warms up, waits for its turn if it is a spare, then steps.

        Raises: UserError when a plugin or the model cannot be loaded.
        """
        module, _, name = spec["engine"].partition(":")
        factory = getattr(importlib.import_module(module), name)
        load_plugins(spec["plugins"])
        asked = (spec[name] for name in ("checkpoint", "steps", "text_encoder", "dtype", "batch"))
        streamer, card = factory(*asked, self._progress)
        streamer.warm_up(self._progress)
        self._progress("warm-up")
        if spec["waits"]:
            self._turn.wait()
        height, width = streamer.size
        slots = Slots(spec["memory"], spec["seats"], height, width)
        self._loop = StepLoop(streamer, slots, spec["deadline_s"], self.send)
        self.send(
            event="ready",
            width=width,
            height=height,
            steps=streamer.steps,
            variants=streamer.variants,
            batch=max(size for _, size in self._loop.calibrated),
            step_ms=round(1e3 * self._loop.calibrated[streamer.steps, 1], 2),
            card=card,
        )
        self._loop.run()

    def send(self, **event: Any) -> None:
        """Tells the front something; ends the process when there is no front any more."""
        line = json.dumps(event, separators=(",", ":"), default=str).encode() + b"\n"
        with self._send_lock:
            try:
                self._bell.sendall(line)
            except OSError:
                os._exit(1)

    def _progress(self, message: str) -> None:
        self.send(event="progress", message=message)

    def _read_bell(self) -> None:
        try:
            with self._bell.makefile("rb") as lines:
                for line in lines:
                    self._on_message(json.loads(line))
        except OSError:
            pass
        os._exit(0 if self._told_to_stop else 1)  # no orphan keeps an accelerator

    def _on_message(self, message: dict[str, Any]) -> None:
        self._told_to_stop |= message["op"] == "stop"
        if message["op"] == "take_over":
            self._turn.set()
        elif self._loop is not None:
            self._loop.post(message)
        elif self._told_to_stop:
            os._exit(0)  # loading or compiling, which nothing can interrupt


def main() -> None:
    """The device process. Argument: a JSON object made by `lsdjax.serve.device`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the front decides when to stop
    spec = json.loads(sys.argv[1])
    bell = socket.socket(fileno=spec["bell"])
    engine = Engine(bell)
    engine.listen()
    try:
        engine.run(spec)
    except UserError as error:
        engine.send(event="failed", message=str(error), user=True)
    except Exception as error:
        traceback.print_exception(error)
        engine.send(event="failed", message=f"{type(error).__name__}: {error}", user=False)
    sys.stderr.flush()
    os._exit(0)  # not waiting for a runtime's own threads


if __name__ == "__main__":
    main()
