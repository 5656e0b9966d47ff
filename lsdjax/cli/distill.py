"""`lsdjax distill`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from lsdjax.cli.options import PluginOption
from lsdjax.cli.train import check_data, load_data
from lsdjax.core.plugins import load_plugins


@dataclass(frozen=True)
class DistillCommand:
    """Teach a checkpoint to take few large steps; called again, it goes on where it stopped."""

    checkpoint: Annotated[
        Positional[str], arg(metavar="CHECKPOINT", help="the student that is begun with")
    ]
    data: Annotated[
        UseAppendAction[tuple[Path, ...]],
        arg(
            metavar="FOLDER",
            help="videos and photos, a pool (.npz), your own pairs, or `lights`, procedural scenes",
        ),
    ]
    teacher: Annotated[
        str | None, arg(metavar="CHECKPOINT", help="who walks the small steps; without it, itself")
    ] = None
    steps: Annotated[int, arg(metavar="N", help="denoising steps a frame that it will take")] = 1
    objective: Annotated[
        str, arg(metavar="NAME", help="trajectory, shortcut, meanflow or matching")
    ] = "trajectory"
    teacher_steps: Annotated[
        int | None,
        arg(
            metavar="N",
            help="most steps in which the teacher walks a frame; without it, four to a step",
        ),
    ] = None
    style: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME", help="only this style, of a student that knows no others (repeatable)"),
    ] = ()
    drop: Annotated[
        float, arg(metavar="SHARE", help="share of the sequences in which input frames go missing")
    ] = 0.15
    run_folder: Annotated[
        Path, arg(name="run", metavar="FOLDER", help="the run and its checkpoints")
    ] = Path("runs/distill")
    plugin: PluginOption = ()
    stop_after: Annotated[
        int | None, arg(metavar="N", help="stop after that many steps of the recipe")
    ] = None

    def run(self) -> int:
        load_plugins(self.plugin)
        from lsdjax.checkpoint.export import load_checkpoint
        from lsdjax.configs.distillation import distillation
        from lsdjax.train.loop import configure_logging, train
        from lsdjax.train.state import as_shortcut

        check_data(self.data)
        configure_logging()
        student = load_checkpoint(self.checkpoint)
        teacher = student if self.teacher is None else load_checkpoint(self.teacher)
        config = distillation(
            student.config,
            steps=self.steps,
            objective=self.objective,
            styles=self.style,
            input_drop=self.drop,
            teacher_steps=self.teacher_steps,
        )
        exported = train(
            config,
            load_data(self.data, config),
            self.run_folder,
            stop_after=self.stop_after,
            init=as_shortcut(student, config.model),
            teacher=teacher,
        )
        print(exported)
        return 0
