"""The command line: what it prints, what it refuses, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lsdjax import assets, cli
from lsdjax.cli.stream import parse_switches
from lsdjax.core.errors import UserError
from lsdjax.data.video import FrameSource, open_source
from lsdjax.evals.report import as_lines, as_style_table, plain
from lsdjax.stream.controllers import RepairEvent

SIZE = (32, 48)

ships = pytest.mark.skipif(
    not list(Path(assets.__file__).parent.rglob("*.safetensors")),
    reason="no checkpoint in lsdjax/assets yet",
)


class FakeStream:
    """Answers with the negative, or with a plain picture whose grey is the prompt's number."""

    def __init__(self, log: list[Any], prompt: str) -> None:
        self.log = log
        self.prompt = prompt
        self.events: list[RepairEvent] = []

    def submit(self, frame: np.ndarray) -> np.ndarray:
        assert frame.shape == (*SIZE, 3)
        self.log.append(self.prompt)
        if self.prompt == "breaks":
            self.events.append(RepairEvent(len(self.log) - 1, "cache", 1.0, 0.0))
        return np.full_like(frame, int(self.prompt)) if self.prompt.isdecimal() else 255 - frame

    def set_prompt(self, prompt: str) -> None:
        self.prompt = prompt


class FakeStreamer:
    """The model's place taken by arithmetic, so that these tests are about the command line."""

    log: list[Any]

    def __init__(
        self,
        checkpoint: object,
        *,
        steps: int | None = None,
        text_encoder: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self.size = SIZE
        self.steps = steps

    def warm_up(self, progress: object = None) -> None:
        pass

    def start(self, prompt: str, *, seed: int = 0, strength: float = 1.0) -> FakeStream:
        return FakeStream(self.log, prompt)


@pytest.fixture
def prompts_seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put the fake in the model's place; the prompt in force at each frame is recorded here."""
    seen: list[str] = []
    monkeypatch.setattr(FakeStreamer, "log", seen, raising=False)
    session = SimpleNamespace(Streamer=FakeStreamer)
    export = SimpleNamespace(load_checkpoint=lambda path=None: path)
    monkeypatch.setitem(sys.modules, "lsdjax.stream.session", session)
    monkeypatch.setitem(sys.modules, "lsdjax.checkpoint.export", export)
    return seen


@pytest.fixture
def clip(write_video, tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4")


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def refuse(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """Run a command that must fail as a user's mistake; its one line."""
    assert cli.main([str(value) for value in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lsdjax: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def test_stream_writes_every_frame_at_its_time(prompts_seen, clip, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    assert cli.main(["stream", str(clip), str(out), "--prompt", "negative"]) == 0
    assert capsys.readouterr() == (f"{out}: 12 frames, 48x32 pixels\n", "")
    with open_source(clip) as source, open_source(out) as made:
        assert (made.height, made.width) == SIZE
        assert made.fps == pytest.approx(source.fps)
        frames = list(made)
    assert len(frames) == 12
    assert np.abs(frames[3][24, 14].astype(int) - (255, 255, 0)).max() < 12  # of blue
    assert set(tmp_path.iterdir()) == {clip, out}


def test_repairs_are_told(prompts_seen, clip, tmp_path, capsys):
    assert cli.main(["stream", str(clip), str(tmp_path / "out.mp4"), "--prompt", "breaks"]) == 0
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if "repaired" in line]
    assert len(told) == len(prompts_seen) == 12
    wanted = "lsdjax: warning: the stream was repaired at frame 3: cache 1, limit 0"
    assert told[3] == wanted


def test_prompts_switch_at_their_frames(prompts_seen, clip, tmp_path, capsys):
    argv = ["stream", str(clip), str(tmp_path / "out.mp4"), "--prompt", "10"]
    argv += ["--prompt-at", "7:200", "--prompt-at", "3:90", "--prompt-at", "50:250"]
    assert cli.main(argv) == 0
    assert prompts_seen == ["10"] * 3 + ["90"] * 4 + ["200"] * 5
    warning = "lsdjax: warning: --prompt-at 50 was never reached, the input has 12 frames\n"
    assert capsys.readouterr().err == warning
    with open_source(tmp_path / "out.mp4") as made:
        greys = [int(frame.mean()) for frame in made]
    assert greys == pytest.approx([10] * 3 + [90] * 4 + [200] * 5, abs=2)


def test_side_by_side_shows_input_left_and_output_right(prompts_seen, clip, tmp_path):
    out = tmp_path / "out.mp4"
    argv = ["stream", str(clip), str(out), "--prompt", "negative", "--side-by-side"]
    assert cli.main([*argv, "--scale", "2", "--fit", "stretch"]) == 0
    with open_source(out) as made:
        frame = list(made)[6].astype(int)
    assert frame.shape == (64, 192, 3)
    left, right = frame[:, :96], frame[:, 96:]
    assert np.abs(left[8, 8] - (255, 0, 0)).max() < 12
    assert np.abs(right[8, 8] - (0, 255, 255)).max() < 12


def test_overwrite_replaces_an_output(prompts_seen, clip, tmp_path):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    assert cli.main(["stream", str(clip), str(out), "--prompt", "x", "--overwrite"]) == 0
    with open_source(out) as made:
        assert made.frame_count == 12


def test_folder_of_pictures_streams(prompts_seen, tmp_path, picture_of):
    import simplejpeg

    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        jpeg = simplejpeg.encode_jpeg(picture_of(48, 64, index))
        (folder / f"{index}.jpg").write_bytes(jpeg)
    assert cli.main(["stream", str(folder), str(tmp_path / "out.mp4"), "--prompt", "x"]) == 0
    with open_source(tmp_path / "out.mp4") as made:
        assert len(list(made)) == 3


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("missing", "missing.mp4: no such file"),
        ("text", "text.mp4: neither a video nor a picture"),
        ("empty", "empty.mp4: an empty file"),
        ("tiny", "tiny.mp4: 1x1 pixels; a side must have 16 to 8192"),
        ("wide", "wide.mp4: 20000x16 pixels; a side must have 16 to 8192"),
        ("folder", "folder: an empty folder"),
        ("camera", "77: no such camera"),
    ],
)
def test_bad_inputs_give_one_line_and_no_file(write_video, tmp_path, capsys, case, expected):
    source = tmp_path / f"{case}.mp4"
    if case == "text":
        source.write_text("this is no video")
    elif case == "empty":
        source.touch()
    elif case == "tiny":
        write_video(source, frames=1, width=1, height=1, pix_fmt="yuv444p")
    elif case == "wide":
        write_video(source, frames=1, width=20_000, height=16, codec="mjpeg", pix_fmt="yuvj420p")
    elif case == "folder":
        source = tmp_path / "folder"
        source.mkdir()
    argument = "77" if case == "camera" else source
    before = listing(tmp_path)
    assert expected in refuse(
        capsys, "stream", argument, tmp_path / "out.mp4", "--prompt", "pencil sketch"
    )
    assert listing(tmp_path) == before


@pytest.mark.parametrize("existing", [False, True])
def test_truncated_video_leaves_no_half_output(
    prompts_seen, truncated_video, tmp_path, capsys, existing
):
    out = tmp_path / "out.mp4"
    if existing:
        out.write_bytes(b"as it was")
    before = listing(tmp_path)
    line = refuse(capsys, "stream", truncated_video, out, "--prompt", "x", "--overwrite")
    assert "truncated.mp4: " in line
    assert len(prompts_seen) > 10  # it failed on the way, not at the door
    assert listing(tmp_path) == before


@pytest.mark.parametrize("prompt", ["", "   ", "?!", "long " * 20_000])
def test_bad_prompts_give_one_line_and_no_file(clip, tmp_path, capsys, prompt):
    before = listing(tmp_path)
    line = refuse(capsys, "stream", clip, tmp_path / "out.mp4", "--prompt", prompt)
    assert "prompt" in line
    assert len(line) < 300
    line = refuse(
        capsys, "stream", clip, tmp_path / "out.mp4", "--prompt", "x", "--prompt-at", f"3:{prompt}"
    )
    assert "prompt" in line
    assert listing(tmp_path) == before


def test_existing_output_is_kept(clip, tmp_path, capsys):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"precious")
    assert "exists already (--overwrite" in refuse(capsys, "stream", clip, out, "--prompt", "x")
    assert out.read_bytes() == b"precious"


def test_input_is_never_its_own_output(clip, tmp_path, capsys):
    before = listing(tmp_path)
    (tmp_path / "link.mp4").symlink_to(clip)
    for out in (clip, tmp_path / "link.mp4"):
        line = refuse(capsys, "stream", clip, out, "--prompt", "x", "--overwrite")
        assert "is the input itself" in line
    (tmp_path / "link.mp4").unlink()
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--scale", "0"], "--scale must lie within 1..16, got 0"),
        (["--strength", "1.5"], "--strength must lie within 0..1, got 1.5"),
        (["--strength", "nan"], "--strength must lie within 0..1, got nan"),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--seed", "-1"], "--seed must lie within"),
        (["--prompt-at", "neon night"], "--prompt-at takes FRAME"),
        (["--prompt-at", "-3:neon"], "--prompt-at takes FRAME"),
        (["--prompt-at", "1.5:neon"], "--prompt-at takes FRAME"),
        (["--prompt-at", "0:neon"], "the prompt of frame 0 is --prompt"),
        (["--prompt-at", "5:a", "--prompt-at", "5:b"], "frame 5 has a prompt already"),
    ],
)
def test_bad_options_are_named(clip, tmp_path, capsys, options, expected):
    assert expected in refuse(
        capsys, "stream", clip, tmp_path / "out.mp4", "--prompt", "x", *options
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("out.gif", "must end in .mp4"),
        ("nowhere/out.mp4", "cannot be written"),
        ("folder", "a folder, the name of a video"),
    ],
)
def test_bad_outputs_are_named(prompts_seen, clip, tmp_path, capsys, name, expected):
    (tmp_path / "folder").mkdir()
    before = listing(tmp_path)
    assert expected in refuse(capsys, "stream", clip, tmp_path / name, "--prompt", "x")
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--frames", "99"], "--frames must be at least 100, got 99"),
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--rollouts", "-3"], "--rollouts must be at least 1, got -3"),
        (["--style", "cubism"], "unknown style 'cubism'; known are"),
        (["--steps", "0"], "0 denoising steps; 1 to 64 are expected"),
        (["nowhere"], "no model.safetensors in 'nowhere'"),
    ],
)
@ships
def test_bad_drift_options_are_named(tmp_path, capsys, options, expected):
    out = tmp_path / "out"
    assert expected in refuse(capsys, "bench", "drift", *options, "--out", out)
    assert not out.exists()


