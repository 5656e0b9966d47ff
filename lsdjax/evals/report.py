"""What was measured, as JSON and as text."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Python's own types all through; what JSON has no number for becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def as_lines(result: Mapping[str, Any], indent: str = "") -> str:
    """Nested values as indented `name: value` lines."""
    lines = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}:", as_lines(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines += [f"{indent}{name}:"]
            lines += ["\n".join([as_lines(item, indent + "  "), ""]) for item in value]
        else:
            text = f"{value:.3f}" if isinstance(value, float) else value
            lines.append(
                f"{indent}{name}: {', '.join(map(str, text)) if isinstance(text, list) else text}"
            )
    return "\n".join(lines)


def as_style_table(result: Mapping[str, Any]) -> str:
    """One row a style, one column a measure; then whatever else was measured."""
    styles = result.get("styles", {})
    columns = list(dict.fromkeys(key for row in styles.values() for key in row if key != "kind"))
    rows = [["style", "kind", *columns]]
    for name, row in styles.items():
        cells = (row.get(column) for column in columns)
        rows.append(
            [name, str(row.get("kind", "")), *("" if c is None else f"{c:.4g}" for c in cells)]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    rest = {key: value for key, value in result.items() if key != "styles"}
    return f"{table}\n{as_lines(rest)}".rstrip()
