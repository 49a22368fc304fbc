"""The state of watches in one SQLite file, written by a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeAlias, TypeVar

from attrs import define, field

from ppapi_async.errors import StateError
from ppapi_async.storage.database import Database
from ppapi_async.storage.stores import StateChange, check

__all__ = ["SQLiteState"]

T = TypeVar("T")
_LONGEST = timedelta(days=1).total_seconds()


class SQLiteState:
    """Keeps the entries in one SQLite file, for many accounts and several processes at once.

    A save that has returned survives the process, however it ends. A crash of the whole machine
    may take the last moments' saves back, each as a whole. The file is created for its owner only,
    and opened when it is first needed.

    `async with` closes it when the last of those who entered leaves; it may be entered many times,
    and also used without, until `aclose`. Used again, it opens again. One event loop at a time.

    Args:
        path: the file, on a local disk; its directory must exist.
        timeout: how long to wait for other processes that are writing, in seconds or as timedelta.

    Raises:
        ValueError: an argument is not usable.

    >>> async with SQLiteState("watches.sqlite") as state:                # doctest: +SKIP
    ...     await state.save("7f6b2c5a90d1e834/get_links", {"position": "{}"})
    """

    def __init__(
        self, path: str | os.PathLike[str], *, timeout: float | timedelta = timedelta(seconds=30)
    ) -> None:
        text = os.fspath(path)
        if text in ("", ":memory:") or "\0" in text:
            raise ValueError("path: pass the path of a file; to keep nothing, use MemoryState()")
        self.path = Path(text).absolute()
        self._timeout = _seconds(timeout)
        self._inside = 0
        self._worker: _Worker | None = None

    def __repr__(self) -> str:
        return f"<SQLiteState {str(self.path)!r} {'open' if self._worker else 'closed'}>"

    async def __aenter__(self) -> Self:
        self._inside += 1
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inside -= 1
        if not self._inside:
            await self.aclose()

    async def aclose(self) -> None:
        """Write what was asked for, close the file and end the thread, whoever is still inside."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.aclose()

    async def check(self) -> None:
        """Look whether the file can be used; one that is not there is made.

        Raises:
            StateError: it cannot; its `may_pass` tells whether to try again may help.
        """
        question = _Question(Database.check)
        await self._answer(question, question.done)

    async def load(self, watch: str) -> Mapping[str, str]:
        """Return all entries of a watch, none if nothing was saved.

        Raises:
            StateError: the file could not be read.
            TypeError: the name is no text.
            ValueError: the name cannot be one of a watch.
        """
        check(watch)
        question = _Question(lambda database: database.load(watch))
        return await self._answer(question, question.done)

    async def read(self, watch: str, name: str) -> str | None:
        """Return one entry, None if there is none of this name.

        Raises:
            StateError: the file could not be read.
            TypeError: a name is no text.
            ValueError: a name cannot be one.
        """
        check(watch, name)
        question = _Question(lambda database: database.read(watch, name))
        return await self._answer(question, question.done)

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        """Drop the named entries, whether or not they are there, then put these in.

        All or nothing, and kept when it returns. Saves that wait for another one are written
        together. One that is cancelled was made as a whole or not at all.

        Raises:
            StateError: nothing was saved.
            TypeError: the arguments are no texts.
            ValueError: a text cannot be kept.
        """
        save = _Save(StateChange.of(watch, put, drop))
        await self._answer(save, save.done)

    async def _answer(self, job: _Job, done: Future[T]) -> T:
        # After a fork the thread is the parent's; this process needs one of its own.
        if self._worker is None or not self._worker.is_alive():
            self._worker = _Worker(self, Database(self.path, self._timeout))
        self._worker.put(job)
        return await asyncio.wrap_future(done)


@define(eq=False)
class _Save:
    """A change, and who waits for it."""

    change: StateChange
    done: Future[None] = field(factory=Future)


