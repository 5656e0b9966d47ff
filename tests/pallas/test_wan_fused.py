"""Which calls of the Wan model go through the kernels, and what is said of those that do not."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from lsdjax.configs.wan import WAN_PRESETS
from lsdjax.core.sharding import make_mesh
from lsdjax.model.wan import sequence_context, wan_graph
from lsdjax.model.wan_config import WanConfig
from lsdjax.pallas import dispatch
from lsdjax.stream.wan_step import make_wan_step, runs_on, step_arguments

BF16 = jnp.dtype("bfloat16")
SMALL = WanConfig(
    height=32, width=68, codec="pixel", dim=128, depth=1, heads=2, ffn_dim=256, text_dim=16,
    text_length=8, window=3, timesteps=(1000,), clean_pass=False,
)  # fmt: skip


@pytest.fixture
def on_hopper(monkeypatch):
    monkeypatch.setattr(dispatch, "device", lambda: dispatch.HOPPER)


def refusal(choices: list[dispatch.Choice]) -> str:
    (choice,) = choices
    assert choice.chosen == "xla"
    return choice.refusals["kernel chain"]


@pytest.mark.parametrize("name", sorted(set(WAN_PRESETS) - {"tiny-wan"}))
def test_every_public_preset_streams_through_the_kernels(on_hopper, name):
    (choice,) = runs_on(WAN_PRESETS[name], BF16)
    assert (choice.chosen, choice.refusals) == ("kernel chain", {})


@pytest.mark.parametrize(
    ("policy", "rope"),
    [("sinks", "absolute"), ("rolling-sink", "window"), ("participative", "window")],
)
def test_a_policy_and_its_ages_are_no_matter_to_the_kernels(on_hopper, policy, rope):
    config = dataclasses.replace(SMALL, cache_policy=policy, rope=rope, sinks=1)
    assert runs_on(config, BF16)[0].chosen == "kernel chain"


@pytest.mark.parametrize(
    ("changes", "dtype", "reason"),
    [
        ({}, "float32", "activations of float32; bfloat16 is expected"),
        ({"heads": 4}, "bfloat16", "heads of 32 in {'bfloat16'}; 64 or 128"),
        ({"ffn_dim": 200}, "bfloat16", "product of 256 x 128 and 128 x 200"),
        ({"width": 20, "chunk": 1}, "bfloat16", "slots of 40 keys; 64 or more are expected"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(on_hopper, changes, dtype, reason):
    config = dataclasses.replace(SMALL, **({"chunk": 1} | changes))
    assert reason in refusal(runs_on(config, jnp.dtype(dtype)))


def test_training_is_refused(on_hopper):
    params, _, latents, _, prompt, _ = step_arguments(SMALL, BF16)
    dispatch.forget()

    def train(params, noisy, prompt):
        model, level = nnx.merge(wan_graph(SMALL), nnx.State(params)), jnp.zeros(noisy.shape[:2])
        return model.denoise(noisy, level, prompt, sequence_context(3, SMALL)).velocity

    jax.eval_shape(train, params, latents, prompt)
    expected = "a sequence without a cache; one chunk over a cache is expected"
    assert refusal(dispatch.choices()) == expected


def test_a_model_spread_over_devices_is_refused(on_hopper):
    mesh = make_mesh("tensor=2", jax.devices()[:2])
    dispatch.forget()
    step = make_wan_step(SMALL, mesh=mesh, jit=False)
    jax.eval_shape(jax.jit(step), *step_arguments(SMALL, BF16))
    assert refusal(dispatch.choices()) == "a model spread over 2 devices; one is expected"
