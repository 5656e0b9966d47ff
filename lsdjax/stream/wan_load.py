"""A Wan model's streamer from the folder that `lsdjax convert` wrote, or that was trained."""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from lsdjax.checkpoint.convert import kinds_in, load_component
from lsdjax.checkpoint.tree import unflatten
from lsdjax.codec.video import pixel_codec, video_codec
from lsdjax.core.errors import UserError
from lsdjax.model.wan_config import WanConfig
from lsdjax.stream.state import usual_dtype
from lsdjax.stream.wan import Input, PromptReader, WanStreamer
from lsdjax.text.embeddings import HashedWords, PromptFile
from lsdjax.text.umt5 import Umt5

PROMPTS = "prompts.safetensors"


def find_reader(folder: Path, where: str | None, config: WanConfig) -> PromptReader:
    """What reads the prompts of the model in `folder`.

    where: a file of prompts' features, a folder with UMT5 and its tokenizer.json, or "words" for
    random features of each word. None looks for UMT5 and prompts.safetensors in `folder` itself.

    Raises:
        UserError: there is none, or it is damaged or makes other features than the model takes.
    """
    place = folder if where is None else Path(where)
    if where == "words":
        read: PromptFile | HashedWords | Umt5 = HashedWords(config.text_dim)
    elif "umt5" in kinds_in(place):
        loaded = load_component(place, "umt5")
        read = Umt5(loaded.config, loaded.tensors, place / "tokenizer.json")
    elif place.is_file():
        read = PromptFile(place)
    elif (place / PROMPTS).is_file():
        read = PromptFile(place / PROMPTS)
    else:
        raise UserError(
            f"nothing in {str(place)!r} reads prompts; umt5 with its tokenizer.json or {PROMPTS} "
            "is expected there, or --text-encoder WHERE"
        )
    if read.width != config.text_dim:
        raise UserError(f"features of width {read.width}; the model takes {config.text_dim}")
    return read


def load_wan_streamer(
    folder: Path,
    read: PromptReader | str | None = None,
    *,
    codec: str | None = None,
    input: Input | None = None,
    dtype: str | None = None,
    mesh: Mesh | None = None,
) -> WanStreamer:
    """The streamer of a folder that `lsdjax convert` wrote.

    read: what reads prompts, or where it is found, see `find_reader`.
    codec: "wan-vae" or "taehv"; None takes the tiny one where it is there.
    dtype: of the arithmetic and of the matrices on the device; None is bfloat16, float32 on a CPU.
    mesh: the devices that share the model; None is one.

    Raises:
        UserError: the folder lacks the model or a codec for it, or its input is another one.
    """
    model = load_component(folder, "wan")
    config: WanConfig = model.config
    dtype = dtype or usual_dtype()
    params = unflatten(
        {
            name: view.astype(jnp.dtype(dtype), copy=False) if name.endswith(".kernel") else view
            for name, view in model.tensors.items()
        }
    )
    if read is None or isinstance(read, str):
        read = find_reader(folder, read, config)
    if config.codec == "pixel":
        coder = pixel_codec()
        return WanStreamer(config, params, coder, read, input=input, dtype=dtype, mesh=mesh)
    found = [kind for kind in ("taehv", "wan-vae") if kind in kinds_in(folder)]
    if codec is None and not found:
        raise UserError(f"no codec in {str(folder)!r}; lsdjax convert puts taehv or wan-vae there")
    kind = codec or found[0]
    if kind not in ("taehv", "wan-vae"):
        raise UserError(f"codec {kind!r}; 'taehv' or 'wan-vae' is expected")
    loaded = load_component(folder, kind)
    if loaded.config.channels != config.channels:
        raise UserError(
            f"{kind} has {loaded.config.channels} latent channels, the model {config.channels}"
        )
    coder = video_codec(kind, loaded.config, jax.device_put(loaded.tensors))
    return WanStreamer(config, params, coder, read, input=input, dtype=dtype, mesh=mesh)
