"""The command line: one dataclass a command, heavy imports only once a command runs.

A user's mistake is one line on stderr and exit status 2. With `--json`, stdout carries exactly one
JSON object and everything else goes to stderr.
"""

import contextlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro
from tyro.conf import Positional, UseAppendAction, arg, subcommand

from lsdjax.core.errors import UserError
from lsdjax.evals.report import as_lines, as_style_table, plain

if TYPE_CHECKING:
    from lsdjax.configs import TrainConfig
    from lsdjax.data.pipeline import DecodedPair
    from lsdjax.data.pool import Pool

USER_ERROR = 2
INTERRUPTED = 130
_DESCRIPTION = "Live-Stream Diffusion in JAX: a live video in, a transformed video out."

_CHECKPOINT_HELP = "a checkpoint; without it, the one that ships"
CheckpointOption = Annotated[str | None, arg(metavar="FOLDER", help=_CHECKPOINT_HELP)]
CheckpointArgument = Annotated[
    Positional[str | None], arg(metavar="[CHECKPOINT]", help=_CHECKPOINT_HELP)
]
StepsOption = Annotated[
    int | None, arg(metavar="N", help="denoising steps a frame; without it, the checkpoint's own")
]
JsonOption = Annotated[bool, arg(help="print one JSON object and nothing else")]


@dataclass(frozen=True)
class ServeCommand:
    """Serve a checkpoint to browsers, with a page to try it on."""

    checkpoint: CheckpointOption = None
    host: Annotated[str, arg(metavar="NAME", help="address to listen on")] = "127.0.0.1"
    port: Annotated[int, arg(metavar="N", help="port to listen on")] = 8765
    steps: StepsOption = None
    max_sessions: Annotated[
        int | None, arg(metavar="N", help="how many may stream at the same time")
    ] = None
    origin: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="URL", help="a further origin whose pages may connect"),
    ] = ()
    sample: Annotated[str | None, arg(metavar="VIDEO", help="clip that the page opens with")] = None
    deadline_ms: Annotated[int, arg(metavar="MS", help="older frames are dropped")] = 100

    def run(self) -> int:
        from lsdjax.serve.options import ServeOptions
        from lsdjax.serve.server import serve

        options = ServeOptions(
            checkpoint=self.checkpoint,
            host=self.host,
            port=self.port,
            steps=self.steps,
            max_sessions=self.max_sessions,
            origins=self.origin,
            sample=self.sample,
            deadline_ms=self.deadline_ms,
        )
        return serve(options)


