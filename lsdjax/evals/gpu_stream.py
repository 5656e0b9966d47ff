"""The whole stream step in `gpu_check`: its blocks on the kernels or through XLA, all else alike.

Also what it is worth beside the blocks alone: everything that a frame needs once is in it.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT
from lsdjax.pallas import dispatch
from lsdjax.pallas.mosaic import Launch
from lsdjax.stream.state import StreamState, hold_in, init_stream
from lsdjax.stream.step import make_prompt_encoder, make_stream_step
from lsdjax.text.tokenizer import tokenize

MODELS = {
    "tiny": ModelConfig(dim=128, depth=1, heads=2, channels=8, experts=2, text_dim=64, window=2),
    "student-294m": ModelConfig(
        height=352, width=640, dim=1024, depth=20, heads=16, mlp_hidden=4096, window=7
    ),
}
"""Models with such blocks, which have cross-attention besides; a step of their stream is whole."""

FRAMES = 2
"""Until streams are compared: the second frame reads the keys and values of the first."""

MARGIN = 1.5
"""How much farther from float32 than XLA's bfloat16 the kernels' may be, which rounds elsewhere."""


class Steps:
    """A stream on random weights, all of which matter: call it for the next picture."""

    def __init__(self, config: ModelConfig, dtype: str, seed: int) -> None:
        kind = jnp.dtype(dtype)
        model = nnx.eval_shape(lambda: CausalDiT(config, rngs=nnx.Rngs(0)))
        drawn = draw(nnx.to_pure_dict(nnx.state(model, nnx.Param)), seed)
        self.params = jax.device_put(hold_in(kind, drawn))
        self.prompt = make_prompt_encoder(config)(self.params, tokenize("a pencil sketch"))
        self.state: StreamState = init_stream(config, kind)
        self.step = make_stream_step(config, 1, repair=True)
        rng = np.random.default_rng(seed)
        size = (config.height, config.width, 3)
        self.frame = jax.device_put(rng.integers(0, 256, size, dtype=np.uint8))
        self.levels = jax.device_put((np.float32(0), np.float32(config.history_level)))
        self.rest = (np.float32(1), jax.random.key(seed), np.bool_(False))

    def __call__(self) -> jax.Array:
        told: Any = (self.frame, *self.levels, self.prompt, *self.rest)
        self.state, picture, _ = self.step(self.params, self.state, *told)
        return picture

    def made(self) -> list[np.ndarray]:
        """The latent, keys and values that `FRAMES` steps leave."""
        for _ in range(FRAMES):
            self()
        state = self.state
        return [np.asarray(x, np.float32) for x in (state.previous, *state.cache[:2])]


def draw(shapes: Any, seed: int) -> Any:
    """Random parameters of these shapes; none of them is zero."""
    rng = np.random.default_rng(seed)

    def one(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        value = rng.standard_normal(leaf.shape, np.float32)
        if len(leaf.shape) < 2:
            return 1 + 0.1 * value
        return 0.5 * value / np.float32(np.prod(leaf.shape[:-1])) ** 0.5

    return jax.tree.map(one, shapes)


@contextlib.contextmanager
def on(path: str, *, dry: bool) -> Iterator[None]:
    """Within, blocks run on `path`: "chain", "single pass" or "xla"; dry, in the interpreter."""
    name = {"chain": "kernel chain"}.get(path, path)
    if dry and path != "xla":
        from lsdjax.model.fused import fused_blocks

        how, name = Launch(interpret=True), f"{name}, interpreted"
        blocks = functools.partial(fused_blocks, in_one=path == "single pass", how=how)
        dispatch.register("blocks", name, blocks)
    with dispatch.only("blocks", name):
        yield


def measure(path: str, model: str, seed: int, layers: int, *, dry: bool) -> dict[str, Any]:
    """Compare a stream with the same in float32 through XLA; and a call that makes one step more.

    The error is the root of the mean square over that of the values, the worst of three arrays.
    """
    config = dataclasses.replace(MODELS[model], depth=layers)
    with on("xla", dry=dry), jax.default_matmul_precision("highest"):
        exact = Steps(config, "float32", seed).made()
    with on("xla", dry=dry):
        usual = _error(Steps(config, "bfloat16", seed).made(), exact)
    found: dict[str, Any] = {"layers": layers, "xla_error": usual}
    with on(path, dry=dry):
        steps = Steps(config, "bfloat16", seed)
        found["error"] = _error(steps.made(), exact)
    found["passed"] = bool(found["error"] <= MARGIN * usual)
    call: Callable[[], jax.Array] = steps
    return found | {"call": call}


def _error(made: list[np.ndarray], exact: list[np.ndarray]) -> float:
    return max(
        float(np.sqrt(np.mean((one - other) ** 2) / np.mean(other**2)))
        for one, other in zip(made, exact, strict=True)
    )
