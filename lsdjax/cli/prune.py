"""`lsdjax prune`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import UseAppendAction, arg

from lsdjax.cli.measure import Measurement
from lsdjax.cli.options import (
    CheckpointArgument,
    JsonOption,
    PluginOption,
    StepsOption,
    TextEncoderOption,
    show_progress,
)
from lsdjax.cli.train import check_data, load_data
from lsdjax.core.errors import UserError


@dataclass(frozen=True)
class PruneCommand(Measurement):
    """Cut a checkpoint down to a share of the step time that it has on this machine."""

    target: Annotated[
        str,
        arg(
            metavar="latency=SHARE|sizes=CHECKPOINT",
            help="a share of the present step time, such as latency=0.6; or the sizes that another "
            "checkpoint has, whatever the machine",
        ),
    ]
    data: Annotated[
        UseAppendAction[tuple[Path, ...]],
        arg(
            metavar="FOLDER",
            help="what tells which parts are needed: videos and photos, a pool (.npz), or pairs",
        ),
    ]
    out: Annotated[Path, arg(metavar="FOLDER", help="where the smaller checkpoint goes")]
    checkpoint: CheckpointArgument = None
    steps: StepsOption = None
    groups: Annotated[int, arg(metavar="N", help="clips to look at, each under a style")] = 32
    frames: Annotated[int, arg(metavar="N", help="frames of each")] = 4
    drop: Annotated[
        float, arg(metavar="SHARE", help="share of the clips in which input frames go missing")
    ] = 0.0
    timed: Annotated[int, arg(metavar="N", help="frames that a whole step is timed for")] = 100
    profile: Annotated[
        Literal["cpu", "gpu", "tpu"] | None,
        arg(help="whose sizes remain; without it, this device's"),
    ] = None
    text_encoder: TextEncoderOption = None
    plugin: PluginOption = ()
    json: JsonOption = False

    def measure(self) -> Mapping[str, Any]:
        name, value = parse_target(self.target)
        check_data(self.data)
        from lsdjax.checkpoint.export import load_checkpoint
        from lsdjax.compress.profile import PROFILES, SIZES, size_of
        from lsdjax.train.prune import calibration_recipe, check_out, prune

        check_out(self.out)
        checkpoint = load_checkpoint(self.checkpoint)
        target: float | dict[str, int]
        if name == "latency":
            target = float(value)
        elif self.profile is not None:
            raise UserError(f"--profile {self.profile}: the target's sizes are taken as they are")
        else:
            like = load_checkpoint(value).config
            if like.head_dim != checkpoint.config.head_dim:
                raise UserError(
                    f"--target {self.target}: heads of {like.head_dim}; heads of "
                    f"{checkpoint.config.head_dim} are expected, for a head keeps its width"
                )
            target = {group: size_of(like, group) for group in SIZES}
        recipe = calibration_recipe(
            checkpoint.config, groups=self.groups, frames=self.frames, input_drop=self.drop
        )
        return prune(
            checkpoint,
            load_data(self.data, recipe),
            self.out,
            target=target,
            recipe=recipe,
            steps=self.steps,
            timed_frames=self.timed,
            profile=None if self.profile is None else PROFILES[self.profile],
            text_encoder=self.text_encoder,
            progress=show_progress,
        )

    def as_text(self, result: Mapping[str, Any]) -> str:
        before, after = result["sizes_before"], result["sizes"]
        sizes = [f"  {name}: {before[name]} -> {after[name]}" for name in after]
        times = f"{result['before_ms']:.2f} -> {result['after_ms']:.2f} ms"
        lost = f"{result['loss_before']:.4f} -> {result['loss']:.4f} (before recovery)"
        return "\n".join([f"{self.out}", *sizes, f"  step: {times}", f"  loss: {lost}"])


def parse_target(text: str) -> tuple[str, str]:
    """Read `--target`: "latency=0.6" -> ("latency", "0.6"), "sizes=runs/a" -> ("sizes", "runs/a").

    Raises:
        UserError: it is something else, or not a share below the current size.
    """
    name, _, value = text.partition("=")
    if name == "sizes" and value:
        return name, value
    try:
        share = float(value)
    except ValueError:
        share = float("nan")
    if name != "latency" or share != share:
        raise UserError(
            f"--target takes latency=SHARE, such as latency=0.6, or sizes=CHECKPOINT, not {text!r}"
        )
    if share >= 1:
        raise UserError(f"--target {text}: above the current size; a share below 1 is expected")
    if share <= 0:
        raise UserError(f"--target {text}: a share above 0 is expected")
    return name, value
