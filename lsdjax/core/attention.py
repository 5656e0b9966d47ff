"""Attention in one call, for whole heads at a time."""

import jax


def dot_product_attention(
    q: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """softmax(q k / sqrt(d)) v, the softmax in float32.

    Shapes: q (b, n, heads, d), keys and values (b, m, heads, d), mask (1 or b, 1 or heads, 1 or n,
    m) bool. jax.nn's own; in bfloat16 it relies on promotions that strict code forbids.
    """
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(q, keys, values, mask=mask)
