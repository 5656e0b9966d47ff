"""Public checkpoints come in and go out bit for bit; what is wrong is refused and never run."""

import dataclasses
import itertools
import json
import math
import os
import pickle
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lsdjax import cli
from lsdjax.checkpoint import tensors as tensors_module
from lsdjax.checkpoint.convert import (
    COMPONENTS,
    export_checkpoint,
    import_checkpoint,
    load_component,
)
from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.checkpoint.layouts import public_shapes
from lsdjax.checkpoint.source import read_tensors
from lsdjax.codec.taehv import TaehvConfig
from lsdjax.codec.wan_vae import WanVaeConfig
from lsdjax.configs.wan import TINY_WAN, WAN_PRESETS, wan_preset
from lsdjax.core.errors import UserError
from lsdjax.evals.wan_cost import parameter_count
from lsdjax.text.umt5 import Umt5Config

SMALL = {
    "wan": TINY_WAN,
    "wan-vae": WanVaeConfig(dim=4),
    "taehv": TaehvConfig(width=4, widths=(8, 6, 4), grown=(2, 2, 2)),
    "umt5": Umt5Config(vocabulary=9, dim=8, attention_dim=8, ffn_dim=12, heads=2, depth=2),
}
CHANGES = {"wan": {"height": 32, "width": 48, "codec": "pixel", "heads": 2, "text_length": 8}}


def public(kind: str, dtype: Any = ml_dtypes.bfloat16) -> dict[str, np.ndarray]:
    """Random tensors under the public names."""
    rng = np.random.default_rng(0)
    shapes = public_shapes(COMPONENTS[kind], SMALL[kind])
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and first[name].tobytes() == second[name].tobytes()
        for name in first
    )


class Storage:
    """What torch's pickles refer to, written without torch: type, key and size."""

    def __init__(self, kind: str, key: str, count: int) -> None:
        self.told = ("storage", Global("torch", kind), key, "cpu", count)


class Global:
    """A name that the pickle has looked up when it is read."""

    def __init__(self, module: str, name: str) -> None:
        self.name = (module, name)


