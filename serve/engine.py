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
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lsdjax.core.errors import UserError
from lsdjax.core.plugins import load_plugins
from lsdjax.serve.slots import Slots
from lsdjax.serve.steploop import StepLoop

_LOWEST_PRIORITY = 19


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
        """Loads, compiles, warms up, then steps; a spare waits for its turn before or after that.

        Raises: UserError when a plugin or the model cannot be loaded.
        """
        self._progress("importing the model's code")
        factory = _import_factory(spec["engine"], quietly=spec["spare"] != "none")
        if spec["spare"] == "imported":
            self._wait_for_turn()
        load_plugins(spec["plugins"])
        asked = (spec[name] for name in ("checkpoint", "steps", "text_encoder", "dtype", "batch"))
        streamer, card = factory(*asked, self._progress)
        streamer.warm_up(self._progress)
        self._progress("warm-up")
        if spec["spare"] == "loaded":
            self._wait_for_turn()
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

    def _wait_for_turn(self) -> None:
        self.send(event="waiting")
        self._turn.wait()

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


def _import_factory(engine: str, *, quietly: bool) -> Callable[..., Any]:
    """The factory "module:function"; `quietly` leaves the processors to the steps of others."""
    module, _, name = engine.partition(":")
    if quietly and sys.platform == "linux":  # where the priority is a thread's
        with ThreadPoolExecutor(1, initializer=os.nice, initargs=(_LOWEST_PRIORITY,)) as thread:
            return getattr(thread.submit(importlib.import_module, module).result(), name)
    return getattr(importlib.import_module(module), name)


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
