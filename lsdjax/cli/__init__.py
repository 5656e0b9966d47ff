"""The command line: one dataclass a command, heavy imports only once a command runs.

A user's mistake is one line on stderr and exit status 2. With `--json`, stdout carries exactly one
JSON object and everything else goes to stderr.
"""

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro
from tyro.conf import subcommand

from lsdjax.cli.ablate import AblateCommand
from lsdjax.cli.convert import ConvertCommand
from lsdjax.cli.distill import DistillCommand
from lsdjax.cli.embed import EmbedCommand
from lsdjax.cli.measure import BenchCommand, EvalCommand, InfoCommand
from lsdjax.cli.prune import PruneCommand
from lsdjax.cli.serve import ConnectCommand, ServeCommand, TokenCommand
from lsdjax.cli.stream import StreamCommand
from lsdjax.cli.train import TrainCommand
from lsdjax.core.errors import UserError

USER_ERROR = 2
INTERRUPTED = 130
_DESCRIPTION = "Live-Stream Diffusion in JAX: a live video in, a transformed video out."

Command = (
    Annotated[ServeCommand, subcommand("serve")]
    | Annotated[ConnectCommand, subcommand("connect")]
    | Annotated[TokenCommand, subcommand("token")]
    | Annotated[StreamCommand, subcommand("stream")]
    | Annotated[EvalCommand, subcommand("eval")]
    | Annotated[BenchCommand, subcommand("bench")]
    | Annotated[TrainCommand, subcommand("train")]
    | Annotated[DistillCommand, subcommand("distill")]
    | Annotated[AblateCommand, subcommand("ablate")]
    | Annotated[PruneCommand, subcommand("prune")]
    | Annotated[ConvertCommand, subcommand("convert")]
    | Annotated[EmbedCommand, subcommand("embed")]
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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
