"""Against code that others wrote: diffusers, transformers and torch; README.md says how."""

import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from lsdjax.checkpoint.convert import COMPONENTS, import_checkpoint, load_component
from lsdjax.checkpoint.layouts import public_shapes
from lsdjax.checkpoint.source import read_tensors
from lsdjax.checkpoint.tree import unflatten
from lsdjax.codec import wan_vae
from lsdjax.codec.wan_vae import WanVaeConfig
from lsdjax.core.errors import UserError
from lsdjax.model.wan import sequence_context, wan_graph
from lsdjax.model.wan_config import WanConfig
from lsdjax.text import umt5
from lsdjax.text.umt5 import Umt5Config

pytestmark = pytest.mark.usefixtures("quick_compilation")

HERE = Path(__file__).parent
TOLERANCE = 1e-4
spec = importlib.util.spec_from_file_location("peers_draw", HERE / "draw.py")
assert spec is not None and spec.loader is not None
spec.loader.exec_module(draw := importlib.util.module_from_spec(spec))


@pytest.fixture(scope="module")
def outputs() -> dict[str, np.ndarray]:
    with np.load(HERE / "outputs.npz") as archive:
        return dict(archive)


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    return {name: draw.weight(name, shape) for name, shape in shapes.items()}


def check(made: jax.Array, expected: np.ndarray) -> None:
    error = np.abs(np.asarray(made, np.float64) - expected).max()
    print(f"largest error {error:.1e}, of values up to {np.abs(expected).max():.1f}")
    assert made.shape == expected.shape and error < TOLERANCE


def test_umt5_is_that_of_transformers(outputs):
    config = Umt5Config(vocabulary=40, dim=16, attention_dim=12, ffn_dim=24, heads=3, depth=2)
    params = drawn(umt5.parameter_shapes(config))
    ids = np.abs(draw.uniform("ids", (40,)) * 40).astype(int)
    made = jax.jit(lambda p, ids, mask: umt5.encode(p, config, ids, mask))(
        params, ids, np.arange(40) < 34
    )
    check(made[:34], outputs["umt5"])


def test_the_vae_is_that_of_diffusers_stretch_by_stretch(outputs):
    config = WanVaeConfig(dim=8)
    params = drawn(wan_vae.parameter_shapes(config))
    for code, given, counts, name in (
        (wan_vae.encode, draw.uniform("frames", (1, 9, 16, 24, 3)), (1, 4, 4), "vae latents"),
        (wan_vae.decode, draw.uniform("latents", (1, 3, 2, 3, 16)), (1, 1, 1), "vae frames"),
    ):
        step = jax.jit(lambda params, x, history, code=code: code(params, config, x, history))
        made, history, start = [], None, 0
        for count in counts:
            y, history = step(params, given[:, start : start + count], history)
            made.append(y)
            start += count
        check(jnp.concatenate(made, axis=1), outputs[name])


def test_the_dit_is_that_of_diffusers_by_its_names(outputs, tmp_path):
    """Three frames in one chunk, each at its own noise level."""
    config = WanConfig(
        height=32, width=48, dim=40, depth=2, heads=2, ffn_dim=56, frequency_dim=32, text_dim=12,
        text_length=7,
    )  # fmt: skip
    component = COMPONENTS["wan"]
    theirs = {
        component.diffusers_name(name): shape
        for name, shape in public_shapes(component, config).items()
    }
    save_file(drawn(theirs), tmp_path / "theirs.safetensors")
    told = {name: getattr(config, name) for name in ("height", "width", "heads", "text_length")}
    import_checkpoint(tmp_path / "theirs.safetensors", tmp_path / "ours", changes=told)
    loaded = load_component(tmp_path / "ours", "wan")
    assert loaded.config == config

    @jax.jit
    def call(params, noisy, level, words):
        dit = nnx.merge(wan_graph(config), nnx.State(params))
        return dit.denoise(noisy, level, dit.prompt(words), sequence_context(3, config)).velocity

    noisy, words = draw.uniform("noisy", (1, 3, 4, 6, 16)), draw.uniform("words", (5, 12))
    level = jnp.array([[0.875, 0.5, 0.125]])
    check(call(unflatten(loaded.tensors), noisy, level, words), outputs["dit"])


def test_a_file_of_torch_is_read_as_torch_wrote_it():
    """Types, strides, slices and tied tensors; the averaged weights, or those asked for."""
    found = read_tensors(HERE / "torch.pt")
    other = {"int64": np.arange(6).reshape(2, 3), "bool": np.array([True, False])}
    other |= {"scalar": np.float32(1.25), "empty": np.zeros((0, 4))}
    assert len(found) == 14
    for name, tensor in found.items():
        count = (np.arange(math.prod(tensor.shape)) / 8).reshape(tensor.shape)
        expected = other.get(name, count)
        named = name if name in ("bfloat16", "float16", "float64", "int64", "bool") else "float32"
        assert (tensor.dtype.name, tensor.shape) == (named, expected.shape), name
        np.testing.assert_array_equal(np.asarray(tensor.view(), np.float64), expected, name)
    assert found["tied"].offset == found["again"].offset
    plain = read_tensors(HERE / "torch.pt", "generator")
    np.testing.assert_array_equal(plain["float32"].view(), found["float32"].view() + 1)


def test_a_file_of_torch_before_1_6_is_refused():
    with pytest.raises(UserError, match=r"not a file that torch.save wrote since version 1\.6"):
        read_tensors(HERE / "legacy.pt")
