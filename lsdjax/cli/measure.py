"""`lsdjax eval`, `lsdjax bench ...` and `lsdjax info`: the commands that tell what they found."""

import importlib.metadata
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg, subcommand

from lsdjax.cli.options import (
    CheckpointArgument,
    ClipsOption,
    DtypeOption,
    JsonOption,
    OnlyOption,
    PluginOption,
    StepsOption,
    TextEncoderOption,
    report,
)
from lsdjax.core.errors import UserError
from lsdjax.core.plugins import load_plugins
from lsdjax.evals.report import as_drift_table, as_lines, as_style_table


class Measurement:
    """A command that measures something and prints it as text, or with `--json` as one object."""

    plugin: tuple[str, ...]
    json: bool

    def measure(self) -> Mapping[str, Any]:
        raise NotImplementedError

    def as_text(self, result: Mapping[str, Any]) -> str:
        return as_lines(result)

    def run(self) -> int:
        return report(self._measure_with_plugins, self.as_text, as_json=self.json)

    def _measure_with_plugins(self) -> Mapping[str, Any]:
        load_plugins(self.plugin)
        return self.measure()


@dataclass(frozen=True)
class EvalCommand(Measurement):
    """Measure quality against the teachers, style by style, on a folder of clips."""

    clips: ClipsOption
    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    style: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="NAME", help="only this style")
    ] = ()
    only: OnlyOption = ()
    max_frames: Annotated[int | None, arg(metavar="N", help="at most so many of a clip")] = None
    drop: Annotated[
        float,
        arg(metavar="SHARE", help="withhold so many of the input frames, and judge those alone"),
    ] = 0.0
    out: Annotated[
        Path | None, arg(metavar="FOLDER", help="where the sheet and the figures go")
    ] = None
    text_encoder: TextEncoderOption = None
    dtype: DtypeOption = None
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        if self.max_frames is not None and self.max_frames < 1:
            raise UserError(f"--max-frames must be at least 1, got {self.max_frames}")
        from lsdjax.evals.quality import evaluate

        return evaluate(
            self.checkpoint,
            clips=self.clips,
            steps=self.steps,
            styles=self.style or None,
            only=self.only,
            max_frames=self.max_frames,
            drop=self.drop,
            out=self.out,
            text_encoder=self.text_encoder,
            dtype=self.dtype,
        )

    def as_text(self, result: Mapping[str, Any]) -> str:
        return as_style_table(result)


@dataclass(frozen=True)
class BenchStreamCommand(Measurement):
    """Time the stream step alone."""

    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    frames: Annotated[int, arg(metavar="N", help="frames to time")] = 300
    beside: Annotated[
        str | None, arg(metavar="CHECKPOINT", help="another one, which takes turns with it")
    ] = None
    beside_steps: Annotated[int | None, arg(metavar="N", help="that one's steps a frame")] = None
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        from lsdjax.evals.latency import bench_stream

        return bench_stream(
            self.checkpoint,
            steps=self.steps,
            frames=self.frames,
            beside=self.beside,
            beside_steps=self.beside_steps,
        )


@dataclass(frozen=True)
class BenchPromptsCommand(Measurement):
    """How often a phrasing that was never trained on selects the right style."""

    clips: ClipsOption
    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    only: OnlyOption = ()
    frames: Annotated[int, arg(metavar="N", help="frames of each clip")] = 30
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        from lsdjax.evals.behaviour import select_styles

        return select_styles(
            self.checkpoint,
            clips=self.clips,
            only=self.only,
            steps=self.steps,
            frames=self.frames,
        )


@dataclass(frozen=True)
class BenchSwitchCommand(Measurement):
    """How soon a new prompt shows, and whether anything of the old one stays."""

    clips: ClipsOption
    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    only: OnlyOption = ()
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        from lsdjax.evals.behaviour import prompt_switch

        return prompt_switch(self.checkpoint, clips=self.clips, only=self.only, steps=self.steps)


