"""How tensors of public checkpoints map to ours: names by table, axes by layout, both ways.

Every layout only moves or drops axes, so nothing of a tensor's bits changes on the way.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.core.records import fits


@dataclasses.dataclass(frozen=True)
class Layout:
    """A move of axes and its inverse: public (torch) -> ours -> public."""

    ours: Callable[[np.ndarray], np.ndarray]
    public: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda x: x, lambda x: x)
LINEAR = Layout(lambda x: x.T, lambda x: x.T)
"""(outputs, inputs) <-> (inputs, outputs)."""
ROW = Layout(lambda x: x[0], lambda x: x[None])
"""(1, rows, dim) <-> (rows, dim)."""
CONV_2D = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1))
"""(outputs, inputs, h, w) <-> (h, w, inputs, outputs)."""
CONV_3D = Layout(lambda x: x.transpose(2, 3, 4, 1, 0), lambda x: x.transpose(4, 3, 0, 1, 2))
"""(outputs, inputs, t, h, w) <-> (t, h, w, inputs, outputs)."""
POINT = Layout(lambda x: x[:, :, 0, 0].T, lambda x: x.T[:, :, None, None])
"""A 1 x 1 convolution (outputs, inputs, 1, 1) <-> (inputs, outputs)."""
GAMMA_2D = Layout(lambda x: x[:, 0, 0], lambda x: x[:, None, None])
GAMMA_3D = Layout(lambda x: x[:, 0, 0, 0], lambda x: x[:, None, None, None])


def patch(side: int) -> Layout:
    """A convolution over patches, (dim, ch, 1, side, side) <-> (ch * side * side, dim)."""
    return Layout(
        lambda x: x.reshape(len(x), -1).T,
        lambda x: x.T.reshape(x.shape[1], -1, 1, side, side),
    )


@dataclasses.dataclass(frozen=True)
class Rule:
    """One tensor: its public name, ours, and how the axes move."""

    public: str
    ours: str
    layout: Layout = SAME


def linear(public: str, ours: str, *, bias: bool = True) -> list[Rule]:
    """The tensors of one linear map."""
    rules = [Rule(f"{public}.weight", f"{ours}.kernel", LINEAR)]
    return [*rules, Rule(f"{public}.bias", f"{ours}.bias")] if bias else rules


class Component(Protocol):
    """A network that public checkpoints hold and we have."""

    kind: str
    anchor: str
    """The name of a tensor that no other network has."""

    def infer(self, shapes: Mapping[str, tuple[int, ...]], changes: Mapping[str, Any]) -> Any:
        """The config of a checkpoint with these tensors; `changes` are what they do not tell.

        Raises:
            UserError: the sizes do not go together.
        """
        ...

    def read_config(self, values: Any, what: str) -> Any:
        """The config from JSON; raises UserError."""
        ...

    def rules(self, config: Any) -> list[Rule]: ...

    def public_name(self, name: str) -> str:
        """The public name of a tensor that diffusers calls `name`; others are returned as given."""
        ...

    def diffusers_name(self, name: str) -> str:
        """What diffusers calls the tensor of the public `name`."""
        ...

    def shapes(self, config: Any) -> dict[str, tuple[int, ...]]:
        """Our names and shapes."""
        ...


def settle(kind: str, default: Any, found: Mapping[str, Any], changes: Mapping[str, Any]) -> Any:
    """`default` with what the tensors of a `kind` tell and what the user does.

    Raises:
        UserError: the two differ, or the user sets what there is not, or to another type.
    """
    known = {field.name for field in dataclasses.fields(default)}
    if unknown := sorted(set(changes) - known):
        raise UserError(
            f"{kind} has no setting {', '.join(unknown)}; {', '.join(sorted(known))} are known"
        )
    changes = {name: _typed(name, x, getattr(default, name)) for name, x in changes.items()}
    for name, value in found.items():
        if name in changes and changes[name] != value:
            raise UserError(f"{name}={value} by the tensors, not {changes[name]}")
    return dataclasses.replace(default, **{**found, **changes})


_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a word",
    tuple: "a list such as [1000,500]",
}


def _typed(name: str, value: Any, like: Any) -> Any:
    """`value` of the type of `like`; a whole number counts as any number."""
    if type(like) is float and type(value) is int:
        value = float(value)
    if not fits(value, like):
        raise UserError(f"{name}={value!r}; {_TYPES[type(like)]} is expected")
    return value


def public_shapes(component: Component, config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes that a public checkpoint of `config` has."""
    ours = component.shapes(config)
    rules = component.rules(config)
    if missing := sorted({rule.ours for rule in rules} ^ set(ours)):
        raise AssertionError(f"the table of {component.kind} and the model differ: {missing}")
    empty = np.zeros((), np.int8)
    return {
        rule.public: rule.layout.public(np.broadcast_to(empty, ours[rule.ours])).shape
        for rule in rules
    }


def check_fit(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], what: str
) -> None:
    """Refuse tensors that are missing, unused or of another shape, and list every one.

    Raises:
        UserError: as one line.
    """
    wrong = [
        f"{name} {found[name]}, not {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    parts = {
        "missing": [name for name in expected if name not in found],
        "unused": [name for name in found if name not in expected],
        "of another shape": wrong,
    }
    told = [f"{len(names)} {how} ({', '.join(names)})" for how, names in parts.items() if names]
    if told:
        raise UserError(f"{what}: tensors {'; '.join(told)}")
