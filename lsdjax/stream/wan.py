"""Streams of a causal Wan model for a host program: several frames in, as many out.

A step makes `chunk` latents, and a video codec makes four frames of each: so a step takes and gives
up to twelve frames at once, and the first of them waits for the last.
"""

import dataclasses
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from lsdjax.checkpoint.convert import kinds_in, load_component
from lsdjax.checkpoint.tree import unflatten
from lsdjax.codec.video import VideoCodec, pixel_codec, video_codec
from lsdjax.core.errors import UserError
from lsdjax.core.sharding import place
from lsdjax.diffusion.video_input import BASE_LEVEL, motion_level
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
from lsdjax.text.embeddings import HashedWords, PromptFile
from lsdjax.text.umt5 import Umt5

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
        self._recache = make_wan_recache(config)
        self._encode = jax.jit(codec.encode)
        self._decode = jax.jit(codec.decode)
        self._level = jax.jit(motion_level, static_argnums=3)

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
        self._seen = self._shown = None
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
        streamer, config = self._streamer, self._streamer.config
        inputs = jnp.zeros((1, config.chunk, *config.latent_size, config.channels))
        inputs = inputs.astype(streamer._dtype)
        if (frames is None) != (streamer.input == "none"):
            expected = "no frames" if streamer.input == "none" else "frames"
            raise ValueError(f"{expected} are expected: the input is {streamer.input!r}")
        if frames is not None:
            inputs = self._take(frames)
        self._cache, sample = streamer._step(
            streamer._params, self._cache, inputs, self._level, self._encoded, self._key
        )
        self._recent.append(_Chunk(inputs, sample))
        self.chunk_index += 1
        made, self._shown = streamer._decode(streamer.codec.params, sample, self._shown)
        made = jnp.round((made[0].astype(jnp.float32) + 1.0) * 127.5)
        return jnp.clip(made, 0, 255).astype(jnp.uint8)

    def _take(self, frames: np.ndarray) -> jax.Array:
        streamer, expected = self._streamer, (self.frames_per_step, *self._streamer.size, 3)
        if frames.shape != expected or frames.dtype != np.uint8:
            raise ValueError(f"frames {frames.dtype} {frames.shape}; uint8 {expected} is expected")
        scaled = jnp.asarray(frames, jnp.float32) / 127.5 - 1.0
        last = scaled[0] if self._last is None else self._last
        self._level = streamer._level(scaled, last, self._level, BASE_LEVEL)
        self._last = scaled[-1]
        encoded, self._seen = streamer._encode(
            streamer.codec.params, scaled[None].astype(streamer._dtype), self._seen
        )
        return encoded

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


PROMPTS = "prompts.safetensors"


def find_reader(folder: Path, where: str | None, config: WanConfig) -> PromptReader:
    """What reads the prompts of the model in `folder`.

    where: a file of prompts' features, a folder with UMT5 and its tokenizer.json, or "words" for
    random features of each word. None looks for UMT5 and prompts.safetensors in `folder` itself.

    Raises:
        UserError: there is none, or it is damaged or makes other features than the model takes.
    """
    place = folder if where is None else Path(where)
    if where == "words":
        read: PromptFile | HashedWords | Umt5 = HashedWords(config.text_dim)
    elif "umt5" in kinds_in(place):
        loaded = load_component(place, "umt5")
        read = Umt5(loaded.config, loaded.tensors, place / "tokenizer.json")
    elif place.is_file():
        read = PromptFile(place)
    elif (place / PROMPTS).is_file():
        read = PromptFile(place / PROMPTS)
    else:
        raise UserError(
            f"nothing in {str(place)!r} reads prompts; umt5 with its tokenizer.json or {PROMPTS} "
            "is expected there, or --text-encoder WHERE"
        )
    if read.width != config.text_dim:
        raise UserError(f"features of width {read.width}; the model takes {config.text_dim}")
    return read


def load_wan_streamer(
    folder: Path,
    read: PromptReader | str | None = None,
    *,
    codec: str | None = None,
    input: Input | None = None,
    dtype: str | None = None,
    mesh: Mesh | None = None,
) -> WanStreamer:
    """The streamer of a folder that `lsdjax convert` wrote.

    read: what reads prompts, or where it is found, see `find_reader`.
    codec: "wan-vae" or "taehv"; None takes the tiny one where it is there.
    dtype: of the arithmetic and of the matrices on the device; None is bfloat16, float32 on a CPU.
    mesh: the devices that share the model; None is one.

    Raises:
        UserError: the folder lacks the model or a codec for it, or its input is another one.
    """
    model = load_component(folder, "wan")
    config: WanConfig = model.config
    if dtype is None:
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    params = unflatten(
        {
            name: view.astype(jnp.dtype(dtype)) if name.endswith(".kernel") else view
            for name, view in model.tensors.items()
        }
    )
    if read is None or isinstance(read, str):
        read = find_reader(folder, read, config)
    if config.codec == "pixel":
        coder = pixel_codec()
        return WanStreamer(config, params, coder, read, input=input, dtype=dtype, mesh=mesh)
    found = [kind for kind in ("taehv", "wan-vae") if kind in kinds_in(folder)]
    if codec is None and not found:
        raise UserError(f"no codec in {str(folder)!r}; lsdjax convert puts taehv or wan-vae there")
    kind = codec or found[0]
    if kind not in ("taehv", "wan-vae"):
        raise UserError(f"codec {kind!r}; 'taehv' or 'wan-vae' is expected")
    loaded = load_component(folder, kind)
    if loaded.config.channels != config.channels:
        raise UserError(
            f"{kind} has {loaded.config.channels} latent channels, the model {config.channels}"
        )
    coder = video_codec(kind, loaded.config, jax.device_put(loaded.tensors))
    return WanStreamer(config, params, coder, read, input=input, dtype=dtype, mesh=mesh)
