"""`lsdjax stream`."""

import contextlib
import itertools
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from tyro.conf import Positional, UseAppendAction, arg

from lsdjax.cli.options import (
    CheckpointOption,
    DtypeOption,
    PluginOption,
    StepsOption,
    TextEncoderOption,
    show_progress,
    warn,
)
from lsdjax.core.errors import UserError
from lsdjax.core.plugins import load_plugins

if TYPE_CHECKING:
    from lsdjax.stream.session import Stream, Streamer
    from lsdjax.stream.wan import WanStreamer


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
    text_encoder: TextEncoderOption = None
    dtype: DtypeOption = None
    plugin: PluginOption = ()
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
        load_plugins(self.plugin)
        from lsdjax.data.video import VideoWriter, fit_frame, open_source

        with open_source(self.source) as source:  # before the model, so that mistakes show at once
            from tqdm import tqdm

            streamer, transform, start = self._load(prompts.values())
            height, width = (side * self.scale for side in streamer.size)
            shown = 2 * width if self.side_by_side else width
            with (
                _stoppable(source.live) as stopped,
                VideoWriter(self.output, fps=source.fps, height=height, width=shown) as writer,
            ):
                stream = start()
                timed = itertools.takewhile(lambda _: not stopped(), source.timed())
                steps = transform(timed, stream, streamer.size, prompts=prompts, how=self.fit)
                count = 0
                for time_s, fitted, made in tqdm(
                    steps, total=source.frame_count, unit=" frames", disable=None, leave=False
                ):
                    both = np.concatenate([fitted, made], axis=1) if self.side_by_side else made
                    writer.write(fit_frame(both, height, shown, "stretch"), time_s)
                    count += 1
        late = ""
        if (step := getattr(streamer, "frames_per_step", 1)) > 1:
            delay = streamer.structural_delay_ms(float(source.fps))  # type: ignore[union-attr]
            late = f"; {step} frames a step, live every one would be {delay:.0f} ms late at least"
        for frame in sorted(frame for frame in prompts if frame >= count):
            warn(f"--prompt-at {frame} was never reached, the input has {count} frames")
        for event in stream.events:
            measured = f"{event.reason} {event.value:.3g}, limit {event.limit:.3g}"
            warn(f"the stream was repaired at frame {event.frame_index}: {measured}")
        print(f"{self.output}: {count} frames, {shown}x{height} pixels{late}")
        return 0

    def _load(
        self, prompts: Iterable[str]
    ) -> "tuple[Streamer | WanStreamer, Callable[..., Iterator], Callable]":
        """What makes streams, how frames go through one, and what starts one."""
        from lsdjax.stream.transform import transform, transform_steps

        if self.checkpoint is not None and (Path(self.checkpoint) / "wan.json").is_file():
            from lsdjax.stream.wan_load import load_wan_streamer

            if self.steps is not None or self.strength != 1.0:
                raise UserError(
                    f"{self.checkpoint!r} is a Wan model, whose steps are its own and whose "
                    "pictures are not mixed with the input: --steps and --strength do not apply"
                )
            wan = load_wan_streamer(Path(self.checkpoint), self.text_encoder, dtype=self.dtype)
            for prompt in prompts:  # a file of features need not know them all
                wan.encode_prompt(prompt)
            return wan, transform_steps, lambda: wan.start(self.prompt, seed=self.seed)
        from lsdjax.checkpoint.export import load_checkpoint
        from lsdjax.stream.session import Streamer

        checkpoint = load_checkpoint(self.checkpoint)
        streamer = Streamer(
            checkpoint, steps=self.steps, text_encoder=self.text_encoder, dtype=self.dtype
        )

        def start() -> "Stream":
            streamer.warm_up(show_progress)
            return streamer.start(self.prompt, seed=self.seed, strength=self.strength)

        return streamer, transform, start

    def _check(self, prompts: Iterable[str]) -> None:
        """Refuse what is wrong before anything is decoded or compiled."""
        from lsdjax.text.tokenizer import find_words

        for prompt in prompts:
            find_words(prompt)
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
