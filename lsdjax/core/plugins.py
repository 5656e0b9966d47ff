"""A user's own files: each is run once and registers what it brings (docs/extending.md)."""

import importlib.util
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from lsdjax.core.errors import UserError
from lsdjax.core.registry import describe_error

_loaded: set[Path] = set()


def load_plugins(files: Iterable[str | Path]) -> None:
    """Run Python files in order; one that has been run in this process is left out.

    Raises:
        UserError: a file is missing, cannot be run, or registers what may not be; names the file
            and, where it is known, the line.
    """
    for file in map(Path, files):
        path = file.resolve()
        if path in _loaded:
            continue
        if path.suffix != ".py" or not path.is_file():
            raise UserError(f"{file}: no such plugin; a Python file (.py) is expected")
        _run(file, path)
        _loaded.add(path)


def _run(file: Path, path: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"lsdjax_plugin_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except UserError as error:
        raise UserError(f"{_place(file, path, error)}: {error}") from error
    except Exception as error:
        raise UserError(f"{_place(file, path, error)}: {describe_error(error)}") from error


def _place(file: Path, path: Path, error: Exception) -> str:
    """The file, with the line of it that was being run."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{file}, line {lines[-1]}" if lines else str(file)
