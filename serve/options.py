"""What `lsdjax serve` is asked to do."""

from dataclasses import dataclass
from typing import Literal

from lsdjax.core.errors import UserError

SpareKind = Literal["none", "imported", "loaded"]
DEFAULT_ENGINE = "lsdjax.serve.model:load_streamer"
DEFAULT_PORT = 8765
_DEFAULT_SESSIONS = 8
_SPARE_CONNECTIONS = 64


@dataclass(frozen=True)
class ServeOptions:
    """What to serve, where, and to whom.

    Attributes:
        checkpoint: None is the one that ships; `plugins` are files that bring what it needs.
        steps: None is the checkpoint's own number.
        batch: how many sessions one step may serve; None is 1 on a CPU, 4 on an accelerator.
        max_sessions: None admits as many as the measured step time allows, at most 8.
        queue: how many may wait for a place.
        origins: further origins whose pages may connect.
        sample: a clip for the page in place of the one that ships.
        deadline_ms: frames older than this are dropped before their step.
        text_encoder: where the one lies that reads the checkpoint's prompts.
        dtype: what the model computes in; None is float32 on a CPU, bfloat16 on an accelerator.
        token_secret: a file; with it, only bearer tokens that it signed are admitted.
        tls_cert, tls_key: PEM files; with them, the port speaks TLS.
        resume_seconds: how long the place of a client is kept whose connection was cut.
        step_timeout_s: a device process that takes longer for a step is started again.
        spare: what a second device process has done that waits for the end of the first: "none",
            there is none; "imported", its imports, which cost the host some memory and a device
            nothing; "loaded", everything, so that it takes over at once and costs the model again.
        overload_ratio: so many times as slow as at start-up is too slow.
        max_message_bytes: the longest message that is taken; raw frames may need more.
        engine: the factory of the model, "module:function".
    """

    checkpoint: str | None = None
    plugins: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    steps: int | None = None
    max_sessions: int | None = None
    origins: tuple[str, ...] = ()
    sample: str | None = None
    deadline_ms: int = 100
    text_encoder: str | None = None
    dtype: str | None = None
    batch: int | None = None
    queue: int = 16
    token_secret: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    resume_seconds: float = 30.0
    step_timeout_s: float = 10.0
    spare: SpareKind = "imported"
    overload_ratio: float = 1.5
    max_message_bytes: int = 1 << 20
    engine: str = DEFAULT_ENGINE

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UserError(f"port must lie within 0..65535, got {self.port}")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"steps must be at least 1, got {self.steps}")
        if self.max_sessions is not None and not 1 <= self.max_sessions <= 1024:
            raise UserError(f"max-sessions must lie within 1..1024, got {self.max_sessions}")
        for name, least in (("deadline_ms", 1), ("queue", 0), ("max_message_bytes", 1 << 16)):
            if getattr(self, name) < least:
                shown = name.replace("_", "-")
                raise UserError(f"{shown} must be at least {least}, got {getattr(self, name)}")
        if self.batch is not None and not 1 <= self.batch <= 64:
            raise UserError(f"batch must lie within 1..64, got {self.batch}")
        if not self.overload_ratio > 1:
            raise UserError(f"overload-ratio must be above 1, got {self.overload_ratio}")
        if self.tls_key is not None and self.tls_cert is None:
            raise UserError("tls-key needs tls-cert as well")
        for origin in self.origins:
            if origin != "*" and "://" not in origin:
                raise UserError(f"an origin looks like https://example.org, got {origin!r}")

    @property
    def seats(self) -> int:
        """How many sessions are served at once."""
        return self.max_sessions or _DEFAULT_SESSIONS

    @property
    def max_connections(self) -> int:
        """How many sockets may be open at once, those of the served and the queued included."""
        return self.seats + self.queue + _SPARE_CONNECTIONS
