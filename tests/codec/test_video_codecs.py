"""TAEHV against NumPy in float64, written apart; the VAE's numbers are checked in ../peers.

No public weights are at hand: structure and names follow the public code, numbers are checked by a
second implementation, frame by frame.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax.codec import taehv, wan_vae
from lsdjax.codec.taehv import TaehvConfig
from lsdjax.codec.wan_vae import WanVaeConfig
from lsdjax.core.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_compilation")

TINY = TaehvConfig(channels=3, patch=2, width=4, widths=(8, 6, 4), grown=(2, 2, 2))


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    made = {}
    for name, shape in shapes.items():
        value = rng.standard_normal(shape)
        fan = np.prod(shape[1:]) if len(shape) > 1 else 10
        made[name] = (value / np.sqrt(fan)).astype(np.float32)
    return made


class Reference:
    """Layers on (ch, t, h, w) in float64."""

    def __init__(self, params: dict[str, np.ndarray]) -> None:
        self.params = {name: value.astype(np.float64) for name, value in params.items()}

    def conv(self, name, x, stride=1):
        kernel = self.params[f"{name}.weight"]
        half = kernel.shape[-1] // 2
        x = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)))
        parts = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (2, 3))
        made = np.einsum("cthwij,ocij->othw", parts[:, :, ::stride, ::stride], kernel)
        return made + self.params.get(f"{name}.bias", np.zeros(1))[:, None, None, None]

    def remember(self, name, x, past):
        y = np.concatenate([x, past])
        for i in (0, 2):
            y = np.maximum(self.conv(f"{name}.conv.{i}", y), 0)
        return np.maximum(self.conv(f"{name}.conv.4", y) + x, 0)

    def tiny(self, x, memory, number, part):
        """One frame (ch, 1, h, w) through the layers from `number` on: the frames that come out."""
        name = f"{part}.{number}"
        if number == (18 if part == "encoder" else 23):
            return [x]
        if part == "decoder":
            if number == 0:
                return self.tiny(3 * np.tanh(x / 3), memory, 1, part)
            if number in (6, 12, 18):
                return self.tiny(x.repeat(2, 2).repeat(2, 3), memory, number + 1, part)
            if number in (7, 13, 19):
                grown = self.conv(f"{name}.conv", x)
                frames = [grown[-len(x) :]] if number == 7 else np.split(grown, 2)
                return [y for frame in frames for y in self.tiny(frame, memory, number + 1, part)]
        if part == "encoder" and number in (2, 7, 12):
            memory.setdefault(name, []).append(x)
            if len(memory[name]) < (1 if number == 12 else 2):
                return []
            x = np.concatenate(memory.pop(name))
            return self.tiny(self.conv(f"{name}.conv", x), memory, number + 1, part)
        if f"{name}.conv.0.weight" in self.params:
            past, memory[name] = memory.get(name, 0 * x), x
            return self.tiny(self.remember(name, x, past), memory, number + 1, part)
        if f"{name}.weight" in self.params:
            half = part == "encoder" and number in (3, 8, 13)
            y = self.conv(name, x, stride=2 if half else 1)
            return self.tiny(y, memory, number + 1, part)
        return self.tiny(np.maximum(x, 0), memory, number + 1, part)


def streamed(code, params, config, x, counts):
    """`code` over stretches of so many frames, with the history handed on."""
    jitted = jax.jit(lambda params, x, history: code(params, config, x, history))
    made, history, start = [], None, 0
    for count in counts:
        y, history = jitted(params, x[:, start : start + count], history)
        made.append(np.asarray(y))
        start += count
    return np.concatenate(made, axis=1)


def channels_first(x):
    return np.asarray(x, np.float64)[0].transpose(3, 0, 1, 2)


def test_taehv_streams_what_the_reference_makes_frame_by_frame():
    params, rng = weights(taehv.parameter_shapes(TINY)), np.random.default_rng(0)
    reference = Reference(params)
    frames = rng.uniform(-1, 1, (1, 5, 32, 48, 3)).astype(np.float32)
    latents = streamed(taehv.encode, params, TINY, frames, (1, 4))
    memory, expected = {}, []
    for number in (0, 0, 0, 0, 1, 2, 3, 4):  # the first stands for four
        x = channels_first(frames)[:, number : number + 1] / 2 + 0.5
        x = x.reshape(3, 1, 16, 2, 24, 2).transpose(0, 3, 5, 1, 2, 4).reshape(12, 1, 16, 24)
        expected += reference.tiny(x, memory, 0, "encoder")
    assert latents.shape == (1, 2, 2, 3, 3)
    np.testing.assert_allclose(channels_first(latents), np.concatenate(expected, axis=1), atol=2e-5)
    z = rng.standard_normal(latents.shape).astype(np.float32)
    made = streamed(taehv.decode, params, TINY, z, (1, 1))
    memory, expected = {}, []
    for number in range(2):
        expected += reference.tiny(channels_first(z)[:, number : number + 1], memory, 0, "decoder")
    expected = np.concatenate(expected, axis=1)[:, 3:]
    expected = expected.reshape(3, 2, 2, -1, 16, 24).transpose(0, 3, 4, 1, 5, 2)
    expected = 2 * np.clip(expected.reshape(3, -1, 32, 48), 0, 1) - 1
    assert made.shape == frames.shape
    np.testing.assert_allclose(channels_first(made), expected, atol=2e-5)
    assert np.mean(np.abs(expected) < 1) > 0.2


def test_the_vae_has_the_published_names():
    """What the public code makes of its defaults: so many tensors, and where levels begin."""
    shapes = wan_vae.parameter_shapes(WanVaeConfig())
    assert len(shapes) == 194
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 126_892_531
    assert shapes["decoder.upsamples.4.shortcut.weight"] == (384, 192, 1, 1, 1)
    assert shapes["decoder.upsamples.3.time_conv.weight"] == (768, 384, 3, 1, 1)
    assert shapes["decoder.upsamples.11.resample.1.weight"] == (96, 192, 3, 3)
    assert shapes["encoder.downsamples.5.time_conv.weight"] == (192, 192, 3, 1, 1)
    assert shapes["encoder.middle.1.to_qkv.weight"] == (1152, 384, 1, 1)
    assert "encoder.downsamples.2.time_conv.weight" not in shapes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WanVaeConfig(deviation=(1.0,)), "16 means and 1 deviations"),
        (lambda: WanVaeConfig(halve_time=(True, True, True)), "halve_time="),
        (lambda: WanVaeConfig(dim=0), "dim=0"),
        (lambda: TaehvConfig(widths=(8, 8)), "three widths"),
        (lambda: TaehvConfig(grown=(1, 1, 2)), "grown="),
    ],
)
def test_wrong_sizes_are_one_clear_line(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_stretch_has_the_right_length():
    frames = jnp.zeros((1, 2, 8, 8, 3))
    with pytest.raises(ValueError, match="2 frames; 1 frame is expected"):
        wan_vae.encode({}, WanVaeConfig(), frames)
    with pytest.raises(ValueError, match="2 latents; 1 is expected at the start"):
        wan_vae.decode({}, WanVaeConfig(), frames)
    with pytest.raises(ValueError, match="2 frames; a multiple of 4"):
        taehv.encode({}, TINY, frames)
