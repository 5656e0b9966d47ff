"""Many streams side by side, stepped by one program: for measurements over thousands of frames."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.checkpoint.export import Checkpoint
from lsdjax.codec import PixelCodec
from lsdjax.core.errors import UserError
from lsdjax.model.prompts import find_tokenizer
from lsdjax.stream.session import MAX_STEPS
from lsdjax.stream.state import StreamState, hold_in, init_stream, usual_dtype
from lsdjax.stream.step import make_prompt_encoder, make_stream_step, side_by_side


class Rollout:
    """Independent streams under one prompt, each with its own noise, past and input.

    Each is the stream that `Streamer(checkpoint, repair=False).start(prompt, seed=...)` would make,
    up to rounding. The caller loops over the frames: a convolution inside `lax.scan` would run ten
    times slower on a CPU.

    Attributes:
        size: (height, width) of the frames.
        steps: denoising steps a frame.
        streams: how many run side by side.
    """

    def __init__(
        self, checkpoint: Checkpoint, prompt: str, seeds: Sequence[int], *, steps: int | None = None
    ) -> None:
        """One stream for each of `seeds`.

        Raises UserError where there is no seed, `steps` is not in 1..64, or the prompt is empty or
        too long.
        """
        config = checkpoint.config
        steps = config.steps if steps is None else steps
        if not 1 <= steps <= MAX_STEPS:
            raise UserError(f"{steps} denoising steps; 1 to {MAX_STEPS} are expected")
        if not seeds:
            raise UserError("no seeds; at least one stream is expected")
        self.size = (config.height, config.width)
        self.steps = steps
        self.streams = len(seeds)
        self._config = config
        self._keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        self._dtype = jnp.dtype(usual_dtype())
        self._params = jax.device_put(hold_in(self._dtype, checkpoint.params))
        self._prompt = make_prompt_encoder(config)(self._params, find_tokenizer(config)(prompt))
        step = make_stream_step(config, steps, repair=False)
        over = (None, 0, 0, 0, None, None, None, 0, None)
        self._step = jax.jit(side_by_side(step, over), donate_argnums=1)
        self.restart()

    def restart(self) -> None:
        """Start every stream again as if no frame had come."""
        fresh = init_stream(self._config, self._dtype)
        self._state: StreamState = jax.tree.map(
            lambda leaf: jnp.repeat(leaf[None], self.streams, axis=0), fresh
        )

    def step(self, frames: np.ndarray, input_level: np.ndarray) -> jax.Array:
        """Dispatch one frame of every stream: uint8 (streams, height, width, 3) in and out.

        input_level (streams,) is 0 where the input frame is there and 1 where it is not.
        """
        self._check(frames)
        self._state, pictures, _ = self._step(
            self._params,
            self._state,
            frames,
            np.asarray(input_level, np.float32),
            np.float32(self._config.history_level),
            self._prompt,
            np.float32(1),
            self._keys,
            np.bool_(False),
        )
        return pictures

    def reseed(self, pictures: np.ndarray) -> None:
        """Put `pictures` in the place of every stream's past; the frames are counted on.

        The next frame is told that its predecessor was `pictures`, uint8 (streams, height, width,
        3), and sees an empty KV ring.
        """
        self._check(pictures)
        self._state = _reseed(self._state, pictures)

    def _check(self, frames: np.ndarray) -> None:
        expected = (self.streams, *self.size, 3)
        if frames.shape != expected or frames.dtype != np.uint8:
            raise ValueError(f"frames {frames.dtype} {frames.shape}; uint8 {expected} is expected")


@jax.jit
def _reseed(state: StreamState, pictures: jax.Array) -> StreamState:
    latents = PixelCodec().encode(pictures.astype(jnp.float32) / 127.5 - 1.0)
    cache = state.cache._replace(frames=jnp.full_like(state.cache.frames, -1))
    return state._replace(cache=cache, previous=latents[:, None, None])