@dataclass(frozen=True)
class BenchEnduranceCommand(Measurement):
    """One long stream on a looped clip: memory, step time and quality from first to last."""

    clip: Annotated[Path, arg(metavar="VIDEO", help="the clip, played forth and back")]
    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    style: Annotated[str, arg(metavar="NAME", help="the style whose teacher judges")] = (
        "watercolour"
    )
    frames: Annotated[int, arg(metavar="N", help="length of the stream")] = 20_000
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        from lsdjax.evals.behaviour import endurance

        return endurance(
            self.checkpoint,
            clip=self.clip,
            style=self.style,
            frames=self.frames,
            steps=self.steps,
        )


@dataclass(frozen=True)
class BenchDriftCommand(Measurement):
    """Many long streams of known scenes, with the input there, with gaps and without it."""

    checkpoint: CheckpointArgument = None
    frames: Annotated[int, arg(metavar="N", help="length of the streams")] = 10_000
    seeds: Annotated[int, arg(metavar="N", help="seeds of scenes, noise and gaps")] = 3
    rollouts: Annotated[int, arg(metavar="N", help="streams of each seed, side by side")] = 8
    style: Annotated[str, arg(metavar="NAME", help="the style whose teacher judges")] = "original"
    steps: StepsOption = None
    out: Annotated[
        Path | None, arg(metavar="FOLDER", help="where the plot, the pictures and the figures go")
    ] = None
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        for name, least in (("frames", 100), ("seeds", 1), ("rollouts", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, got {getattr(self, name)}")
        from lsdjax.evals.drift import measure_drift

        return measure_drift(
            self.checkpoint,
            frames=self.frames,
            seeds=self.seeds,
            rollouts=self.rollouts,
            style=self.style,
            steps=self.steps,
            out=self.out,
        )

    def as_text(self, result: Mapping[str, Any]) -> str:
        return as_drift_table(result)


@dataclass(frozen=True)
class BenchServeCommand(Measurement):
    """Measure what a client in another process sees of a server."""

    checkpoint: CheckpointArgument = None
    url: Annotated[
        str | None, arg(metavar="URL", help="a server that runs; without it, one is started")
    ] = None
    steps: StepsOption = None
    sessions: Annotated[
        tuple[int, ...], arg(metavar="N", help="clients at a time, one run for each number")
    ] = (1,)
    seconds: Annotated[float, arg(metavar="S", help="length of a run")] = 10.0
    minutes: Annotated[
        float | None, arg(metavar="M", help="length instead, watching memory and open files")
    ] = None
    fps: Annotated[float, arg(metavar="F", help="frames that a client offers a second")] = 30.0
    codec: Annotated[Literal["jpeg", "rgb24", "h264"], arg(help="how frames cross the network")] = (
        "jpeg"
    )
    instant: Annotated[
        bool, arg(help="a model that costs nothing: what remains is the protocol's own cost")
    ] = False
    size: Annotated[str, arg(metavar="WxH", help="pictures of the instant model")] = "512x512"
    link: Annotated[
        float | None, arg(metavar="MBIT", help="clients are behind a link of so many Mb/s")
    ] = None
    switch: Annotated[
        float | None, arg(metavar="S", help="a client changes its prompt so often")
    ] = 2.0
    kill: Annotated[bool, arg(help="kill the model's process midway, time its recovery")] = False
    spare: Annotated[
        Literal["none", "imported", "loaded"],
        arg(help="what a second process has done that waits for that, see `serve`"),
    ] = "imported"
    disconnects: Annotated[
        int, arg(metavar="N", help="so many others vanish meanwhile, and ten read nothing")
    ] = 0
    clip: Annotated[
        str | None, arg(metavar="VIDEO", help="what it sends; without it, a moving test picture")
    ] = None
    prompt: Annotated[str, arg(metavar="TEXT", help="what it asks for")] = "pencil sketch"
    other_prompt: Annotated[str, arg(metavar="TEXT", help="what it asks for in turn")] = (
        "photographic negative"
    )
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        from lsdjax.serve.bench import BenchServeOptions, bench_serve

        return bench_serve(BenchServeOptions(**asdict(self)))

    def run(self) -> int:
        if self.json:  # the plugins are the server's, which is another process
            return report(self.measure, self.as_text, as_json=True)
        self.measure()  # it prints its own table, run by run
        return 0


@dataclass(frozen=True)
class BenchTradeoffCommand(Measurement):
    """Quality against time a frame, of checkpoints at several numbers of steps; resumes."""

    checkpoints: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="NAME=CHECKPOINT", help="the name twice: the same model, trained again"),
    ]
    clips: ClipsOption
    steps: Annotated[
        UseAppendAction[tuple[int, ...]],
        arg(metavar="N", help="only so many denoising steps; without it, 1, 2, 4 and 16"),
    ] = ()
    seeds: Annotated[int, arg(metavar="N", help="seeds of noise and chance")] = 3
    style: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="NAME", help="only this style")
    ] = ()
    only: OnlyOption = ()
    max_frames: Annotated[int | None, arg(metavar="N", help="at most so many of a clip")] = None
    run_folder: Annotated[
        Path, arg(name="run", metavar="FOLDER", help="what has been measured so far")
    ] = Path("runs/tradeoff")
    out: Annotated[
        Path, arg(metavar="FOLDER", help="where the table, the plot and the figures go")
    ] = Path("docs")
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        from lsdjax.evals.tradeoff import STEPS, Entry, measure_tradeoff

        return measure_tradeoff(
            [Entry.parse(text) for text in self.checkpoints],
            clips=self.clips,
            run=self.run_folder,
            out=self.out,
            steps=self.steps or STEPS,
            seeds=self.seeds,
            styles=self.style,
            only=self.only,
            max_frames=self.max_frames,
        )

    def as_text(self, result: Mapping[str, Any]) -> str:
        from lsdjax.evals.tradeoff import as_markdown

        return as_markdown(result).rstrip()


