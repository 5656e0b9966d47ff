"""What is compiled for Hopper at production shapes: name -> (function, arguments, donated)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lsdjax.pallas import attention
from lsdjax.pallas.mosaic import Launch
from lsdjax.pallas.reference import Ring
from lsdjax.pallas.specs import SHAPES, BlockShape

Case = tuple[Callable[..., Any], tuple, tuple[int, ...]]
HOW = Launch(dependent=True)
BF16 = jnp.bfloat16


def up_to(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def array(*shape: int, dtype: Any = BF16) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def ring_attention(shape: BlockShape) -> Case:
    n, m = up_to(shape.tokens, 128), up_to(shape.tokens, 64)
    store = array(shape.slots, m, shape.heads, shape.head_dim)
    function = functools.partial(
        attention.ring_attention, rotary=shape.rotary, length=shape.tokens, how=HOW
    )
    return (
        lambda *args: function(*args),
        (
            array(n, shape.heads, shape.head_dim),
            Ring(store, store),
            array(shape.slots, dtype=jnp.int32),
            array(shape.slots, dtype=jnp.bool),
        ),
        (),
    )


CASES: dict[str, Callable[[], Case]] = {}
for _name in ("student-294m", "wan-1.3b-w9"):
    _shape, _key = SHAPES[_name], _name.split("-")[0]
    CASES[f"attention_{_key}"] = functools.partial(ring_attention, _shape)