class Call:
    """A call of a name that the pickle has made when it is read."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.name, self.arguments = Global(module, name), arguments


class TorchPickler(pickle._Pickler):  # the one in Python, whose opcodes can be written by hand
    write: Any

    def persistent_id(self, obj: Any) -> Any:
        return obj.told if isinstance(obj, Storage) else None

    def save(self, obj: Any, *rest: Any, **more: Any) -> None:
        if isinstance(obj, Global):
            self.write(b"c" + "\n".join(obj.name).encode() + b"\n")
        elif isinstance(obj, Call):
            self.save(obj.name)
            self.save(obj.arguments)
            self.write(b"R")
        else:
            super().save(obj, *rest, **more)  # type: ignore[misc]


def save_torch(path: Path, tree: dict[str, Any], *, stored: bool = True) -> Path:
    """A file as `torch.save` writes it; arrays in `tree` become tensors."""
    blobs: list[np.ndarray] = []

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: told(inner) for name, inner in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        kind = {"float32": "FloatStorage", "bfloat16": "BFloat16Storage"}[value.dtype.name]
        blobs.append(value)
        storage = Storage(kind, str(len(blobs) - 1), value.size)
        strides = tuple(step // value.itemsize for step in value.strides)
        rebuild = ("torch._utils", "_rebuild_tensor_v2")
        hooks = Call("collections", "OrderedDict")
        return Call(*rebuild, storage, 0, value.shape, strides, False, hooks)

    class File(list):
        def write(self, piece: bytes) -> None:
            self.append(bytes(piece))

    file = File()
    TorchPickler(file, protocol=2).dump(told(tree))  # type: ignore[arg-type]
    how = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("archive/data.pkl", b"".join(file))
        archive.writestr("archive/byteorder", "little")
        for key, blob in enumerate(blobs):
            archive.writestr(f"archive/data/{key}", blob.tobytes())
    return path


Q, FFN = "blocks.1.self_attn.q", "blocks.0.ffn.0"
"""Two of the matrices that a LoRA updates."""


@pytest.mark.parametrize("kind", SMALL)
def test_round_trip_is_exact_for_every_network(kind, tmp_path):
    before = public(kind)
    save_file(before, tmp_path / "theirs.safetensors")
    made = import_checkpoint(
        tmp_path / "theirs.safetensors", tmp_path / "ours", changes=CHANGES.get(kind)
    )
    assert (made.kind, made.dtypes, made.resumed) == (kind, ("bfloat16",), False)
    loaded = load_component(tmp_path / "ours", kind)
    if kind != "wan":  # whose sampling the tensors do not tell
        assert loaded.config == SMALL[kind]
    export_checkpoint(tmp_path / "ours", tmp_path / "back")
    assert same(load_file(tmp_path / "back" / f"{kind}.safetensors"), before)
    assert not list(tmp_path.rglob("*.partial"))


def test_torch_files_are_read_without_torch(tmp_path):
    before = public("wan", np.float32)
    averaged = {f"model._fsdp_wrapped_module.{name}": 2 * x for name, x in before.items()}
    plain = {f"model.{name}": x for name, x in before.items()}
    tree = {"step": 7, "generator": plain, "generator_ema": averaged, "config": {"lr": 0.1}}
    path = save_torch(tmp_path / "theirs.pt", tree)
    for entry, factor in ((None, 2), ("generator", 1)):
        folder = tmp_path / f"ours-{factor}"
        import_checkpoint(path, folder, entry=entry, changes=CHANGES["wan"])
        export_checkpoint(folder, tmp_path / f"back-{factor}")
        back = load_file(tmp_path / f"back-{factor}" / "wan.safetensors")
        assert same(back, {name: factor * x for name, x in before.items()})
    with pytest.raises(UserError, match="no entry 'critic'; there is generator, generator_ema"):
        import_checkpoint(path, tmp_path / "none", entry="critic")
    beside = {"random state": np.zeros(3, np.float32), "model": {"x": np.ones(2, np.float32)}}
    assert list(read_tensors(save_torch(tmp_path / "beside.pt", beside))) == ["x"]


def test_shards_are_one_checkpoint(tmp_path):
    before = public("taehv")
    names = list(before)
    places = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(names)}
    for part in set(places.values()):
        held = {name: before[name] for name in names if places[name] == part}
        save_file(held, tmp_path / part)
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    import_checkpoint(tmp_path, tmp_path / "ours")
    export_checkpoint(tmp_path / "ours", tmp_path / "back")
    assert same(load_file(tmp_path / "back" / "taehv.safetensors"), before)
    (tmp_path / "part-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"names part-1\.safetensors, which is missing"):
        import_checkpoint(tmp_path, tmp_path / "again")
    index.write_text(json.dumps({"weight_map": {"x": "../part-0.safetensors"}}))
    with pytest.raises(UserError, match="outside of its folder"):
        import_checkpoint(tmp_path, tmp_path / "again")


def test_what_was_interrupted_goes_on(tmp_path, monkeypatch):
    """The second try writes only what the first one did not."""
    save_file(public("wan"), tmp_path / "theirs.safetensors")
    source, target = tmp_path / "theirs.safetensors", tmp_path / "ours"
    import_checkpoint(source, tmp_path / "whole", changes=CHANGES["wan"])
    slabs, plain = [], tensors_module._slabs

    def failing(tensor: np.ndarray, limit: int = 20):
        for slab in plain(tensor):
            if len(slabs) == limit:
                yield slab[: len(slab) // 2]  # a tensor that was half written
                raise OSError(28, "No space left on device")
            slabs.append(slab)
            yield slab

    monkeypatch.setattr(tensors_module, "_slabs", failing)
    with pytest.raises(UserError, match="No space left on device; the same command goes on"):
        import_checkpoint(source, target, changes=CHANGES["wan"])
    assert not (target / "wan.safetensors").exists() and not (target / "wan.json").exists()
    first = len(slabs)
    monkeypatch.setattr(tensors_module, "_slabs", lambda x: failing(x, limit=-1))
    made = import_checkpoint(source, target, changes=CHANGES["wan"])
    assert made.resumed and first == 20 and len(slabs) == made.tensors
    whole = (tmp_path / "whole" / "wan.safetensors").read_bytes()
    assert (target / "wan.safetensors").read_bytes() == whole
    assert not list(target.glob("*.partial"))


@pytest.mark.parametrize("changed", ["entry", "adapter"])
def test_another_source_does_not_go_on_with_what_was_interrupted(tmp_path, monkeypatch, changed):
    """Weights of the same names and shapes, and a LoRA at another scale: never half of each."""
    before, plain = public("wan"), tensors_module._slabs
    one, other = ({name: x.astype(np.float32) * k for name, x in before.items()} for k in (1, 2))
    source = save_torch(tmp_path / "two.pt", {"generator": one, "generator_ema": other})
    options: list[dict[str, Any]] = [{"entry": "generator"}, {"entry": "generator_ema"}]
    (folder := tmp_path / "lora").mkdir()
    config = folder / "adapter_config.json"
    if changed == "adapter":
        outputs, inputs = before[f"{Q}.weight"].shape
        pair = {f"{Q}.lora_A.weight": (3, inputs), f"{Q}.lora_B.weight": (outputs, 3)}
        update = {name: np.ones(shape, np.float32) for name, shape in pair.items()}
        save_file(update, folder / "adapter.safetensors")
        options = [{"entry": "generator", "lora": folder / "adapter.safetensors"}] * 2

    def convert(target: str, number: int) -> bool:
        config.write_text(json.dumps({"lora_alpha": (3, 6)[number]}))
        told = {"changes": CHANGES["wan"], **options[number]}
        return import_checkpoint(source, tmp_path / target, **told).resumed

    def failing(tensor: np.ndarray):
        yield from plain(tensor)
        if (seen := next(count)) == 20:
            raise OSError(28, f"No space left on device after {seen}")

    count = itertools.count()
    monkeypatch.setattr(tensors_module, "_slabs", failing)
    with pytest.raises(UserError, match="No space left on device"):
        convert("ours", 0)
    monkeypatch.setattr(tensors_module, "_slabs", plain)
    assert not convert("ours", 1)
    for number in (0, 1):
        convert(f"whole-{number}", number)
    ours, first, second = (
        (tmp_path / name / "wan.safetensors").read_bytes()
        for name in ("ours", "whole-0", "whole-1")
    )
    assert ours == second != first


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    before = public("umt5")
    before["token_embedding.weight"] = np.arange(800_000, dtype=np.float32).reshape(-1, 8)
    before["blocks.1.ffn.fc1.weight"] = before["blocks.1.ffn.fc1.weight"][:, ::-1].copy()
    save_file(before, tmp_path / "theirs.safetensors")
    monkeypatch.setattr(tensors_module, "SLAB_BYTES", 20_000)
    tracemalloc.start()
    import_checkpoint(tmp_path / "theirs.safetensors", tmp_path / "ours")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000 < before["token_embedding.weight"].nbytes
    assert same(load_file(tmp_path / "ours" / "umt5.safetensors"), before)


class Evil:
    """Would run a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def damaged(tmp_path: Path, how: str) -> Path:
    weights = public("taehv", np.float32)
    good, path = tmp_path / "good.safetensors", tmp_path / f"{how}.safetensors"
    save_file(weights, good)
    if how == "truncated":
        path.write_bytes(good.read_bytes()[:-9])
    elif how == "noise":
        path.write_bytes(os.urandom(4096))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "lying":
        header = b'{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}'
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    elif how == "foreign":
        save_file({"lm_head.weight": np.zeros((2, 2), np.float32)}, path)
    elif how == "missing":
        weights.pop("decoder.22.bias")
        save_file({**weights, "extra.weight": np.zeros(3, np.float32)}, path)
    elif how == "shape":
        weights["decoder.22.bias"] = np.zeros(7, np.float32)
        save_file(weights, path)
    elif how == "torn zip":
        whole = save_torch(tmp_path / "whole.pt", weights)
        path = tmp_path / "torn.pt"
        path.write_bytes(whole.read_bytes()[:-200])
    elif how == "old torch":
        path = tmp_path / "old.pt"
        path.write_bytes(pickle.dumps(weights))
    elif how == "other zip":
        path = tmp_path / "other.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "b")
    elif how == "short storage":
        path = tmp_path / "short.pt"
        storage = Storage("FloatStorage", "0", 4)
        rebuild = Call("torch._utils", "_rebuild_tensor_v2", storage, 0, (8,), (1,))
        save_torch(path, {"x": rebuild, "y": np.zeros(4, np.float32)})
    return path


