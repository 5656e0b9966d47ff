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
    rest = {key: value for key, value in result.items() if key != "styles"}
    return f"{_as_columns(rows)}\n{as_lines(rest)}".rstrip()


def _as_columns(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def as_drift_table(result: Mapping[str, Any]) -> str:
    """One row a setting: each metric in the last segment and its slope, then what was kept."""
    settings = result["settings"]
    metrics = list(next(iter(settings.values()))["metrics"])
    rows = [["last segment", *metrics, "kept"], *_drift_rows(settings, metrics)]
    slopes = [["per 1,000 frames", *metrics], *_slope_rows(settings, metrics)]
    gain = result["intact_minus_reseeded_db"]
    lines = [_as_columns(rows), "", _as_columns(slopes), ""]
    if gain is not None:
        lines.append(f"intact - reseeded: {_with_interval(gain)} dB")
    for name, compared in result["early_against_late"].items():
        for metric, found in (compared or {}).items():
            if isinstance(found, Mapping):
                p = "" if found["p"] is None else f", p = {found['p']:.2g}"
                change = f"{found['early']:.4g} early, {found['late']:.4g} late{p}"
                lines.append(f"{name}, {metric}: {change}")
    return "\n".join(lines)


def _drift_rows(settings: Mapping[str, Any], metrics: list[str]) -> list[list[str]]:
    rows = []
    for name, setting in settings.items():
        found = (setting["metrics"][metric] for metric in metrics)
        ends = ["-" if f is None else _mean([curve[-1] for curve in f["curves"]]) for f in found]
        kept = setting["kept"] or {}
        shares = ", ".join(f"{each['share']:.0%} at {frame}" for frame, each in kept.items())
        rows.append([name, *ends, shares or "-"])
    return rows


def _slope_rows(settings: Mapping[str, Any], metrics: list[str]) -> list[list[str]]:
    rows = []
    for name, setting in settings.items():
        found = (setting["metrics"][metric] for metric in metrics)
        slopes = ("-" if f is None else _with_interval(f["slope_per_1000"]) for f in found)
        rows.append([name, *slopes])
    return rows


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.4g}"


def _with_interval(found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['mean']:.2g}"
    return f"{found['mean']:.2g} ± {found['high'] - found['mean']:.1g}"
