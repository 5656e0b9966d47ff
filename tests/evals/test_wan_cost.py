"""What a step costs, against XLA's own count and the known figures of the 1.3B model."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from lsdjax import cli
from lsdjax.configs.wan import WAN_PRESETS
from lsdjax.evals.wan_cost import parameter_count, pass_cost, step_cost
from lsdjax.model.cache import init_cache
from lsdjax.model.wan import WanDiT, cached_context
from lsdjax.model.wan_config import WanConfig


@pytest.mark.parametrize(
    ("name", "frames", "tflop", "attention"),
    [("wan-1.3b", 9, 8.1, 52), ("wan-1.3b", 21, 13.5, 71), ("student-294m", 8, 1.06, 51)],
)
def test_known_figures_of_a_pass_over_one_frame(name, frames, tflop, attention):
    config = dataclasses.replace(
        WAN_PRESETS[name], chunk=1, window=frames - 1, sinks=0, cache_policy="sinks"
    )
    cost = pass_cost(config)
    assert cost.flops / 1e12 == pytest.approx(tflop, rel=0.02)
    assert 100 * cost.attention_flops / cost.flops == pytest.approx(attention, abs=1)


def test_the_count_is_that_of_xla():
    config = WanConfig(
        height=64, width=64, codec="pixel", dim=128, depth=2, heads=2, ffn_dim=512,
        frequency_dim=32, text_dim=16, text_length=32, chunk=2, window=3, sinks=1,
    )  # fmt: skip
    graph, state = nnx.split(nnx.eval_shape(lambda: WanDiT(config, rngs=nnx.Rngs(0))), nnx.Param)
    cache = jax.eval_shape(lambda: init_cache(config, 1, jnp.dtype(jnp.float32)))
    words = jax.eval_shape(lambda state: nnx.merge(graph, state).prompt(jnp.zeros((32, 16))), state)

    def one_pass(state, cache, words):
        model, noisy = nnx.merge(graph, state), jnp.zeros((1, 2, 32, 32, 12))
        level = jnp.zeros((1, 2))
        return model.denoise(noisy, level, words, cached_context(cache, config)).velocity

    told = jax.jit(one_pass).lower(state, cache, words).cost_analysis()
    assert told is not None
    assert pass_cost(config).flops == pytest.approx(told["flops"], rel=0.1)


def test_a_step_is_bound_by_the_slower_of_the_two():
    config = WAN_PRESETS["wan-1.3b"]
    told = step_cost(config)
    assert told["passes a step"] == 5 and told["video frames a step"] == 12
    one = told["one pass"]
    slower = max(one["H200 bfloat16 floor ms"], one["H200 memory floor ms"])
    assert told["H200 floor of a step ms"] == pytest.approx(5 * slower)
    assert parameter_count(config) == 1_418_996_800


def test_info_tells_of_a_preset(capsys):
    assert cli.main(["info", "tiny-wan", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["preset"] == "tiny-wan" and told["cost"]["passes a step"] == 3
    (choice,) = told["runs_on"]
    assert (choice["operation"], choice["chosen"]) == ("wan blocks", "xla")
    assert choice["refusals"] == {"kernel chain": "runs on hopper, not on cpu"}
    assert cli.main(["info", "tiny-wan"]) == 0
    assert "H200 bfloat16 floor ms" in capsys.readouterr().out