def safetensors(header: str | bytes, data: bytes = bytes(8)) -> bytes:
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header)) + header + data


def tensor(*ints: Any) -> Call:
    """A float32 tensor of four numbers' storage: offset, shape, strides."""
    storage = Storage("FloatStorage", "0", 4)
    return Call("torch._utils", "_rebuild_tensor_v2", storage, *ints)


HALF = '{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'
ITSELF: dict[str, Any] = {}
ITSELF["x"] = ITSELF
PICKLES = {
    "within itself": pickle.dumps(ITSELF, 2),
    "far memo": b"\x80\x02}r" + struct.pack("<I", 0xFFFFFFF0) + b".",
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors("[" * 100_000), "RecursionError in its header"),
        (safetensors(b'{"\xff":1}'), "UnicodeDecodeError in its header"),
        (safetensors('{"x":' + HALF % (0, 4) + ',"x":' + HALF % (4, 8) + "}"), "twice"),
        (safetensors('{"x":' + HALF % (0, 4) + ',"y":' + HALF % (0, 4) + "}"), "y begins at"),
        (safetensors('{"x":' + HALF % (0, 4) + "}"), "its tensors end at byte"),
        (safetensors('{"x":' + HALF.replace("1", "-1") % (0, 4) + "}"), "ValueError in its"),
        (safetensors('{"x":' + HALF.replace("[1]", str([1] * 99)) % (0, 4) + "}"), "ValueError"),
        (safetensors('{"x":' + HALF.replace("F32", "F4") % (0, 4) + "}"), "dtype F4"),
        (struct.pack("<Q", 1 << 40) + bytes(99), "not a readable safetensors file"),
        (
            safetensors('{"x\\nrm":' + HALF % (0, 8) + "}").replace(b"[1]", b"[2]"),
            "a tensor called",
        ),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ({"x": tensor(0, (2, 2), (-2, 1))}, "UnpicklingError: a tensor of shape"),
        ({"x": tensor(3, (2,), (1,))}, "needs 20 bytes of a storage of 16"),
        ({"x": tensor(0, (9, 9), (0, 0))}, "needs 324 bytes of a storage of 16"),
        ({"x": tensor(0, (1 << 60,), (0,))}, "UnpicklingError: a tensor of shape"),
        ("within itself", "RecursionError"),
        ("zip ends early", "two entries|ends behind the file|truncated"),
        ("zip twice", "two entries of one name"),
        ("far memo", "LONG_BINPUT"),
    ],
    ids=range(19),
)
def test_hostile_files_are_refused_before_they_cost_anything(tmp_path, content, message):
    path = tmp_path / "hostile.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        tree = content if isinstance(content, dict) else {}
        path = save_torch(tmp_path / "hostile.pt", {**tree, "y": np.zeros(4, np.float32)})
    if isinstance(content, str) and content in PICKLES:
        pickled = PICKLES[content]
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
    elif content == "zip twice":
        with pytest.warns(UserWarning), zipfile.ZipFile(path, "a") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
    elif content == "zip ends early":  # the list at the end says more than there is
        raw = bytearray(path.read_bytes())
        entry = raw.index(b"PK\x01\x02")
        raw[entry + 20 : entry + 28] = struct.pack("<2I", 1 << 24, 1 << 24)
        path.write_bytes(raw)
    tracemalloc.start()
    with pytest.raises(UserError, match=message) as raised:
        import_checkpoint(path, tmp_path / "ours")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 1000
    assert peak < 40e6


