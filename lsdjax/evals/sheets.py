"""Sheets and tables that people look at."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Write uint8 (h, w, 3) as a PNG, whole or not at all."""
    import matplotlib.image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    matplotlib.image.imsave(temporary, picture, format="png")
    temporary.replace(path)


def write_json(path: str | Path, report: dict[str, Any]) -> None:
    """Write one JSON object, whole or not at all."""
    write_text(path, json.dumps(report, indent=1) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write a file of text, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text)
    temporary.replace(path)


def write_picture_sheet(
    path: str | Path, rows: dict[str, list[list[np.ndarray]]], *, columns: int = 4
) -> None:
    """A row a style: for each clip the input, the teacher's picture and the model's, labelled.

    rows: style name -> clips -> [input, teacher, model], each uint8 (h, w, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    blank = 6
    strips = []
    for clips in rows.values():
        cells = [np.concatenate(clip, axis=1) for clip in clips[:columns]]
        gap = np.full((cells[0].shape[0], blank, 3), 255, np.uint8)
        strips.append(np.concatenate([part for cell in cells for part in (cell, gap)], axis=1))
    sheet = np.concatenate(strips)
    height, width = sheet.shape[:2]
    margin = 120
    figure = Figure(figsize=((width + margin) / 100, (height + 24) / 100), dpi=100)
    FigureCanvasAgg(figure)
    figure.figimage(sheet, xo=margin, yo=0, origin="upper")
    each = height / len(rows)
    for number, name in enumerate(rows):
        y = 1 - (24 + (number + 0.5) * each) / (height + 24)
        figure.text(0.005, y, name.replace("_", " "), fontsize=9, va="center")
    figure.text(
        margin / (width + margin), 1 - 12 / (height + 24), "input | teacher | model", fontsize=9,
        va="center",
    )  # fmt: skip
    temporary = path.with_name(f".{path.name}.partial")
    figure.savefig(temporary, format="png", dpi=100)
    temporary.replace(path)
