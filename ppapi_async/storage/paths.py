"""What calls take for `state` and `checkpoint`: an object, or just the path of a file."""

from __future__ import annotations

import os
from typing import TypeAlias

from ppapi_async.storage.checkpoints import Checkpoint, FileCheckpoint
from ppapi_async.storage.sqlite import SQLiteState
from ppapi_async.storage.stores import MemoryState, State

__all__ = ["CheckpointOrPath", "StateOrPath", "checkpoint_of", "state_of"]

StateOrPath: TypeAlias = State | str | os.PathLike[str]
CheckpointOrPath: TypeAlias = Checkpoint | str | os.PathLike[str]


def state_of(value: StateOrPath | None) -> State:
    """Return the state itself, one in memory for None, or one in the SQLite file of a path.

    Raises:
        ValueError: the path cannot be one of a file.
    """
    if value is None:
        return MemoryState()
    return SQLiteState(value) if isinstance(value, str | os.PathLike) else value


def checkpoint_of(value: CheckpointOrPath | None) -> Checkpoint | None:
    """Return the checkpoint itself, or one in the file of a path; None for none."""
    return FileCheckpoint(value) if isinstance(value, str | os.PathLike) else value
