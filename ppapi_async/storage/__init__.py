"""Where positions are kept: a stream's in a checkpoint, a watch's in a state."""

from ppapi_async.storage.checkpoints import Checkpoint, FileCheckpoint, MemoryCheckpoint
from ppapi_async.storage.postgres import PostgresState
from ppapi_async.storage.sqlite import SQLiteState
from ppapi_async.storage.stores import MemoryState, State

__all__ = [
    "Checkpoint",
    "FileCheckpoint",
    "MemoryCheckpoint",
    "MemoryState",
    "PostgresState",
    "SQLiteState",
    "State",
]
