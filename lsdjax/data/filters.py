"""Image filters behind the stateless teachers: pure, local and soft, so a small net learns them.

Every filter takes frames f32 (b, t, h, w, 3) in [0, 1] and returns the same shape; the teachers
clip to the range. Local support is a few pixels, thresholds are soft, and anything positional has a
period dividing 16 px. Neighbourhoods are sums of shifted slices with edge padding: no gathers, no
one-channel convolutions.
"""

import functools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

_ROWS, _COLUMNS = 2, 3
_GAUSSIAN_5 = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # standard deviation 1 px
_IRONBOW = (
    (0.01, 0.01, 0.10),
    (0.22, 0.02, 0.52),
    (0.62, 0.03, 0.60),
    (0.90, 0.25, 0.30),
    (0.99, 0.55, 0.05),
    (1.00, 0.85, 0.25),
    (1.00, 1.00, 0.88),
)
_PHOSPHOR = (
    (0.00, 0.04, 0.02),
    (0.02, 0.38, 0.10),
    (0.14, 0.78, 0.22),
    (0.70, 1.00, 0.66),
)


def rgb(red: float, green: float, blue: float) -> jax.Array:
    """A colour as a constant that broadcasts against frames, f32 (1, 1, 1, 1, 3)."""
    return jnp.array([red, green, blue], jnp.float32).reshape(1, 1, 1, 1, 3)


def luminance(frames: jax.Array) -> jax.Array:
    """Rec. 601 luma, (b, t, h, w, 3) -> (b, t, h, w, 1)."""
    return jnp.sum(frames * rgb(0.299, 0.587, 0.114), axis=-1, keepdims=True)