@dataclass(frozen=True)
class StreamCommand:
    """Turn a video into a video, frame by frame, in constant memory."""

    source: Annotated[
        Positional[str], arg(metavar="IN", help="a video, a folder of pictures or a camera's index")
    ]
    output: Annotated[Positional[Path], arg(metavar="OUT", help="the video to write")]
    prompt: Annotated[str, arg(metavar="TEXT", help="what to make of it, such as 'pencil sketch'")]
    prompt_at: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="FRAME:TEXT", help="another prompt from that frame on"),
    ] = ()
    side_by_side: Annotated[bool, arg(help="show the input to the left of the output")] = False
    checkpoint: CheckpointOption = None
    steps: StepsOption = None
    seed: Annotated[int, arg(metavar="N", help="seed of the noise")] = 0
    strength: Annotated[float, arg(metavar="S", help="how much to change, from 0 to 1")] = 1.0
    fit: Annotated[
        Literal["crop", "stretch"], arg(help="how the input takes the model's proportions")
    ] = "crop"
    scale: Annotated[int, arg(metavar="N", help="enlarge what is written")] = 1
    overwrite: Annotated[bool, arg(help="replace OUT where it exists")] = False

    def run(self) -> int:
        prompts = {0: self.prompt} | parse_switches(self.prompt_at)
        self._check(prompts.values())
        from lsdjax.data.video import VideoWriter, fit_frame, open_source

        with open_source(self.source) as source:  # before the model, so that mistakes show at once
            from tqdm import tqdm

            from lsdjax.checkpoint.export import load_checkpoint
            from lsdjax.stream.session import Streamer
            from lsdjax.stream.transform import transform

            streamer = Streamer(load_checkpoint(self.checkpoint), steps=self.steps)
            height, width = (side * self.scale for side in streamer.size)
            shown = 2 * width if self.side_by_side else width
            with (
                _stoppable(source.live) as stopped,
                VideoWriter(self.output, fps=source.fps, height=height, width=shown) as writer,
            ):
                streamer.warm_up(_progress)
                stream = streamer.start(self.prompt, seed=self.seed, strength=self.strength)
                timed = itertools.takewhile(lambda _: not stopped(), source.timed())
                steps = transform(timed, stream, streamer.size, prompts=prompts, how=self.fit)
                count = 0
                for time_s, fitted, made in tqdm(
                    steps, total=source.frame_count, unit=" frames", disable=None, leave=False
                ):
                    both = np.concatenate([fitted, made], axis=1) if self.side_by_side else made
                    writer.write(fit_frame(both, height, shown, "stretch"), time_s)
                    count += 1
        for frame in sorted(frame for frame in prompts if frame >= count):
            _warn(f"--prompt-at {frame} was never reached, the input has {count} frames")
        print(f"{self.output}: {count} frames, {shown}x{height} pixels")
        return 0

    def _check(self, prompts: Iterable[str]) -> None:
        """Refuse what is wrong before anything is decoded or compiled."""
        from lsdjax.text.tokenizer import tokenize

        for prompt in prompts:
            tokenize(prompt)
        if not 1 <= self.scale <= 16:
            raise UserError(f"--scale must lie within 1..16, got {self.scale}")
        if not 0.0 <= self.strength <= 1.0:
            raise UserError(f"--strength must lie within 0..1, got {self.strength}")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--steps must be at least 1, got {self.steps}")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"--seed must lie within 0..{2**31 - 1}, got {self.seed}")
        if not self.output.exists():
            return
        if self.output.is_dir():
            raise UserError(f"{self.output}: a folder, the name of a video to write is expected")
        if Path(self.source).exists() and self.output.samefile(self.source):
            raise UserError(f"{self.output}: is the input itself, another name is expected")
        if not self.overwrite:
            raise UserError(f"{self.output}: exists already (--overwrite replaces it)")


@dataclass(frozen=True)
class EvalCommand:
    """Measure quality against the teachers, style by style, on a folder of clips."""

    clips: Annotated[Path, arg(metavar="FOLDER", help="clips that were never trained on")]
    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    style: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="NAME", help="only this style")
    ] = ()
    only: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="CLIP", help="only this clip, by its name without the suffix"),
    ] = ()
    max_frames: Annotated[int | None, arg(metavar="N", help="at most so many of a clip")] = None
    out: Annotated[
        Path | None, arg(metavar="FOLDER", help="where the sheet and the figures go")
    ] = None
    json: JsonOption = False

    def run(self) -> int:
        if self.max_frames is not None and self.max_frames < 1:
            raise UserError(f"--max-frames must be at least 1, got {self.max_frames}")

        def measure() -> Mapping[str, Any]:
            from lsdjax.evals.quality import evaluate

            return evaluate(
                self.checkpoint,
                clips=self.clips,
                steps=self.steps,
                styles=self.style or None,
                only=self.only,
                max_frames=self.max_frames,
                out=self.out,
            )

        return _report(measure, as_style_table, as_json=self.json)


@dataclass(frozen=True)
class BenchStreamCommand:
    """Time the stream step alone."""

    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    frames: Annotated[int, arg(metavar="N", help="frames to time")] = 300
    json: JsonOption = False

    def run(self) -> int:
        def measure() -> Mapping[str, Any]:
            from lsdjax.evals.latency import bench_stream

            return bench_stream(self.checkpoint, steps=self.steps, frames=self.frames)

        return _report(measure, as_lines, as_json=self.json)


ClipsOption = Annotated[Path, arg(metavar="FOLDER", help="clips of scenes not trained on")]
OnlyOption = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="CLIP", help="only this clip, by its name without the suffix"),
]


@dataclass(frozen=True)
class BenchPromptsCommand:
    """How often a phrasing that was never trained on selects the right style."""

    clips: ClipsOption
    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    only: OnlyOption = ()
    frames: Annotated[int, arg(metavar="N", help="frames of each clip")] = 8
    json: JsonOption = False

    def run(self) -> int:
        def measure() -> Mapping[str, Any]:
            from lsdjax.evals.behaviour import select_styles

            return select_styles(
                self.checkpoint,
                clips=self.clips,
                only=self.only,
                steps=self.steps,
                frames=self.frames,
            )

        return _report(measure, as_lines, as_json=self.json)


