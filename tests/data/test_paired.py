import json
from pathlib import Path

import pytest

from lsdjax.core.errors import UserError
from lsdjax.data.paired import PairedClip, load_paired


@pytest.fixture
def folder(tmp_path: Path, write_video) -> Path:
    for side in ("input", "target"):
        (tmp_path / side).mkdir()
        for name in ("a.mp4", "b.mp4"):
            write_video(tmp_path / side / name, frames=4)
    write_prompts(tmp_path, ("b.mp4", "second"), ("a.mp4", "first"), ("a.mp4", "also first"))
    return tmp_path


def write_prompts(folder: Path, *lines: tuple[str, str]) -> None:
    rows = [json.dumps({"file": name, "prompt": prompt}) for name, prompt in lines]
    (folder / "prompts.jsonl").write_text("\n".join([*rows, ""]))


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_paired(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_clips_come_sorted_with_all_their_prompts(folder):
    inputs, targets = folder / "input", folder / "target"
    assert load_paired(folder) == (
        PairedClip(inputs / "a.mp4", targets / "a.mp4", ("first", "also first")),
        PairedClip(inputs / "b.mp4", targets / "b.mp4", ("second",)),
    )


def test_missing_folders_are_named(folder):
    assert "no such folder" in refusal(folder / "nowhere")
    (folder / "input").rename(folder / "inputs")
    assert "needs a folder named 'input'" in refusal(folder)


def test_a_clip_without_its_counterpart_is_named(folder):
    (folder / "target" / "b.mp4").unlink()
    assert "input/b.mp4: has no counterpart" in refusal(folder)
    (folder / "input" / "b.mp4").rename(folder / "target" / "b.mp4")
    assert "target/b.mp4: has no counterpart" in refusal(folder)


def test_folder_without_videos_is_refused(folder):
    for path in folder.glob("*/*.mp4"):
        path.unlink()
    assert "holds no video" in refusal(folder)


def test_different_lengths_are_refused(folder, write_video):
    write_video(folder / "target" / "b.mp4", frames=7)
    message = refusal(folder)
    assert "b.mp4: 7 frames" in message
    assert "has 4" in message


def test_a_damaged_clip_is_named(folder):
    (folder / "input" / "a.mp4").write_text("no video")
    assert "input/a.mp4: neither a video nor a picture" in refusal(folder)


def test_prompts_must_cover_every_clip(folder):
    write_prompts(folder, ("a.mp4", "first"))
    assert "no prompt for 'b.mp4'" in refusal(folder)
    (folder / "prompts.jsonl").unlink()
    assert "prompts.jsonl: no such file" in refusal(folder)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"file": "a.mp4", ', "not JSON"),
        ('["a.mp4", "first"]', "expected {"),
        ('{"prompt": "first"}', '"file" must be the name of a clip, not None'),
        ('{"file": "c.mp4", "prompt": "third"}', "no clip named 'c.mp4'"),
        ('{"file": "a.mp4", "prompt": "  "}', '"prompt" must be a text'),
        ('{"file": "a.mp4", "prompt": 3}', '"prompt" must be a text'),
        (json.dumps({"file": "a.mp4", "prompt": "x" * 2001}), "2001 characters, at most 2000"),
    ],
)
def test_a_bad_line_is_named_by_its_number(folder, line, expected):
    (folder / "prompts.jsonl").write_text('{"file": "b.mp4", "prompt": "second"}\n\n' + line + "\n")
    message = refusal(folder)
    assert "prompts.jsonl, line 3: " in message
    assert expected in message


def test_prompts_that_are_no_text_are_refused(folder):
    (folder / "prompts.jsonl").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8" in refusal(folder)