def test_what_cannot_be_a_model_is_refused(tmp_path):
    """A number of blocks that is only claimed, quantised weights, the source as its own target."""
    weights = public("wan")
    weights["blocks.999999999.modulation"] = weights["blocks.0.modulation"]
    save_file(weights, tmp_path / "deep.safetensors")
    with pytest.raises(UserError, match=r"1 unused \(blocks.999999999.modulation\)"):
        import_checkpoint(tmp_path / "deep.safetensors", tmp_path, changes=CHANGES["wan"])
    save_file(public("taehv", ml_dtypes.float8_e4m3fn), tmp_path / "eight.safetensors")
    with pytest.raises(UserError, match="holds float8_e4m3fn; bfloat16, float16"):
        import_checkpoint(tmp_path / "eight.safetensors", tmp_path)
    save_file(public("taehv"), tmp_path / "taehv.safetensors")
    with pytest.raises(UserError, match="holds the source itself"):
        import_checkpoint(tmp_path / "taehv.safetensors", tmp_path)
    with pytest.raises(UserError, match=r"File exists|Not a directory"):
        import_checkpoint(tmp_path / "taehv.safetensors", tmp_path / "deep.safetensors")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "is truncated: .* ends at byte"),
        ("noise", "not a readable safetensors file"),
        ("empty", "not a readable safetensors file"),
        ("lying", "in bytes 0 to 4"),
        ("foreign", "holds none of wan, wan-vae, taehv, umt5; its 1 tensors are lm_head.weight"),
        ("missing", r"1 missing \(decoder.22.bias\); 1 unused \(extra.weight\)"),
        ("shape", r"1 of another shape \(decoder.22.bias \(7,\), not \(3,\)\)"),
        ("torn zip", "is truncated, or not a file that torch.save wrote"),
        ("old torch", "is truncated, or not a file that torch.save wrote"),
        ("other zip", "is a zip, but none that torch.save wrote"),
        ("short storage", "needs 32 bytes of a storage of 16"),
        ("nothing", "no file or folder"),
    ],
)
def test_damage_is_one_clear_line(tmp_path, how, message):
    with pytest.raises(UserError, match=message) as raised:
        import_checkpoint(damaged(tmp_path, how), tmp_path / "ours")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("hostile", ["reduce", "builtins", "attribute"])
