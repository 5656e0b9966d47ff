"""What the video codecs share: convolutions that look back in time only, and what they remember.

A codec is called on stretches of frames. Each layer that looks back keeps the last frames that it
saw; so one call on a whole clip and many calls on its stretches give the same. The parameters keep
their public names and torch's axes.
"""

import jax
import jax.numpy as jnp

Params = dict[str, jax.Array]
History = dict[str, jax.Array]
"""By layer, the last frames that it saw, (b, frames, h, w, ch)."""


class Stretch:
    """One call of a codec: hands each layer what it remembers, and notes what it saw.

    Attributes:
        first: whether nothing came before.
        seen: what the next stretch needs.
    """

    def __init__(self, params: Params, history: History | None) -> None:
        self.params = params
        self.first = history is None
        self.seen: History = {}
        self._history = history or {}

    def after(self, name: str, x: jax.Array, frames: int) -> jax.Array:
        """x (b, t, h, w, ch) behind the `frames` frames before it; zeros before the first."""
        blank = jnp.zeros((x.shape[0], frames, *x.shape[2:]), x.dtype)
        x = jnp.concatenate([self._history.get(name, blank).astype(x.dtype), x], axis=1)
        self.seen[name] = x[:, x.shape[1] - frames :]
        return x

    def causal(self, name: str, x: jax.Array) -> jax.Array:
        """A convolution in time and space whose output frame i sees no frame after i."""
        kernel = self.params[f"{name}.weight"]
        if kernel.shape[2] > 1:
            x = self.after(name, x, kernel.shape[2] - 1)
        return self.conv(name, x)

    def conv(self, name: str, x: jax.Array, *, stride: int = 1) -> jax.Array:
        """A convolution over stretches (t, h, w): whole in time, `stride` there, same in space."""
        kernel = self.params[f"{name}.weight"]
        sides = [(size // 2, size // 2) for size in kernel.shape[3:]]
        made = jax.lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            window_strides=(stride, 1, 1),
            padding=[(0, 0), *sides],
            dimension_numbers=("NDHWC", "OIDHW", "NDHWC"),
        )
        return made + self.params[f"{name}.bias"].astype(x.dtype)[None, None, None, None]

    def flat(
        self, name: str, x: jax.Array, *, stride: int = 1, before: int | None = None
    ) -> jax.Array:
        """A convolution of each frame.

        before: zeros above and to the left, half a kernel unless told; as many as are missing to
        twice half a kernel are put below and to the right.
        """
        kernel = self.params[f"{name}.weight"]
        half = kernel.shape[2] // 2
        before = half if before is None else before
        side = (before, 2 * half - before)
        made = jax.lax.conv_general_dilated(
            x.reshape(-1, *x.shape[2:]),
            kernel.astype(x.dtype),
            window_strides=(stride, stride),
            padding=[side, side],
            dimension_numbers=("NHWC", "OIHW", "NHWC"),
        )
        made = made.reshape(*x.shape[:2], *made.shape[1:])
        bias = self.params.get(f"{name}.bias")
        return made if bias is None else made + bias.astype(x.dtype)[None, None, None, None]


def double(x: jax.Array) -> jax.Array:
    """Each latent becomes 2 x 2 alike: (b, t, h, w, ch) -> (b, t, 2h, 2w, ch)."""
    return jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
