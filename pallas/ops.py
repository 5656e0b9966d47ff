"""Operations that stand on their own, with a gradient, through `dispatch`."""

from collections.abc import Sequence
from typing import Any

import jax

from lsdjax.pallas import backward, dispatch, reference
from lsdjax.pallas.reference import Ring
from lsdjax.pallas.rotary import Rotary


def ring_attention(
    q: jax.Array,
    ring: Ring,
    ages: jax.Array,
    visible: jax.Array,
    *,
    rotary: Rotary,
    length: int,
    implementation: str | Sequence[str] | None = None,
) -> jax.Array:
    """See `reference.ring_attention`. Implementations: "hopper", "tpu", "xla"."""

    def kernel(*arguments: Any, **static: Any) -> jax.Array:
        return dispatch.call("ring_attention", *arguments, implementation=implementation, **static)

    attend = backward.attention_with_gradient(kernel, rotary=rotary, length=length)
    return attend(q, ring, ages, visible)


def _on_hopper(*arguments: Any, **static: Any) -> jax.Array:
    dispatch.needs(dispatch.HOPPER)
    from lsdjax.pallas import attention

    return attention.ring_attention(*arguments, **static)


def _on_tpu(*arguments: Any, **static: Any) -> jax.Array:
    dispatch.needs("tpu")
    from lsdjax.pallas import tpu

    return tpu.ring_attention(*arguments, **static)


dispatch.register("ring_attention", "hopper", _on_hopper)
dispatch.register("ring_attention", "tpu", _on_tpu)
dispatch.register("ring_attention", "xla", reference.ring_attention)
