"""Checkpoints of a run, through orbax: saved whole or not at all, restored exactly."""

from pathlib import Path
from typing import cast

import jax
import orbax.checkpoint as ocp


class RunCheckpoints:
    """The last few states of one training run."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def restore[State](self, state: State) -> State:
        """The newest complete checkpoint, shaped like `state`; `state` itself if there is none."""
        step = self._manager.latest_step()
        if step is None:
            return state
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        return cast(State, restored)

    def save(self, step: int, state: object) -> None:
        """Write `state` in the background; it becomes visible only when it is complete."""
        self._manager.save(step, args=ocp.args.StandardSave(state))

    def close(self) -> None:
        """Wait for what is being written."""
        self._manager.wait_until_finished()
        self._manager.close()
