"""What of a model can be cut, and the surgery: (params, mask) -> (smaller config, params).

Every axis of every parameter is declared once, as the groups of structures that it runs over.
Masking, cutting and adding up a structure's importance all read that declaration.
"""

import dataclasses
import functools
from typing import Any, NamedTuple, cast

import numpy as np
from flax import traverse_util

from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig

Path = tuple[str | int, ...]


class Structures[Row](NamedTuple):
    """Something for every structure of a model: a mask's bool, an importance.

    channels, observed, fused, wide, dim: (size,), see `ModelConfig`. hidden: (depth, mlp_hidden);
    heads, prompt_heads: (depth, heads), of self- and of cross-attention; blocks: (depth,).
    """

    channels: Row
    observed: Row
    fused: Row
    wide: Row
    dim: Row
    hidden: Row
    heads: Row
    prompt_heads: Row
    blocks: Row


Mask = Structures[np.ndarray]
"""Bool: what stays. All blocks keep equally many heads of both kinds and hidden channels."""


class Segment(NamedTuple):
    """A stretch of an axis: each structure of `group` `repeat` times, all of that `tile` times."""

    group: str
    tile: int = 1
    repeat: int = 1


def shapes(config: ModelConfig) -> Structures[tuple[int, ...]]:
    """The shapes of a mask."""
    heads = (config.depth, config.heads)
    return Structures(
        channels=(config.channels,),
        observed=(config.observed_channels,),
        fused=(config.fused_channels,),
        wide=(config.wide_channels,),
        dim=(config.dim,),
        hidden=(config.depth, config.mlp_hidden),
        heads=heads,
        prompt_heads=heads,
        blocks=(config.depth,),
    )


def full_mask(config: ModelConfig) -> Mask:
    """The mask that keeps everything."""
    return Structures(*(np.ones(shape, bool) for shape in shapes(config)))


def kept_sizes(config: ModelConfig, mask: Mask) -> ModelConfig:
    """The config of what a mask keeps.

    Raises:
        UserError: the mask is of another model, keeps nothing of a group, or its blocks differ.
    """

    def rows(name: str) -> int:
        counts = set(getattr(mask, name)[mask.blocks].sum(axis=1).tolist())
        if len(counts) != 1:
            raise UserError(f"the blocks keep {sorted(counts)} {name}; the same number is expected")
        return counts.pop()

    for name, shape, part in zip(Structures._fields, shapes(config), mask, strict=True):
        if part.shape != shape or part.dtype != bool:
            raise UserError(f"mask of {name} is {part.dtype} {part.shape}; bool {shape} is needed")
        if not part.any():
            raise UserError(f"the mask keeps no {name}; at least one is expected")
    heads, prompt_heads = rows("heads"), rows("prompt_heads")
    if heads != prompt_heads:
        raise UserError(f"{heads} heads and {prompt_heads} prompt_heads stay; as many are expected")
    return dataclasses.replace(
        config,
        channels=int(mask.channels.sum()),
        observed_channels=int(mask.observed.sum()),
        fused_channels=int(mask.fused.sum()),
        wide_channels=int(mask.wide.sum()),
        dim=int(mask.dim.sum()),
        mlp_hidden=rows("hidden"),
        heads=heads,
        depth=int(mask.blocks.sum()),
    )


@functools.cache
def _layout(head_dim: int) -> dict[Path, dict[int, tuple[Segment, ...]]]:
    """Which segments the axes of each parameter have; a block's path begins with "blocks" alone.

    `space_to_depth` and its inverse put the channel fastest, so a group is tiled there; a head's
    dimensions lie together, so heads are repeated.
    """
    channels, observed = (Segment("channels"),), (Segment("observed"),)
    fused, wide, dim = (Segment("fused"),), (Segment("wide"),), (Segment("dim"),)
    squares, tokens = (Segment("channels", tile=4),), (Segment("wide", tile=16),)
    found: dict[Path, dict[int, tuple[Segment, ...]]] = {}

    def conv(name: str, inputs: tuple[Segment, ...], outputs: tuple[Segment, ...]) -> None:
        found["convs", name, "kernel"] = {2: inputs, 3: outputs}
        found["convs", name, "offsets"] = {3: inputs, 4: outputs}
        found["convs", name, "bias"] = {0: outputs}

    def linear(path: Path, inputs: tuple[Segment, ...], outputs: tuple[Segment, ...]) -> None:
        found[*path, "kernel"] = {0: inputs, 1: outputs}
        found[*path, "bias"] = {0: outputs}

    conv("observe", (), observed)
    conv("base", observed, channels)
    conv("stem", (), channels)
    conv("down", squares, wide)
    conv("mix", wide, wide)
    conv("head", wide, wide)
    conv("up", wide, squares)
    conv("fuse", channels + observed, fused)
    conv("detail", fused, fused)
    conv("pixel", fused, ())
    for name, group in (
        ("observe", "observed"), ("stem", "channels"), ("mix", "wide"), ("head", "wide"),
        ("fuse", "fused"), ("detail", "fused"),
    ):  # fmt: skip
        linear(("films", name, "linear"), (), (Segment(group, tile=2),))
    linear(("tokens_in",), tokens, dim)
    linear(("tokens_out",), dim, tokens)

    def heads(group: str, *, tile: int = 1, each: int = 1) -> tuple[Segment, ...]:
        return (Segment(group, tile, each * head_dim),)

    hidden = (Segment("hidden"),)
    linear(("blocks", "modulation"), (), (Segment("dim", tile=6),))
    linear(("blocks", "qkv"), dim, heads("heads", tile=3))
    linear(("blocks", "out"), heads("heads"), dim)
    linear(("blocks", "prompt_q"), dim, heads("prompt_heads"))
    linear(("blocks", "prompt_kv"), (), heads("prompt_heads", each=2))
    linear(("blocks", "prompt_out"), heads("prompt_heads"), dim)
    linear(("blocks", "up"), dim, hidden)
    linear(("blocks", "down"), hidden, dim)
    return found