def test_bad_serve_options_are_one_line(capsys):
    assert "port must lie within 0..65535, got 99999" in refuse(capsys, "serve", "--port", "99999")


def test_switches_keep_what_comes_after_the_first_colon():
    assert parse_switches(["120:neon: night", "7: x"]) == {120: "neon: night", 7: " x"}


class FakeCamera(FrameSource):
    """A live source of frames without end, which gets a signal after the fourth."""

    name, fps, width, height, frame_count, live = "camera 0", 20.0, 64, 48, None, True

    def __init__(self, number: signal.Signals, live: bool) -> None:
        self.number = number
        self.live = live

    def timed(self) -> Iterator[tuple[float, np.ndarray]]:
        for index in range(1000):
            if index == 4:
                os.kill(os.getpid(), self.number)
                time.sleep(0.01)
            yield index / 20, np.full((48, 64, 3), 80, np.uint8)


def test_interrupt_ends_a_cameras_video_cleanly(prompts_seen, monkeypatch, tmp_path):
    assert threading.current_thread() is threading.main_thread()
    camera = FakeCamera(signal.SIGINT, live=True)
    monkeypatch.setattr("lsdjax.data.video.open_source", lambda _: camera)
    before = signal.getsignal(signal.SIGINT)
    assert cli.main(["stream", "0", str(tmp_path / "out.mp4"), "--prompt", "x"]) == 0
    assert signal.getsignal(signal.SIGINT) is before
    with open_source(tmp_path / "out.mp4") as made:
        assert len(list(made)) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_nothing_of_a_files_video(
    prompts_seen, monkeypatch, tmp_path, capsys, number
):
    camera = FakeCamera(number, live=False)
    monkeypatch.setattr("lsdjax.data.video.open_source", lambda _: camera)
    assert cli.main(["stream", "a.mp4", str(tmp_path / "out.mp4"), "--prompt", "x"]) == 130
    assert capsys.readouterr().err == "lsdjax: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_mistakes_have_no_traceback_in_a_process_of_their_own(tmp_path):
    command = [sys.executable, "-m", "lsdjax", "stream", "missing.mp4", "out.mp4", "--prompt", "x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "lsdjax: missing.mp4: no such file or folder\n"
    assert list(tmp_path.iterdir()) == []


def test_help_needs_neither_jax_nor_pyav():
    code = (
        "import sys, lsdjax.cli\n"
        "try: lsdjax.cli.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'jax', 'av', 'flax', 'websockets'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("serve", "connect", "token", "stream", "eval", "bench", "train", "info"):
        assert name in done.stdout


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lsdjax ")


def test_json_is_one_object_and_alone_on_stdout(monkeypatch, capsys):
    def measure(checkpoint: object, **options: object) -> dict[str, Any]:
        print("compiling")
        step_ms = {"p50": np.float32(1.5), "p95": float("inf")}
        return {"step_ms": step_ms, "fps": 40.0, "steps": 2, "size": (128, 128)}

    latency = SimpleNamespace(bench_stream=measure)
    monkeypatch.setitem(sys.modules, "lsdjax.evals.latency", latency)
    assert cli.main(["bench", "stream", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "compiling\n"
    assert json.loads(out) == {
        "step_ms": {"p50": 1.5, "p95": None},
        "fps": 40.0,
        "steps": 2,
        "size": [128, 128],
    }
    assert cli.main(["bench", "stream"]) == 0
    assert "step_ms:\n  p50: 1.500\n" in capsys.readouterr().out


def test_user_errors_of_any_shape_are_one_line(monkeypatch, capsys):
    def fail(path: str | None = None) -> None:
        raise UserError("two\nlines")

    export = SimpleNamespace(load_checkpoint=fail)
    monkeypatch.setitem(sys.modules, "lsdjax.checkpoint.export", export)
    assert refuse(capsys, "info", "--json") == "lsdjax: two lines\n"


@ships
def test_shipped_checkpoint_streams_and_follows_the_prompt(write_video, tmp_path, capsys):
    clip = write_video(tmp_path / "clip.mp4", height=96, width=128)
    made = {}
    for prompt in ("pencil sketch", "negative"):
        out = tmp_path / f"{prompt}.mp4"
        assert cli.main(["stream", str(clip), str(out), "--prompt", prompt]) == 0
        assert capsys.readouterr().err == ""
        with open_source(out) as source:
            made[prompt] = np.stack(list(source)).astype(float)
    assert len(made["negative"]) == 12
    assert np.abs(made["negative"] - made["pencil sketch"]).mean() > 10


@ships
def test_info_describes_what_ships(capsys):
    assert cli.main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"version", "jax", "devices", "checkpoint", "config"} <= set(found)
    assert found["config"]["height"] >= 128
    assert found["checkpoint"]["parameters"] > 0


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 32x32 pixels that has learned nothing."""
    from lsdjax.checkpoint.export import Checkpoint, abstract_params, save_checkpoint
    from lsdjax.configs.presets import TINY

    rng = np.random.default_rng(0)
    shapes = {name: leaf.shape for name, leaf in abstract_params(TINY.model).items()}
    params = {name: 0.05 * rng.standard_normal(shape) for name, shape in shapes.items()}
    return save_checkpoint(tmp_path_factory.mktemp("tiny"), Checkpoint(TINY.model, params, {}))


def test_real_model_streams_from_end_to_end(tiny_checkpoint, write_video, tmp_path, capsys):
    clip = write_video(tmp_path / "clip.mp4", frames=6)
    out = tmp_path / "out.mp4"
    argv = ["stream", str(clip), str(out), "--prompt", "pencil sketch", "--prompt-at", "3:snow"]
    assert cli.main([*argv, "--checkpoint", str(tiny_checkpoint), "--steps", "1"]) == 0
    assert capsys.readouterr() == (f"{out}: 6 frames, 32x32 pixels\n", "")
    with open_source(out) as made:
        assert len(list(made)) == 6


def test_info_describes_a_checkpoint(tiny_checkpoint, capsys):
    assert cli.main(["info", str(tiny_checkpoint), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"]["height"] == 32
    assert found["checkpoint"]["parameters"] > 1000
    assert found["devices"][0].startswith("cpu")
    assert cli.main(["info", str(tiny_checkpoint)]) == 0
    assert "height: 32" in capsys.readouterr().out


@pytest.mark.parametrize("case", ["missing", "empty", "other config", "no json", "damaged weights"])
def test_bad_checkpoints_give_one_line_and_no_file(tiny_checkpoint, clip, tmp_path, capsys, case):
    folder = tmp_path / "checkpoint"
    if case != "missing":
        folder.mkdir()
    if case not in ("missing", "empty"):
        for path in tiny_checkpoint.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    config, weights = folder / "config.json", folder / "model.safetensors"
    if case == "other config":
        description = json.loads(config.read_text())
        description["model"]["depth"] += 1
        config.write_text(json.dumps(description))
    elif case == "no json":
        config.write_text("depth: 2")
    elif case == "damaged weights":
        weights.write_bytes(weights.read_bytes()[:100])
    before = listing(tmp_path)
    line = refuse(
        capsys, "stream", clip, tmp_path / "out.mp4", "--prompt", "x", "--checkpoint", folder
    )
    assert str(folder) in line
    assert listing(tmp_path) == before


def test_eval_names_a_missing_folder(tiny_checkpoint, tmp_path, capsys):
    missing = tmp_path / "missing"
    assert str(missing) in refuse(capsys, "eval", tiny_checkpoint, "--clips", missing, "--json")


def test_style_table_has_a_row_a_style():
    styles = {
        "snow": {"kind": "stateful", "psnr_db": 27.123, "snow_share": 1.02},
        "original": {"kind": "identity", "psnr_db": None},
    }
    lines = as_style_table({"styles": styles, "mean_psnr_db": 27.0}).splitlines()
    assert lines[0].split() == ["style", "kind", "psnr_db", "snow_share"]
    assert lines[1].split() == ["snow", "stateful", "27.12", "1.02"]
    assert lines[2].split() == ["original", "identity"]
    assert lines[3] == "mean_psnr_db: 27.000"


def test_reports_hold_what_json_can_say():
    assert plain({1: np.arange(2), "p": Path("a"), "t": (float("nan"), True, None)}) == {
        "1": [0, 1],
        "p": "a",
        "t": [None, True, None],
    }
    assert as_lines({"runs": [{"sessions": 1, "dropped": {"rate": 0}}]}).split() == [
        "runs:",
        "sessions:",
        "1",
        "dropped:",
        "rate:",
        "0",
    ]
