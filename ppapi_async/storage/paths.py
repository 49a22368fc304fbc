"""What calls take for `state` and `checkpoint`: an object, or just where to find one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from ppapi_async.storage.checkpoints import Checkpoint, FileCheckpoint
from ppapi_async.storage.postgres import PostgresState
from ppapi_async.storage.sqlite import SQLiteState
from ppapi_async.storage.stores import MemoryState, State

__all__ = ["CheckpointOrPath", "StateOrPath", "checkpoint_of", "state_of"]

StateOrPath: TypeAlias = State | str | os.PathLike[str]
CheckpointOrPath: TypeAlias = Checkpoint | str | os.PathLike[str]


def state_of(value: StateOrPath | None) -> State:
    """Return the state itself, one in memory for None, or one in the SQLite file of a path.

    Where the path is the url of a database in PostgreSQL, it is one in that.

    Raises:
        ValueError: the path cannot be one of a file.
        ImportError: psycopg is not installed.
        TypeError: it is neither a state nor a path.
    """
    if value is None:
        return MemoryState()
    if isinstance(value, str) and value.startswith(("postgresql://", "postgres://")):
        return PostgresState(value)
    if isinstance(value, str | os.PathLike):
        return SQLiteState(value)
    if not all(callable(getattr(value, name, None)) for name in ("load", "read", "save")):
        raise TypeError("state: pass a State such as SQLiteState, or the path of a file")
    return value


def checkpoint_of(value: CheckpointOrPath | None) -> Checkpoint | None:
    """Return the checkpoint itself, or one in the file of a path; None for none.

    Raises:
        ValueError: there is no directory for the file.
        TypeError: it is neither a checkpoint nor a path.
    """
    if value is None:
        return None
    if isinstance(value, str | os.PathLike):
        directory = Path(value).parent
        if not directory.is_dir():
            raise ValueError(f"checkpoint: there is no directory {str(directory)!r}; make it first")
        return FileCheckpoint(value)
    if not all(callable(getattr(value, name, None)) for name in ("load", "save")):
        raise TypeError("checkpoint: pass a Checkpoint, or the path of a file")
    return value