@dataclass(frozen=True)
class BenchSwitchCommand:
    """How soon a new prompt shows, and whether anything of the old one stays."""

    clips: ClipsOption
    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    only: OnlyOption = ()
    json: JsonOption = False

    def run(self) -> int:
        def measure() -> Mapping[str, Any]:
            from lsdjax.evals.behaviour import prompt_switch

            return prompt_switch(
                self.checkpoint, clips=self.clips, only=self.only, steps=self.steps
            )

        return _report(measure, as_lines, as_json=self.json)


@dataclass(frozen=True)
class BenchEnduranceCommand:
    """One long stream on a looped clip: memory, step time and quality from first to last."""

    clip: Annotated[Path, arg(metavar="VIDEO", help="the clip, played forth and back")]
    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    style: Annotated[str, arg(metavar="NAME", help="the style whose teacher judges")] = (
        "watercolour"
    )
    frames: Annotated[int, arg(metavar="N", help="length of the stream")] = 20_000
    json: JsonOption = False

    def run(self) -> int:
        def measure() -> Mapping[str, Any]:
            from lsdjax.evals.behaviour import endurance

            return endurance(
                self.checkpoint,
                clip=self.clip,
                style=self.style,
                frames=self.frames,
                steps=self.steps,
            )

        return _report(measure, as_lines, as_json=self.json)


@dataclass(frozen=True)
class BenchServeCommand:
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
    fps: Annotated[float, arg(metavar="F", help="frames that a client offers a second")] = 30.0
    clip: Annotated[
        str | None, arg(metavar="VIDEO", help="what it sends; without it, a moving test picture")
    ] = None
    prompt: Annotated[str, arg(metavar="TEXT", help="what it asks for")] = "pencil sketch"
    json: JsonOption = False

    def run(self) -> int:
        from lsdjax.serve.bench import BenchServeOptions, bench_serve

        options = BenchServeOptions(**asdict(self))
        if not self.json:  # it prints its own table, run by run
            bench_serve(options)
            return 0
        return _report(lambda: bench_serve(options), as_lines, as_json=True)


@dataclass(frozen=True)
class BenchCommand:
    """Measure speed."""

    what: (
        Annotated[BenchStreamCommand, subcommand("stream")]
        | Annotated[BenchServeCommand, subcommand("serve")]
        | Annotated[BenchPromptsCommand, subcommand("prompts")]
        | Annotated[BenchSwitchCommand, subcommand("switch")]
        | Annotated[BenchEnduranceCommand, subcommand("endurance")]
    )

    def run(self) -> int:
        return self.what.run()


@dataclass(frozen=True)
class TrainCommand:
    """Train a preset; called again with the same run folder, it continues."""

    preset: Annotated[Positional[str], arg(metavar="PRESET", help="a name, such as live-128")]
    data: Annotated[
        UseAppendAction[tuple[Path, ...]],
        arg(
            metavar="FOLDER",
            help="videos and photos to learn from, a pool (.npz), or your own pairs "
            "(input/, target/, prompts.jsonl)",
        ),
    ]
    run_folder: Annotated[
        Path | None, arg(name="run", metavar="FOLDER", help="the run; without it, runs/PRESET")
    ] = None
    init: Annotated[
        str | None, arg(metavar="CHECKPOINT", help="a new run begins with its parameters")
    ] = None
    stop_after: Annotated[
        int | None, arg(metavar="N", help="stop after that many steps of the recipe")
    ] = None

    def run(self) -> int:
        from lsdjax.configs.presets import preset

        config = preset(self.preset)
        if not self.data:
            raise UserError("--data FOLDER is missing; videos to learn from are expected")
        if self.stop_after is not None and self.stop_after < 1:
            raise UserError(f"--stop-after must be at least 1, got {self.stop_after}")
        for path in self.data if len(self.data) > 1 else ():
            if path.suffix == ".npz":
                raise UserError(f"{path}: a pool comes alone, not with other --data")
            if _is_paired(path):
                raise UserError(f"{path}: a folder of pairs comes alone, not with other --data")
        from lsdjax.checkpoint.export import load_checkpoint
        from lsdjax.train.loop import configure_logging, train

        configure_logging()
        init = None if self.init is None else load_checkpoint(self.init)
        data = self._load_data(config)
        run_folder = self.run_folder or Path("runs") / self.preset
        print(train(config, data, run_folder, stop_after=self.stop_after, init=init))
        return 0

    def _load_data(self, config: "TrainConfig") -> "Pool | Sequence[DecodedPair]":
        first = self.data[0]
        if _is_paired(first):
            from lsdjax.data.paired import load_paired
            from lsdjax.data.pipeline import decode_pairs

            longest = max(stage.frames for stage in config.stages)
            return decode_pairs(
                load_paired(first), config.model.height, config.model.width, frames=longest
            )
        from lsdjax.data.pool import load_pool, read_pool

        if first.suffix == ".npz":
            return read_pool(first)
        return load_pool(self.data, holdout=config.holdout)


