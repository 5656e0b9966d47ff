"""The stream step: one frame in, one frame out, as one pure function."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from lsdjax.codec import PixelCodec
from lsdjax.core.events import draw_events
from lsdjax.core.noise import normal
from lsdjax.diffusion.conditioning import UNGUIDED, Guidance, guide
from lsdjax.diffusion.schedule import add_noise, step_levels
from lsdjax.diffusion.solver import solve
from lsdjax.model.cache import clear, write
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT, Prompt, Told, cached_context, model_graph
from lsdjax.pallas import dispatch
from lsdjax.stream.scorer import describe, mend, pack_health, seal_picture, seal_slot
from lsdjax.stream.state import Seal, StreamState, cast, hold_in, init_stream, usual_dtype
from lsdjax.text.tokenizer import MAX_NGRAMS, MAX_WORDS

# (params, state, frame uint8 (height, width, 3), input level (), history level (), prompt,
#  strength (), key, anchor () bool)
#   -> (state, frame uint8 (height, width, 3), packed health or None without repair)
StreamStep = Callable[
    [dict, StreamState, ArrayLike, ArrayLike, ArrayLike, Prompt, ArrayLike, jax.Array, ArrayLike],
    tuple[StreamState, jax.Array, jax.Array | None],
]


def step_arguments(config: ModelConfig, dtype: jnp.dtype) -> tuple:
    """Shapes and types of a step's arguments, with matrices and the KV ring of `dtype`."""
    model = nnx.eval_shape(lambda: CausalDiT(config, rngs=nnx.Rngs(0)))
    params = jax.eval_shape(
        functools.partial(hold_in, dtype), nnx.to_pure_dict(nnx.state(model, nnx.Param))
    )
    words = (MAX_WORDS, config.text_width or MAX_NGRAMS)
    tokens = jax.ShapeDtypeStruct(words, jnp.float32 if config.text_width else jnp.int32)
    number = jax.ShapeDtypeStruct((), jnp.float32)
    return (
        params,
        jax.eval_shape(lambda: init_stream(config, dtype)),
        jax.ShapeDtypeStruct((config.height, config.width, 3), jnp.uint8),
        number,
        number,
        jax.eval_shape(make_prompt_encoder(config), params, tokens),
        number,
        jax.eval_shape(lambda: jax.random.key(0)),
        jax.ShapeDtypeStruct((), jnp.bool),
    )


def runs_on(config: ModelConfig, dtype: jnp.dtype | None = None) -> list[dispatch.Choice]:
    """What the blocks of a stream's step run on here, and why not on the rest.

    dtype: None is what streams have here.
    """
    dtype = jnp.dtype(usual_dtype()) if dtype is None else dtype
    config = dataclasses.replace(config, depth=1, clean_pass=False)
    dispatch.forget()
    jax.eval_shape(make_stream_step(config, 1, repair=False), *step_arguments(config, dtype))
    return dispatch.choices()


def make_prompt_encoder(config: ModelConfig) -> Callable[[dict, ArrayLike], Prompt]:
    """The jitted function (params, tokens) -> Prompt: once a prompt.

    It computes in float32; the result has the type of the matrices.
    """
    graph = model_graph(config)
    return jax.jit(lambda params, tokens: _prompt(graph, params, tokens))


def _prompt(graph: nnx.GraphDef, params: dict, tokens: jax.Array | None) -> Prompt:
    """The prompt of `tokens`, or none, for guidance."""
    model = nnx.merge(graph, nnx.State(cast(jnp.dtype(jnp.float32), params)))
    embedding = model.text.null() if tokens is None else model.embed(tokens)
    return cast(params["tokens_in"]["kernel"].dtype, model.prompt(embedding))


