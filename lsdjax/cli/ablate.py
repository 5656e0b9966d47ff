"""`lsdjax ablate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg


@dataclass(frozen=True)
class AblateCommand:
    """Compare the forms of history augmentation; called again, it goes on where it stopped."""

    arm: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="NAME", help="only this arm; without it, all")
    ] = ()
    run_folder: Annotated[
        Path, arg(name="run", metavar="FOLDER", help="the runs and their checkpoints")
    ] = Path("runs/ablation")
    out: Annotated[
        Path, arg(metavar="FOLDER", help="where the table, the curves and the figures go")
    ] = Path("docs")
    seeds: Annotated[int, arg(metavar="N", help="runs of each arm")] = 3
    frames: Annotated[int, arg(metavar="N", help="length of the streams that judge")] = 10_000
    rollouts: Annotated[int, arg(metavar="N", help="streams of each run and setting")] = 8
    jobs: Annotated[int, arg(metavar="N", help="runs at a time, in processes of their own")] = 1

    def run(self) -> int:
        from lsdjax.train.ablation import ablate, as_markdown

        report = ablate(
            self.run_folder,
            self.out,
            arms=self.arm,
            seeds=self.seeds,
            frames=self.frames,
            rollouts=self.rollouts,
            jobs=self.jobs,
        )
        print(as_markdown(report), end="")
        return 0
