"""The examples of docs/extending.md: they are what the document shows, and they work."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsdjax import cli
from lsdjax.checkpoint.export import load_checkpoint
from lsdjax.configs import Stage
from lsdjax.configs.presets import PRESETS
from lsdjax.core import sharding
from lsdjax.core.errors import UserError
from lsdjax.data.phrases import PHRASES
from lsdjax.data.pool import Pool, save_pool
from lsdjax.data.styles import TEACHERS
from lsdjax.data.teacher import init_state
from lsdjax.data.video import open_source
from lsdjax.diffusion.forcing import OBJECTIVES
from lsdjax.evals import quality
from lsdjax.model.policy import CACHE_POLICIES, RingWithSinks, register_cache_policy
from lsdjax.train import loop

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
EXAMPLES = {path.stem: path for path in sorted((DOCS / "examples").glob("*.py"))}
Plugins = Callable[..., None]


def test_the_document_shows_the_files() -> None:
    text = (DOCS / "extending.md").read_text()
    shown = dict(
        re.findall(r"^\[`examples/(\w+)\.py`\].*?^```python\n(.*?)^```$", text, re.M | re.S)
    )
    assert shown == {name: path.read_text() for name, path in EXAMPLES.items()}
    assert text.count("```python") == len(shown)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_fewer_than_30_lines(name: str) -> None:
    assert len(EXAMPLES[name].read_text().splitlines()) < 30


def test_a_style_comes_after_the_others_and_is_the_same_however_it_is_cut(plugins: Plugins) -> None:
    built_in = list(TEACHERS)
    plugins(EXAMPLES["teacher"], EXAMPLES["teacher"])  # the second time nothing happens
    assert list(TEACHERS) == list(PHRASES) == [*built_in, "duotone"]
    render = TEACHERS["duotone"].render
    frames, key = jax.random.uniform(jax.random.key(0), (1, 2, 16, 32, 3)), jax.random.key(1)
    inputs, targets, state = render(frames, init_state(1, 16, 32), key)
    np.testing.assert_array_equal(inputs, frames)
    np.testing.assert_array_equal(state.frame_index, [2])
    first = render(frames[:, :1], init_state(1, 16, 32), key)
    second = render(frames[:, 1:], first[2], key)
    np.testing.assert_allclose(targets, jnp.concatenate([first[1], second[1]], axis=1), atol=1e-6)
    ends = render(jnp.stack([jnp.zeros((1, 16, 32, 3)), jnp.ones((1, 16, 32, 3))], 1), state, key)
    np.testing.assert_allclose(ends[1][0, :, 0, 0], [[0.05, 0.08, 0.35], [0.98, 0.92, 0.8]], 1e-5)


@pytest.mark.parametrize(("error", "ratio"), [(1e-3, 1.0), (1.0, 0.181)])
def test_pseudo_huber_is_square_below_c_and_linear_above(
    plugins: Plugins, error: float, ratio: float
) -> None:
    plugins(EXAMPLES["objective"])
    sample, level = jnp.zeros((1, 2, 4, 4, 3)), jnp.array([[1.0, 0.1]])

    def losses(name: str):
        return OBJECTIVES[name](lambda noisy, _: sample + error, sample, sample, level)

    huber, square = losses("pseudo_huber"), losses("forcing")
    assert float(huber.weighted) == pytest.approx(ratio * float(square.weighted), rel=1e-2)
    assert float(huber.squared_error) == pytest.approx(error**2) == float(square.squared_error)


def test_the_dilated_window_sees_the_last_frame_and_every_second_older_one(
    plugins: Plugins,
) -> None:
    plugins(EXAMPLES["cache_policy"])
    policy, frames = CACHE_POLICIES["dilated"](window=3, sinks=0), jnp.arange(12)
    for index, seen in ((9, [4, 6, 8, 9]), (10, [4, 6, 8, 9, 10])):
        ages, visible = policy.sees(jnp.asarray(index), frames[: index + 1])
        assert np.flatnonzero(visible).tolist() == seen
        assert ages[visible].tolist() == [index - frame for frame in seen]
    assert policy.slots == 4  # as many as are seen besides the frame itself


def command(*parts: object) -> list[str]:
    plugins = [part for path in EXAMPLES.values() for part in ("--plugin", path)]
    return [str(part) for part in (*parts, *plugins)]


def test_all_of_them_train_and_stream(
    few_styles: None,
    quick_compilation: None,
    plugins: Plugins,
    noise_pool: Pool,
    child: ModuleType,
    write_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, make_mesh = jax.devices()[:1], sharding.make_mesh
    stages = (Stage("crops", steps=3, groups=3, clips=1, prompts=2, crop=16),)
    monkeypatch.setitem(PRESETS, "tiny", dataclasses.replace(child.CONFIG, stages=stages))
    monkeypatch.setattr(loop, "init_state", child.quick_state)
    monkeypatch.setattr(loop, "SampleSheet", child.NoSheet)
    monkeypatch.setattr(sharding, "make_mesh", lambda text: make_mesh(text, one))
    save_pool(noise_pool, tmp_path / "pool.npz")
    run = tmp_path / "run"
    argv = command("train", "tiny", "--data", tmp_path / "pool.npz", "--run", run)
    named = ["--objective", "pseudo_huber", "--cache-policy", "dilated"]
    assert cli.main([*argv, *named]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert any("duotone" in line["psnr_db"] for line in lines)
    recipe = json.loads((run / "config.json").read_text())
    assert recipe["objective"] == "pseudo_huber"
    assert recipe["teachers"] == ["negative", "original", "duotone"]
    assert load_checkpoint(run / "export").config.cache_policy == "dilated"

    clip, out = write_video(tmp_path / "clip.mp4", frames=6), tmp_path / "out.mp4"
    export = ("--checkpoint", run / "export", "--steps", 1)
    assert cli.main(command("stream", clip, out, "--prompt", "two inks", *export)) == 0
    with open_source(out) as made:
        assert len(list(made)) == 6

    capsys.readouterr()
    CACHE_POLICIES._entries.pop("dilated")  # as in a process that was given no plugin
    assert cli.main(["info", str(run / "export")]) == cli.USER_ERROR
    assert capsys.readouterr().err == (
        "lsdjax: no cache policy 'dilated'; "
        "one of sinks, deep-sinks, rolling-sink, participative is expected "
        "(a file given with --plugin may bring others)\n"
    )


class PerfectStreamer:
    """Shows what the teacher of the style whose first phrase is its prompt would show."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self.size, self.steps = (32, 48), 1

    def warm_up(self) -> None:
        pass

    def start(self, prompt: str, *, seed: int) -> SimpleNamespace:
        (style,) = [name for name in PHRASES if PHRASES[name][0] == prompt]
        teacher = quality.TeacherStream(style, self.size, seed)
        return SimpleNamespace(submit=lambda frame: quality.to_uint8(teacher.render(frame)[1]))


