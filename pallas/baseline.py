"""What the kernels have to beat: the same block through XLA, and through PyTorch where it is.

Both are written as one would for speed: bfloat16 products, the vendor's attention, all else left to
the compiler's fusion.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.pallas import reference
from lsdjax.pallas.blocks import Variant
from lsdjax.pallas.reference import (
    EPS,
    BlockModulation,
    BlockWeights,
    Linear,
    Ring,
    Seen,
    norm_modulate,
)
from lsdjax.pallas.rotary import turn


def xla_block(
    x: jax.Array,
    weights: BlockWeights,
    modulation: BlockModulation,
    space: tuple[jax.Array, jax.Array],
    ring: Ring,
    seen: Seen,
    *,
    variant: Variant,
) -> tuple[jax.Array, Ring]:
    """See `reference.block`; every slot of the ring is seen."""
    v, dtype, n = variant, x.dtype, len(x)
    heads, d = ring.keys.shape[2:]

    def linear(y: jax.Array, layer: Linear) -> jax.Array:
        return y @ layer.kernel + layer.bias.astype(dtype)[None]

    def normed(part: jax.Array, scale: jax.Array) -> jax.Array:
        part = part if v.qk_norm == "full" else part.reshape(n, heads, d)
        wide = part.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + EPS)
        return (wide * scale.reshape((1,) * (wide.ndim - 1) + (-1,))).reshape(n, heads, d)

    def put(store: jax.Array, new: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice(store, new.astype(dtype)[None], (seen.slot, 0, 0, 0))

    across, along = (table[:, None] for table in space)
    q, k, value = jnp.split(
        linear(norm_modulate(x, modulation.attention, v.norm), weights.qkv), 3, axis=-1
    )
    q, k = (
        turn(normed(part, scale), across, along, v.rotary.swap())
        for part, scale in zip((q, k), weights.scales, strict=True)
    )
    ring = Ring(put(ring.keys, k), put(ring.values, value.reshape(n, heads, d)))
    cos, sin = (table[:, None, None] for table in v.rotary.age_tables(seen.ages))
    keys = turn(ring.keys, cos, -sin, v.rotary.swap()).astype(dtype)
    keys, values = (store[:, : v.length].reshape(-1, heads, d) for store in (keys, ring.values))
    mixed = vendor_attention(q.astype(dtype), keys, values).reshape(n, -1)
    gate = (v.gate_offset + modulation.attention_gate).astype(dtype)[None]
    x = x + gate * linear(mixed, weights.out)
    if weights.cross and modulation.cross and seen.prompt:
        q = linear(norm_modulate(x, modulation.cross, v.norm), weights.cross.query)
        q = normed(q, weights.cross.scale).astype(dtype)
        mixed = vendor_attention(q, *seen.prompt[:2]).reshape(n, -1)
        x = x + linear(mixed, weights.cross.out)
    hidden = jax.nn.gelu(linear(norm_modulate(x, modulation.mlp, v.norm), weights.up))
    gate = (v.gate_offset + modulation.mlp_gate).astype(dtype)[None]
    return x + gate * linear(hidden, weights.down), ring


def vendor_attention(q: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    """Softmax attention of q (n, heads, d) over keys and values (m, heads, d): cuDNN's on a GPU."""
    which = "cudnn" if jax.devices()[0].platform == "gpu" else "xla"
    batched = (q[None], keys[None], values[None])
    with jax.numpy_dtype_promotion("standard"):  # it adds up bfloat16 in float32
        return jax.nn.dot_product_attention(*batched, implementation=which)[0]


def has_torch() -> bool:
    """Whether there is a PyTorch to compare with."""
    return importlib.util.find_spec("torch") is not None


def torch_forward(
    x: np.ndarray, layers: list[Any], prompts: list[Any], *, variant: Variant, heads: int
) -> Callable[[], Any]:
    """A compiled forward of blocks in PyTorch on the same sizes, ready to be called.

    `torch.compile(mode="max-autotune")`, which replays CUDA graphs, and PyTorch's own choice of
    attention. The keys are taken as they lie in the ring, already turned: that favours PyTorch.
    layers: (weights, modulation, keys, values) as NumPy arrays; prompts: (keys, values) or ().
    """
    import torch  # pyright: ignore[reportMissingImports]
    from torch.nn import functional as f  # pyright: ignore[reportMissingImports]

    def on_device(array: Any) -> Any:
        return torch.from_numpy(np.asarray(array, np.float32)).to("cuda", torch.bfloat16)

    layers, prompts = (jax.tree.map(on_device, tree) for tree in (layers, prompts))
    start, offset = on_device(x), variant.gate_offset

    def normed(x: Any, modulation: Any) -> Any:
        shape = x.shape[-1:]
        y = f.layer_norm(x, shape) if variant.norm == "layer" else f.rms_norm(x, shape)
        return y * (1 + modulation.scale) + modulation.shift

    def linear(x: Any, layer: Any) -> Any:
        return x @ layer.kernel + layer.bias

    def split(x: Any) -> Any:
        return x.reshape(1, x.shape[0], heads, -1).transpose(1, 2)

    def scaled(x: Any, scale: Any) -> Any:
        if variant.qk_norm == "full":
            return split(f.rms_norm(x, x.shape[-1:]) * scale)
        return f.rms_norm(split(x), scale.shape) * scale

    def attend(q: Any, keys: Any, values: Any) -> Any:
        mixed = f.scaled_dot_product_attention(q, keys, values)
        return mixed.transpose(1, 2).reshape(q.shape[2], -1)

    def forward(x: Any) -> Any:
        for (weights, modulation, keys, values), prompt in zip(layers, prompts, strict=True):
            q, k, v = linear(normed(x, modulation.attention), weights.qkv).chunk(3, dim=-1)
            q, k = (scaled(part, scale) for part, scale in zip((q, k), weights.scales, strict=True))
            keys, values = torch.cat([keys, k], dim=2), torch.cat([values, split(v)], dim=2)
            gate = offset + modulation.attention_gate
            x = x + gate * linear(attend(q, keys, values), weights.out)
            if weights.cross is not None:
                q = linear(normed(x, modulation.cross), weights.cross.query)
                q = scaled(q, weights.cross.scale)
                x = x + linear(attend(q, *prompt), weights.cross.out)
            hidden = f.gelu(linear(normed(x, modulation.mlp), weights.up), approximate="tanh")
            x = x + (offset + modulation.mlp_gate) * linear(hidden, weights.down)
        return x

    compiled = torch.compile(forward, mode="max-autotune")

    def call() -> None:
        with torch.inference_mode():
            compiled(start)

    call.synchronize = torch.cuda.synchronize  # pyright: ignore[reportFunctionMemberAccess]
    return call


__all__ = ["has_torch", "reference", "torch_forward", "vendor_attention", "xla_block"]
