"""`lsdjax convert`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from lsdjax.cli.options import JsonOption, report, warn
from lsdjax.core.errors import UserError


@dataclass(frozen=True)
class ConvertCommand:
    """Turn a public Wan checkpoint into lsdjax's form, or back: without torch, bit for bit."""

    source: Annotated[
        Positional[Path],
        arg(
            metavar="SRC",
            help="a .safetensors or torch file, a folder of shards, or a folder of lsdjax's",
        ),
    ]
    target: Annotated[
        Positional[Path],
        arg(metavar="DST", help="the folder to write; several networks may share one"),
    ]
    preset: Annotated[
        str | None, arg(metavar="NAME", help="settings that the tensors do not tell")
    ] = None
    set: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="NAME=VALUE", help="one setting, such as window=6 or rope=window"),
    ] = ()
    entry: Annotated[
        str | None,
        arg(metavar="NAME", help="the entry of a torch file to read, such as generator"),
    ] = None
    drop: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="PREFIX", help="leave out tensors whose name begins so"),
    ] = ()
    lora: Annotated[
        Path | None, arg(metavar="FILE", help="a LoRA to add to the matrices on the way in")
    ] = None
    lora_alpha: Annotated[
        float | None, arg(metavar="A", help="its alpha where the file does not tell; else its rank")
    ] = None
    names: Annotated[
        Literal["public", "diffusers"], arg(help="whose names to write on the way back")
    ] = "public"
    json: JsonOption = False

    def run(self) -> int:
        from lsdjax.checkpoint.convert import kinds_in

        if self.source.is_dir() and kinds_in(self.source):
            return report(self._export, _as_text, as_json=self.json)
        return report(self._import, _as_text, as_json=self.json)

    def _export(self) -> dict[str, Any]:
        from lsdjax.checkpoint.convert import export_checkpoint

        update = self.lora or self.lora_alpha is not None
        if self.preset or self.set or self.entry or self.drop or update:
            raise UserError(
                f"{str(self.source)!r} is a folder of lsdjax's, which goes back under public "
                "names as it is: --preset, --set, --entry, --drop, --lora and --lora-alpha are for "
                "the way in"
            )
        made = export_checkpoint(self.source, self.target, diffusers=self.names == "diffusers")
        return {"written": [conversion._asdict() for conversion in made]}

    def _import(self) -> dict[str, Any]:
        from lsdjax.checkpoint.convert import import_checkpoint
        from lsdjax.configs.wan import wan_preset

        if self.names != "public":
            raise UserError("--names is for the way back; diffusers' names are read as they are")
        if self.lora is None and self.lora_alpha is not None:
            raise UserError("--lora-alpha is for --lora FILE")
        changes = asdict(wan_preset(self.preset)) if self.preset else {}
        made = import_checkpoint(
            self.source,
            self.target,
            entry=self.entry,
            changes=changes | dict(map(parse_setting, self.set)),
            drop=self.drop,
            lora=self.lora,
            lora_alpha=self.lora_alpha,
        )
        for name in made.dropped:
            warn(f"left out {name}")
        return {"written": [made._asdict()]}


def parse_setting(text: str) -> tuple[str, Any]:
    """Read "window=6", "rope=window" or "timesteps=[1000,500]".

    Raises:
        UserError: there is no name or no value.
    """
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise UserError(f"--set takes NAME=VALUE, such as window=6, not {text!r}")
    try:
        read = json.loads(value)
    except json.JSONDecodeError:
        read = value
    return name, tuple(read) if isinstance(read, list) else read


def _as_text(result: Any) -> str:
    return "\n".join(
        f"{made['path']}: {made['kind']}, {made['tensors']} tensors, "
        f"{made['parameters'] / 1e6:.1f} M parameters, {made['bytes'] / 1e9:.3f} GB, "
        f"{' and '.join(made['dtypes'])}{', gone on with' if made['resumed'] else ''}"
        for made in result["written"]
    )