def smoothstep(low: float, high: float, values: jax.Array) -> jax.Array:
    """0 below `low`, 1 above `high`, cubic in between."""
    x = jnp.clip((values - low) / (high - low), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def mix(first: jax.Array, second: jax.Array, weight: jax.Array) -> jax.Array:
    """first where weight is 0, second where it is 1."""
    return first + (second - first) * weight


def gaussian_taps(sigma: float, radius: int) -> tuple[float, ...]:
    """Normalised samples of a Gaussian of `sigma` px at -radius..radius."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return tuple(float(tap) for tap in taps / taps.sum())


def convolve_separable(frames: jax.Array, taps: Sequence[float]) -> jax.Array:
    """Correlates rows and columns with the same odd-length taps; edges are repeated."""
    radius = len(taps) // 2
    for axis in (_ROWS, _COLUMNS):
        padded = _pad_edge(frames, axis, radius, radius)
        size = frames.shape[axis]
        frames = _add(
            tap * jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k, tap in enumerate(taps)
        )
        # Without the barrier XLA fuses the two passes and recomputes the first for every tap.
        frames = jax.lax.optimization_barrier(frames)
    return frames


def blur(frames: jax.Array) -> jax.Array:
    """Gaussian blur, standard deviation 1 px."""
    return convolve_separable(frames, _GAUSSIAN_5)


def wide_blur(frames: jax.Array) -> jax.Array:
    """Gaussian blur, standard deviation 2 px, 9 taps."""
    return convolve_separable(frames, gaussian_taps(2.0, 4))


def gradient(frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Central differences (down, right), in value per 2 px."""
    return _central_difference(frames, _ROWS), _central_difference(frames, _COLUMNS)


def edge_strength(frames: jax.Array) -> jax.Array:
    """Gradient magnitude of the blurred luminance, (b, t, h, w, 1)."""
    down, right = gradient(blur(luminance(frames)))
    return jnp.sqrt(down * down + right * right + 1e-6)


def saturate(frames: jax.Array, amount: float) -> jax.Array:
    """Moves colours away from their grey by the factor `amount`."""
    grey = luminance(frames)
    return jnp.clip(grey + (frames - grey) * amount, 0.0, 1.0)


def posterise(values: jax.Array, levels: int, sharpness: float) -> jax.Array:
    """Pulls [0, 1] softly towards `levels` + 1 evenly spaced values, continuously."""
    scaled = values * levels
    base = jnp.clip(jnp.floor(scaled), 0.0, levels - 1.0)
    ramp = jnp.tanh(sharpness * (scaled - base - 0.5)) / float(np.tanh(0.5 * sharpness))
    return (base + 0.5 + 0.5 * ramp) / levels


def palette(values: jax.Array, stops: Sequence[Sequence[float]]) -> jax.Array:
    """Piecewise-linear colour ramp over evenly spaced stops, (..., 1) in [0, 1] -> (..., 3)."""
    position = values * (len(stops) - 1)
    return _add(
        jnp.maximum(1.0 - jnp.abs(position - k), 0.0) * rgb(*stop) for k, stop in enumerate(stops)
    )


def flatten_regions(frames: jax.Array) -> jax.Array:
    """Soft Kuwahara filter: each pixel becomes the mean of its flattest 4x4 corner windows.

    out = sum_i m_i / (v_i + e)^2 / sum_i 1 / (v_i + e)^2 over the four windows that touch the
    pixel, with m_i the mean colour and v_i the luminance variance of window i.
    """
    height, width = frames.shape[_ROWS], frames.shape[_COLUMNS]
    grey = luminance(frames)
    stacked = jnp.concatenate([frames, grey, grey * grey], axis=-1)
    for axis in (_ROWS, _COLUMNS):
        padded = _pad_edge(stacked, axis, 3, 3)
        size = stacked.shape[axis] + 3
        stacked = _add(
            0.25 * jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(4)
        )
        stacked = jax.lax.optimization_barrier(stacked)
    variance = jnp.maximum(stacked[..., 4:5] - stacked[..., 3:4] ** 2, 0.0) + 1e-3
    weight = 1e-6 / (variance * variance)
    weighted = jax.lax.optimization_barrier(
        jnp.concatenate([stacked[..., :3] * weight, weight], axis=-1)
    )
    total = _add(
        weighted[:, :, top : top + height, left : left + width] for top in (0, 3) for left in (0, 3)
    )
    return total[..., :3] / total[..., 3:4]


def pencil_sketch(frames: jax.Array) -> jax.Array:
    """Graphite on paper: colour dodge (grey / blurred grey) for lines, hatching in the darks."""
    grey = blur(luminance(frames))
    fine = luminance(frames)
    ratio = (0.5 * (grey + fine) + 0.08) / (wide_blur(grey) + 0.08)
    lines = smoothstep(0.55, 1.0, ratio)
    dark = 1.0 - smoothstep(0.05, 0.65, grey)
    rows, columns = _pixel_grid(frames)
    hatch = np.float32(0.5) + np.float32(0.5) * np.cos(np.pi / 2 * (rows + columns))
    shade = 1.0 - dark * (0.16 + 0.22 * hatch.astype(np.float32))
    return (0.18 + 0.82 * lines * shade) * rgb(0.97, 0.96, 0.93)


def cartoon(frames: jax.Array) -> jax.Array:
    """Flat saturated colours in a few soft levels with dark outlines."""
    flat = saturate(flatten_regions(frames), 1.45)
    colours = posterise(flat, 4, 7.0)
    outline = smoothstep(0.07, 0.2, edge_strength(frames))
    return colours * (1.0 - 0.9 * outline)


def sepia_film(frames: jax.Array) -> jax.Array:
    """Old brown print: warm single-hue tone curve with faded blacks."""
    grey = luminance(frames)
    tone = mix(grey, smoothstep(0.0, 1.0, grey), jnp.full_like(grey, 0.5))
    return rgb(0.20, 0.12, 0.07) + tone * rgb(0.78, 0.74, 0.60)


def thermal_camera(frames: jax.Array) -> jax.Array:
    """Heat image: slightly blurred luminance through the ironbow palette."""
    return palette(smoothstep(-0.1, 1.05, blur(luminance(frames))), _IRONBOW)


def neon_edges(frames: jax.Array) -> jax.Array:
    """Glowing tubes on black: edges coloured by their orientation, with a halo.

    Colour of channel c: m (1 + cos(2 a - p_c)) / 2 for gradient magnitude m, angle a and phase p_c,
    written without angles so that it stays smooth where the gradient vanishes.
    """
    down, right = gradient(blur(luminance(frames)))
    strength = jnp.sqrt(down * down + right * right + 1e-6)
    cosine = (right * right - down * down) / (strength * strength)
    sine = 2.0 * right * down / (strength * strength)
    hue = 0.5 + 0.5 * (cosine * rgb(0.5, -1.0, 0.5) + sine * rgb(0.87, 0.0, -0.87))
    tube = smoothstep(0.03, 0.2, strength) * (0.15 + 0.95 * hue)
    halo = wide_blur(tube)
    core = smoothstep(0.14, 0.35, strength)
    return jnp.clip(rgb(0.03, 0.01, 0.07) + tube + 0.7 * halo + 0.35 * core, 0.0, 1.0)


def pixel_art(frames: jax.Array) -> jax.Array:
    """4x4 px blocks in a small softly quantised palette."""
    b, t, h, w, _ = frames.shape
    blocks = jnp.mean(frames.reshape(b, t, h // 4, 4, w // 4, 4, 3), axis=(3, 5))
    colours = posterise(saturate(blocks, 1.5), 4, 8.0)
    wide = jnp.broadcast_to(colours[:, :, :, None, :, None, :], (b, t, h // 4, 4, w // 4, 4, 3))
    return wide.reshape(b, t, h, w, 3)


def blueprint(frames: jax.Array) -> jax.Array:
    """Technical drawing: pale lines on deep blue over a faint 16-px grid."""
    line = smoothstep(0.04, 0.2, edge_strength(frames))
    rows, columns = _pixel_grid(frames)
    grid = np.maximum(rows % 16 == 0, columns % 16 == 0).astype(np.float32)
    paper = rgb(0.05, 0.18, 0.50) + np.float32(0.06) * grid
    tone = blur(luminance(frames)) * rgb(0.05, 0.10, 0.14)
    return mix(paper + tone, rgb(0.90, 0.95, 1.0), line)


def watercolour(frames: jax.Array) -> jax.Array:
    """Washes of thinned paint on white paper, with pigment gathered along the edges."""
    wash = saturate(flatten_regions(blur(frames)), 1.35)
    pigment = smoothstep(0.04, 0.25, edge_strength(wash))
    thin = 1.0 - wash
    thinned = 1.0 - thin * (0.55 + 0.30 * thin)
    return thinned * (1.0 - 0.4 * pigment) * rgb(1.0, 0.99, 0.96)


def comic_halftone(frames: jax.Array) -> jax.Array:
    """Printed comic: bold flat colours, a 45 degree dot screen of 8-px period, thin ink lines."""
    smooth = blur(frames)
    colours = posterise(saturate(smooth, 1.9), 3, 4.0)
    rows, columns = _pixel_grid(frames)
    screen = 0.5 + 0.5 * np.cos(np.pi / 4 * rows) * np.cos(np.pi / 4 * columns)
    darkness = 1.0 - luminance(smooth)
    dots = jax.nn.sigmoid(9.0 * (darkness - 1.2 + 0.8 * screen.astype(np.float32)))
    ink = smoothstep(0.1, 0.24, edge_strength(frames))
    return mix(0.18 + 0.82 * colours, rgb(0.07, 0.05, 0.20), jnp.maximum(0.7 * dots, ink))


def night_vision(frames: jax.Array) -> jax.Array:
    """Image intensifier: lifted darks in green phosphor with faint scanlines every 4 px."""
    grey = luminance(frames)
    tone = 1.0 - (1.0 - jnp.clip(grey, 0.0, 1.0)) ** 2
    rows, _ = _pixel_grid(frames)
    scan = (np.float32(0.90) + np.float32(0.10) * np.cos(np.pi / 2 * rows)).astype(np.float32)
    return palette(tone, _PHOSPHOR) * scan


def negative(frames: jax.Array) -> jax.Array:
    """Photographic negative."""
    return 1.0 - frames


def _pixel_grid(frames: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers that broadcast: (1, 1, h, 1, 1) and (1, 1, 1, w, 1), float32."""
    rows = np.arange(frames.shape[_ROWS], dtype=np.float32).reshape(1, 1, -1, 1, 1)
    columns = np.arange(frames.shape[_COLUMNS], dtype=np.float32).reshape(1, 1, 1, -1, 1)
    return rows, columns


def _add(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, terms)


def _pad_edge(frames: jax.Array, axis: int, before: int, after: int) -> jax.Array:
    size = frames.shape[axis]
    first = jax.lax.slice_in_dim(frames, 0, 1, axis=axis)
    last = jax.lax.slice_in_dim(frames, size - 1, size, axis=axis)
    return jnp.concatenate([first] * before + [frames] + [last] * after, axis=axis)


def _central_difference(frames: jax.Array, axis: int) -> jax.Array:
    size = frames.shape[axis]
    padded = _pad_edge(frames, axis, 1, 1)
    after = jax.lax.slice_in_dim(padded, 2, 2 + size, axis=axis)
    return after - jax.lax.slice_in_dim(padded, 0, size, axis=axis)