@dataclass(frozen=True)
class BenchCommand:
    """Measure speed and behaviour."""

    what: (
        Annotated[BenchStreamCommand, subcommand("stream")]
        | Annotated[BenchServeCommand, subcommand("serve")]
        | Annotated[BenchPromptsCommand, subcommand("prompts")]
        | Annotated[BenchSwitchCommand, subcommand("switch")]
        | Annotated[BenchEnduranceCommand, subcommand("endurance")]
        | Annotated[BenchDriftCommand, subcommand("drift")]
        | Annotated[BenchTradeoffCommand, subcommand("tradeoff")]
    )

    def run(self) -> int:
        return self.what.run()


@dataclass(frozen=True)
class InfoCommand(Measurement):
    """Print the version, the devices, the checkpoint, its config and what its blocks run on.

    Of a Wan model, a folder or a preset such as wan-1.3b, what a step of it costs and runs on.
    """

    checkpoint: CheckpointArgument = None
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        import jax

        from lsdjax.checkpoint.export import load_checkpoint
        from lsdjax.configs.wan import WAN_PRESETS
        from lsdjax.evals.wan_cost import describe_config, describe_folder
        from lsdjax.stream.step import runs_on

        if self.checkpoint is not None:
            if networks := describe_folder(Path(self.checkpoint)):
                return {"path": self.checkpoint, **networks}
            if self.checkpoint in WAN_PRESETS and not Path(self.checkpoint).exists():
                return {"preset": self.checkpoint} | describe_config(WAN_PRESETS[self.checkpoint])
        loaded = load_checkpoint(self.checkpoint)
        leaves = jax.tree.leaves(loaded.params)
        return {
            "version": importlib.metadata.version("lsdjax"),
            "python": platform.python_version(),
            "jax": jax.__version__,
            "devices": [f"{device.platform}:{device.device_kind}" for device in jax.devices()],
            "checkpoint": {
                "path": str(loaded.path),
                "parameters": sum(math.prod(leaf.shape) for leaf in leaves),
                "bytes": sum(leaf.nbytes for leaf in leaves),
            },
            "config": asdict(loaded.config),
            "runs_on": [asdict(choice) for choice in runs_on(loaded.config)],
        }
