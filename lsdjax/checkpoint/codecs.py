"""The public names of the codecs and of the text encoder: theirs are ours, axes and all."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from lsdjax.checkpoint.layouts import Rule, settle
from lsdjax.codec import taehv, wan_vae
from lsdjax.codec.taehv import TaehvConfig
from lsdjax.codec.wan_vae import WanVaeConfig
from lsdjax.core.errors import UserError
from lsdjax.core.records import read_record
from lsdjax.text import umt5
from lsdjax.text.umt5 import Umt5Config

Shapes = Mapping[str, tuple[int, ...]]


class _Named[Config]:
    """A network whose tensors keep their names."""

    kind: str
    anchor: str
    config: type[Config]
    parameter_shapes: Callable[[Config], dict[str, tuple[int, ...]]]

    def sizes(self, shapes: Shapes) -> dict[str, Any]:
        """What the tensors tell of the config."""
        raise NotImplementedError

    def infer(self, shapes: Shapes, changes: Mapping[str, Any]) -> Config:
        try:
            found = self.sizes(shapes)
        except (KeyError, IndexError) as error:
            raise UserError(f"no {self.kind}: {error} is missing or has too few axes") from error
        return settle(self.kind, self.config(), found, changes)

    def read_config(self, values: Any, what: str) -> Config:
        return read_record(self.config, values, what)

    def public_name(self, name: str) -> str:
        return name

    def diffusers_name(self, name: str) -> str:
        raise UserError(f"diffusers' names of {self.kind} are not known, those of wan alone")

    def rules(self, config: Config) -> list[Rule]:
        return [Rule(name, name) for name in self.shapes(config)]

    def shapes(self, config: Config) -> dict[str, tuple[int, ...]]:
        return type(self).parameter_shapes(config)


class WanVaeComponent(_Named[WanVaeConfig]):
    """The VAE of Wan 2.1."""

    kind = "wan-vae"
    anchor = "decoder.middle.0.residual.0.gamma"
    config = WanVaeConfig
    parameter_shapes = staticmethod(wan_vae.parameter_shapes)

    def sizes(self, shapes: Shapes) -> dict[str, Any]:
        channels = shapes["conv2.bias"][0]
        if channels != WanVaeConfig().channels:
            raise UserError(
                f"a VAE of {channels} latent channels; 16 are expected (of Wan 2.2, the tiny "
                "autoencoder taew2_2 is read)"
            )
        return {"dim": shapes["encoder.conv1.bias"][0]}


class TaehvComponent(_Named[TaehvConfig]):
    """TAEHV."""

    kind = "taehv"
    anchor = "decoder.3.conv.0.weight"
    config = TaehvConfig
    parameter_shapes = staticmethod(taehv.parameter_shapes)

    def sizes(self, shapes: Shapes) -> dict[str, Any]:
        widths = tuple(shapes[f"decoder.{i}.weight"][1] for i in (8, 14, 20))
        grown = tuple(
            shapes[f"decoder.{i}.conv.weight"][0] // wide
            for i, wide in zip((7, 13, 19), widths, strict=True)
        )
        return {
            "channels": shapes["encoder.17.weight"][0],
            "patch": round((shapes["encoder.0.weight"][1] / 3) ** 0.5),
            "width": shapes["encoder.0.weight"][0],
            "widths": widths,
            "grown": grown,
        }


class Umt5Component(_Named[Umt5Config]):
    """The encoder of UMT5, as Wan's checkpoints name it."""

    kind = "umt5"
    anchor = "blocks.0.pos_embedding.embedding.weight"
    config = Umt5Config
    parameter_shapes = staticmethod(umt5.parameter_shapes)

    def sizes(self, shapes: Shapes) -> dict[str, Any]:
        buckets, heads = shapes["blocks.0.pos_embedding.embedding.weight"]
        numbers = [re.match(r"blocks\.(\d+)\.", name) for name in shapes]
        return {
            "vocabulary": shapes["token_embedding.weight"][0],
            "dim": shapes["token_embedding.weight"][1],
            "attention_dim": shapes["blocks.0.attn.q.weight"][0],
            "ffn_dim": shapes["blocks.0.ffn.fc1.weight"][0],
            "heads": heads,
            "depth": len({match[1] for match in numbers if match}),
            "buckets": buckets,
        }
