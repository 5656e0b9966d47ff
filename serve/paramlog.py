"""What a session's parameters are, what was asked for, and what was answered."""

from dataclasses import dataclass
from typing import Any

from lsdjax.serve.messages import DEVICE_DEFAULTS, POST_DEFAULTS, ParamsRequest
from lsdjax.serve.presets import DEFAULT_PROMPT


@dataclass(frozen=True)
class _Asked:
    ref: Any
    request: ParamsRequest


class ParamLog:
    """Revisions of one session's parameters; revision 0 is what it begins with."""

    def __init__(self) -> None:
        self._revision = 0  # the last one asked for
        self._applied = 0
        self._device: dict[str, Any] = {"prompt": DEFAULT_PROMPT, **DEVICE_DEFAULTS}
        self._post: dict[str, Any] = dict(POST_DEFAULTS)
        self._asked: dict[int, _Asked] = {}

    @property
    def effective(self) -> dict[str, Any]:
        """What holds now."""
        return self._device | self._post

    @property
    def present(self) -> tuple[int, dict[str, Any]]:
        """The revision in effect and the device process's part of it."""
        return self._applied, dict(self._device)

    @property
    def unanswered(self) -> list[int]:
        """Revisions that were asked for, and neither applied nor rejected yet."""
        return sorted(self._asked)

    def opened(self, effective: dict[str, Any]) -> None:
        """The device process says what a new stream begins with."""
        self._device |= effective

    def ask(self, ref: Any, request: ParamsRequest) -> int:
        """A revision for what a client asks for."""
        self._revision += 1
        self._asked[self._revision] = _Asked(ref, request)
        return self._revision

    def wanted(self, revision: int) -> dict[str, Any]:
        """The device process's part of a revision."""
        values = self._asked[revision].request.values
        return {name: value for name, value in values.items() if name not in POST_DEFAULTS}

    def applied(
        self, revision: int, effective: dict[str, Any], first_seq: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The device process follows a revision: the fields of its answer, the rest of it."""
        asked = self._asked.pop(revision)
        values = asked.request.values
        self._post |= {name: values[name] for name in POST_DEFAULTS if name in values}
        self._device |= effective
        self._applied = revision
        status = "clamped" if asked.request.clamped else "applied"
        answer = self._answer(asked.ref, revision, status) | {"first_seq": first_seq}
        return answer, dict(self._post)

    def failed(self, revision: int, message: str) -> dict[str, Any]:
        """The device process refuses a revision: the fields of its answer."""
        asked = self._asked.pop(revision, None)
        ref = None if asked is None else asked.ref
        return self._answer(ref, revision, "rejected") | {"message": message}

    def refused(self, ref: Any, message: str) -> dict[str, Any]:
        """What was asked for cannot be used at all: the fields of its answer."""
        return self._answer(ref, self._revision, "rejected") | {"message": message}

    def _answer(self, ref: Any, revision: int, status: str) -> dict[str, Any]:
        return {
            "id": ref,
            "rev": revision,
            "status": status,
            "effective": self.effective,
            "first_seq": None,
        }
