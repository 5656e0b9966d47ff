"""What several commands have in common: options, and how they tell what they found."""

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from lsdjax.evals.report import plain

_CHECKPOINT_HELP = "a checkpoint; without it, the one that ships"
CheckpointOption = Annotated[str | None, arg(metavar="FOLDER", help=_CHECKPOINT_HELP)]
CheckpointArgument = Annotated[
    Positional[str | None], arg(metavar="[CHECKPOINT]", help=_CHECKPOINT_HELP)
]
StepsOption = Annotated[
    int | None, arg(metavar="N", help="denoising steps a frame; without it, the checkpoint's own")
]
TextEncoderOption = Annotated[
    str | None,
    arg(
        metavar="FOLDER",
        help="the folder of the BERT that reads the checkpoint's prompts, where it was trained "
        "with one; without it, $LSDJAX_TEXT_ENCODER. Of a Wan model: the folder of UMT5, a file of "
        "prompts' features, or words",
    ),
]
DtypeOption = Annotated[
    Literal["float32", "bfloat16"] | None,
    arg(help="what the model computes in; without it, float32 on a CPU, else bfloat16"),
]
JsonOption = Annotated[bool, arg(help="print one JSON object and nothing else")]
ClipsOption = Annotated[Path, arg(metavar="FOLDER", help="clips of scenes not trained on")]
PluginOption = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="FILE", help="your own Python file that brings what the checkpoint needs"),
]
OnlyOption = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="CLIP", help="only this clip, by its name without the suffix"),
]


def report(
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


def show_progress(text: str) -> None:
    """Show what is going on to a person; a script's stderr stays for mistakes."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def warn(text: str) -> None:
    """One line on stderr."""
    print(f"lsdjax: warning: {text}", file=sys.stderr)
