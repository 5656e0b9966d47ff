"""Streams for a host program: load once, compile once, then frames in and frames out."""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lsdjax.checkpoint.export import Checkpoint
from lsdjax.core.errors import UserError
from lsdjax.diffusion.conditioning import UNGUIDED, Guidance
from lsdjax.diffusion.motion import HISTORY_GAIN, motion_level
from lsdjax.model.cache import clear
from lsdjax.model.dit import Prompt
from lsdjax.model.prompts import find_tokenizer
from lsdjax.stream.controllers import Controller, RepairEvent
from lsdjax.stream.scorer import read_health
from lsdjax.stream.state import StreamState, hold_in, init_stream, usual_dtype
from lsdjax.stream.step import (
    StreamStep,
    make_prompt_encoder,
    make_stream_step,
    side_by_side,
)

MAX_STEPS = 64
_LAG_FRAMES, _BATCH_FRAMES = 2, 4
"""A step's health is read at least so many frames later: by then it is there, so nothing waits for
it, and what follows from it does not depend on how fast the machine is. So many are read together:
most of what a read costs the host is to begin with it."""
_EVENTS = 256


class Streamer:
    """A checkpoint on the device with its compiled step; makes any number of streams.

    Attributes:
        size: (height, width) of the frames.
        steps: denoising steps a frame, unless a stream asks for another of `variants`.
        variants: every number of steps that a stream may take, ascending.
        dtype: of the arithmetic, of the parameters' matrices and of the KV rings.
        batches: how many streams one program can step at once, ascending, from 1 on.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        steps: int | None = None,
        variants: Iterable[int] = (),
        batch: int = 1,
        guidance: Guidance = UNGUIDED,
        repair: bool = True,
        text_encoder: str | None = None,
        dtype: str | None = None,
    ) -> None:
        """With `repair`, streams watch and mend themselves; a healthy one's pictures are the same.

        text_encoder: where the one lies that reads the checkpoint's prompts, see `find_tokenizer`.
        variants: further numbers of steps to compile, among which a running stream may change.
        batch: how many streams `submit_batch` may step at once.
        dtype: "float32" or "bfloat16"; None is float32 on a CPU, bfloat16 on an accelerator.

        Raises UserError where `steps` is not in 1..64, or the text encoder is not the checkpoint's.
        """
        steps = checkpoint.config.steps if steps is None else steps
        counts = sorted({steps, *variants})
        if not 1 <= counts[0] <= counts[-1] <= MAX_STEPS:
            raise UserError(f"{steps} denoising steps; 1 to {MAX_STEPS} are expected")
        self._tokenize = find_tokenizer(checkpoint.config, text_encoder)
        self.checkpoint = checkpoint
        self.size = (checkpoint.config.height, checkpoint.config.width)
        self.steps = steps
        self.variants = tuple(counts)
        self.dtype = jnp.dtype(dtype or usual_dtype())
        self._params = jax.device_put(hold_in(self.dtype, checkpoint.params))
        self._encode = make_prompt_encoder(checkpoint.config)
        make = functools.partial(
            make_stream_step, checkpoint.config, guidance=guidance, repair=repair
        )
        self._steps = {count: make(count) for count in counts}
        self.batches = tuple(2**i for i in range(batch.bit_length()) if 2**i <= batch)
        self._batched = {count: _batched(make(count)) for count in counts}
        # Moved to the device once, not at every step.
        self._levels = tuple(jax.device_put(np.float32(level)) for level in (0, 1))
        self._history_level = jax.device_put(np.float32(checkpoint.config.history_level))
        self._follow = _follower(checkpoint.config.history_level)
        self._flags = tuple(jax.device_put(np.bool_(flag)) for flag in (False, True))

    @property
    def trace_count(self) -> int:
        """Compiled variants of the step and of the prompt encoder; constant once warm."""
        steps = *self._steps.values(), *self._batched.values()
        jitted: tuple[Any, ...] = (self._encode, self._follow, *steps)
        return sum(function._cache_size() for function in jitted)

    def warm_up(self, progress: Callable[[str], None] | None = None) -> None:
        """Compile everything that a stream needs and run it once."""
        report = progress or (lambda message: None)
        report("compiling the prompt encoder")
        stream = self.start("warm up")
        blank = np.zeros((*self.size, 3), np.uint8)
        for steps in self.variants:
            report(f"compiling the {steps}-step stream at {self.size[1]}x{self.size[0]}")
            stream.steps = steps
            for _ in range(3):
                np.asarray(stream.submit(blank))
            for size in self.batches[1:]:
                report(f"compiling it for {size} streams at once")
                streams = [self.start("warm up") for _ in range(size)]
                for each in streams:
                    each.steps = steps
                for _ in range(2):
                    np.asarray(self.submit_batch(streams, [blank] * size))
        stream.reset()
        stream.motion_noise = True
        for _ in range(2):
            np.asarray(stream.submit(blank))

    def start(self, prompt: str, *, seed: int = 0, strength: float = 1.0) -> "Stream":
        """A new stream under `prompt`.

        Raises:
            UserError: the prompt is empty or too long, or `strength` is not in [0, 1].
        """
        return Stream(self, prompt, seed=seed, strength=strength)

    def submit_batch(self, streams: "Sequence[Stream]", frames: Sequence[np.ndarray]) -> jax.Array:
        """Dispatch one frame of each stream as one program: uint8 (streams, height, width, 3).

        What `Stream.submit` would make of each, up to rounding. The streams take equally many
        steps; how many they are is one of `batches`.
        """
        (steps,) = {stream.steps for stream in streams}
        states, pictures, healths = self._batched[steps](
            self._params,
            tuple(stream._before() for stream in streams),
            np.stack(frames),
            tuple(s._declared(f) for s, f in zip(streams, frames, strict=True)),
            tuple(stream._encoded for stream in streams),
            tuple(stream._strength for stream in streams),
            tuple(stream._key for stream in streams),
            tuple(self._flags[stream._anchor] for stream in streams),
        )
        for stream, state, health in zip(streams, states, healths, strict=True):
            stream._after(state, health, missing=False)
        return pictures

    def encode(self, prompt: str) -> Prompt:
        """What the step needs to know of a prompt."""
        return self._encode(self._params, self._tokenize(prompt))


def _batched(step: StreamStep) -> Callable[..., Any]:
    """The step over tuples of states, prompts and so on, one of each a stream."""
    over = side_by_side(step, (None, 0, 0, None, 0, 0, 0, 0, 0))

    def stepped(params, states, frames, levels, prompts, strengths, keys, anchors):
        args = (_stack(each) for each in (levels, prompts, strengths, keys, anchors))
        out = over(params, _stack(states), frames, jnp.float32(0), *args)
        new, pictures, healths = out
        count = range(len(states))
        split = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], (new, healths)) for i in count)
        return tuple(s for s, _ in split), pictures, tuple(h for _, h in split)

    return jax.jit(stepped, donate_argnums=1)


def _follower(base: float) -> Callable[[np.ndarray, np.ndarray, jax.Array], jax.Array]:
    """The jitted (frame, the one before it, history level) -> the next history level."""

    def follow(frame, last, level):
        pair = jnp.stack([last, frame]).astype(jnp.float32) / 127.5 - 1.0
        return motion_level(pair[1:], pair[0], level, base, HISTORY_GAIN)

    return jax.jit(follow)


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


class Stream:
    """One stream: its history, its prompt, its seed.

    Attributes:
        events: what was repaired, oldest first, at most the latest 256; take them with `popleft`.
            What broke is reported two to five frames after it was mended.
    """

    def __init__(self, streamer: Streamer, prompt: str, *, seed: int, strength: float) -> None:
        self._streamer = streamer
        self._state = init_stream(streamer.checkpoint.config, streamer.dtype)
        self.prompt = prompt
        self._encoded = streamer.encode(prompt)
        self.seed = seed
        self._key = jax.random.key(seed)
        self.strength = strength
        self.steps = streamer.steps
        self.motion_noise = False
        self.frame_index = 0
        self.events: deque[RepairEvent] = deque(maxlen=_EVENTS)
        self._controller = Controller()
        self._unread: deque[tuple[int, Controller | None, jax.Array]] = deque()
        self._anchor = False

    @property
    def strength(self) -> float:
        """How much of the model's picture is shown: 0 is the input, 1 the output."""
        return float(self._strength)

    @strength.setter
    def strength(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise UserError(f"strength {value}; a number from 0 to 1 is expected")
        self._strength = jax.device_put(np.float32(value))

    @property
    def steps(self) -> int:
        """Denoising steps a frame, from the next one on: one of the streamer's `variants`."""
        return self._steps

    @steps.setter
    def steps(self, value: int) -> None:
        if value not in self._streamer.variants:
            counts = ", ".join(map(str, self._streamer.variants))
            raise UserError(f"{value} denoising steps; one of {counts} is expected")
        self._steps = value

    @property
    def motion_noise(self) -> bool:
        """Whether the last picture is declared, and made, the noisier the more the input moves.

        What moves fast is then made from the input rather than from the past; see `motion_level`.
        """
        return self._motion_noise

    @motion_noise.setter
    def motion_noise(self, value: bool) -> None:
        self._motion_noise = value
        self._history_level = self._streamer._history_level
        self._last: np.ndarray | None = None

    @property
    def drift(self) -> float:
        """How far the output is beyond what its input allows, in units of the limit; see `events`.

        0 while the relation is being learnt; from 1 on, the stream is drifting.
        """
        return self._controller.score

    @property
    def history(self) -> jax.Array:
        """What the next frame is told of the last one: a latent (h, w, ch); waits for it."""
        return self._state.previous[0, 0]

    def submit(self, frame: np.ndarray | None) -> jax.Array:
        """Dispatch one frame, uint8 (height, width, 3); the result is ready when it is read.

        None goes on without an input frame, from the past alone. With repair, six frames at most
        are under way: a seventh waits for the fourth.
        """
        missing = frame is None
        if frame is None:
            frame = np.zeros((*self._streamer.size, 3), np.uint8)
        if frame.shape != (*self._streamer.size, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"frame {frame.dtype} {frame.shape}; uint8 {(*self._streamer.size, 3)} is expected"
            )
        state, picture, health = self._streamer._steps[self._steps](
            self._streamer._params,
            self._before(),
            frame,
            self._streamer._levels[missing],
            self._streamer._history_level if missing else self._declared(frame),
            self._encoded,
            self._strength,
            self._key,
            self._streamer._flags[self._anchor],
        )
        self._after(state, health, missing=missing)
        return picture

    def _declared(self, frame: np.ndarray) -> jax.Array:
        """The noise level () that the last picture is declared to have beside this frame."""
        if self._motion_noise:
            last, self._last = self._last, frame.copy()
            if last is not None:
                self._history_level = self._streamer._follow(frame, last, self._history_level)
        return self._history_level

    def _before(self) -> StreamState:
        """The state for the next step, which may use its memory."""
        if len(self._unread) == _LAG_FRAMES + _BATCH_FRAMES:
            for _ in range(_BATCH_FRAMES):
                self._read_health()
        return self._state

    def _after(self, state: StreamState, health: jax.Array | None, *, missing: bool) -> None:
        self._state = state
        self._anchor = False
        if health is not None:
            judge = None if missing else self._controller
            self._unread.append((self.frame_index, judge, health))
        self.frame_index += 1

    def _read_health(self) -> None:
        """Report what the oldest unread step mended; make the next frame anew if it drifted."""
        index, controller, health = self._unread.popleft()
        broken, lost, looks = read_health(health)
        if broken:
            self.events.append(RepairEvent(index, "cache", float(broken), 0.0))
        if lost:
            self.events.append(RepairEvent(index, "previous", 1.0, 0.0))
        if controller is None or controller is not self._controller:
            return  # no input to hold it to, or of a past that was dropped
        drift = controller.judge(self.frame_index, looks)
        if drift is not None:
            self.events.append(drift)
            self._controller = Controller()
            self._anchor = True

    def set_prompt(self, prompt: str) -> None:
        """Follow another prompt from the next frame on.

        The history is dropped with the old prompt: the next frame starts afresh, so nothing of the
        old look can linger.

        Raises:
            UserError: the prompt is empty or too long; the old one stays in force.
        """
        if prompt == self.prompt:
            return
        self._encoded = self._streamer.encode(prompt)
        self.prompt = prompt
        self._forget()

    def reset(self) -> None:
        """Start again as if no frame had come."""
        self._forget()
        self.frame_index = 0

    def _forget(self) -> None:
        cache = clear(self._state.cache)
        self._state = self._state._replace(cache=cache)
        self._controller = Controller()
        self.motion_noise = self._motion_noise  # nothing is known of what moves
