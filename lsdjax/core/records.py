"""Dataclasses of plain values, read back from JSON without guessing."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from lsdjax.core.errors import UserError


def read_record[T](cls: type[T], values: Any, what: str) -> T:
    """The `cls` whose `dataclasses.asdict` was written as JSON; lists become tuples.

    Every field of `cls` has a default, which tells its type.

    Raises:
        UserError: `values` is no object, a name is unknown or missing, or a value is wrong.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{what} is {type(values).__name__}; a JSON object is expected")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(fields)):
        raise UserError(f"{what} has unknown entries {unknown}")
    if missing := sorted(set(fields) - set(values)):
        raise UserError(f"{what} lacks the entries {missing}")
    read = {}
    for name, value in values.items():
        expected = type(fields[name].default)
        value = tuple(value) if isinstance(value, list) else value
        if not fits(value, fields[name].default):
            raise UserError(f"{what} {name}={value!r}; {expected.__name__} is expected")
        read[name] = value
    try:
        return cls(**read)
    except UserError as error:
        raise UserError(f"{what}: {error}") from error


def fits(value: Any, like: Any) -> bool:
    """Whether `value` is of the type of `like`, and so are its parts; numbers are finite."""
    if isinstance(value, tuple) and isinstance(like, tuple) and like:
        return all(fits(part, like[0]) for part in value)
    return type(value) is type(like) and (not isinstance(value, float) or math.isfinite(value))
