"""`lsdjax serve`, `lsdjax connect` and `lsdjax token`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from lsdjax.cli.options import (
    CheckpointOption,
    DtypeOption,
    PluginOption,
    StepsOption,
    TextEncoderOption,
)
from lsdjax.core.errors import UserError


@dataclass(frozen=True)
class ServeCommand:
    """Serve a checkpoint to browsers, with a page to try it on."""

    checkpoint: CheckpointOption = None
    host: Annotated[str, arg(metavar="NAME", help="address to listen on")] = "127.0.0.1"
    port: Annotated[int, arg(metavar="N", help="port to listen on")] = 8765
    plugin: PluginOption = ()
    steps: StepsOption = None
    max_sessions: Annotated[
        int | None,
        arg(metavar="N", help="how many may stream at once; without it, the step time decides"),
    ] = None
    queue: Annotated[int, arg(metavar="N", help="how many may wait for a place")] = 16
    batch: Annotated[
        int | None, arg(metavar="N", help="how many sessions one step may serve, where it pays")
    ] = None
    origin: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="URL", help="a further origin whose pages may connect"),
    ] = ()
    sample: Annotated[str | None, arg(metavar="VIDEO", help="clip that the page opens with")] = None
    text_encoder: TextEncoderOption = None
    dtype: DtypeOption = None
    deadline_ms: Annotated[int, arg(metavar="MS", help="older frames are dropped")] = 100
    overload_ratio: Annotated[
        float, arg(metavar="R", help="steps this many times as slow as at the start are too slow")
    ] = 1.5
    step_timeout: Annotated[
        float, arg(metavar="S", help="a model that takes longer for a step is started again")
    ] = 10.0
    spare: Annotated[
        Literal["none", "imported", "loaded"],
        arg(
            help="what a second process has done that takes over when the model's ends: its imports"
            " (200 MB of the host's memory), or all (the model's memory again, of the device too)"
        ),
    ] = "imported"
    resume_seconds: Annotated[
        float, arg(metavar="S", help="how long a lost client's place is kept")
    ] = 30.0
    token_secret: Annotated[
        str | None, arg(metavar="FILE", help="admit only tokens signed with it: `lsdjax token`")
    ] = None
    tls_cert: Annotated[str | None, arg(metavar="PEM", help="certificate, to speak TLS")] = None
    tls_key: Annotated[
        str | None, arg(metavar="PEM", help="its key, where it is in another file")
    ] = None

    def run(self) -> int:
        from lsdjax.serve.options import ServeOptions
        from lsdjax.serve.server import serve

        options = ServeOptions(
            checkpoint=self.checkpoint,
            plugins=self.plugin,
            host=self.host,
            port=self.port,
            steps=self.steps,
            batch=self.batch,
            max_sessions=self.max_sessions,
            queue=self.queue,
            origins=self.origin,
            sample=self.sample,
            deadline_ms=self.deadline_ms,
            overload_ratio=self.overload_ratio,
            step_timeout_s=self.step_timeout,
            spare=self.spare,
            resume_seconds=self.resume_seconds,
            text_encoder=self.text_encoder,
            dtype=self.dtype,
            token_secret=self.token_secret,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
        )
        return serve(options)


@dataclass(frozen=True)
class ConnectCommand:
    """Send a video to a server and keep or show what comes back."""

    source: Annotated[
        str, arg(metavar="IN", help="webcam, a camera's index, a video or a folder of pictures")
    ] = "webcam"
    sink: Annotated[str, arg(metavar="OUT", help="window, or the video to write")] = "window"
    url: Annotated[str, arg(metavar="URL", help="the server")] = "http://localhost:8765"
    prompt: Annotated[str, arg(metavar="TEXT", help="what to make of it")] = "pencil sketch"
    strength: Annotated[float, arg(metavar="S", help="how much to change, from 0 to 1")] = 1.0
    seed: Annotated[int, arg(metavar="N", help="seed of the noise")] = 0
    codec: Annotated[Literal["jpeg", "rgb24", "h264"], arg(help="how frames cross the network")] = (
        "jpeg"
    )
    fps: Annotated[
        float | None, arg(metavar="F", help="frames a second; without it, the source's own")
    ] = None
    token: Annotated[str | None, arg(metavar="TOKEN", help="where the server asks for one")] = None
    overwrite: Annotated[bool, arg(help="replace OUT where it exists")] = False

    def run(self) -> int:
        from lsdjax.serve.connect import ConnectOptions, connect

        return connect(ConnectOptions(**vars(self)))


@dataclass(frozen=True)
class TokenCommand:
    """Print a bearer token for a server that was started with --token-secret."""

    secret: Annotated[Path, arg(metavar="FILE", help="the server's secret")]
    hours: Annotated[float, arg(metavar="H", help="how long the token is valid")] = 24.0
    minutes: Annotated[float, arg(metavar="M", help="how long a session may last")] = 60.0

    def run(self) -> int:
        from lsdjax.serve.auth import issue_token, load_secret

        for name in ("hours", "minutes"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name} must be above 0, got {getattr(self, name)}")
        secret = load_secret(str(self.secret))
        print(issue_token(secret, valid_s=3600 * self.hours, max_s=60 * self.minutes))
        return 0
