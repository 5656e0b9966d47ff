"""The encoder of UMT5 (Chung et al. 2023), which reads prompts for Wan, as pure functions.

    x = x + attention(norm x);  x = x + (gelu(norm(x) G) * norm(x) F) W

Each layer has a table of biases by relative position of its own; logits are not scaled. The
parameters keep the names that Wan's checkpoints give them; a matrix is stored (outputs, inputs).
"""

import dataclasses
import functools
import html
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lsdjax.core.errors import UserError
from lsdjax.core.types import typechecked

MAX_DISTANCE = 128


@dataclasses.dataclass(frozen=True)
class Umt5Config:
    """Sizes; those of UMT5-XXL unless told otherwise."""

    vocabulary: int = 256384
    dim: int = 4096
    attention_dim: int = 4096
    ffn_dim: int = 10240
    heads: int = 64
    depth: int = 24
    buckets: int = 32

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if value < 1:
                raise UserError(f"{name}={value}; a positive number is expected")
        if self.attention_dim % self.heads or self.buckets % 4:
            raise UserError(
                f"attention_dim={self.attention_dim} over heads={self.heads}, "
                f"buckets={self.buckets}; whole heads and a multiple of 4 are expected"
            )


def parameter_shapes(config: Umt5Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters."""
    dim, inner, ffn = config.dim, config.attention_dim, config.ffn_dim
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (config.vocabulary, dim),
        "norm.weight": (dim,),
    }
    for i in range(config.depth):
        shapes |= {f"blocks.{i}.attn.{part}.weight": (inner, dim) for part in "qkv"}
        shapes |= {
            f"blocks.{i}.attn.o.weight": (dim, inner),
            f"blocks.{i}.norm1.weight": (dim,),
            f"blocks.{i}.norm2.weight": (dim,),
            f"blocks.{i}.ffn.gate.0.weight": (ffn, dim),
            f"blocks.{i}.ffn.fc1.weight": (ffn, dim),
            f"blocks.{i}.ffn.fc2.weight": (dim, ffn),
            f"blocks.{i}.pos_embedding.embedding.weight": (config.buckets, config.heads),
        }
    return shapes


def position_buckets(length: int, buckets: int) -> np.ndarray:
    """The bucket of each key's distance to each query, (length, length) int32.

    Half of the buckets are for keys behind the query. Of a half, the first half holds one distance
    each, the others ranges that grow up to `MAX_DISTANCE` (Raffel et al. 2020).
    """
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    half = buckets // 2
    exact = half // 2
    # In float32, as the weights were trained: at the bounds of a range rounding decides.
    far = np.log(np.maximum(np.abs(distance), 1).astype(np.float32) / np.float32(exact))
    far = far / np.float32(math.log(MAX_DISTANCE / exact)) * np.float32(half - exact)
    far = np.minimum(exact + far.astype(np.int64), half - 1)
    bucket = np.where(np.abs(distance) < exact, np.abs(distance), far)
    return (bucket + half * (distance > 0)).astype(np.int32)


@typechecked
def encode(
    params: dict[str, Any], config: Umt5Config, ids: Int[Array, "n"], mask: Bool[Array, "n"]
) -> Float[Array, "n dim"]:
    """The features of each token; tokens outside of `mask` are seen by no other one.

    Matrices are used in the type of the embedding; norms, logits and softmax are float32.
    """
    dtype = params["token_embedding.weight"].dtype
    n, heads = ids.shape[0], config.heads

    def linear(x: jax.Array, name: str) -> jax.Array:
        return x @ params[f"{name}.weight"].T.astype(dtype)

    def norm(x: jax.Array, name: str) -> jax.Array:
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + 1e-6)
        return (wide * params[f"{name}.weight"].astype(jnp.float32)[None]).astype(dtype)

    buckets = position_buckets(n, config.buckets)
    x = params["token_embedding.weight"][ids]
    for i in range(config.depth):
        block = f"blocks.{i}"
        y = norm(x, f"{block}.norm1")
        q, k, v = (linear(y, f"{block}.attn.{part}").reshape(n, heads, -1) for part in "qkv")
        logits = jnp.einsum("qhd,khd->hqk", q, k, preferred_element_type=jnp.float32)
        bias = params[f"{block}.pos_embedding.embedding.weight"][buckets]
        logits = logits + jnp.moveaxis(bias, -1, 0).astype(jnp.float32)
        weights = jax.nn.softmax(jnp.where(mask[None, None], logits, -1e30), axis=-1)
        mixed = jnp.einsum("hqk,khd->qhd", weights.astype(dtype), v)
        x = x + linear(mixed.reshape(n, -1), f"{block}.attn.o")
        y = norm(x, f"{block}.norm2")
        gate = jax.nn.gelu(linear(y, f"{block}.ffn.gate.0"))
        x = x + linear(linear(y, f"{block}.ffn.fc1") * gate, f"{block}.ffn.fc2")
    return norm(x, "norm")


class Umt5:
    """Reads prompts: features (tokens, dim) of a prompt's tokens and the end sign, on the host."""

    def __init__(self, config: Umt5Config, params: dict[str, Any], tokenizer: Path) -> None:
        """tokenizer: UMT5's tokenizer.json.

        Raises:
            UserError: it is missing or damaged, or the package `tokenizers` is not there.
        """
        self.width = config.dim
        self._tokenizer = _read_tokenizer(tokenizer, config)
        self._params = jax.device_put(params, jax.local_devices(backend="cpu")[0])
        self._encode = jax.jit(functools.partial(_encode_with, config))

    def __call__(self, prompt: str) -> np.ndarray:
        """Features in float32; a prompt's runs of blanks count as one."""
        text = " ".join(html.unescape(html.unescape(prompt)).split())
        ids = self._tokenizer.encode(text).ids[:MAX_TOKENS]
        room = -(-len(ids) // _ROUND) * _ROUND  # few lengths: seldom compiled anew
        padded = np.zeros(room, np.int32)
        padded[: len(ids)] = ids
        made = self._encode(self._params, padded, np.arange(room) < len(ids))
        return np.asarray(made[: len(ids)], np.float32)


MAX_TOKENS, _ROUND = 512, 32


def _encode_with(config: Umt5Config, params: dict, ids: jax.Array, mask: jax.Array) -> jax.Array:
    return encode(params, config, ids, mask).astype(jnp.float32)


def _read_tokenizer(path: Path, config: Umt5Config) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserError("UMT5 needs the package tokenizers: pip install 'lsdjax[bert]'") from error
    if not path.is_file():
        raise UserError(f"no {str(path)!r}; the tokenizer.json of UMT5 is expected there")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises nothing narrower
        raise UserError(f"{str(path)!r} is not a tokenizer ({error})") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if tokenizer.get_vocab_size() > config.vocabulary:
        raise UserError(
            f"{str(path)!r} has {tokenizer.get_vocab_size()} tokens; at most "
            f"{config.vocabulary} are expected"
        )
    return tokenizer
