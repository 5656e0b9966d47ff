"""Set before JAX starts: strict promotion of types and ranks, and eight CPU devices."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}=8".strip()

if "jax" in sys.modules:  # a plugin was first; its backend has not started yet
    import jax

    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")

WriteVideo = Callable[..., Path]


def picture(height: int, width: int, index: int = 0) -> np.ndarray:
    """Four plain quarters, red green / blue white, and a grey column that moves with `index`."""
    image = np.full((height, width, 3), 255, np.uint8)
    top, left = height // 2, width // 2
    image[:top, :left] = 255, 0, 0
    image[:top, left:] = 0, 255, 0
    image[top:, :left] = 0, 0, 255
    image[:, 2 * index % width] = 128
    return image


def _write_video(
    path: Path,
    *,
    frames: int = 12,
    height: int = 48,
    width: int = 64,
    fps: int = 12,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    matrix: tuple[int, ...] | None = None,
    noise: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a small video; `matrix` is (a, b, c, d) of a display matrix, `noise` makes it big."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if matrix is not None:
            a, b, c, d = (65536 * value for value in matrix)
            stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        for index in range(frames):
            image = picture(height, width, index)
            if noise:
                image = rng.integers(0, 256, image.shape, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def _random_like(abstract: Any, seed: int = 0) -> Any:
    """NumPy values for a tree of parameters' shapes, none of them zero; nothing is compiled."""
    import jax

    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        value = rng.standard_normal(leaf.shape)
        if "scale" in jax.tree_util.keystr(path[-2:]):
            value = 1 + 0.05 * value
        elif len(leaf.shape) < 2:
            value = 0.05 * value
        else:
            value = value / min(np.prod(leaf.shape[:-1]), 256) ** 0.5
        return np.asarray(value, np.float32)

    return jax.tree_util.tree_map_with_path(draw, abstract)


@pytest.fixture(scope="session")
def random_like() -> Callable[..., Any]:
    return _random_like


@pytest.fixture(scope="session")
def noise_pool() -> Any:
    """A `Pool` of two clips (8 and 5 frames) and two stills, all random pixels."""
    from lsdjax.data.pool import CANVAS_HEIGHT, CANVAS_WIDTH, Pool

    rng = np.random.default_rng(0)
    return Pool(
        rng.integers(0, 256, (15, CANVAS_HEIGHT, CANVAS_WIDTH, 3), dtype=np.uint8),
        np.array([0, 8, 13, 14], np.int32),
        np.array([8, 5, 1, 1], np.int32),
        np.array([0.8, 0.5, 1.0, 1.0], np.float32),
        ("first.mp4", "second.mp4", "third.png", "fourth.png"),
    )


@pytest.fixture(scope="session")
def write_video() -> WriteVideo:
    return _write_video


BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 40,
    "max_position_embeddings": 30,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
_WORDS = "[PAD] [UNK] [CLS] [SEP] a pencil sketch ##es snow falls neon night word nothing"


def _write_bert(
    folder: Path, *, seed: int = 0, prefix: str = "", extra: bool = False, **changes: Any
) -> Path:
    """A folder as sentence-transformers writes it: a random BERT of two layers and 14 tokens.

    changes: of config.json. extra: also what such folders hold and the encoder does not need.
    """
    tokenizers = pytest.importorskip("tokenizers", reason="BERT needs the package tokenizers")
    from safetensors.numpy import save_file

    from lsdjax.text.bert import BertConfig, parameter_shapes

    config = BERT | changes
    sizes = {name: value for name, value in BERT.items() if name != "model_type"}
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in parameter_shapes(BertConfig(**sizes)).items():
        value = 0.4 * rng.standard_normal(shape, np.float32)
        tensors[prefix + name] = value + 1 if name.endswith("LayerNorm.weight") else value
    if extra:
        tensors[f"{prefix}embeddings.position_ids"] = np.arange(30)[None]
        tensors[f"{prefix}pooler.dense.weight"] = np.zeros((32, 32), np.float32)
        (folder / "1_Pooling").mkdir(parents=True)
        (folder / "modules.json").write_text("[]")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    vocabulary = {word: number for number, word in enumerate(_WORDS.split())}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    ends = ("[SEP]", 3), ("[CLS]", 2)
    made.post_processor = tokenizers.processors.BertProcessing(*ends)
    made.enable_padding(length=128)  # as the folders of MiniLM do
    made.enable_truncation(128)
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def write_bert() -> Callable[..., Path]:
    return _write_bert


@pytest.fixture
def picture_of() -> Callable[..., np.ndarray]:
    return picture


@pytest.fixture
def truncated_video(tmp_path: Path) -> Path:
    """Three seconds whose index comes first, cut after 60 % of its bytes."""
    options = {"movflags": "+faststart"}
    path = _write_video(tmp_path / "truncated.mp4", frames=36, noise=True, options=options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    return path


@pytest.fixture(scope="session")
def child() -> ModuleType:
    """The module `train/child.py`, which trains a tiny preset and leaves out what is slow."""
    path = Path(__file__).parent / "train" / "child.py"
    spec = importlib.util.spec_from_file_location("train_child", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """A module's few steps are over sooner than XLA has made them fast."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def few_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two built-in styles: a step compiles all that there are."""
    from lsdjax.data.phrases import PHRASES
    from lsdjax.data.styles import TEACHERS

    for registry in (TEACHERS, PHRASES):
        kept = {name: registry[name] for name in ("negative", "original")}
        monkeypatch.setattr(registry, "_entries", kept)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`load_plugins` on files of the checkout; what they registered is forgotten after the test."""
    from lsdjax.core import plugins
    from lsdjax.data.phrases import PHRASES
    from lsdjax.data.styles import TEACHERS
    from lsdjax.diffusion.forcing import OBJECTIVES
    from lsdjax.model.policy import CACHE_POLICIES
    from lsdjax.text.registry import TEXT_ENCODERS

    root = Path(__file__).resolve().parent.parent
    for registry in (TEACHERS, PHRASES, OBJECTIVES, CACHE_POLICIES, TEXT_ENCODERS):
        monkeypatch.setattr(registry, "_entries", dict(registry.items()))
    monkeypatch.setattr(plugins, "_loaded", set())
    return lambda *files: plugins.load_plugins(root / file for file in files)
