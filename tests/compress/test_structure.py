"""Surgery: a cut model computes what the masked one does, whatever is cut."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax.checkpoint.export import abstract_params
from lsdjax.compress.structure import (
    Mask,
    Structures,
    axes,
    cut,
    flatten,
    full_mask,
    kept_sizes,
    mask_params,
    shapes,
    spread,
)
from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig
from lsdjax.model.dit import CausalDiT, Told, model_graph
from lsdjax.text.tokenizer import tokenize

CONFIG = ModelConfig(
    height=32, width=32, dim=32, depth=3, heads=3, head_dim=16, mlp_hidden=24, channels=8,
    observed_channels=6, fused_channels=7, wide_channels=12, experts=2, text_dim=32,
    text_depth=1, window=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def params(random_like) -> dict[str, Any]:
    model = nnx.eval_shape(lambda: CausalDiT(CONFIG, rngs=nnx.Rngs(0)))
    return random_like(nnx.to_pure_dict(nnx.state(model, nnx.Param)))


@functools.cache
def compiled(config: ModelConfig) -> Callable[..., jax.Array]:
    graph = model_graph(config)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def forward(params: dict[str, Any]) -> jax.Array:
        keys = jax.random.split(jax.random.key(0), 5)
        pictures = (1, 3, config.height // 2, config.width // 2, 12)
        noisy, inputs, previous = (jax.random.normal(key, pictures) for key in keys[:3])
        levels, known = (jax.random.uniform(key, (1, 3)) for key in keys[3:])
        told = Told(inputs, 0 * known, previous, known, jnp.ones((*pictures[:-1], 3)))
        model = nnx.merge(graph, nnx.State(params))
        prompt = model.prompt(model.embed(jnp.asarray(tokenize("pencil sketch"))))
        return model(noisy, levels, 0 * levels, told, prompt).sample

    return forward


def draw_mask(*cut_down: str) -> Mask:
    """About half of each group that is named, other ones in every block."""
    rng = np.random.default_rng(1)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in cut_down:
            return np.ones(shape, bool)
        keep = np.arange(shape[-1]) < (shape[-1] + 1) // 2
        rows = [rng.permutation(keep) for _ in range(int(np.prod(shape[:-1])))]
        return np.stack(rows).reshape(shape)

    return Structures(*map(draw, Structures._fields, shapes(CONFIG)))


def agree(params: dict[str, Any], mask: Mask) -> ModelConfig:
    smaller, less = cut(params, CONFIG, mask)
    masked = compiled(CONFIG)(mask_params(params, CONFIG, mask))
    scale = np.std(masked)
    np.testing.assert_allclose(compiled(smaller)(less) / scale, masked / scale, atol=1e-5)
    assert np.abs(masked - compiled(CONFIG)(params)).max() > 0.1 * scale  # it did something
    return smaller


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        (("channels",), {"channels": 4}),
        (("observed",), {"observed_channels": 3}),
        (("fused",), {"fused_channels": 4}),
        (("wide",), {"wide_channels": 6}),
        (("dim",), {"dim": 16}),
        (("hidden",), {"mlp_hidden": 12}),
        (("heads", "prompt_heads"), {"heads": 2}),
        (("blocks",), {"depth": 2}),
        (
            ("channels", "observed", "fused", "wide"),
            {"channels": 4, "observed_channels": 3, "fused_channels": 4, "wide_channels": 6},
        ),
        (
            Structures._fields,
            {
                "channels": 4, "observed_channels": 3, "fused_channels": 4, "wide_channels": 6,
                "dim": 16, "mlp_hidden": 12, "heads": 2, "depth": 2,
            },
        ),
    ],
)  # fmt: skip
def test_cut_and_masked_agree(params, names: tuple[str, ...], sizes: dict[str, int]) -> None:
    smaller = agree(params, draw_mask(*names))
    found, before = smaller.to_json(), CONFIG.to_json()
    assert {name: found[name] for name in found if found[name] != before[name]} == sizes


def test_nothing_cut_is_the_same_to_the_bit(params) -> None:
    config, same = cut(params, CONFIG, full_mask(CONFIG))
    masked = mask_params(params, CONFIG, full_mask(CONFIG))
    assert config == CONFIG
    assert jax.tree.structure(same) == jax.tree.structure(params)
    for mine, theirs, kept in zip(*map(jax.tree.leaves, (same, params, masked)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(kept, theirs)


def test_a_cut_model_has_the_shapes_of_its_config(params) -> None:
    smaller, less = cut(params, CONFIG, draw_mask(*Structures._fields))
    found = {".".join(map(str, path)): leaf.shape for path, leaf in flatten(less).items()}
    assert found == {name: leaf.shape for name, leaf in abstract_params(smaller).items()}


def test_every_axis_is_declared_that_a_size_decides() -> None:
    """Each size, grown, must grow exactly the axes that name its group, and by what they say."""
    before = abstract_params(CONFIG)
    for name, group in (
        ("channels", "channels"), ("observed_channels", "observed"), ("fused_channels", "fused"),
        ("wide_channels", "wide"), ("dim", "dim"), ("mlp_hidden", "hidden"), ("heads", "heads"),
    ):  # fmt: skip
        groups = {"heads", "prompt_heads"} if group == "heads" else {group}
        larger = ModelConfig.from_json({**CONFIG.to_json(), name: getattr(CONFIG, name) + 1})
        for path, leaf in abstract_params(larger).items():
            parts = tuple(int(part) if part.isdigit() else part for part in path.split("."))
            grown = np.subtract(leaf.shape, before[path].shape)
            declared = np.zeros_like(grown)
            for axis, segments in axes(parts, CONFIG).items():
                assert len(spread(full_mask(CONFIG), parts, segments)) == before[path].shape[axis]
                declared[axis] = sum(s.tile * s.repeat for s in segments if s.group in groups)
            assert tuple(grown) == tuple(declared), (name, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wide": np.ones(5, bool)}, r"mask of wide is bool \(5,\); bool \(12,\)"),
        ({"wide": np.zeros(12, bool)}, "keeps no wide"),
        ({"hidden": np.tri(3, 24, 11, dtype=bool)}, r"keep \[12, 13, 14\] hidden"),
        ({"heads": np.ones((3, 3), bool) & (np.arange(3) < 2)}, "2 heads and 3 prompt_heads"),
    ],
)
def test_masks_that_make_no_model_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kept_sizes(CONFIG, full_mask(CONFIG)._replace(**change))
