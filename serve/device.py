"""The front's end of the device process: starts it, rings it, hears from it, stops it."""

import asyncio
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lsdjax.serve.options import SpareKind
from lsdjax.serve.slots import Slots, create_memory

_BOOT = "from lsdjax.serve.engine import main; main()"
_STOP_S = 3.0
_LINE_LIMIT_BYTES = 1 << 20
_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0  # a spare that cannot live must not keep the machine busy


@dataclass(frozen=True)
class DeviceSpec:
    """What the device process is to run: `engine` names a factory as "module:function"."""

    engine: str
    checkpoint: str | None
    plugins: tuple[str, ...]
    steps: int | None
    text_encoder: str | None
    dtype: str | None
    batch: int | None
    seats: int
    deadline_s: float


class _Process:
    """One device process and its doorbell; `on_event` hears all that it says, and its "exit"."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        self._on_event = on_event
        self.is_up = False

    async def start(self, spec: DeviceSpec, memory: int, spare: SpareKind) -> None:
        ours, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), memory)
        ends = {"bell": descriptors[0], "memory": descriptors[1], "spare": spare}
        try:
            # Its own session: a Ctrl-C at the terminal reaches the front alone.
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _BOOT, json.dumps(spec.__dict__ | ends),
                stdin=asyncio.subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_unix_connection(
            sock=ours, limit=_LINE_LIMIT_BYTES
        )
        self.is_up = True
        self._listener = asyncio.create_task(self._listen())

    def send(self, **message: Any) -> None:
        if self.is_up and not self._writer.is_closing():
            self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                self._on_event(json.loads(line))
        except OSError:
            pass
        except Exception:  # the front's own mistake: nothing works any more
            traceback.print_exc()
            self.process.kill()
        status = await self.process.wait()
        self.is_up = False
        self._writer.close()
        self._on_event({"event": "exit", "status": status})

    async def stop(self) -> None:
        """Asks, then insists. Safe to call twice, or after it has died."""
        self.send(op="stop")
        for insist in (signal.SIGTERM, signal.SIGKILL, None):
            try:
                await asyncio.wait_for(self.process.wait(), _STOP_S)
                break
            except TimeoutError:
                if insist is not None:
                    self.process.send_signal(insist)
        self._listener.cancel()
        self._writer.close()


class Device:
    """A running device process, and perhaps a spare one that waits to take its place.

    `on_event` is called with every message of the running one, and finally with
    `{"event": "exit", "status"}` when it has gone without being told to.
    """

    def __init__(
        self, spec: DeviceSpec, spare: SpareKind, on_event: Callable[[dict[str, Any]], None]
    ) -> None:
        self._spec = spec
        self._spare_kind: SpareKind = spare
        self._on_event = on_event
        self._stopping = False
        self._memory = create_memory()
        self._spare: _Process | None = None
        self._retry_s = _RETRY_S
        self.slots: Slots | None = None

    async def start(self) -> None:
        """Starts the process; after its end, another one, or lets the spare one take over.

        Its first event may come at once.
        """
        spare, self._spare = self._spare, None
        if spare is not None and spare.is_up:
            self._running = spare
            spare.send(op="take_over")
        else:
            await self._start("none")

    async def start_spare(self) -> None:
        """Starts a process that waits for the running one's end, if there is to be one.

        One that ends before its turn is replaced after a while, which doubles until one waits.
        """
        if self._spare_kind == "none" or self._stopping or self._spare is not None:
            return
        process = await self._start(self._spare_kind)
        if self._stopping or self._spare is not None:  # meanwhile
            await process.stop()
        else:
            self._spare = process

    async def _start(self, spare: SpareKind) -> _Process:
        def hear(event: dict[str, Any]) -> None:
            if self._stopping:
                return
            if event["event"] == "waiting":  # its turn may have come meanwhile
                self._retry_s = _RETRY_S
                self._on_event(event)
            elif process is self._running:
                self._on_event(event)
            elif event["event"] == "failed":
                self._warn(f"the spare process: {event['message']}")
            elif event["event"] == "exit" and process is self._spare:
                self._on_spare_lost(event["status"])

        process = _Process(hear)
        if spare == "none":
            self._running = process
        await process.start(self._spec, self._memory, spare)
        return process

    def _on_spare_lost(self, status: int) -> None:
        self._spare = None
        self._warn(f"the spare process ended ({describe_exit(status)})")
        asyncio.get_running_loop().call_later(self._retry_s, self._replace_spare)
        self._retry_s = min(2 * self._retry_s, _LONGEST_RETRY_S)

    def _replace_spare(self) -> None:
        self._replacing = asyncio.ensure_future(self.start_spare())

    def _warn(self, text: str) -> None:
        self._on_event({"event": "warning", "message": text})

    def kill(self) -> None:
        """Ends a process that does not answer; its "exit" follows."""
        with suppress(ProcessLookupError):
            self._running.process.kill()

    def open_slots(self, height: int, width: int) -> Slots:
        """Maps the shared slots, once the size of the model's frames is known."""
        if self.slots is not None:  # another process in the same memory
            return self.slots
        self.slots = Slots(self._memory, self._spec.seats, height, width)
        return self.slots

    def send(self, **message: Any) -> None:
        """Rings the bell; without a process, nobody hears it."""
        self._running.send(**message)

    async def stop(self) -> None:
        """Ends the processes. Safe to call twice, or after they have died."""
        self._stopping = True
        for process in filter(None, (self._running, self._spare)):
            await process.stop()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
