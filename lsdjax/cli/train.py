"""`lsdjax train`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from lsdjax.core.errors import UserError

if TYPE_CHECKING:
    from lsdjax.configs import TrainConfig
    from lsdjax.data.pipeline import DecodedPair
    from lsdjax.data.pool import Pool


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


def _is_paired(folder: Path) -> bool:
    return (folder / "prompts.jsonl").exists()
