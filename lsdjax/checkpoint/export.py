"""The file that is shipped and shared: bfloat16 safetensors beside the config as JSON."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import abstract_model

FORMAT = 2
WEIGHTS, CONFIG = "model.safetensors", "config.json"
SHIPPED = Path(__file__).resolve().parent.parent / "assets"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A model that can be run.

    Attributes:
        config: its sizes.
        params: nested dict of float32 arrays, as `CausalDiT` names them.
        meta: what the export says of its training.
        path: where it was loaded from, if it was.
    """

    config: ModelConfig
    params: dict[str, Any]
    meta: dict[str, Any]
    path: Path | None = None

    def digest(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over sizes and weights, as they are exported."""
        found = hashlib.sha256(json.dumps(self.config.to_json(), sort_keys=True).encode())
        for name, value in sorted(_flatten(self.params).items()):
            found.update(name.encode())
            found.update(np.asarray(value, jnp.bfloat16).tobytes())
        return found.hexdigest()[:16]


def save_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> Path:
    """Write weights and config into `folder`, each to a temporary name first; return `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    flat = _flatten(checkpoint.params)
    tensors = {name: np.asarray(jnp.asarray(value, jnp.bfloat16)) for name, value in flat.items()}
    weights, config = folder / WEIGHTS, folder / CONFIG
    save_file(tensors, f"{weights}.partial")
    description = {
        "format": FORMAT,
        "model": checkpoint.config.to_json(),
        "meta": checkpoint.meta,
    }
    Path(f"{config}.partial").write_text(json.dumps(description, indent=1) + "\n")
    os.replace(f"{weights}.partial", weights)
    os.replace(f"{config}.partial", config)
    return folder


def load_checkpoint(path: str | Path | None = None) -> Checkpoint:
    """Load a folder that `save_checkpoint` wrote; None is the checkpoint that ships.

    Raises:
        UserError: the folder or a file is missing or damaged, or the weights do not fit the config.
    """
    folder = SHIPPED if path is None else Path(path)
    if folder.name in (WEIGHTS, CONFIG):
        folder = folder.parent
    if (folder / "wan.json").is_file():
        raise UserError(
            f"{str(folder)!r} is a Wan model, which lsdjax stream and lsdjax info take; one of "
            "lsdjax's own kind is expected here"
        )
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise UserError(f"no {name} in {str(folder)!r}; a checkpoint folder is expected")
    try:
        description = json.loads((folder / CONFIG).read_text())
        if description["format"] not in (1, FORMAT):
            raise UserError(
                f"{str(folder)!r} has checkpoint format {description['format']!r}; "
                f"format {FORMAT} is expected"
            )
        model = description["model"]
        config = ModelConfig.from_json(_untied(model) if description["format"] == 1 else model)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{str(folder / CONFIG)!r} is not a checkpoint's config ({error})"
        ) from error
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{str(folder / WEIGHTS)!r} is not a readable safetensors file ({error})"
        ) from error
    _check_fit(folder, config, tensors)
    flat = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    params = traverse_util.unflatten_dict(
        {
            tuple(int(k) if k.isdigit() else k for k in name.split(".")): v
            for name, v in flat.items()
        }
    )
    return Checkpoint(config, params, description.get("meta", {}), folder)


def abstract_params(config: ModelConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Names, shapes and dtypes of a model's parameters, without making them."""
    return _flatten(nnx.to_pure_dict(abstract_model(config)[1]))


def _untied(model: dict[str, Any]) -> dict[str, Any]:
    """The entries of format 1, which tied some sizes to others, as those of format 2.

    Nor did it know shortcut models.
    """
    model = dict(model)
    hidden = model["dim"] * model.pop("mlp_ratio")
    tied = ("head_dim", "observed_channels", "fused_channels", "wide_channels")
    return model | {"mlp_hidden": hidden, "shortcut": False} | dict.fromkeys(tied, 0)


def _flatten(params: dict[Any, Any]) -> dict[str, Any]:
    return {
        ".".join(str(key) for key in path): leaf
        for path, leaf in traverse_util.flatten_dict(params).items()
    }


def _check_fit(folder: Path, config: ModelConfig, tensors: dict[str, np.ndarray]) -> None:
    expected = abstract_params(config)
    wrong = sorted(set(expected) ^ set(tensors))
    wrong += [
        name
        for name, leaf in expected.items()
        if name in tensors and tensors[name].shape != leaf.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"the weights in {str(folder)!r} do not fit their config: {', '.join(wrong[:3])}{more}"
        )