@define(eq=False)
class _Question(Generic[T]):
    """What is to be read, and who waits for it."""

    ask: Callable[[Database], T]
    done: Future[T] = field(factory=Future)

    def answer(self, database: Database) -> None:
        """Answer, be it with an error."""
        try:
            self.done.set_result(self.ask(database))
        except StateError as error:
            self.done.set_exception(_copy(error))


_Job: TypeAlias = _Save | _Question[Mapping[str, str]] | _Question[str | None] | _Question[None]
_Jobs: TypeAlias = "SimpleQueue[_Job | None]"
"""None is the last."""


class _Worker:
    """The thread that has the file open, as its owner sees it.

    The thread knows the queue only, not the owner: one that is forgotten takes its thread along.
    """

    def __init__(self, owner: SQLiteState, database: Database) -> None:
        self._jobs: _Jobs = SimpleQueue()
        self._ended: Future[None] = Future()
        self._ended.set_running_or_notify_cancel()  # who waits for it may be cancelled, it not
        self._thread = threading.Thread(
            target=_work,
            args=(self._jobs, database, self._ended),
            name=f"ppapi_async {owner.path.name}",
            daemon=True,  # else one that is forgotten would keep the process from exiting
        )
        self._thread.start()
        self._forgotten = weakref.finalize(owner, _dismiss, self._jobs, self._thread)

    def is_alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._thread.is_alive()

    def put(self, job: _Job) -> None:
        """Have a job done."""
        self._jobs.put(job)

    async def aclose(self) -> None:
        """Let the jobs be done that are waiting, and the thread end."""
        self._forgotten.detach()
        self._jobs.put(None)
        await asyncio.wrap_future(self._ended)
        self._thread.join()  # it has nothing left to do


def _dismiss(jobs: _Jobs, thread: threading.Thread) -> None:
    """End the thread of an owner that was dropped. Runs wherever garbage is collected."""
    jobs.put(None)
    if not threading.main_thread().is_alive():  # the interpreter exits, and would not wait
        thread.join()


def _work(jobs: _Jobs, database: Database, ended: Future[None]) -> None:
    try:
        while _serve([jobs.get(), *_waiting(jobs)], database):
            pass
    finally:
        database.close()
        _give_up(_waiting(jobs))
        ended.set_result(None)


def _waiting(jobs: _Jobs) -> Iterator[_Job | None]:
    while not jobs.empty():
        yield jobs.get()


def _serve(waiting: Sequence[_Job | None], database: Database) -> bool:
    """Do these jobs, and tell whether there are more to come."""
    jobs = [job for job in waiting if job and job.done.set_running_or_notify_cancel()]
    try:
        _commit([job for job in jobs if isinstance(job, _Save)], database)
        for job in jobs:
            if isinstance(job, _Question):
                job.answer(database)
    finally:
        _give_up(jobs)
    return None not in waiting


def _commit(saves: Sequence[_Save], database: Database) -> None:
    """Write the saves in one transaction, and tell each what became of it."""
    if not saves:
        return
    try:
        database.write([save.change for save in saves])
    except StateError as error:
        for save in saves:
            save.done.set_exception(_copy(error))
        return
    for save in saves:
        save.done.set_result(None)


def _give_up(jobs: Iterable[_Job | None]) -> None:
    """Let nobody wait for ever. There are such jobs only where something broke unforeseen."""
    for job in jobs:
        if job and not job.done.done():
            job.done.set_exception(StateError("the thread of the state broke off; try again"))


def _copy(error: StateError) -> StateError:
    """Return an error of one's own: each that raises it adds to its traceback."""
    copy = StateError(error.message, may_pass=error.may_pass)
    copy.__cause__ = error.__cause__
    return copy


def _seconds(timeout: float | timedelta) -> float:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    if not 0 < seconds <= _LONGEST:
        raise ValueError("timeout: pass more than 0 seconds, and no more than a day")
    return seconds
