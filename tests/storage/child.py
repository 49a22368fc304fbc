"""Processes that save until they are killed. What they save follows from the step."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ppapi_async.storage import SQLiteState

__all__ = ["WATCHES", "Child", "die_everywhere", "entries_after", "told_in"]

WATCHES = ("get_exchanges", "get_links", "get_payouts")
_KEPT = 3
"""Steps whose rows are remembered."""
# Forked by a server that has imported all this; a new interpreter would take half a second.
_PROCESSES = get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def _rows(step: int) -> Mapping[str, str]:
    return {f"row/{step * 7 + n}": f"{step:>400}" for n in range(7)} if step > 0 else {}


def entries_after(step: int) -> Mapping[str, str]:
    """Return what a watch has when the saves up to this one were made, and no other."""
    entries = {"position": str(step)} if step else {}
    for recent in range(step - _KEPT + 1, step + 1):
        entries.update(_rows(recent))
    return entries


async def _go_on(
    state: SQLiteState, lane: str, name: str, steps: int, tell: Callable[[str], object]
) -> None:
    watch = f"{lane}/{name}"
    step = int(await state.read(watch, "position") or 0)
    while step < steps:
        step += 1
        put = {"position": str(step), **_rows(step)}
        await state.save(watch, put, list(_rows(step - _KEPT)))
        tell(f"{name} {step}\n")


async def _go_all(path: Path, lane: str, steps: int, tell: Callable[[str], object]) -> None:
    async with SQLiteState(path) as state:
        await asyncio.gather(*(_go_on(state, lane, name, steps, tell) for name in WATCHES))


def _write(descriptor: int, line: str) -> None:
    os.write(descriptor, line.encode())


def _go(path: Path, lane: str, steps: int, told: Connection) -> None:
    asyncio.run(_go_all(path, lane, steps, partial(_write, told.fileno())))


class Child:
    """A process that goes on with the watches of a lane, and tells of each save that was made."""

    def __init__(self, path: Path, lane: str = "lane", *, steps: int = 10**9) -> None:
        reader, writer = _PROCESSES.Pipe(duplex=False)
        self._process = _PROCESSES.Process(target=_go, args=(path, lane, steps, writer))
        self._process.start()
        writer.close()
        with reader:
            self._told = open(os.dup(reader.fileno()), encoding="ascii")  # noqa: PTH123, SIM115

    def finish(self) -> Mapping[str, int]:
        """Let it do all its steps; return the last one told of each watch."""
        with self._told as told:
            lines = list(told)
        self._process.join()
        assert self._process.exitcode == 0
        return told_in(lines)

    def kill(self, *, after: int = 0) -> Mapping[str, int]:
        """Kill it when it has told of so many saves; return the last one told of each watch."""
        with self._told as told:
            lines = list(itertools.islice(told, after))
            self._process.kill()
            lines += told
        self._process.join()
        assert self._process.exitcode == -signal.SIGKILL
        return told_in(lines)

    def kill_once_there_is(self, path: Path) -> Mapping[str, int]:
        """Kill it as soon as it has made its file."""
        while not path.exists():
            assert self._process.is_alive()
        return self.kill()


def told_in(lines: Iterable[str]) -> Mapping[str, int]:
    """Return the last step of each watch, of the lines that were written out whole."""
    whole: Sequence[Sequence[str]] = [line.split() for line in lines if line.endswith("\n")]
    return {watch: int(step) for watch, step in whole}


def _die_before(statement: int) -> None:
    """Let SQLite's connections kill this process instead of doing their n-th statement."""
    done, connect = itertools.count(1), sqlite3.connect

    class Dying(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            if next(done) == statement:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().execute(*args)

    def dying(url: str, **options: bool) -> sqlite3.Connection:
        return connect(url, factory=Dying, **options)  # type: ignore[call-overload, no-any-return]

    sqlite3.connect = dying  # type: ignore[assignment]


def _die_on_the_way(directory: Path) -> None:
    for statement in itertools.count(1):
        if not (child := os.fork()):
            _die_before(statement)
            told = os.open(directory / f"{statement}.told", os.O_CREAT | os.O_WRONLY, 0o600)
            path = directory / f"{statement}.sqlite"
            asyncio.run(_go_all(path, "lane", 3, partial(_write, told)))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            return
        assert os.WIFSIGNALED(status)  # not an error, which would come again and again


def die_everywhere(directory: Path) -> None:
    """Have processes that die before their first, second, … statement of SQLite.

    Each leaves a file of state, and one of what it told.
    """
    process = _PROCESSES.Process(target=_die_on_the_way, args=(directory,))
    process.start()
    process.join()
    assert process.exitcode == 0
