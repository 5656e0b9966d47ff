"""Streams of a causal Wan model for a host program: several frames in, as many out.

A step makes `chunk` latents, and a video codec makes four frames of each: so a step takes and gives
up to twelve frames at once, and the first of them waits for the last.
"""

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lsdjax.codec.causal import History
from lsdjax.codec.video import VideoCodec
from lsdjax.core.errors import UserError
from lsdjax.core.sharding import place
from lsdjax.diffusion.motion import INPUT_GAIN, motion_level
from lsdjax.diffusion.video_input import BASE_LEVEL
from lsdjax.model.cache import KVCache, clear, init_cache
from lsdjax.model.wan_config import WanConfig
from lsdjax.stream.wan_step import (
    Prompt,
    cache_sharding,
    keep_sinks,
    make_wan_prompt,
    make_wan_recache,
    make_wan_step,
    rewind,
)

PromptReader = Callable[[str], np.ndarray]
"""Prompt -> features (words, text_dim)."""

Input = Literal["none", "noised", "beside"]


class WanStreamer:
    """A model with its codec on the device, and its compiled step; makes any number of streams.

    Attributes:
        config: the model's.
        input: how video enters, "none" where it does not.
        size: (height, width) of the frames.
    """

    def __init__(
        self,
        config: WanConfig,
        params: dict,
        codec: VideoCodec,
        read: PromptReader,
        *,
        input: Input | None = None,
        dtype: str = "bfloat16",
        mesh: Mesh | None = None,
    ) -> None:
        """input: None is "beside" for a model that was made so, else "noised".

        mesh: the devices that share the model, see `lsdjax.core.sharding`; None is one.

        Raises:
            UserError: the model was made for another input.
        """
        usual = "beside" if config.beside else "noised"
        self.input: Input = usual if input is None else input
        if config.beside != (self.input == "beside"):
            raise UserError(
                f"input={self.input!r}; the model takes its input "
                f"{'beside the noise' if config.beside else 'noised, or none'}"
            )
        self.config = config
        self.size = (config.height, config.width)
        self.codec = codec
        self._read = read
        self._dtype = jnp.dtype(dtype)
        self._mesh = mesh
        self._params = jax.device_put(params) if mesh is None else place(params, mesh)
        self._prompt = make_wan_prompt(config)
        self._step = make_wan_step(config, noised=self.input == "noised", mesh=mesh)
        self._recache = make_wan_recache(config, mesh)
        self._take = jax.jit(self._make_taker())
        self._show = jax.jit(self._make_shower())
        shape = (1, config.chunk, *config.latent_size, config.channels)
        self._blank = jnp.zeros(shape, self._dtype)

    def _make_taker(self) -> Callable[..., tuple[jax.Array, jax.Array, jax.Array, History]]:
        codec, dtype = self.codec, self._dtype

        def take(params, frames, last, level, history):
            """Latents of uint8 frames, their last one, their noise level, the codec's history."""
            scaled = frames.astype(jnp.float32) / 127.5 - 1.0
            last = scaled[0] if last is None else last
            level = motion_level(scaled, last, level, BASE_LEVEL, INPUT_GAIN)
            latents, history = codec.encode(params, scaled[None].astype(dtype), history)
            return latents, scaled[-1], level, history

        return take

    def _make_shower(self) -> Callable[..., tuple[jax.Array, History]]:
        codec = self.codec

        def show(params, latents, history):
            """uint8 frames of latents, and the codec's history."""
            made, history = codec.decode(params, latents, history)
            made = jnp.round((made[0].astype(jnp.float32) + 1.0) * 127.5)
            return jnp.clip(made, 0, 255).astype(jnp.uint8), history

        return show

    @property
    def frames_per_step(self) -> int:
        """Frames that a step takes and gives, but for the first one."""
        return self.config.chunk * self.codec.frames_per_latent

    @property
    def first_step_frames(self) -> int:
        """Frames of a stream's first step: its first latent is one frame."""
        return 1 + (self.config.chunk - 1) * self.codec.frames_per_latent

    def structural_delay_ms(self, fps: float) -> float:
        """How much later than it came every frame is shown at the least, were computing free.

        The first frame of a step waits until its last one has come; the last is shown after all
        others of its step.
        """
        return 1000.0 * (self.frames_per_step - 1) / fps

    def start(self, prompt: str, *, seed: int = 0) -> "WanStream":
        """A new stream under `prompt`; raises UserError where the prompt cannot be read."""
        return WanStream(self, prompt, seed=seed)

    def empty_cache(self) -> KVCache:
        """The KV cache of a stream that has not begun, where the step expects it."""
        cache = init_cache(self.config, 1, self._dtype)
        if self._mesh is None:
            return cache
        return jax.tree.map(jax.device_put, cache, cache_sharding(self.config, self._mesh))

    def encode_prompt(self, prompt: str) -> Prompt:
        """What the step needs to know of a prompt."""
        words = self._read(prompt)
        if words.ndim != 2 or words.shape[1] != self.config.text_dim:
            raise UserError(
                f"features {words.shape} of {prompt!r}; (words, {self.config.text_dim}) is expected"
            )
        words = words[: self.config.text_length]
        return self._prompt(self._params, jnp.asarray(words, self._dtype))


