"""The tracer of coverage, which is on only where there is something to measure.

pytest itself goes through hundreds of functions for each test. Traced, these cost as much again as
all that the tests do in the package.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

import ppapi_async

if TYPE_CHECKING:
    from _typeshed import TraceFunction

__all__ = ["Tracing", "import_everything", "untraced"]

_Trace: TypeAlias = "TraceFunction | None"


class Tracing:
    """What traces at the moment, in this thread and in those to come; `with` puts it in force."""

    def __init__(self, here: _Trace = None, in_threads: _Trace = None) -> None:
        self._wanted = here, in_threads
        self._before: list[tuple[_Trace, _Trace]] = []

    @classmethod
    def now(cls) -> Self:
        """Return what is in force."""
        return cls(sys.gettrace(), threading.gettrace())

    @property
    def is_on(self) -> bool:
        """Whether anything is traced."""
        return self._wanted[0] is not None

    def __enter__(self) -> None:
        self._before.append((sys.gettrace(), threading.gettrace()))
        _set(*self._wanted)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _set(*self._before.pop())


def _set(here: _Trace, in_threads: _Trace) -> None:
    if sys.gettrace() is not here:  # each time costs
        sys.settrace(here)
        threading.settrace(in_threads)


def untraced() -> Tracing:
    """Trace nothing for a while."""
    return Tracing()


def import_everything() -> None:
    """Import each module of the package, for its first lines to be measured."""
    for module in pkgutil.walk_packages(ppapi_async.__path__, "ppapi_async."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
