"""Checkpoints of a run, through orbax: saved whole or not at all, restored exactly."""

import errno
import logging
import os
from pathlib import Path
from typing import cast

import jax
import orbax.checkpoint as ocp


class RunCheckpoints:
    """The last few states of one training run; on several processes, all of them have to ask."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        # What fails in the background is raised by the next call as well: once is enough.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def restore[State](self, state: State) -> State:
        """The newest complete checkpoint, shaped and laid out like `state`; else `state` itself."""
        step = self._manager.latest_step()
        if step is None:
            return state
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        return cast(State, restored)

    def save(self, step: int, state: object) -> None:
        """Write `state` in the background; it becomes visible only when it is complete.

        Raises:
            OSError, ValueError: this or the one before could not be written.
        """
        self._manager.save(step, args=ocp.args.StandardSave(state))

    def close(self) -> None:
        """Wait for what is being written; raises as `save` does."""
        self._manager.wait_until_finished()
        self._manager.close()


def is_disk_full(error: BaseException | None) -> bool:
    """Whether a full disk or a spent quota lies behind `error`.

    What writes weights tells so in words alone: tensorstore as ValueError, safetensors in its own.
    """
    words = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT)]
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