def test_hostile_pickles_are_never_run(tmp_path, hostile):
    proof = tmp_path / "it ran"
    command = f"touch '{proof}'"
    evil: Any = Evil(command)
    if hostile == "builtins":
        evil = Call("builtins", "eval", f"open({str(proof)!r}, 'w')")
    if hostile == "attribute":  # a dotted name, by way of a module that is allowed
        evil = Call("torch._utils", "os.system", command)
    path = save_torch(tmp_path / "evil.pt", {"generator": {"x": evil}})
    with pytest.raises(UserError, match="nothing of a file is run") as raised:
        import_checkpoint(path, tmp_path / "ours")
    assert not proof.exists() and "\n" not in str(raised.value)


def test_a_preset_must_fit_the_tensors(tmp_path):
    save_file(public("wan"), tmp_path / "theirs.safetensors")
    with pytest.raises(UserError, match="dim=48 by the tensors, not 1536"):
        import_checkpoint(tmp_path / "theirs.safetensors", tmp_path, changes={"dim": 1536})
    with pytest.raises(UserError, match="no preset 'huge'"):
        wan_preset("huge")


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("wan", {"windows": 3}, "wan has no setting windows"),
        ("taehv", dataclasses.asdict(TINY_WAN), "taehv has no setting beside"),
        ("wan", {"height": "tall"}, "height='tall'; a whole number is expected"),
        ("wan", {"clean_pass": "False"}, "clean_pass='False'; true or false is expected"),
        ("wan", {"timesteps": 500}, "timesteps=500; a list such as"),
        ("wan", {"timesteps": ("a",)}, "timesteps=.*; a list such as"),
        ("wan", {"noise_shift": math.nan}, "noise_shift=nan; a number is expected"),
    ],
)
def test_settings_are_checked(tmp_path, kind, changes, message):
    save_file(public(kind), tmp_path / "theirs.safetensors")
    with pytest.raises(UserError, match=message):
        import_checkpoint(tmp_path / "theirs.safetensors", tmp_path / "x", changes=changes)
    assert not (tmp_path / "x").exists()


def test_a_whole_number_is_a_number_when_it_is_read_again(tmp_path):
    save_file(public("wan"), tmp_path / "theirs.safetensors")
    changes = {**CHANGES["wan"], "noise_shift": 8}
    import_checkpoint(tmp_path / "theirs.safetensors", tmp_path / "x", changes=changes)
    assert load_component(tmp_path / "x", "wan").config.noise_shift == 8.0