@dataclass(frozen=True)
class InfoCommand:
    """Print the version, the devices, the checkpoint and its config."""

    checkpoint: CheckpointArgument = None
    json: JsonOption = False

    def run(self) -> int:
        return _report(lambda: describe(self.checkpoint), as_lines, as_json=self.json)


Command = (
    Annotated[ServeCommand, subcommand("serve")]
    | Annotated[StreamCommand, subcommand("stream")]
    | Annotated[EvalCommand, subcommand("eval")]
    | Annotated[BenchCommand, subcommand("bench")]
    | Annotated[TrainCommand, subcommand("train")]
    | Annotated[InfoCommand, subcommand("info")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 2 after a mistake of the user's."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["-V"]):
        print(f"lsdjax {importlib.metadata.version('lsdjax')}")
        return 0
    try:
        command = tyro.cli(
            Command,  # pyright: ignore[reportArgumentType]  (a union of types is what tyro takes)
            prog="lsdjax",
            description=_DESCRIPTION,
            args=arguments or ["--help"],
            config=(
                tyro.conf.OmitSubcommandPrefixes,
                tyro.conf.OmitArgPrefixes,
                tyro.conf.FlagCreatePairsOff,
            ),
        )
        return command.run()
    except UserError as error:
        print(f"lsdjax: {_one_line(error)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("lsdjax: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our stdout left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a folder that may not be written to, a full disk
        if error.filename is None:
            raise
        print(f"lsdjax: {error.filename}: {error.strerror}", file=sys.stderr)
        return USER_ERROR


def parse_switches(texts: Iterable[str]) -> dict[int, str]:
    """Read `--prompt-at` values: "120:neon night" -> {120: "neon night"}.

    Raises:
        UserError: no colon, no frame number before it, frame 0, or the same frame twice.
    """
    switches: dict[int, str] = {}
    for text in texts:
        frame, colon, prompt = text.partition(":")
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        if not colon or not frame.strip().isdecimal():
            raise UserError(
                f'--prompt-at takes FRAME:"text", such as 120:"neon night", not {shown!r}'
            )
        index = int(frame)
        if index == 0:
            raise UserError(f"--prompt-at {shown!r}: the prompt of frame 0 is --prompt")
        if index in switches:
            raise UserError(f"--prompt-at {shown!r}: frame {index} has a prompt already")
        switches[index] = prompt
    return switches


def describe(checkpoint: str | None) -> dict[str, Any]:
    """What `lsdjax info` prints."""
    import jax

    from lsdjax.checkpoint.export import load_checkpoint

    loaded = load_checkpoint(checkpoint)
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
    }


def _report(
    measure: Callable[[], Mapping[str, Any]],
    as_text: Callable[[Mapping[str, Any]], str],
    *,
    as_json: bool,
) -> int:
    """Print what `measure` finds; whatever it prints itself goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        result = plain(measure())
    print(json.dumps(result, allow_nan=False) if as_json else as_text(result))
    return 0


@contextlib.contextmanager
def _stoppable(live: bool) -> Iterator[Callable[[], bool]]:
    """Turn signals into clean ends: Ctrl-C ends a camera's video, SIGTERM throws the file away."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        if stopped:  # the second time it is meant
            raise KeyboardInterrupt
        stopped = True

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    handlers = {signal.SIGTERM: leave, signal.SIGINT: stop if live else leave}
    try:
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_paired(folder: Path) -> bool:
    return (folder / "prompts.jsonl").exists()


def _progress(text: str) -> None:
    """Show what is going on to a person; a script's stderr stays for mistakes."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _warn(text: str) -> None:
    print(f"lsdjax: warning: {text}", file=sys.stderr)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