def flatten(params: dict[Any, Any]) -> dict[Path, np.ndarray]:
    """The arrays of nested parameters by their paths."""
    return cast(dict[Path, np.ndarray], traverse_util.flatten_dict(params))


def axes(path: Path, config: ModelConfig) -> dict[int, tuple[Segment, ...]]:
    """The segments of the axes of one parameter; axes that nothing is cut of are left out."""
    general = ("blocks", *path[2:]) if path[0] == "blocks" else path
    found = _layout(config.head_dim).get(general, {})
    return {axis: segments for axis, segments in found.items() if segments}


def spread(
    structures: Structures[np.ndarray], path: Path, segments: tuple[Segment, ...]
) -> np.ndarray:
    """What `structures` says along one axis of the parameter at `path`."""

    def row(group: str) -> np.ndarray:
        values = getattr(structures, group)
        return values[int(path[1])] if values.ndim == 2 else values

    parts = [np.tile(np.repeat(row(s.group), s.repeat), s.tile) for s in segments]
    return np.concatenate(parts)


def mask_params(params: dict[str, Any], config: ModelConfig, mask: Mask) -> dict[str, Any]:
    """The parameters of the full model with those of what a mask drops at zero.

    A block that is dropped passes on what it was given.
    """

    def masked(path: Path, leaf: np.ndarray) -> np.ndarray:
        if path[0] == "blocks" and not mask.blocks[int(path[1])]:
            return np.zeros_like(leaf) if path[2] in ("out", "prompt_out", "down") else leaf
        for axis, segments in axes(path, config).items():
            keep = spread(mask, path, segments)
            if not keep.all():
                others = tuple(a for a in range(leaf.ndim) if a != axis)
                leaf = leaf * np.expand_dims(keep, others)
        return leaf

    return traverse_util.unflatten_dict(
        {path: masked(path, leaf) for path, leaf in flatten(params).items()}
    )


def cut(
    params: dict[str, Any], config: ModelConfig, mask: Mask
) -> tuple[ModelConfig, dict[str, Any]]:
    """The smaller model that computes what the masked one does.

    Raises:
        UserError: as `kept_sizes`.
    """
    smaller = kept_sizes(config, mask)
    number = np.cumsum(mask.blocks) - 1
    flat: dict[Path, np.ndarray] = {}
    for path, leaf in flatten(params).items():
        here: Path = path
        if path[0] == "blocks":
            if not mask.blocks[int(path[1])]:
                continue
            here = ("blocks", int(number[int(path[1])]), *path[2:])
        for axis, segments in axes(path, config).items():
            leaf = np.compress(spread(mask, path, segments), leaf, axis=axis)
        flat[here] = leaf
    if smaller.dim < config.dim:
        _rescale(flat, smaller, (config.dim / smaller.dim) ** 0.5)
    return smaller, traverse_util.unflatten_dict(flat)


def _rescale(flat: dict[Path, np.ndarray], config: ModelConfig, gain: float) -> None:
    """Make up for a mean over fewer dimensions in `rms_norm`: what reads it is multiplied.

    x / rms(x) shrinks by `gain` where zeros no longer count. It is read by `prompt_q`, by
    `tokens_out` and, as n (1 + scale) + shift, through the modulation: there 1 + scale grows.
    """
    grown = np.float32(gain)
    flat["tokens_out", "kernel"] = flat["tokens_out", "kernel"] * grown
    for block in range(config.depth):
        query: Path = ("blocks", block, "prompt_q", "kernel")
        flat[query] = flat[query] * grown
        for name, grow in (("kernel", 0), ("bias", grown - 1)):
            path: Path = ("blocks", block, "modulation", name)
            parts = np.split(flat[path], 6, axis=-1)
            for scale in (1, 4):
                parts[scale] = parts[scale] * grown + np.float32(grow)
            flat[path] = np.concatenate(parts, axis=-1)
