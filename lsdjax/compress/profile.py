"""Which sizes a device computes well with."""

import dataclasses

from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig

SIZES = {
    "channels": "channels",
    "observed": "observed_channels",
    "fused": "fused_channels",
    "wide": "wide_channels",
    "dim": "dim",
    "hidden": "mlp_hidden",
    "heads": "heads",
    "blocks": "depth",
}
"""The groups that are cut, and the entry of `ModelConfig` that says how many there are."""

CHOICES = 8
"""Smaller sizes that are tried of a group, at most."""


@dataclasses.dataclass(frozen=True)
class DeviceProfile:
    """What the sizes that remain are multiples of.

    Attributes:
        channels: features of the convolutions.
        width: `dim`, the width of the residual stream.
        hidden: hidden width of the feed-forward layers.
    """

    channels: int
    width: int
    hidden: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise UserError(f"{field.name}={getattr(self, field.name)}; at least 1 is expected")

    def multiple(self, group: str) -> int:
        """What the size of a group is a multiple of; heads and blocks are cut one by one."""
        if group in ("channels", "observed", "fused", "wide"):
            return self.channels
        return {"dim": self.width, "hidden": self.hidden}.get(group, 1)

    def choices(self, group: str, size: int) -> list[int]:
        """Sizes to try of a group that now has `size`: that first, then smaller ones, falling."""
        multiple = self.multiple(group)
        smaller = range((size - 1) // multiple * multiple, 0, -multiple)
        stride = -(-len(smaller) // CHOICES)
        return [size, *smaller[:: max(stride, 1)]]


PROFILES = {
    "cpu": DeviceProfile(channels=8, width=16, hidden=16),
    "gpu": DeviceProfile(channels=8, width=128, hidden=128),
    "tpu": DeviceProfile(channels=128, width=128, hidden=128),
}
"""By JAX's name of the platform. A CPU's vectors hold 8 or 16 floats, a GPU's matrix instructions
take channels by eights, a TPU's by the 128 lanes of its matrix unit."""


def size_of(config: ModelConfig, group: str) -> int:
    """How many structures of a group a model has."""
    return getattr(config, SIZES[group])


def resized(config: ModelConfig, sizes: dict[str, int]) -> ModelConfig:
    """The config with groups of other sizes."""
    return dataclasses.replace(config, **{SIZES[group]: size for group, size in sizes.items()})
