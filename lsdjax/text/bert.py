"""A BERT encoder (Devlin et al. 2019) as pure functions.

    x = norm(word + position + type);  each layer:  x = norm(x + attention(x) W + b);
    x = norm(x + gelu(x U + c) V + d)

The parameters keep their public names; a matrix is stored (outputs, inputs).
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lsdjax.core.errors import UserError
from lsdjax.core.types import typechecked

_ACTIVATIONS = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_new": functools.partial(jax.nn.gelu, approximate=True),
}


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The entries of a config.json that the encoder depends on, under their own names."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if name == "hidden_act":
                good, expected = value in _ACTIVATIONS, f"one of {list(_ACTIVATIONS)}"
            elif name == "layer_norm_eps":
                good, expected = isinstance(value, float) and value > 0, "a positive number"
            else:
                good, expected = type(value) is int and value > 0, "a positive whole number"
            if not good:
                raise UserError(f"{name}={value!r}; {expected} is expected")
        if self.hidden_size % self.num_attention_heads:
            raise UserError(
                f"hidden_size={self.hidden_size} over num_attention_heads="
                f"{self.num_attention_heads}; a whole number is expected"
            )


def parameter_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters that `encode` needs."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocab_size, hidden),
        "embeddings.position_embeddings.weight": (config.max_position_embeddings, hidden),
        "embeddings.token_type_embeddings.weight": (config.type_vocab_size, hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(config.num_hidden_layers):
        prefix = f"encoder.layer.{layer}"
        linears = {
            "attention.self.query": (hidden, hidden),
            "attention.self.key": (hidden, hidden),
            "attention.self.value": (hidden, hidden),
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (inner, hidden),
            "output.dense": (hidden, inner),
        }
        for name, shape in linears.items():
            shapes[f"{prefix}.{name}.weight"] = shape
            shapes[f"{prefix}.{name}.bias"] = shape[:1]
        norms += [f"{prefix}.attention.output.LayerNorm", f"{prefix}.output.LayerNorm"]
    shapes |= {f"{norm}.{part}": (hidden,) for norm in norms for part in ("weight", "bias")}
    return shapes


@typechecked
def encode(
    params: dict[str, Any],
    ids: Int[Array, "b n"],
    types: Int[Array, "b n"],
    mask: Bool[Array, "b n"],
    config: BertConfig,
) -> Float[Array, "b n hidden"]:
    """The last hidden state of each token; tokens outside of `mask` are seen by no other one."""

    def linear(x: jax.Array, name: str) -> jax.Array:
        return x @ params[f"{name}.weight"].T + params[f"{name}.bias"][None, None, :]

    def norm(x: jax.Array, name: str) -> jax.Array:
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(x**2, axis=-1, keepdims=True)
        weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
        x = x * jax.lax.rsqrt(variance + config.layer_norm_eps)
        return x * weight[None, None, :] + bias[None, None, :]

    def attention(x: jax.Array, name: str) -> jax.Array:
        def heads(part: str) -> jax.Array:
            shape = (*ids.shape, config.num_attention_heads, -1)
            return linear(x, f"{name}.self.{part}").reshape(shape)

        q, k, v = heads("query"), heads("key"), heads("value")
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
        weights = jax.nn.softmax(jnp.where(mask[:, None, None, :], logits, -1e30), axis=-1)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        return linear(mixed.reshape(x.shape), f"{name}.output.dense")

    activate = _ACTIVATIONS[config.hidden_act]
    table = "embeddings.{}_embeddings.weight".format
    positions = params[table("position")][: ids.shape[1]]
    x = params[table("word")][ids] + params[table("token_type")][types] + positions[None]
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(config.num_hidden_layers):
        name = f"encoder.layer.{layer}"
        attended = attention(x, f"{name}.attention")
        x = norm(x + attended, f"{name}.attention.output.LayerNorm")
        inner = activate(linear(x, f"{name}.intermediate.dense"))
        x = norm(x + linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    return x
