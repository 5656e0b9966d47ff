"""What `lsdjax serve` is asked to do."""

from dataclasses import dataclass

from lsdjax.core.errors import UserError

DEFAULT_ENGINE = "lsdjax.serve.engine:load_streamer"
DEFAULT_PORT = 8765
_DEFAULT_SESSIONS = 4


@dataclass(frozen=True)
class ServeOptions:
    """What to serve and where.

    `checkpoint` None is the one that ships; `plugins` are files that bring what it needs; `steps`
    None is the checkpoint's own number; `origins` are further origins whose pages may connect;
    `sample` is a clip for the page in place of the one that ships; frames older than `deadline_ms`
    are dropped before their step; `text_encoder` is where the one lies that reads the checkpoint's
    prompts; `engine` names the factory of the model, "module:function".
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
    engine: str = DEFAULT_ENGINE

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UserError(f"port must lie within 0..65535, got {self.port}")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"steps must be at least 1, got {self.steps}")
        if self.max_sessions is not None and not 1 <= self.max_sessions <= 1024:
            raise UserError(f"max-sessions must lie within 1..1024, got {self.max_sessions}")
        if self.deadline_ms < 1:
            raise UserError(f"deadline-ms must be at least 1, got {self.deadline_ms}")
        for origin in self.origins:
            if origin != "*" and "://" not in origin:
                raise UserError(f"an origin looks like https://example.org, got {origin!r}")

    @property
    def seats(self) -> int:
        """How many sessions are served at once."""
        return self.max_sessions or _DEFAULT_SESSIONS
