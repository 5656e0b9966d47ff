"""Low-rank updates (LoRA, Hu et al. 2022), added to a checkpoint's matrices while it is converted.

    W' = W + alpha / rank * B A,    W (outputs, inputs), A (rank, inputs), B (outputs, rank)

computed in float32, slab by slab, and rounded once to the type of W.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from lsdjax.checkpoint.source import describe_source, read_tensors
from lsdjax.checkpoint.tensors import Stored
from lsdjax.core.errors import UserError

_NAME = re.compile(
    r"(?:base_model\.model\.|diffusion_model\.|transformer\.|model\.)*(?P<module>.+?)"
    r"\.(?P<part>lora_A|lora_B|lora_down|lora_up|alpha)(?:\.default)?(?:\.weight)?"
)
_PARTS = {"lora_A": "A", "lora_down": "A", "lora_B": "B", "lora_up": "B", "alpha": "alpha"}


@dataclasses.dataclass(frozen=True)
class Merged:
    """What an array needs for being written in slabs: `base` (inputs, outputs) + A^T B^T."""

    base: np.ndarray
    down: np.ndarray
    up: np.ndarray
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def dtype(self) -> np.dtype:
        return self.base.dtype

    @property
    def nbytes(self) -> int:
        return self.base.nbytes

    @property
    def ndim(self) -> int:
        return self.base.ndim

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, rows: slice) -> np.ndarray:
        down, up = self.down[:, rows].astype(np.float32), self.up.astype(np.float32)
        update = down.T @ up.T * np.float32(self.scale)
        return (self.base[rows].astype(np.float32) + update).astype(self.base.dtype)


class Lora:
    """The updates of a file, by the public names of the matrices."""

    def __init__(
        self, path: Path, public_name: Callable[[str], str], alpha: float | None = None
    ) -> None:
        """alpha: None is what the file says, or adapter_config.json beside it, or else the rank.

        Raises:
            UserError: it cannot be read, or holds anything but whole updates.
        """
        self._path = path
        self._tensors = read_tensors(path)
        self._parts: dict[str, dict[str, Stored]] = {}
        self._alpha = _told_alpha(path) if alpha is None else alpha
        unused = []
        for name, tensor in self._tensors.items():
            if (match := _NAME.fullmatch(name)) is None:
                unused.append(name)
                continue
            module = public_name(f"{match['module']}.weight")
            self._parts.setdefault(module, {})[_PARTS[match["part"]]] = tensor
        torn = [name for name, parts in self._parts.items() if not {"A", "B"} <= set(parts)]
        if unused or torn or not self._parts:
            wrong = [*unused, *(f"half of {name}" for name in torn)] or ["nothing"]
            told = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if wrong[3:] else "")
            raise UserError(f"{str(path)!r} is no LoRA of matrices alone: it holds {told}")

    def describe(self) -> str:
        """Of what the updates are made: another text once they change."""
        return f"{describe_source(self._tensors)} {self._alpha}"

    def merge(self, name: str, shape: tuple[int, ...], base: np.ndarray) -> np.ndarray | Merged:
        """`base` (inputs, outputs), ours of the matrix `name` of public `shape`, updated."""
        if name not in self._parts:
            return base
        parts = self._parts[name]
        down, up = parts["A"], parts["B"]
        if len(down.shape) != 2 or len(shape) != 2 or up.shape != (shape[0], down.shape[0]) or (
            down.shape[1] != shape[1]
        ):  # fmt: skip
            raise UserError(
                f"{str(self._path)!r}: {name} {shape} cannot take an update {up.shape} x "
                f"{down.shape}"
            )
        rank = down.shape[0]
        own = parts["alpha"].view() if "alpha" in parts else None
        alpha = float(own.reshape(-1)[0]) if own is not None and own.size == 1 else self._alpha
        scale = 1.0 if alpha is None else alpha / max(rank, 1)
        if not math.isfinite(scale):
            raise UserError(f"{str(self._path)!r}: alpha={alpha} of {name}; a number is expected")
        return Merged(base, down.view(), up.view(), scale)

    def check_used(self, names: Mapping[str, object]) -> None:
        """Raises UserError where an update has no matrix in `names`."""
        if unused := sorted(set(self._parts) - set(names)):
            raise UserError(f"{str(self._path)!r}: no matrix for {', '.join(unused)}")


def _told_alpha(path: Path) -> float | None:
    """`lora_alpha` of PEFT's adapter_config.json beside the file, where there is one."""
    told = (path if path.is_dir() else path.parent) / "adapter_config.json"
    if not told.is_file():
        return None
    try:
        config = json.loads(told.read_text())
        strange = [x for x in ("alpha_pattern", "use_rslora", "use_dora") if config.get(x)]
        alpha = float(config["lora_alpha"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{str(told)!r} is not an adapter's config ({error})") from error
    if strange:
        raise UserError(f"{str(told)!r} asks for {', '.join(strange)}, which is not supported")
    return alpha
