"""The search: the target is met, with sizes that the device likes, by what costs least."""

import numpy as np
import pytest

from lsdjax.compress.profile import PROFILES, SIZES, DeviceProfile, resized, size_of
from lsdjax.compress.search import search_sizes
from lsdjax.compress.sensitivity import Curves, Cut
from lsdjax.core.errors import UserError
from lsdjax.model.config import ModelConfig

CONFIG = ModelConfig()
PROFILE = PROFILES["cpu"]


def curves_of(**weights: float) -> Curves:
    """Losses that grow with the square of what is cut, times each group's weight (else 1)."""

    def curve(group: str) -> dict[int, Cut]:
        full = size_of(CONFIG, group)
        weight = weights.get(group, 1.0)
        choices = PROFILE.choices(group, full)
        return {size: Cut(weight * (1 - size / full) ** 2, {}) for size in choices}

    return {group: curve(group) for group in SIZES}


def added(curves: Curves):
    """The loss of sizes whose cuts do not touch each other."""
    return lambda sizes: sum(
        curves[group][size].loss for group, size in sizes.items() if group in curves
    )


def search(curves: Curves, ms, target: float, loss_of=None) -> dict[str, int]:
    return search_sizes(CONFIG, curves, ms, loss_of or added(curves), target)


def step_ms(config: ModelConfig) -> float:
    """Convolutions cost what they multiply, and so do blocks; 2 ms are always there."""
    half = config.channels * config.observed_channels + config.fused_channels**2
    attention = 4 * config.heads * config.head_dim
    block = config.depth * config.dim * (attention + 2 * config.mlp_hidden)
    return 2.0 + half / 256 + config.wide_channels**2 / 1024 + block / 2**17


@pytest.mark.parametrize("share", [0.9, 0.75, 0.6, 0.4])
def test_target_is_met_with_multiples(share: float) -> None:
    target = share * step_ms(CONFIG)
    sizes = search(curves_of(), step_ms, target)
    assert set(sizes) == set(SIZES)
    assert 0.8 * target < step_ms(resized(CONFIG, sizes)) <= target
    for group, size in sizes.items():
        assert size == size_of(CONFIG, group) or size % PROFILE.multiple(group) == 0
        assert 0 < size <= size_of(CONFIG, group)


def test_what_is_free_goes_first_and_what_is_dear_stays() -> None:
    curves = curves_of(wide=0.0, fused=1e3, dim=1e3, blocks=1e3)
    sizes = search(curves, step_ms, 0.8 * step_ms(CONFIG))
    assert sizes["wide"] == 8
    assert (sizes["fused"], sizes["dim"], sizes["blocks"]) == (32, 192, 3)


def test_cuts_that_a_later_one_makes_needless_are_given_back() -> None:
    """A small cheap cut comes first; then the only one that is large enough needs it no more."""
    small, large = {64: Cut(0.0, {}), 56: Cut(0.1, {})}, {3: Cut(0.0, {}), 1: Cut(5.0, {})}

    def ms(config: ModelConfig) -> float:
        return 10.0 - (config.wide_channels == 56) - 6.0 * (config.depth == 1)

    sizes = search({"wide": small, "blocks": large}, ms, 4.0)
    assert (sizes["wide"], sizes["blocks"]) == (64, 1)


def test_cuts_that_are_harmless_only_alone_are_not_taken_together() -> None:
    """Either of two paths can do the other's work; the curves do not know, the joint loss does."""
    free = {"wide": 0.0, "fused": 0.0, "channels": 0.1, "observed": 5.0}
    curves = curves_of(**free)

    def together(sizes: dict[str, int]) -> float:
        both = sizes["wide"] < 64 and sizes["fused"] < 32
        return added(curves)(sizes) + 10.0 * both

    def ms(config: ModelConfig) -> float:
        return 1.0 + config.wide_channels / 16 + (config.fused_channels + config.channels) / 32

    sizes = search(curves, ms, 3.3, together)  # of 7 ms, of which the wide ones can save 3.5
    assert (sizes["wide"], sizes["fused"], sizes["channels"]) == (8, 32, 24)
    assert search(curves, ms, 3.3)["fused"] < 32


def test_a_size_that_is_no_faster_is_not_taken() -> None:
    """Measured times have steps: 24 channels may take as long as 32."""

    def ms(config: ModelConfig) -> float:
        return 4.0 + (config.fused_channels > 16) + (config.wide_channels > 32)

    sizes = search(curves_of(), ms, 5.0)
    assert (sizes["fused"], sizes["wide"]) in {(16, 64), (32, 32)}


def test_what_cannot_be_reached_is_told() -> None:
    with pytest.raises(UserError, match=r"no cut reaches 1\.00 ms a step; the least is 2\.\d"):
        search(curves_of(), step_ms, 1.0)


@pytest.mark.parametrize(
    ("group", "size", "choices"),
    [
        ("channels", 32, [32, 24, 16, 8]),
        ("hidden", 100, [100, 96, 80, 64, 48, 32, 16]),
        ("heads", 3, [3, 2, 1]),
        ("blocks", 1, [1]),
        ("wide", 8, [8]),
    ],
)
def test_choices_are_multiples(group: str, size: int, choices: list[int]) -> None:
    assert PROFILE.choices(group, size) == choices


def test_choices_are_few() -> None:
    choices = PROFILE.choices("hidden", 4096)
    assert len(choices) <= 9 and np.ptp(choices) > 3500
    assert all(size % 128 == 0 for size in PROFILES["tpu"].choices("hidden", 1000)[1:])


def test_profiles_are_checked() -> None:
    with pytest.raises(UserError, match="width=0"):
        DeviceProfile(channels=8, width=0, hidden=16)
