"""Named things of one kind, to which a user's own file may add."""

import contextlib
from collections.abc import Iterator, Mapping

from lsdjax.core.errors import UserError


class Registry[T](Mapping[str, T]):
    """Things by name, in the order in which they came; a name is given once and for all."""

    def __init__(self, kind: str, entries: Mapping[str, T]) -> None:
        """kind: what an entry is called in messages; entries: those that are built in."""
        self.kind = kind
        self._entries = dict(entries)

    def register(self, name: str, entry: T) -> None:
        """Add one at the end.

        Raises:
            UserError: the name is taken.
        """
        if name in self:
            raise UserError(f"{self.kind} {name!r} exists already; another name is expected")
        self._entries[name] = entry

    def index(self, name: str) -> int:
        """The number of `name`, from 0; raises UserError where there is none."""
        self[name]
        return list(self._entries).index(name)

    def __getitem__(self, name: str) -> T:
        if name not in self:
            known = ", ".join(self)
            raise UserError(
                f"no {self.kind} {name!r}; one of {known} is expected "
                "(a file given with --plugin may bring others)"
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@contextlib.contextmanager
def blame(what: str) -> Iterator[None]:
    """Turn whatever a user's code raises into one line that begins with `what`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from error
    except Exception as error:
        raise UserError(f"{what}: {describe_error(error)}") from error


def describe_error(error: Exception) -> str:
    """The type and the first line of its message: JAX goes on for a page."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
