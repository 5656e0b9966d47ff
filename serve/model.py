"""The real model of a device process. Importing this is half of a start; it touches no device."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.serve.streams import StreamerLike
from lsdjax.stream.session import Streamer

_BATCH = 4  # streams at once on an accelerator; one core gains nothing from it
_MOST_VARIANTS = 4


def load_streamer(
    checkpoint: str | None,
    steps: int | None,
    text_encoder: str | None,
    dtype: str | None,
    batch: int | None,
    progress: Callable[[str], None],
) -> tuple[StreamerLike, dict[str, Any]]:
    """The real model of a checkpoint (None: the shipped one), and its card.

    Every number of steps up to `steps` is compiled, or three of them where those are many; what is
    compiled is kept on disk, so that the next start is quick.

    Raises: UserError when the checkpoint or its text encoder cannot be used.
    """
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(_cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    device = jax.devices()[0]
    progress(f"loading checkpoint on {device.device_kind}")
    loaded = load_checkpoint(checkpoint)
    most = loaded.config.steps if steps is None else steps
    if batch is None:
        batch = 1 if device.platform == "cpu" else _BATCH
    streamer = Streamer(
        loaded,
        steps=steps,
        variants=range(1, most) if most <= _MOST_VARIANTS else (1, most // 2),
        batch=batch,
        text_encoder=text_encoder,
        dtype=dtype,
    )
    return streamer, {**loaded.meta, "device": str(device.device_kind)}


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lsdjax" / "compiled"
