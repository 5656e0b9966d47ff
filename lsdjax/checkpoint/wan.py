"""The public names of Wan's DiT, as Wan 2.1, Self-Forcing, CausVid and LongLive write them."""

import re
from collections.abc import Mapping
from typing import Any

from lsdjax.checkpoint.layouts import ROW, Rule, linear, patch, settle
from lsdjax.checkpoint.tree import parameter_shapes
from lsdjax.core.errors import UserError
from lsdjax.core.records import read_record
from lsdjax.model.wan import WanDiT
from lsdjax.model.wan_config import CODECS, PATCH, WanConfig

HEAD_DIM = 128
"""Of every public model: their tensors tell the width, not the heads."""

_TOP = {
    "text_embedding.0": "text_in",
    "text_embedding.2": "text_out",
    "time_embedding.0": "time_in",
    "time_embedding.2": "time_out",
    "time_projection.1": "told",
    "head.head": "head",
}
# What WanTransformer3DModel of diffusers calls them, outside of blocks and in them.
_DIFFUSERS = {
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
_DIFFUSERS_BLOCK = {
    "modulation": "scale_shift_table",
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    **{
        f"{theirs}.{part}": f"{name}.{other}"
        for theirs, name in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for part, other in (
            *((x, f"to_{x}") for x in "qkv"),
            ("o", "to_out.0"),
            ("norm_q", "norm_q"),
            ("norm_k", "norm_k"),
        )
    },
}
_PUBLIC, _PUBLIC_BLOCK = (
    {theirs: public for public, theirs in table.items()} for table in (_DIFFUSERS, _DIFFUSERS_BLOCK)
)
_ATTENTION = {"q": "q", "k": "k", "v": "v", "o": "out"}


class WanComponent:
    """The DiT."""

    kind = "wan"
    anchor = "patch_embedding.weight"

    def infer(self, shapes: Mapping[str, tuple[int, ...]], changes: Mapping[str, Any]) -> WanConfig:
        """Sizes from the tensors; of the codecs, the first that has as many channels."""
        try:
            dim, channels = shapes["patch_embedding.weight"][:2]
            made = shapes["head.head.weight"][0] // PATCH**2
            text_dim = shapes["text_embedding.0.weight"][1]
            frequency_dim = shapes["time_embedding.0.weight"][1]
            ffn_dim = shapes["blocks.0.ffn.0.weight"][0]
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(f"no DiT of Wan: {error} is missing or has too few axes") from error
        codecs = [name for name, (_, ch) in CODECS.items() if ch == made]
        if not codecs or channels not in (made, 2 * made):
            raise UserError(
                f"a DiT that takes {channels} channels and makes {made}; it is expected to make "
                f"{', '.join(str(ch) for _, ch in CODECS.values())}, and to take as many or twice "
                "as many (image-to-video models are not supported)"
            )
        numbers = [re.match(r"blocks\.(\d+)\.", name) for name in shapes]
        found = {
            "beside": channels != made,
            "dim": dim,
            "depth": len({match[1] for match in numbers if match}),
            "ffn_dim": ffn_dim,
            "frequency_dim": frequency_dim,
            "text_dim": text_dim,
        }
        guessed = {"codec": codecs[0], "heads": max(1, dim // HEAD_DIM)}
        return settle(self.kind, WanConfig(), found, {**guessed, **changes})

    def read_config(self, values: Any, what: str) -> WanConfig:
        return read_record(WanConfig, values, what)

    def public_name(self, name: str) -> str:
        return _rename(name, _PUBLIC, _PUBLIC_BLOCK)

    def diffusers_name(self, name: str) -> str:
        return _rename(name, _DIFFUSERS, _DIFFUSERS_BLOCK)

    def rules(self, config: WanConfig) -> list[Rule]:
        rules = [
            Rule("patch_embedding.weight", "patch.kernel", patch(PATCH)),
            Rule("patch_embedding.bias", "patch.bias"),
            Rule("head.modulation", "head_modulation", ROW),
        ]
        for public, ours in _TOP.items():
            rules += linear(public, ours)
        for number in range(config.depth):
            rules += _block(f"blocks.{number}")
        return rules

    def shapes(self, config: WanConfig) -> dict[str, tuple[int, ...]]:
        return parameter_shapes(lambda rngs: WanDiT(config, rngs=rngs))


def _rename(name: str, outside: Mapping[str, str], inside: Mapping[str, str]) -> str:
    match = re.fullmatch(r"(blocks\.\d+\.)?(.*?)(\.weight|\.bias)?", name)
    assert match is not None  # names are printable
    block, stem, end = match.groups(default="")
    return block + (inside if block else outside).get(stem, stem) + end


def _block(block: str) -> list[Rule]:
    rules = [
        Rule(f"{block}.modulation", f"{block}.modulation", ROW),
        Rule(f"{block}.norm3.weight", f"{block}.cross_norm.scale"),
        Rule(f"{block}.norm3.bias", f"{block}.cross_norm.bias"),
        *linear(f"{block}.ffn.0", f"{block}.up"),
        *linear(f"{block}.ffn.2", f"{block}.down"),
    ]
    for public, ours in (("self_attn", "self_attention"), ("cross_attn", "cross_attention")):
        for theirs, name in _ATTENTION.items():
            rules += linear(f"{block}.{public}.{theirs}", f"{block}.{ours}.{name}")
        for side in "qk":
            norm = Rule(f"{block}.{public}.norm_{side}.weight", f"{block}.{ours}.{side}_norm.scale")
            rules.append(norm)
    return rules
