"""Which implementation serves an operation, and why the others did not.

    dispatch.call("block", *arguments, implementation=None | "name" | ("name", ...), **settings)

None tries what is registered, the best first, on the device that JAX runs on. An implementation
that cannot serve a shape, a type or a device raises NotImplementedError with its reason; every
reason is kept. A name, or a sequence of names, tries those alone, and raises where none of them
serves: nothing else is put in their place. `only` names them for calls that do not.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from lsdjax.core.errors import UserError

HOPPER = "hopper"
"""What `device` says of an NVIDIA GPU of compute capability 9.0."""

_IMPLEMENTATIONS: dict[str, dict[str, Callable[..., Any]]] = {}
_ASKED_FOR: set[tuple[str, str]] = set()
_ONLY: dict[str, tuple[str, ...]] = {}
_CHOICES: dict[tuple[str, str, str], "Choice"] = {}


@dataclasses.dataclass(frozen=True)
class Choice:
    """What served an operation on given shapes; `refusals` maps the others to their reasons."""

    operation: str
    shapes: str
    device: str
    chosen: str | None
    refusals: dict[str, str]


def register(
    operation: str, name: str, implementation: Callable[..., Any], *, asked_for: bool = False
) -> None:
    """Let `implementation` serve `operation`; those registered earlier are tried first.

    asked_for: only where it is named, as what computes something else does.
    """
    _IMPLEMENTATIONS.setdefault(operation, {})[name] = implementation
    if asked_for:
        _ASKED_FOR.add((operation, name))


@contextlib.contextmanager
def only(operation: str, *names: str) -> Iterator[None]:
    """Within, calls of `operation` that name no implementation try these alone."""
    before = _ONLY.get(operation)
    _ONLY[operation] = names
    try:
        yield
    finally:
        _ONLY.pop(operation)
        if before is not None:
            _ONLY[operation] = before


def device() -> str:
    """Name of the device: `HOPPER`, or what JAX calls the platform."""
    first = jax.devices()[0]
    if first.platform == "gpu" and str(getattr(first, "compute_capability", "")) == "9.0":
        return HOPPER
    return first.platform


def needs(wanted: str) -> None:
    """For implementations: refuse any other device.

    Raises:
        NotImplementedError: JAX runs on something else.
    """
    if (found := device()) != wanted:
        raise NotImplementedError(f"runs on {wanted}, not on {found}")


def call(
    operation: str,
    *arguments: Any,
    implementation: str | Sequence[str] | None = None,
    **settings: Any,
) -> Any:
    """The result of the first implementation that serves these arguments.

    Raises:
        UserError: an unknown operation or name.
        NotImplementedError: none of those asked for serves; with every reason.
    """
    if operation not in _IMPLEMENTATIONS:
        raise UserError(f"operation {operation!r}; one of {sorted(_IMPLEMENTATIONS)} is expected")
    known = _IMPLEMENTATIONS[operation]
    if implementation is None:
        usual = tuple(name for name in known if (operation, name) not in _ASKED_FOR)
        names = _ONLY.get(operation, usual)
    else:
        names = (implementation,) if isinstance(implementation, str) else tuple(implementation)
    for name in names:
        if name not in known:
            raise UserError(f"implementation {name!r} of {operation}; {sorted(known)} are known")
    refusals: dict[str, str] = {}
    for name in names:
        try:
            result = known[name](*arguments, **settings)
        except NotImplementedError as refusal:
            refusals[name] = str(refusal)
            continue
        _remember(operation, arguments, name, refusals)
        return result
    _remember(operation, arguments, None, refusals)
    reasons = "; ".join(f"{name}: {why}" for name, why in refusals.items())
    raise NotImplementedError(f"nothing serves {operation}: {reasons}")


def choices() -> list[Choice]:
    """What was chosen in this process, in the order of first use."""
    return list(_CHOICES.values())


def forget() -> None:
    """Forget the choices."""
    _CHOICES.clear()


def _remember(
    operation: str, arguments: tuple[Any, ...], chosen: str | None, refusals: dict[str, str]
) -> None:
    shapes = shapes_of(arguments)
    key = (operation, shapes, device())
    _CHOICES[key] = Choice(operation, shapes, device(), chosen, dict(refusals))


def shapes_of(arguments: Any) -> str:
    """Type and shape of the first array, which says what the work is on."""
    for leaf in jax.tree.leaves(arguments):
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            return f"{leaf.dtype}{list(leaf.shape)}"
    return "-"
