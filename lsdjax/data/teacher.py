"""What a teacher is, and the three common kinds: by a look, by a fault to be mended, by a memory.

A teacher is a pure function `render(frames, state, key) -> (inputs, targets, state)` that can be
jitted, batched and chosen by number inside `lax.switch`. Rendering a clip at once and rendering it
one frame at a time with the returned state give the same pictures.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp

from lsdjax.core.errors import UserError
from lsdjax.core.registry import blame

Kind = Literal["stateless", "stateful", "generative", "identity"]
KINDS: tuple[Kind, ...] = ("stateless", "stateful", "generative", "identity")


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["canvas", "frame_index"],
    meta_fields=[],
)
@dataclass(frozen=True)
class TeacherState:
    """What a teacher carries between frames; the same for every teacher.

    canvas: f32 (b, h, w, 3) in [0, 1], used by the stateful teachers only: the previous output, for
        snow the centres of its flakes, a channel a layer.
    frame_index: frames rendered so far, i32 (b,); 0 is the start of a stream.
    """

    canvas: jax.Array
    frame_index: jax.Array


Render = Callable[[jax.Array, TeacherState, jax.Array], tuple[jax.Array, jax.Array, TeacherState]]


@dataclass(frozen=True)
class Teacher:
    """One named style.

    render takes frames f32 (b, t, h, w, 3) in [0, 1] with h and w multiples of 16, the state, and a
    typed key that stays the same for a whole stream. It returns inputs (what a model sees), targets
    (what it should show), both shaped like frames, and the state after the last frame.

    lasting: what it remembers is there or not, so a past that has faded is an error to be mended;
    elsewhere fading is part of the look, or mending it would feed on itself: a colour that is made
    stronger because it looks faint drifts.
    """

    name: str
    kind: Kind
    render: Render
    lasting: bool = False


def init_state(b: int, h: int, w: int) -> TeacherState:
    """State at the start of a stream: black canvas, frame 0."""
    return TeacherState(jnp.zeros((b, h, w, 3), jnp.float32), jnp.zeros((b,), jnp.int32))


def advance(state: TeacherState, frames: jax.Array) -> TeacherState:
    """The state `frames` later, its canvas as it was."""
    return replace(state, frame_index=state.frame_index + frames.shape[1])


def stateless(name: str, look: Callable[[jax.Array], jax.Array]) -> Teacher:
    """A teacher that shows look(frames), of (b, t, h, w, 3) in [0, 1], each frame by itself."""

    def render(frames, state, key):
        del key
        return frames, jnp.clip(look(frames), 0.0, 1.0), advance(state, frames)

    return Teacher(name, "stateless", render)


def generative(name: str, degrade: Callable[[jax.Array, jax.Array], jax.Array]) -> Teacher:
    """A teacher that shows a model degrade(frames, key) and wants the frames back."""

    def render(frames, state, key):
        return jnp.clip(degrade(frames, key), 0.0, 1.0), frames, advance(state, frames)

    return Teacher(name, "generative", render)


def recursive(name: str, step: Callable[[jax.Array, jax.Array], jax.Array]) -> Teacher:
    """A teacher with out_t = step(out_{t-1}, frame_t); the first frame stands for its own past."""

    def render(frames, state, key):
        del key
        begins = (state.frame_index == 0)[:, None, None, None]
        canvas = jnp.where(begins, frames[:, 0], state.canvas)

        def follow(previous, frame):
            output = step(previous, frame)
            return output, output

        canvas, outputs = jax.lax.scan(follow, canvas, jnp.swapaxes(frames, 0, 1))
        state = replace(advance(state, frames), canvas=canvas)
        return frames, jnp.swapaxes(outputs, 0, 1), state

    return Teacher(name, "stateful", render)


def check_teacher(teacher: Teacher) -> None:
    """Render two frames without computing anything, and see whether the contract is kept.

    Raises:
        UserError: its kind is unknown, render fails, or gives other shapes or types.
    """
    if teacher.kind not in KINDS:
        raise UserError(f"teacher {teacher.name!r}: kind {teacher.kind!r}; one of {KINDS}")
    frames = jax.ShapeDtypeStruct((1, 2, 32, 48, 3), jnp.float32)
    state, key = jax.eval_shape(lambda: (init_state(1, 32, 48), jax.random.key(0)))
    with blame(f"teacher {teacher.name!r}"):
        inputs, targets, after = jax.eval_shape(teacher.render, frames, state, key)
        parts = {"inputs": (inputs, frames), "targets": (targets, frames), "state": (after, state)}
        for part, (given, wanted) in parts.items():
            if _describe(given) != _describe(wanted):
                raise UserError(
                    f"render gives {part} {_describe(given)}; {_describe(wanted)} is expected"
                )


def _describe(tree: object) -> str:
    return ", ".join(f"{leaf.dtype} {leaf.shape}" for leaf in jax.tree.leaves(tree))