def test_the_style_is_judged_by_its_teacher(
    few_styles: None,
    plugins: Plugins,
    write_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(quality, "Streamer", PerfectStreamer)
    write_video(tmp_path / "clip.mp4", frames=2)
    assert cli.main(command("eval", "--clips", tmp_path, "--json")) == 0
    styles = json.loads(capsys.readouterr().out)["styles"]
    assert list(styles) == ["negative", "original", "duotone"]
    assert styles["duotone"]["kind"] == "stateless"
    assert styles["duotone"]["psnr_db"] > 50 > 20 > styles["duotone"]["input_psnr_db"]


TEACHER = """
from lsdjax.data.styles import register_teacher
from lsdjax.data.teacher import Teacher, stateless
some = [f"phrase {letter}" for letter in "abcdefghijklm"]
"""
OBJECTIVE = "from lsdjax.diffusion.forcing import *\n"
POLICY = """
from lsdjax.model.policy import *
class Mine(RingWithSinks):
    """
REFUSED = {
    "not python": ("x = = 1", "SyntaxError: invalid syntax"),
    "import": ("\nimport nowhere", "line 2: ModuleNotFoundError: No module named 'nowhere'"),
    "taken style": (
        TEACHER + "register_teacher(stateless('snow', lambda x: x), some)",
        "line 5: style 'snow' exists already; another name is expected",
    ),
    "few phrases": (
        TEACHER + "register_teacher(stateless('s', lambda x: x), some[:11])",
        "style 's': 11 different phrases; at least 12 are expected",
    ),
    "taken phrase": (
        TEACHER + "register_teacher(stateless('s', lambda x: x), [*some, 'Falling snow'])",
        "style 's': phrase 'falling snow' asks for 'snow' already",
    ),
    "grey": (
        TEACHER + "register_teacher(stateless('s', lambda x: x[..., :1]), some)",
        "teacher 's': render gives targets float32 (1, 2, 32, 48, 1); "
        "float32 (1, 2, 32, 48, 3) is expected",
    ),
    "render": (
        TEACHER + "register_teacher(Teacher('s', 'stateless', lambda x: x), some)",
        "teacher 's': TypeError: <lambda>() takes 1 positional argument but 3 were given",
    ),
    "kind": (
        TEACHER + "register_teacher(Teacher('s', 'lovely', lambda x: x), some)",
        "teacher 's': kind 'lovely'; one of",
    ),
    "taken objective": (
        OBJECTIVE + "register_objective('forcing', forcing_loss)",
        "objective 'forcing' exists already",
    ),
    "arguments": (
        OBJECTIVE + "register_objective('o', lambda denoise, sample: 0.0)",
        "objective 'o': TypeError: <lambda>() takes 2 positional arguments but 4 were given",
    ),
    "no losses": (
        OBJECTIVE + "register_objective('o', lambda denoise, x, noise, level: jnp.mean(x))",
        "a ForcingLoss is expected",
    ),
    "loss of each frame": (
        OBJECTIVE + "register_objective('o', lambda f, x, n, s: with_report(s, x, x, s))",
        "objective 'o': weighted is float32 (1, 2); float32 () is expected",
    ),
    "sees too much": (
        POLICY + "def sees(self, index, frames):\n"
        "        return index - frames, index - frames <= self.window + 1\n"
        "register_cache_policy('p', Mine)",
        "cache policy 'p': at window=4, sinks=0, frame 5 sees the frames (with ages) "
        "{0: 5, 1: 4, 2: 3, 3: 2, 4: 1} in training, but {1: 4, 2: 3, 3: 2, 4: 1} in a stream",
    ),
    "slot": (
        POLICY + "def slot(self, index):\n        return index\nregister_cache_policy('p', Mine)",
        "cache policy 'p': slot gives 0 to 39; 0 to 3 are expected",
    ),
    "abstract": (
        POLICY + "pass\nregister_cache_policy('p', CachePolicy)",
        "cache policy 'p': TypeError: Can't instantiate abstract class CachePolicy",
    ),
    "taken policy": (
        POLICY + "pass\nregister_cache_policy('sinks', Mine)",
        "cache policy 'sinks' exists already",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_in_a_file_is_one_line(
    case: str, plugins: Plugins, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = REFUSED[case]
    path = tmp_path / "mine.py"
    path.write_text(code)
    before = [list(registry) for registry in (TEACHERS, PHRASES, OBJECTIVES, CACHE_POLICIES)]
    argv = ["train", "tiny", "--data", tmp_path, "--run", tmp_path / "run", "--plugin", path]
    assert cli.main([str(part) for part in argv]) == cli.USER_ERROR
    printed = capsys.readouterr().err
    assert printed.startswith(f"lsdjax: {path}") and printed.count("\n") == 1
    assert message in printed
    after = [list(registry) for registry in (TEACHERS, PHRASES, OBJECTIVES, CACHE_POLICIES)]
    assert after == before and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plugin", "nowhere.py"], "nowhere.py: no such plugin; a Python file (.py) is expected"),
        (["--objective", "mine"], "no objective 'mine'; one of forcing is expected"),
        (["--cache-policy", "mine"], "no cache policy 'mine'; one of sinks, deep-sinks"),
    ],
)
def test_what_nobody_brought_is_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "tiny", "--data", str(tmp_path), *options]) == cli.USER_ERROR
    assert capsys.readouterr().err.startswith(f"lsdjax: {message}")


def test_the_built_in_policy_keeps_its_contract(plugins: Plugins) -> None:
    register_cache_policy("again", RingWithSinks)
    with pytest.raises(UserError, match="'again' exists already"):
        register_cache_policy("again", RingWithSinks)
