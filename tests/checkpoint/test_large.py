"""A model of full size: converted in little memory, loaded, and shared by eight devices."""

import dataclasses
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lsdjax.checkpoint.convert import COMPONENTS, import_checkpoint, load_component
from lsdjax.checkpoint.layouts import public_shapes
from lsdjax.checkpoint.tensors import _header
from lsdjax.checkpoint.tree import unflatten
from lsdjax.configs.wan import WAN_1_3B
from lsdjax.core.sharding import make_mesh, place, sharding_of
from lsdjax.model.cache import init_cache
from lsdjax.model.wan_layers import WanPrompt
from lsdjax.stream.wan_step import cache_sharding, make_wan_step


def write_random(path: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    """A safetensors file of random bits; its bytes of data."""
    empty = np.zeros((), ml_dtypes.bfloat16)
    header, ends = _header({name: np.broadcast_to(empty, shape) for name, shape in shapes.items()})
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(header)
        for start in range(0, ends[-1], 1 << 26):
            file.write(rng.bytes(min(1 << 26, ends[-1] - start)))
    return ends[-1]


@pytest.mark.slow
def test_the_1_3b_model_converts_loads_and_is_shared(tmp_path):
    component = COMPONENTS["wan"]
    source = tmp_path / "theirs.safetensors"
    size = write_random(source, public_shapes(component, WAN_1_3B))
    assert size == 2 * 1_418_996_800
    tracemalloc.start()
    made = import_checkpoint(source, tmp_path / "ours")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.parameters == 1_418_996_800 and peak < 300e6
    print(f"peak of the converter: {peak / 1e6:.0f} MB for a file of {size / 1e9:.2f} GB")
    source.unlink()
    loaded = load_component(tmp_path / "ours", "wan")
    assert loaded.config == WAN_1_3B
    placed = place(unflatten(loaded.tensors), make_mesh("fsdp=2,tensor=4"))
    first = jax.devices()[0]
    there = sum(
        shard.data.nbytes
        for leaf in jax.tree.leaves(placed)
        for shard in leaf.addressable_shards
        if shard.device == first
    )
    assert there == pytest.approx(size / 8, rel=0.01)


@pytest.mark.slow
def test_a_full_width_step_compiles_for_eight_devices():
    """Two of the thirty blocks, at 480 x 832; nothing is allocated."""
    config = dataclasses.replace(WAN_1_3B, depth=2, timesteps=(1000,), clean_pass=False)
    mesh = make_mesh("fsdp=2,tensor=4")
    whole, dtype = NamedSharding(mesh, PartitionSpec()), jnp.dtype(jnp.bfloat16)

    def abstract(shape, dtype=dtype, sharding=whole):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    shapes = COMPONENTS["wan"].shapes(config)
    params = unflatten(
        {name: abstract(shape, sharding=sharding_of(shape, mesh)) for name, shape in shapes.items()}
    )
    cache = jax.tree.map(
        lambda leaf, sharding: abstract(leaf.shape, leaf.dtype, sharding),
        jax.eval_shape(lambda: init_cache(config, 1, dtype)),
        cache_sharding(config, mesh),
    )
    words = abstract((config.text_length, config.heads, config.head_dim))
    latents = abstract((1, config.chunk, *config.latent_size, config.channels))
    key = jax.eval_shape(lambda: jax.random.key(0))
    step = make_wan_step(config, noised=True, mesh=mesh)
    prompt = (WanPrompt(words, words),) * 2  # type: ignore[arg-type]
    arguments = (params, cache, latents, abstract((), jnp.float32), prompt)
    compiled = jax.jit(step).lower(*arguments, key).compile()  # type: ignore[arg-type]
    made = jax.tree.leaves(compiled.output_shardings)[0]
    assert made.shard_shape(cache.keys.shape)[4] == config.heads // 4
