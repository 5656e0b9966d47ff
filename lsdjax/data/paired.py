"""A user's own pairs of videos: what goes in, what should come out, and under which prompts.

    folder/input/a.mp4      what the model sees
    folder/target/a.mp4     what it should make of it, frame for frame
    folder/prompts.jsonl    {"file": "a.mp4", "prompt": "turn the lights blue"}

A clip may have several lines in prompts.jsonl: all its prompts ask for the same target.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from lsdjax.core.errors import UserError
from lsdjax.data.video import list_videos, open_source

MAX_PROMPT_CHARACTERS = 2000


@dataclass(frozen=True)
class PairedClip:
    """One clip: two files of the same length and at least one prompt."""

    input: Path
    target: Path
    prompts: tuple[str, ...]


def load_paired(folder: str | Path) -> tuple[PairedClip, ...]:
    """Read and check the index of a paired folder; clips are sorted by name.

    Only headers and first frames are read. Sizes may differ (both sides are fitted to the model),
    frame counts may not; they are compared where both headers state them.

    Raises:
        UserError: one line that names the file (or the line of prompts.jsonl) and what is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    for name in ("input", "target"):
        if not (folder / name).is_dir():
            raise UserError(f"{folder}: needs a folder named {name!r} beside prompts.jsonl")
    inputs = {path.name: path for path in list_videos(folder / "input")}
    targets = {path.name: path for path in list_videos(folder / "target")}
    if not inputs:
        raise UserError(f"{folder / 'input'}: holds no video")
    for name, path in inputs.items():
        if name not in targets:
            raise UserError(f"{path}: has no counterpart {folder / 'target' / name}")
    for name, path in targets.items():
        if name not in inputs:
            raise UserError(f"{path}: has no counterpart {folder / 'input' / name}")
    prompts = _read_prompts(folder / "prompts.jsonl", known=frozenset(inputs))
    clips = []
    for name, path in inputs.items():
        if name not in prompts:
            raise UserError(f"{folder / 'prompts.jsonl'}: no prompt for {name!r}")
        _check_lengths(path, targets[name])
        clips.append(PairedClip(path, targets[name], tuple(prompts[name])))
    return tuple(clips)


def _read_prompts(path: Path, known: frozenset[str]) -> dict[str, list[str]]:
    """Prompts by file name, in the order of the lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
    prompts: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not JSON ({error.msg}, column {error.colno})") from error
        if not isinstance(entry, dict):
            raise UserError(
                f'{where}: expected {{"file": …, "prompt": …}}, not {line.strip()[:60]}'
            )
        name, prompt = entry.get("file"), entry.get("prompt")
        if not isinstance(name, str):
            raise UserError(f'{where}: "file" must be the name of a clip, not {name!r}')
        if name not in known:
            raise UserError(f"{where}: no clip named {name!r} in {path.parent / 'input'}")
        if not isinstance(prompt, str) or not prompt.strip():
            raise UserError(f'{where}: "prompt" must be a text that is not empty, not {prompt!r}')
        if len(prompt) > MAX_PROMPT_CHARACTERS:
            raise UserError(
                f"{where}: a prompt of {len(prompt)} characters, at most {MAX_PROMPT_CHARACTERS}"
            )
        prompts.setdefault(name, []).append(prompt)
    return prompts


def _check_lengths(input_path: Path, target_path: Path) -> None:
    """Compare what the two headers state; opening also refuses files that cannot be decoded."""
    with open_source(input_path) as first, open_source(target_path) as second:
        counts = first.frame_count, second.frame_count
    if None not in counts and counts[0] != counts[1]:
        raise UserError(
            f"{target_path}: {counts[1]} frames, but {input_path} has {counts[0]}; "
            "a target answers its input frame for frame"
        )