def side_by_side(step: StreamStep, axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """`jax.vmap` of a step that is used for nothing else: what it is traced to is kept.

    The kernels take one stream, and one that waits for its own blocks must never run twice at once;
    so the blocks run on XLA.
    """
    over = jax.vmap(step, in_axes=axes)

    def stepped(*arguments: Any) -> Any:
        with dispatch.only("blocks", "xla"):
            return over(*arguments)

    return stepped


def make_stream_step(
    config: ModelConfig, steps: int, guidance: Guidance = UNGUIDED, *, repair: bool
) -> StreamStep:
    """The jitted step with `steps` denoising steps a frame; donates the state.

    Input level 1 says that there is no input frame: the model goes on by itself. The history level
    is the noise that the last picture is declared to have, `config.history_level` as a rule.
    The keys and values that the last denoising step computed are the ones that later frames see:
    training draws a noise level for every frame of the context, so no extra clean pass is needed
    (a model trained with `clean_pass` takes one).
    The network computes in the type of the KV ring, which is that of the parameters' matrices;
    norms, softmax, noise levels and the sampler's latents are float32.
    The noise and the events of frame i are functions of the key and of i, so a stream can be
    replayed.

    With `repair`, what is not as the last step left it is dropped before it is seen; with `anchor`
    the frame is made from the input alone, as the first of a stream is, while its index goes on.
    """
    graph, codec = model_graph(config), PixelCodec()
    levels = step_levels(steps, config.noise_shift)

    def step(params, state, frame, input_level, history_level, prompt, strength, key, anchor):
        model = nnx.merge(graph, nnx.State(params))
        inputs = codec.encode(frame.astype(jnp.float32) / 127.5 - 1.0)[None, None]
        index = state.cache.length
        whole, kept = jnp.array(True), jnp.array(True)
        if repair:
            state, whole, kept = mend(state, anchor)
        noise_key, history_key = jax.random.split(jax.random.fold_in(key, index))
        history = jnp.where((index > 0) & kept, history_level, 1.0)[None, None]
        smear = jnp.zeros_like(inputs)
        if config.history_noise:  # drawing it takes as long as a convolution
            smear = jax.lax.cond(
                history_level > 0,
                lambda: normal(history_key, inputs.shape),
                lambda: smear,
            )
        previous = add_noise(state.previous, smear, history)
        events = draw_events(key, index[None], 1, config.height, config.width)
        # Barriers here and below: XLA would compute these anew in everything that reads them.
        inputs, previous, events = jax.lax.optimization_barrier((inputs, previous, events))
        dtype = state.cache.keys.dtype
        pictures = cast(dtype, (inputs, previous))
        told = Told(pictures[0], jnp.full((1, 1), input_level), pictures[1], history, events)
        context = cached_context(state.cache, config)
        views = {"told": (model.observe(told, prompt), prompt, context)}
        if guidance.prompt != 1:
            null = _prompt(graph, params, None)
            views["prompt"] = (model.observe(told, null), null, context)
        if guidance.history != 1:
            alone = told._replace(previous_level=jnp.ones_like(history))
            blind = cached_context(clear(state.cache), config)
            views["history"] = (model.observe(alone, prompt), prompt, blind)

        def denoise(x, noise_level, step_size):
            x = x.astype(dtype)
            out = {
                name: model.denoise(x, noise_level, step_size, observation, prompt, context)
                for name, (observation, prompt, context) in views.items()
            }
            full = out.pop("told")
            sample = told = full.sample.astype(jnp.float32)
            for name, less in out.items():
                less = less.sample.astype(jnp.float32)
                sample = sample + guide(told, less, getattr(guidance, name))
            return sample, (full.keys[:, :, 0], full.values[:, :, 0])

        noise = jax.lax.optimization_barrier(normal(noise_key, inputs.shape))
        sample, (keys, values) = solve(denoise, noise, levels)
        sample = jax.lax.optimization_barrier(jnp.clip(sample, -1.0, 1.0))
        if config.clean_pass:
            clean = jnp.zeros((1, 1))
            seen = model.denoise(
                sample.astype(dtype), clean, clean, views["told"][0], prompt, context
            )
            keys, values = seen.keys[:, :, 0], seen.values[:, :, 0]
        cache = write(state.cache, keys, values, config.policy)
        shown = jnp.where(input_level < 1, inputs + strength * (sample - inputs), sample)
        shown = jnp.where(jnp.isfinite(shown), shown, inputs)  # a broken model shows its input
        picture = jnp.round((codec.decode(shown)[0, 0] + 1.0) * 127.5)
        picture = jnp.clip(picture, 0, 255).astype(jnp.uint8)
        if not repair:
            return StreamState(cache, sample, state.seal), picture, None
        # The other slots keep their seals: what broke one meanwhile must not be sealed in.
        newest = (cache.frames == index)[:, None, None]
        slots = jnp.where(newest, seal_slot(keys, values)[None], state.seal.slots)
        state = StreamState(cache, sample, Seal(slots, seal_picture(sample)))
        made = 0.5 * codec.decode(sample)[0, 0] + 0.5
        looks = jnp.stack([describe(frame.astype(jnp.float32) / 255.0), describe(made)])
        health = pack_health(jnp.sum(~whole & ~anchor), ~kept & ~anchor, looks)
        return state, picture, health

    return jax.jit(step, donate_argnums=1)
