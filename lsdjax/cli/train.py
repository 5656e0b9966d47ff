"""`lsdjax train`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from lsdjax.core.errors import UserError
from lsdjax.core.plugins import load_plugins

if TYPE_CHECKING:
    from lsdjax.configs import TrainConfig
    from lsdjax.configs.wan import WanRecipe
    from lsdjax.data.examples import Lights
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
            help="videos and photos to learn from, a pool (.npz), your own pairs "
            "(input/, target/, prompts.jsonl), or `lights`, procedural scenes",
        ),
    ]
    run_folder: Annotated[
        Path | None, arg(name="run", metavar="FOLDER", help="the run; without it, runs/PRESET")
    ] = None
    plugin: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="FILE", help="your own Python file that brings a style, an objective, ..."),
    ] = ()
    objective: Annotated[
        str | None, arg(metavar="NAME", help="what is minimised; without it, the preset's own")
    ] = None
    cache_policy: Annotated[
        str | None, arg(metavar="NAME", help="what a frame sees; without it, the preset's own")
    ] = None
    init: Annotated[
        str | None, arg(metavar="CHECKPOINT", help="a new run begins with its parameters")
    ] = None
    teacher: Annotated[
        str | None,
        arg(
            metavar="CHECKPOINT",
            help="also follow what this one shows; the model then has the sizes of --init",
        ),
    ] = None
    text_encoder: Annotated[
        str | None,
        arg(
            metavar="WHERE",
            help="what reads prompts in place of the trained n-grams: a BERT's folder, or the name "
            "of one that a plugin brings",
        ),
    ] = None
    stop_after: Annotated[
        int | None, arg(metavar="N", help="stop after that many steps of the recipe")
    ] = None
    mesh: Annotated[
        str | None,
        arg(
            metavar="SIZES",
            help="devices on each axis, such as data=2,fsdp=4,tensor=1; without it, all on data",
        ),
    ] = None
    distributed: Annotated[
        bool, arg(help="join the other processes of a TPU pod, SLURM or Open MPI job")
    ] = False
    profile: Annotated[
        Path | None, arg(metavar="FOLDER", help="a trace of the third to the fifth step goes here")
    ] = None
    peak_tflops: Annotated[
        float | None,
        arg(metavar="N", help="of one device, to reckon mfu against; without it, where known"),
    ] = None

    def run(self) -> int:
        check_data(self.data)
        if self.stop_after is not None and self.stop_after < 1:
            raise UserError(f"--stop-after must be at least 1, got {self.stop_after}")
        if self.peak_tflops is not None and self.peak_tflops <= 0:
            raise UserError(f"--peak-tflops must be positive, got {self.peak_tflops}")
        if self.teacher is not None and self.init is None:
            raise UserError("--teacher needs a student; --init CHECKPOINT is expected beside it")
        from lsdjax.configs.wan import WAN_RECIPES

        if self.preset in WAN_RECIPES:
            return self._train_wan(WAN_RECIPES[self.preset])
        if self.distributed:
            _join_processes()
        load_plugins(self.plugin)  # after that: a plugin may touch the devices
        config = self._config()
        from lsdjax.checkpoint.export import load_checkpoint
        from lsdjax.core.sharding import make_mesh
        from lsdjax.train.loop import configure_logging, train

        configure_logging()
        mesh = make_mesh(self.mesh)
        init = None if self.init is None else load_checkpoint(self.init)
        teacher = None if self.teacher is None else load_checkpoint(self.teacher)
        if init is not None and teacher is not None:
            config = replace(config, model=init.config)
        data = load_data(self.data, config)
        run_folder = self.run_folder or Path("runs") / self.preset
        exported = train(
            config,
            data,
            run_folder,
            mesh=mesh,
            stop_after=self.stop_after,
            init=init,
            teacher=teacher,
            text_encoder=self.text_encoder,
            profile=self.profile,
            peak=self.peak_tflops,
        )
        print(exported)
        return 0

    def _train_wan(self, recipe: "WanRecipe") -> int:
        """A Wan-shaped model, on one device and on pairs."""
        for name in (
            "plugin",
            "objective",
            "cache_policy",
            "init",
            "teacher",
            "text_encoder",
            "mesh",
        ):
            if getattr(self, name):
                raise UserError(f"--{name.replace('_', '-')} does not go with {self.preset!r}")
        first, *others = self.data
        if others or not _is_paired(first):
            raise UserError(
                f"{self.preset!r} learns from one folder of pairs (input/, target/, prompts.jsonl)"
            )
        from lsdjax.data.paired import load_paired
        from lsdjax.data.pipeline import decode_pairs
        from lsdjax.train.wan import train_wan

        size = (recipe.model.height, recipe.model.width)
        pairs = decode_pairs(load_paired(first), *size, frames=recipe.frames)
        run_folder = self.run_folder or Path("runs") / self.preset
        print(train_wan(recipe, pairs, run_folder, stop_after=self.stop_after))
        return 0

    def _config(self) -> "TrainConfig":
        from lsdjax.configs.presets import preset

        config = preset(self.preset)
        if self.objective is not None:
            config = replace(config, objective=self.objective)
        if self.cache_policy is not None:
            model = replace(config.model, cache_policy=self.cache_policy)
            config = replace(config, model=model)
        return config


def load_data(
    folders: Sequence[Path], config: "TrainConfig"
) -> "Pool | Lights | Sequence[DecodedPair]":
    """What `--data` names: footage, pairs where a folder holds prompts.jsonl, or `lights`.

    Raises:
        UserError: nothing is named, what comes alone does not, or a file cannot be read.
    """
    check_data(folders)
    first = folders[0]
    if _is_lights(first):
        from lsdjax.data.examples import Lights

        return Lights()
    if _is_paired(first):
        from lsdjax.data.paired import load_paired
        from lsdjax.data.pipeline import decode_pairs

        longest = max(stage.rollout + stage.frames for stage in config.stages)
        return decode_pairs(
            load_paired(first), config.model.height, config.model.width, frames=longest
        )
    from lsdjax.data.pool import load_pool, read_pool

    if first.suffix == ".npz":
        return read_pool(first)
    return load_pool(folders, holdout=config.holdout)


def check_data(folders: Sequence[Path]) -> None:
    """Refuse what `load_data` would, as far as the names tell."""
    if not folders:
        raise UserError("--data FOLDER is missing; videos to learn from are expected")
    for path in folders if len(folders) > 1 else ():
        if path.suffix == ".npz":
            raise UserError(f"{path}: a pool comes alone, not with other --data")
        if _is_paired(path):
            raise UserError(f"{path}: a folder of pairs comes alone, not with other --data")
        if _is_lights(path):
            raise UserError(f"{path}: procedural scenes come alone, not with other --data")


def _join_processes() -> None:
    import jax

    try:
        jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--distributed: no cluster could be joined ({error})") from error


def _is_paired(folder: Path) -> bool:
    return (folder / "prompts.jsonl").exists()


def _is_lights(path: Path) -> bool:
    return path == Path("lights") and not path.exists()
