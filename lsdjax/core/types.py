"""The glossary of shapes, and the decorator that checks them.

b batch · t frames · h w latent grid · n tokens · heads · d head dimension · ch latent channels
layers · slots of the KV ring · height width of a frame in pixels.

Frames in files, on the wire and at the edges of `stream` are uint8 RGB; inside, float32 in [0, 1].
Decorate functions, not dataclasses: a checked dataclass breaks under `vmap` and `tree.map`.
"""

from beartype import beartype
from jaxtyping import Array, Float, Int, Key, UInt8, jaxtyped
from numpy import ndarray

typechecked = jaxtyped(typechecker=beartype)
"""Check the shapes and types of a function's arguments and result; one binding of names a call."""

RGBFrame = UInt8[ndarray, "height width 3"]
"""One frame on the host, uint8 RGB."""

Frames = Float[Array, "b t height width 3"]
"""Frames on the device, in [0, 1]."""

Latent = Float[Array, "b t h w ch"]
"""Latents of the codec, one for each frame."""

NoiseLevel = Float[Array, "b t"]
"""Noise level of each frame, in [0, 1]: 0 is clean, 1 is noise alone."""

StepSize = Float[Array, "b t"]
"""Width in noise level of the step that the denoiser is asked for, in [0, 1]."""

FrameIndex = Int[Array, "b"]
"""Index of a frame since the start of its stream."""

Heads = Float[Array, "b n heads d"]
"""Queries, keys or values, split by head."""

PRNGKey = Key[Array, ""]
"""One typed random key."""