@dataclasses.dataclass(frozen=True)
class _Chunk:
    """What a re-cache needs of a past chunk: latents (1, chunk, h, w, ch)."""

    inputs: jax.Array
    latents: jax.Array


class WanStream:
    """One stream: its history, its prompt, its seed.

    Attributes:
        prompt: the one in force.
        chunk_index: chunks made since the start.
        events: none; such a stream does not mend itself.
    """

    events: tuple = ()

    def __init__(self, streamer: WanStreamer, prompt: str, *, seed: int) -> None:
        self._streamer = streamer
        config = streamer.config
        self._cache = streamer.empty_cache()
        self.prompt = prompt
        self._encoded = streamer.encode_prompt(prompt)
        self._key = jax.random.key(seed)
        self._recent: deque[_Chunk] = deque(maxlen=-(-config.window // config.chunk))
        self._forget()

    def _forget(self) -> None:
        self._cache = clear(self._cache)
        self._recent.clear()
        self._seen: History | None = None
        self._shown: History | None = None
        self._last: jax.Array | None = None
        self._level = jnp.float32(BASE_LEVEL)
        self.chunk_index = 0

    @property
    def frames_per_step(self) -> int:
        """Frames that the next `submit` takes and gives."""
        first = self.chunk_index == 0
        return self._streamer.first_step_frames if first else self._streamer.frames_per_step

    def submit(self, frames: np.ndarray | None = None) -> jax.Array:
        """Dispatch one step: uint8 (frames_per_step, height, width, 3) in and out.

        None, where the streamer's input is "none": the frames are made up.

        Raises:
            ValueError: other frames than the next step takes.
        """
        streamer = self._streamer
        if (frames is None) != (streamer.input == "none"):
            expected = "no frames" if streamer.input == "none" else "frames"
            raise ValueError(f"{expected} are expected: the input is {streamer.input!r}")
        inputs = streamer._blank if frames is None else self._take(frames)
        self._cache, sample = streamer._step(
            streamer._params, self._cache, inputs, self._level, self._encoded, self._key
        )
        self._recent.append(_Chunk(inputs, sample))
        self.chunk_index += 1
        made, self._shown = streamer._show(streamer.codec.params, sample, self._shown)
        return made

    def _take(self, frames: np.ndarray) -> jax.Array:
        streamer, expected = self._streamer, (self.frames_per_step, *self._streamer.size, 3)
        if frames.shape != expected or frames.dtype != np.uint8:
            raise ValueError(f"frames {frames.dtype} {frames.shape}; uint8 {expected} is expected")
        latents, self._last, self._level, self._seen = streamer._take(
            streamer.codec.params, frames, self._last, self._level, self._seen
        )
        return latents

    def set_prompt(self, prompt: str, how: Literal["recache", "forget"] = "recache") -> None:
        """Follow another prompt from the next chunk on.

        "recache" goes on where the picture is: the window's keys and values are computed anew from
        its latents under the new prompt, and the sinks are kept (LongLive, Yang et al. 2025).
        "forget" starts afresh, so that nothing of the old look can linger; the codec's first latent
        is one frame again.

        Raises:
            UserError: the prompt cannot be read; the old one stays in force.
        """
        if prompt == self.prompt:
            return
        self._encoded = self._streamer.encode_prompt(prompt)
        self.prompt = prompt
        if how == "forget":
            self._forget()
        else:
            self._recompute()

    def _recompute(self) -> None:
        streamer, config = self._streamer, self._streamer.config
        before = self._cache
        cache = rewind(before, config.chunk * len(self._recent), config)
        for chunk in self._recent:
            cache = streamer._recache(
                streamer._params, cache, chunk.inputs, chunk.latents, self._encoded
            )
        self._cache = keep_sinks(cache, before, config)
