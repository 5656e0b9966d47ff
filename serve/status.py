"""How far the server is, and the lines that led there."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["loading", "ready", "restarting", "failed", "stopping"]
_MODEL = ("width", "height", "steps", "variants", "batch", "step_ms")


@dataclass
class Status:
    """The state of one server; `lines` are (seconds since start, message)."""

    state: State = "loading"
    lines: list[tuple[float, str]] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    started_s: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_s

    @property
    def last_message(self) -> str:
        """The latest progress message."""
        return self.lines[-1][1] if self.lines else "starting"

    def progress(self, message: str) -> None:
        """Notes a step on the way to ready."""
        self.lines.append((round(self.elapsed_s, 1), message))

    def ready(self, event: dict[str, Any]) -> None:
        """Takes over what the device process says of its model."""
        self.card = event["card"]
        self.model = {key: event[key] for key in _MODEL}
        if self.state in ("loading", "restarting"):
            self.state = "ready"

    def as_json(self) -> dict[str, Any]:
        """What the page shows while it waits."""
        return {
            "ready": self.state == "ready",
            "state": self.state,
            "elapsed_s": round(self.elapsed_s, 1),
            "progress": [{"at_s": at_s, "message": message} for at_s, message in self.lines],
        }
