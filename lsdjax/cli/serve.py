"""`lsdjax serve`."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from lsdjax.cli.options import CheckpointOption, PluginOption, StepsOption, TextEncoderOption


@dataclass(frozen=True)
class ServeCommand:
    """Serve a checkpoint to browsers, with a page to try it on."""

    checkpoint: CheckpointOption = None
    host: Annotated[str, arg(metavar="NAME", help="address to listen on")] = "127.0.0.1"
    port: Annotated[int, arg(metavar="N", help="port to listen on")] = 8765
    plugin: PluginOption = ()
    steps: StepsOption = None
    max_sessions: Annotated[
        int | None, arg(metavar="N", help="how many may stream at the same time")
    ] = None
    origin: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="URL", help="a further origin whose pages may connect"),
    ] = ()
    sample: Annotated[str | None, arg(metavar="VIDEO", help="clip that the page opens with")] = None
    text_encoder: TextEncoderOption = None
    deadline_ms: Annotated[int, arg(metavar="MS", help="older frames are dropped")] = 100

    def run(self) -> int:
        from lsdjax.serve.options import ServeOptions
        from lsdjax.serve.server import serve

        options = ServeOptions(
            checkpoint=self.checkpoint,
            plugins=self.plugin,
            host=self.host,
            port=self.port,
            steps=self.steps,
            max_sessions=self.max_sessions,
            origins=self.origin,
            sample=self.sample,
            deadline_ms=self.deadline_ms,
            text_encoder=self.text_encoder,
        )
        return serve(options)