def test_presets_have_the_published_sizes():
    """Parameters of Wan 2.1's and 2.2's DiTs, counted from their public key lists."""
    published = {"wan-14b": 14_288_491_584, "wan2.2-5b": 4_999_787_712}
    for name in ("wan-1.3b", "longlive-1.3b", "streamdiffusionv2-1.3b"):
        published[name] = 1_418_996_800
    assert {name: parameter_count(WAN_PRESETS[name]) for name in published} == published


def test_the_student_multiplies_by_294_million_weights():
    """Those of its blocks that a step needs: without the projections of a prompt's words."""
    config = WAN_PRESETS["student-294m"]
    shapes = COMPONENTS["wan"].shapes(config)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    assert sum(sizes.values()) == parameter_count(config) == 349_504_704
    words = re.compile(r"cross_attention\.[kv]\.")
    used = sum(
        size
        for name, size in sizes.items()
        if name.startswith("blocks.") and name.endswith(".kernel") and not words.search(name)
    )
    assert used == 14 * config.dim**2 * config.depth == pytest.approx(294e6, rel=0.002)


def test_the_command_line_converts_and_refuses(tmp_path, capsys):
    save_file(public("wan"), tmp_path / "theirs.safetensors")
    source, ours = str(tmp_path / "theirs.safetensors"), str(tmp_path / "ours")
    assert cli.main(["convert", source, ours, "--preset", "tiny-wan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"][0]["kind"] == "wan"
    assert load_component(tmp_path / "ours", "wan").config == TINY_WAN
    assert cli.main(["convert", ours, str(tmp_path / "back")]) == 0
    assert "bfloat16" in capsys.readouterr().out
    assert cli.main(["convert", source, ours, "--set", "window"]) == 2
    assert "--set takes NAME=VALUE" in capsys.readouterr().err
    assert cli.main(["convert", source, ours, "--entry", "generator"]) == 2
    assert "has no entries such as 'generator'" in capsys.readouterr().err
    assert cli.main(["info", str(tmp_path / "ours"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["wan"]["config"]["dim"] == TINY_WAN.dim
    with pytest.raises(UserError, match="is a Wan model, which lsdjax stream and lsdjax info"):
        load_checkpoint(ours)
    assert cli.main(["convert", ours, ours]) == 2
    assert "is the source itself" in capsys.readouterr().err


def test_diffusers_names_are_read_and_written(tmp_path, capsys):
    """Some names as WanTransformer3DModel has them; the bits are those of the public ones."""
    component, before = COMPONENTS["wan"], public("wan")
    theirs = {component.diffusers_name(name): x for name, x in before.items()}
    assert len(theirs) == len(before)
    assert {component.public_name(name) for name in (*theirs, *before)} == set(before)
    assert set(theirs) & set(before) == {"patch_embedding.weight", "patch_embedding.bias"}
    for name, public_name in {
        "condition_embedder.time_proj.bias": "time_projection.1.bias",
        "condition_embedder.text_embedder.linear_2.weight": "text_embedding.2.weight",
        "proj_out.weight": "head.head.weight",
        "scale_shift_table": "head.modulation",
        "blocks.1.scale_shift_table": "blocks.1.modulation",
        "blocks.0.attn1.to_out.0.bias": "blocks.0.self_attn.o.bias",
        "blocks.0.attn2.to_k.weight": "blocks.0.cross_attn.k.weight",
        "blocks.0.attn2.norm_q.weight": "blocks.0.cross_attn.norm_q.weight",
        "blocks.0.norm2.bias": "blocks.0.norm3.bias",
        "blocks.0.ffn.net.0.proj.weight": "blocks.0.ffn.0.weight",
        "blocks.0.ffn.net.2.bias": "blocks.0.ffn.2.bias",
    }.items():
        np.testing.assert_array_equal(theirs[name], before[public_name])
    save_file(theirs, tmp_path / "theirs.safetensors")
    import_checkpoint(tmp_path / "theirs.safetensors", tmp_path / "ours", changes=CHANGES["wan"])
    export_checkpoint(tmp_path / "ours", tmp_path / "back")
    assert same(load_file(tmp_path / "back" / "wan.safetensors"), before)
    convert = ["convert", str(tmp_path / "ours"), str(tmp_path / "again"), "--names", "diffusers"]
    assert cli.main(convert) == 0
    assert same(load_file(tmp_path / "again" / "wan.safetensors"), theirs)
    both = {**theirs, "blocks.0.norm3.bias": before["blocks.0.norm3.bias"]}
    save_file(both, tmp_path / "both.safetensors")
    with pytest.raises(UserError, match="under its public name and diffusers' at once"):
        import_checkpoint(tmp_path / "both.safetensors", tmp_path / "x", changes=CHANGES["wan"])
    save_file(public("taehv"), tmp_path / "taehv.safetensors")
    import_checkpoint(tmp_path / "taehv.safetensors", tmp_path / "ours")
    with pytest.raises(UserError, match="diffusers' names of taehv are not known"):
        export_checkpoint(tmp_path / "ours", tmp_path / "more", diffusers=True)
    assert not (tmp_path / "more").exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("names", "alpha", "scale"),
    [
        (("base_model.model.{}.lora_A.weight", "base_model.model.{}.lora_B.weight"), None, 1.0),
        (("base_model.model.{}.lora_A.weight", "base_model.model.{}.lora_B.weight"), 6.0, 2.0),
        (("{}.lora_A.default.weight", "{}.lora_B.default.weight"), None, 1.0),
        (("diffusion_model.{}.lora_down.weight", "diffusion_model.{}.lora_up.weight"), "own", 0.5),
    ],
)
def test_a_lora_is_added_slab_by_slab(tmp_path, monkeypatch, names, alpha, scale):
    """W + alpha / rank * B A in float64; every other tensor keeps its bits."""
    rng, before = np.random.default_rng(2), public("wan")
    updates: dict[str, np.ndarray] = {}
    expected = {name: x.astype(np.float64) for name, x in before.items()}
    for module in (Q, FFN):
        outputs, inputs = before[f"{module}.weight"].shape
        pair = rng.standard_normal((3, inputs)), rng.standard_normal((outputs, 3))
        down, up = (x.astype(np.float32) for x in pair)
        updates |= {names[0].format(module): down, names[1].format(module): up}
        if alpha == "own":
            updates[f"diffusion_model.{module}.alpha"] = np.array(1.5, np.float32)
        expected[f"{module}.weight"] += scale * up.astype(np.float64) @ down.astype(np.float64)
    lora = save_torch(tmp_path / "lora.pt", {"generator_lora": updates, "step": 3})
    save_file(before, tmp_path / "theirs.safetensors")
    monkeypatch.setattr(tensors_module, "SLAB_BYTES", 500)
    import_checkpoint(
        tmp_path / "theirs.safetensors", tmp_path / "ours", changes=CHANGES["wan"], lora=lora,
        lora_alpha=alpha if isinstance(alpha, float) else None,
    )  # fmt: skip
    export_checkpoint(tmp_path / "ours", tmp_path / "back")
    made = load_file(tmp_path / "back" / "wan.safetensors")
    for module in (Q, FFN):
        after, want = made.pop(f"{module}.weight"), expected[f"{module}.weight"]
        assert after.dtype == ml_dtypes.bfloat16
        np.testing.assert_allclose(after.astype(np.float64), want, rtol=2**-8, atol=1e-5)
        before.pop(f"{module}.weight")
    assert same(made, before)


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ({f"{Q}.lora_A.weight": (3, 48)}, "half of blocks.1.self_attn.q.weight"),
        ({f"{Q}.lora_A.weight": (3, 48), f"{Q}.lora_B.weight": (48, 2)}, "cannot take an update"),
        ({"blocks.9.x.lora_A.weight": (3, 48), "blocks.9.x.lora_B.weight": (48, 3)}, "no matrix"),
        ({f"{Q}.weight": (48, 48)}, "is no LoRA of matrices alone"),
    ],
)
def test_a_lora_of_another_model_is_refused(tmp_path, updates, message):
    save_file(public("wan"), tmp_path / "theirs.safetensors")
    made = {name: np.ones(shape, np.float32) for name, shape in updates.items()}
    save_file(made, tmp_path / "lora.safetensors")
    with pytest.raises(UserError, match=message):
        import_checkpoint(
            tmp_path / "theirs.safetensors", tmp_path / "ours", changes=CHANGES["wan"],
            lora=tmp_path / "lora.safetensors",
        )  # fmt: skip
    assert not (tmp_path / "ours").exists()
