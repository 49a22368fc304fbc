"""Where positions are kept. A store is anything with `load` and `save` of a JSON object."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ppapi_async.errors import StateError
from ppapi_async.files import read
from ppapi_async.models import Json
from ppapi_async.storage.stores import warn_of

__all__ = ["Checkpoint", "FileCheckpoint", "MemoryCheckpoint"]


_LARGEST = 64 * 1024 * 1024


class Checkpoint(Protocol):
    """Keeps the position of one stream.

    Both methods are called from the event loop, `save` after every window and when the stream is
    closed, so they should be quick. What is saved is JSON and holds no key.
    """

    def load(self) -> Mapping[str, Json] | None:
        """Return what was saved last, None if nothing was."""

    def save(self, position: Mapping[str, Json]) -> None:
        """Keep the position in place of the one before."""


class MemoryCheckpoint:
    """Keeps the position in this object, as the JSON that a file would hold."""

    def __init__(self) -> None:
        self.text: str | None = None

    def load(self) -> Mapping[str, Json] | None:
        """Return what was saved last."""
        return None if self.text is None else _parsed(self.text, "the checkpoint")

    def save(self, position: Mapping[str, Json]) -> None:
        """Keep the position."""
        self.text = json.dumps(position)


class FileCheckpoint:
    """Keeps the position in a file, which is replaced whole: killed at any moment, one is there.

    Args:
        path: the file; its directory must exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> Mapping[str, Json] | None:
        """Return what the file holds, None if there is none.

        Raises:
            ValueError: the file is not a checkpoint.
            StateError: the file cannot be read, or is no file.
        """
        try:
            content, status = read(self._path, _LARGEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failure("read", error) from error
        warn_of(self._path, status)
        return _parsed(content, str(self._path))

    def save(self, position: Mapping[str, Json]) -> None:
        """Replace the file; where that fails, it stays as it was and nothing else is left.

        Raises:
            StateError: the file cannot be written.
        """
        text = json.dumps(position)
        try:
            self._replace(text)
        except OSError as error:
            raise self._failure("written", error) from error

    def _replace(self, text: str) -> None:
        with contextlib.ExitStack() as failed:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self._path.parent, prefix=self._path.name, delete=False
            ) as file:
                failed.callback(Path(file.name).unlink)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
            failed.pop_all()

    def _failure(self, done: str, error: OSError) -> StateError:
        reason = error.strerror or str(error) or type(error).__name__
        return StateError(
            f"the checkpoint {self._path} could not be {done}: {reason}; pass the path of a file in"
            " a directory that this process may write to"
        )


def _parsed(text: str | bytes, name: str) -> Mapping[str, Json]:
    try:
        position = json.loads(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError):
        position = None
    if not isinstance(position, dict):
        raise ValueError(f"checkpoint: {name} holds no position; delete it to start anew")
    return position
