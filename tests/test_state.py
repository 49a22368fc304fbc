"""Stores of state: all or nothing, kept whatever dies, shared, and gone without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import random
import resource
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.errors import PPAPIError, StateError
from ppapi_async.models import Json
from ppapi_async.storage import (
    Checkpoint,
    FileCheckpoint,
    MemoryCheckpoint,
    MemoryState,
    SQLiteState,
    State,
)
from ppapi_async.storage.database import _READ_AT_ONCE, _WRITTEN_AT_ONCE, Database
from ppapi_async.storage.stores import StateChange
from tests.leaks import assert_survives_pickling
from tests.state_child import WATCHES, Child, die_everywhere, entries_after, told_in

WATCH = "7f6b2c5a90d1e834/get_exchanges"
SECRET = "a text of an entry"
PIECES = (_WRITTEN_AT_ONCE, 2 * _WRITTEN_AT_ONCE, _READ_AT_ONCE, 2 * _READ_AT_ONCE)
EDGES = [piece + more for piece in PIECES for more in (-1, 0, 1)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a file of state may be."""
    return tmp_path / "state.sqlite"


@pytest.fixture(params=["memory", "sqlite"])
async def state(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[State]:
    """Return each of the stores."""
    if request.param == "memory":
        yield MemoryState()
        return
    async with SQLiteState(path) as opened:
        yield opened


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file as anybody could."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        yield connection


def threads() -> list[threading.Thread]:
    """Return the threads of open files of state."""
    return [one for one in threading.enumerate() if one.name.startswith("ppapi_async")]


def descriptors(path: Path) -> list[str]:
    """Return the descriptors that are open on a file of state or its companions."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [name for name in map(os.readlink, links) if name.startswith(str(path))]


def names_in(directory: Path) -> set[str]:
    """Return what files there are."""
    return {file.name for file in directory.iterdir()}


# --- what every store does


async def test_what_is_saved_is_there(state: State) -> None:
    """A save puts and drops; other watches and other entries stay."""
    assert await state.load(WATCH) == {}
    assert await state.read(WATCH, "position") is None
    await state.save(WATCH, {"position": "1", "row/7": "{}", "row/8": "{}"})
    await state.save("other", {"position": "2"})
    await state.save(WATCH, {"position": "3"}, ["row/7", "never there"])
    await state.save(WATCH, {"row/8": "[]"}, {"row/8": 1})
    assert await state.load(WATCH) == {"position": "3", "row/8": "[]"}
    assert await state.read(WATCH, "position") == "3"
    assert await state.read(WATCH, "row/7") is None
    assert await state.load("other") == {"position": "2"}


async def test_what_was_handed_over_is_a_copy(state: State) -> None:
    """A save keeps what it was called with, and what was loaded stays as it is."""
    put, drop = {"a": "1"}, ["c"]
    await state.save(WATCH, {"c": "1"})
    saving = asyncio.create_task(state.save(WATCH, put, drop))
    await asyncio.sleep(0)
    put["b"] = "2"
    drop.clear()
    await saving
    before = await state.load(WATCH)
    await state.save(WATCH, {"a": "2"})
    assert before == {"a": "1"}


@pytest.mark.parametrize("rows", [1, *EDGES])
async def test_any_number_of_entries(state: State, rows: int) -> None:
    """No entry is lost or doubled where the work is done in pieces."""
    many = {f"row/{n}": f'{{"id": {n}, "name": "имя"}}' for n in range(rows)}
    await state.save(WATCH, many)
    await state.save("another", {"row/1": "1"})
    assert await state.load(WATCH) == many
    await state.save(WATCH, {}, [name for name in many if name != "row/0"])
    assert await state.load(WATCH) == {"row/0": many["row/0"]}


async def test_many_watches_at_once(state: State) -> None:
    """Saves and loads of many watches do not get in each other's way."""
    names = [f"{n:x}/get_links" for n in range(100)]
    await asyncio.gather(*(state.save(name, {"position": name}) for name in names))
    got = await asyncio.gather(*(state.load(name) for name in names))
    assert got == [{"position": name} for name in names]


@pytest.mark.parametrize(
    ("put", "drop", "error"),
    [
        ({"a": 1}, (), TypeError),
        ({1: "a"}, (), TypeError),
        ({}, [1], TypeError),
        ({}, "position", TypeError),
        ({"a": f"{SECRET}\ud83d"}, (), ValueError),
    ],
)
async def test_what_cannot_be_kept_is_refused(
    state: State, put: Mapping[Any, Any], drop: Collection[Any], error: type[Exception]
) -> None:
    """Whatever a file could not give back is refused, by all stores and without showing it."""
    await state.save(WATCH, {"a": "0", "position": "0"})
    with pytest.raises(error, match=r"^(state|drop): ") as caught:
        await state.save(WATCH, {"b": "1", **put}, drop)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    readings = (state.load("\udfff"), state.read(WATCH, "\udfff"), state.read("\udfff", "a"))
    for reading in readings:
        with pytest.raises(ValueError, match="half of a surrogate pair"):
            await reading
    assert await state.load(WATCH) == {"a": "0", "position": "0"}


NAMES = st.sampled_from(["", "a", "position", "row/1", "row/10", "имя", "\0", "a\0b", "😀"])
CHANGES = st.builds(
    StateChange, st.sampled_from(["", "x/get_links", "x\0"]), st.dictionaries(NAMES, st.text()),
    st.lists(NAMES).map(tuple),
)  # fmt: skip


def test_a_file_is_a_dictionary(path: Path) -> None:
    """Whatever is saved, one by one or at once, with or without closing: as in a dict of dicts."""
    examples = itertools.count()

    async def play(file: SQLiteState, rounds: Sequence[Sequence[StateChange]], close: bool) -> None:
        example, truth = next(examples), dict[str, dict[str, str]]()
        for changes in rounds:
            at_once = {change.watch: change for change in changes}.values()
            for watch, put, drop in ((one.watch, one.put, one.drop) for one in at_once):
                entries = truth.setdefault(watch, {})
                kept = {name: text for name, text in entries.items() if name not in drop}
                truth[watch] = {**kept, **put}
            saves = (file.save(f"{example}{one.watch}", one.put, one.drop) for one in at_once)
            await asyncio.gather(*saves)
            if close:
                await file.aclose()
            for watch, expected in truth.items():
                assert await file.load(f"{example}{watch}") == expected
                for name in ("position", "a\0b", *expected):
                    assert await file.read(f"{example}{watch}", name) == expected.get(name)

    @given(st.lists(st.lists(CHANGES, max_size=3), max_size=5), st.booleans())
    def check(rounds: Sequence[Sequence[StateChange]], close: bool) -> None:
        asyncio.run(play(file, rounds, close))

    file = SQLiteState(path)
    check()
    asyncio.run(file.aclose())


async def test_a_memory_tells_how_much_it_has() -> None:
    """The repr counts, and shows no entry."""
    state = MemoryState()
    await state.save(WATCH, {"a": SECRET})
    assert repr(state) == "<MemoryState of 1 watches>"


# --- one file for all


async def test_two_stores_share_a_file(path: Path) -> None:
    """Each sees what the other has saved; both may write at once, from the very first save on."""
    async with SQLiteState(path) as one, SQLiteState(str(path)) as two:
        for step in range(20):
            await asyncio.gather(
                *(s.save(WATCH, {f"{step}{n}": "{}"}) for n, s in enumerate((one, two)))
            )
            assert await one.load(WATCH) == await two.load(WATCH)
        assert len(await one.load(WATCH)) == 40


async def steps_in(path: Path, lane: str) -> Mapping[str, int]:
    """Return the step of each watch, after checking that no save is there in part."""
    steps = {}
    async with SQLiteState(path) as state:
        for watch in WATCHES:
            entries = await state.load(f"{lane}/{watch}")
            steps[watch] = int(entries.get("position", 0))
            assert entries == entries_after(steps[watch])
    return steps


def assert_kept(steps: Mapping[str, int], told: Mapping[str, int]) -> None:
    """Assert that all is there that was told, and at most the one save more that was under way."""
    for watch, step in steps.items():
        assert told.get(watch, 0) <= step <= told.get(watch, 0) + 1


async def test_a_load_is_of_one_moment(path: Path) -> None:
    """What is loaded in pieces is what one save has left, though another follows meanwhile."""
    names = [f"row/{n}" for n in range(2 * _READ_AT_ONCE + 1)]
    async with SQLiteState(path) as one, SQLiteState(path) as two:
        await one.save(WATCH, dict.fromkeys(names, "-1"))
        writing = asyncio.create_task(in_turn(one, names))
        while not writing.done():
            entries = await two.load(WATCH)
            assert (len(entries), len(set(entries.values()))) == (len(names), 1)
        await writing


async def in_turn(state: State, names: Sequence[str]) -> None:
    """Save one text under all the names, then another, and so on."""
    for step in range(20):
        await state.save(WATCH, dict.fromkeys(names, str(step)))


async def test_two_processes_share_a_file(path: Path) -> None:
    """Two processes that open and write the same new file at once get everything saved."""
    for child in [Child(path, lane, steps=60) for lane in "ab"]:
        assert child.finish() == dict.fromkeys(WATCHES, 60)
    for lane in "ab":
        assert await steps_in(path, lane) == dict.fromkeys(WATCHES, 60)


async def test_killed_at_any_moment(path: Path) -> None:
    """SIGKILL, again and again, of two processes that share a file: nothing told is lost."""
    before = {lane: dict.fromkeys(WATCHES, 0) for lane in "ab"}
    for turn in range(20):
        children = {lane: Child(path, lane) for lane in "ab"}
        for lane, child in children.items():
            told = child.kill(after=random.randint(0, 3 if turn % 4 == 0 else 300))
            steps = await steps_in(path, lane)
            assert_kept(steps, {**before[lane], **told})
            before[lane] = dict(steps)
    assert all(step > 0 for steps in before.values() for step in steps.values())
    with raw(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert names_in(path.parent) == {path.name}


async def test_killed_while_the_file_is_made(path: Path) -> None:
    """SIGKILL as soon as there is a file: the next one makes it whole, and goes on."""
    for turn in range(10):
        file = path.with_name(f"{turn}.sqlite")
        told = Child(file).kill_once_there_is(file)
        steps = await steps_in(file, "lane")
        assert_kept(steps, told)
        goal = max(steps.values()) + 3
        assert Child(file, steps=goal).finish() == dict.fromkeys(WATCHES, goal)


async def test_killed_before_each_statement(tmp_path: Path) -> None:
    """A process that dies before its first, second, … statement leaves whole saves only."""
    die_everywhere(tmp_path)
    died = [tmp_path / name for name in names_in(tmp_path) if name.endswith(".told")]
    for file in died:
        with file.open() as told:
            assert_kept(await steps_in(file.with_suffix(".sqlite"), "lane"), told_in(told))
    assert len(died) > 15


# --- the thread


class HostLimiter:
    """Holds the thread before it writes, and counts what it writes at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[int] = []
        self._reached, self._open = threading.Event(), threading.Event()
        write = Database.write

        def held(database: Database, changes: Sequence[StateChange]) -> None:
            self.written.append(len(changes))
            self._reached.set()
            assert self._open.wait(20)
            write(database, changes)

        monkeypatch.setattr(Database, "write", held)

    async def reached(self) -> None:
        """Wait until the thread is there, and let the loop go on meanwhile."""
        assert await asyncio.to_thread(self._reached.wait, 20)

    def open(self) -> None:
        """Let the thread through, now and later."""
        self._open.set()


async def test_saves_that_wait_are_written_together(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one save is written the loop goes on; those that come meanwhile share a transaction."""
    gate = HostLimiter(monkeypatch)
    async with SQLiteState(path) as state, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(state.save("0", {"position": "0"}))
        await gate.reached()
        rest = [tasks.create_task(state.save(f"{n}", {"position": "0"})) for n in range(1, 51)]
        loading = tasks.create_task(state.load("50"))
        await asyncio.sleep(0)
        assert not any(task.done() for task in (first, *rest, loading))
        gate.open()
    assert gate.written == [1, 50]
    assert loading.result() == {"position": "0"}


async def test_a_save_returns_after_its_commit(path: Path) -> None:
    """What has been saved is at once what another connection reads."""
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"position": "0"})
        with raw(path) as other:
            for step in range(50):
                await state.save(WATCH, {"position": str(step)})
                assert other.execute("SELECT text FROM entries").fetchall() == [(str(step),)]


async def test_a_cancelled_caller_harms_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled while it is written, or before: the others' saves are made, and each is whole."""
    gate = HostLimiter(monkeypatch)
    async with SQLiteState(path) as state:
        writing = asyncio.create_task(state.save(WATCH, {"a": "1", "b": "1"}))
        await gate.reached()
        waiting = asyncio.create_task(state.save(WATCH, {"never": "1"}))
        other = asyncio.create_task(state.save(WATCH, {"c": "1"}))
        await asyncio.sleep(0)
        for task in (writing, waiting):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        gate.open()
        await other
        assert await state.load(WATCH) == {"a": "1", "b": "1", "c": "1"}


async def test_cancelled_while_closing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who closes may be cancelled; what waits is saved, and the thread ends all the same."""
    gate = HostLimiter(monkeypatch)
    state = SQLiteState(path)
    saving = asyncio.create_task(state.save(WATCH, {"a": "1"}))
    await gate.reached()
    [thread] = threads()
    closing = asyncio.create_task(state.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    gate.open()
    await saving
    await asyncio.to_thread(thread.join)
    assert (threads(), descriptors(path)) == ([], [])


async def test_what_breaks_unforeseen_keeps_nobody_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect ends the thread and shows there; whoever waits gets an error, and may try again."""
    broken: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: broken.append(args.exc_type))
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"a": "1"})
        [thread] = threads()
        with monkeypatch.context() as patch:
            gate = HostLimiter(patch)
            patch.setattr(Database, "load", lambda *_: 1 / 0)
            calls = [state.save(WATCH, {"b": "1"}), state.load(WATCH), state.read(WATCH, "a")]
            tasks = [asyncio.ensure_future(call) for call in calls]
            await gate.reached()
            tasks.append(asyncio.ensure_future(state.save(WATCH, {"c": "1"})))
            await asyncio.sleep(0)
            gate.open()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(thread.join)
        assert broken == [ZeroDivisionError]
        assert results[0] is None
        assert all("broke off" in str(result) for result in results[1:])
        assert await state.load(WATCH) == {"a": "1", "b": "1"}


# --- opening and closing


async def test_closed_when_the_last_leaves(path: Path) -> None:
    """Entered many times it stays open until all have left; then nothing is left of it."""
    before, state = set(threading.enumerate()), SQLiteState(path)
    assert repr(state) == f"<SQLiteState '{path}' closed>"
    assert (threads(), names_in(path.parent)) == ([], set())
    async with state as same:
        assert same is state
        async with state, state:
            await state.save(WATCH, {"a": "1"})
        assert set(threading.enumerate()) - before == set(threads())
        assert (len(threads()), bool(descriptors(path))) == (1, True)
        assert repr(state) == f"<SQLiteState '{path}' open>"
    assert (threads(), descriptors(path)) == ([], [])
    assert names_in(path.parent) == {path.name}


async def test_opens_again(path: Path) -> None:
    """It may be used without entering, closed at any time, more than once, and used again."""
    state = SQLiteState(path)
    await state.aclose()
    for step in range(3):
        await state.save(WATCH, {str(step): "1"})
        await state.aclose()
        await state.aclose()
        assert (threads(), descriptors(path)) == ([], [])
    async with state:
        await state.aclose()
        assert await state.load(WATCH) == {"0": "1", "1": "1", "2": "1"}
    assert (threads(), descriptors(path)) == ([], [])


def test_one_event_loop_after_another(path: Path) -> None:
    """A store outlives the loop that used it."""
    state = SQLiteState(path)
    asyncio.run(state.save(WATCH, {"a": "1"}))
    assert asyncio.run(state_load(state)) == {"a": "1"}
    asyncio.run(state.aclose())


async def state_load(state: State) -> Mapping[str, str]:
    """Load as a coroutine, which is what `asyncio.run` wants."""
    return await state.load(WATCH)


@pytest.mark.parametrize("exiting", [False, True])
async def test_dropped(path: Path, monkeypatch: pytest.MonkeyPatch, exiting: bool) -> None:
    """One that is neither closed nor kept takes its thread and its descriptors along.

    When the interpreter exits it waits for the thread, which else would be cut off.
    """
    state = SQLiteState(path)
    await state.save(WATCH, {"a": "1"})
    [thread] = threads()
    if exiting:
        monkeypatch.setattr(threading, "main_thread", threading.Thread)
    del state
    gc.collect()
    if not exiting:
        await asyncio.to_thread(thread.join, 20)
    assert (threads(), descriptors(path)) == ([], [])


EXITS = """
import asyncio, gc, os, sys
from ppapi_async.storage import SQLiteState
state = SQLiteState(sys.argv[1])
async def main():
    await state.save("w", {"a": "1"})
    asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
    await state.save("w", {"b": "1"})
try:
    asyncio.run(main())
except asyncio.CancelledError:
    pass
"""
FORKS = """
import asyncio, os, sys
from ppapi_async.storage import SQLiteState
async def main():
    async with SQLiteState(sys.argv[1]) as state:
        await state.save("w", {"parent": "1"})
        child = os.fork()
        if not child:
            asyncio._set_running_loop(None)
            asyncio.run(state.save("w", {"child": "1"}))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        await state.save("w", {"parent": "2"})
        assert await state.load("w") == {"parent": "2", "child": "1"}
asyncio.run(main())
"""


@pytest.mark.parametrize(("code", "warnings"), [(EXITS, "error"), (FORKS, "ignore")])
def test_ends_with_its_process(path: Path, code: str, warnings: str) -> None:
    """A process that does not close exits at once and in silence; one that forks has two."""
    command = [sys.executable, "-X", "dev", "-W", warnings, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    with raw(path) as connection:
        assert connection.execute("SELECT 1 FROM entries WHERE name IN ('a', 'parent')").fetchone()


# --- the file


async def test_only_its_owner_may_read_it(path: Path) -> None:
    """A new file and its companions have mode 0600, one that was there keeps its own."""
    other = path.with_name("touched.sqlite")
    other.touch(0o640)
    async with SQLiteState(path) as state, SQLiteState(other) as touched:
        for one in (state, touched):
            await one.save(WATCH, {"a": "1"})
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {
        f"{name}{end}": mode
        for name, mode in ((path.name, 0o600), (other.name, 0o640))
        for end in ("", "-wal", "-shm")
    }


async def test_another_was_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that appears while one is being made is the one that counts."""
    async with SQLiteState(path) as one:
        await one.save(WATCH, {"a": "1"})
    async with SQLiteState(path) as two:
        monkeypatch.setattr(Path, "exists", lambda _: False)
        assert await two.load(WATCH) == {"a": "1"}
    assert names_in(path.parent) == {path.name}


async def test_another_makes_it_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that open an empty file one makes the table; the other sees it, and its entries."""
    async with SQLiteState(path) as one, SQLiteState(path) as two:
        await one.save(WATCH, {"a": "1"})
        looks, look = itertools.count(), Database._is_new
        monkeypatch.setattr(Database, "_is_new", lambda *args: next(looks) == 0 or look(*args))
        assert await two.load(WATCH) == {"a": "1"}
        assert next(looks) == 2


async def test_nobody_else_writes_while_the_table_is_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look, which decides, is taken with the lock for writing in hand."""
    looks, look, locked = itertools.count(), Database._is_new, []

    def is_new(database: Database, connection: sqlite3.Connection) -> bool:
        if next(looks) == 1:
            with raw(path) as other, contextlib.suppress(sqlite3.OperationalError):
                locked.append(True)
                other.execute("BEGIN IMMEDIATE")
                locked.append(False)
        return look(database, connection)

    monkeypatch.setattr(Database, "_is_new", is_new)
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"a": "1"})
    assert locked == [True]


async def test_any_name_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that mean something in a url are names; a relative one stays where it was."""
    monkeypatch.chdir(tmp_path)
    names = {"a b?c#d%20.sqlite", "file:x", "имя"}
    states = [SQLiteState(name) for name in names]
    monkeypatch.chdir("/")
    for state in states:
        async with state:
            await state.save(WATCH, {"a": "1"})
    assert names_in(tmp_path) == names


async def test_deleted_or_replaced_while_open(path: Path) -> None:
    """What is saved is in the file that has the name, whatever happened to the one before."""
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"a": "1"})
        for file in path.parent.iterdir():
            file.unlink()
        await state.save(WATCH, {"b": "1"})
        async with SQLiteState(path) as other:
            assert await other.load(WATCH) == {"b": "1"}


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b"])
def test_paths_that_are_none(path: str) -> None:
    """Where nothing could be kept, the message has the store that keeps nothing."""
    with pytest.raises(ValueError, match=r"^path: .*MemoryState"):
        SQLiteState(path)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), timedelta(days=2)])
def test_timeouts_that_are_none(timeout: float | timedelta) -> None:
    """A time-out is more than nothing, and an end."""
    with pytest.raises(ValueError, match=r"^timeout: "):
        SQLiteState("x", timeout=timeout)


# --- what goes wrong


async def failing(call: Callable[[], Any], match: str) -> StateError:
    """Return the error, having checked what all of them have."""
    with pytest.raises(StateError, match=match) as caught:
        await call()
    error = caught.value
    assert isinstance(error, PPAPIError)
    assert (error.account, error.method, str(error)) == ("", "", error.message)
    assert SECRET not in str(error)
    assert_survives_pickling(error)
    return error


def garbage(path: Path) -> None:
    """Make what is no database."""
    path.write_bytes(b"[section]\n" * 1_000)


def newer(path: Path) -> None:
    """Make what a later version could have made."""

    async def make() -> None:
        async with SQLiteState(path) as state:
            await state.save(WATCH, {"a": SECRET})

    asyncio.run(make())
    with raw(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA user_version = 2")


def foreign(path: Path) -> None:
    """Make the database of another application, one that does not say who it is."""
    with raw(path) as connection:
        connection.execute("CREATE TABLE orders (id)")


def branded(path: Path) -> None:
    """Make the empty database of another application, which says who it is."""
    with raw(path) as connection:
        connection.execute("PRAGMA application_id = 7")
        connection.execute("VACUUM")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (garbage, "file is not a database; pass another path, or move the file away$"),
        (newer, "version 2, and this .* version 1: upgrade ppapi_async, or pass another path$"),
        (foreign, "is a database of another application: pass another path$"),
        (branded, "is a database of another application: pass another path$"),
    ],
)
def test_files_that_are_not_ours(path: Path, make: Callable[[Path], None], match: str) -> None:
    """They are refused by name and with advice, each time, and stay untouched."""
    make(path)
    before = path.read_bytes()

    async def check() -> None:
        async with SQLiteState(path) as state:
            for call in (partial(state.save, WATCH, {"a": SECRET}), partial(state.load, WATCH)):
                error = await failing(call, match)
                assert str(path) in error.message

    asyncio.run(check())
    assert path.read_bytes() == before
    assert names_in(path.parent) == {path.name}


async def test_a_damaged_file(path: Path) -> None:
    """Pages that were overwritten are told, and that a copy or a new start is needed."""
    async with SQLiteState(path) as state:
        await state.save(WATCH, {str(n): SECRET * 20 for n in range(400)})
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xaa" * 30_000)
    async with SQLiteState(path) as state:
        error = await failing(partial(state.load, WATCH), "could not be read: .* malformed; move")
        assert isinstance(error.__cause__, sqlite3.DatabaseError)
        await failing(partial(state.save, WATCH, {"5": "1"}), "could not be written: .* move")


async def test_a_damaged_text(path: Path) -> None:
    """Bytes that are no text are damage; the error does not show what is around them."""
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"a": "1"})
        with raw(path) as connection:
            damaged = SECRET.encode() + b"\xff"
            connection.execute("UPDATE entries SET text = CAST(? AS TEXT)", (damaged,))
        for call in (partial(state.load, WATCH), partial(state.read, WATCH, "a")):
            error = await failing(call, "could not be read: it is damaged; move the file away")
            assert SECRET not in str(error.__cause__)


async def test_a_changed_table(path: Path) -> None:
    """A file that says it is ours and has no table of ours is told from one that is busy."""
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"a": "1"})
        with raw(path) as connection:
            connection.execute("DROP TABLE entries")
        await failing(partial(state.load, WATCH), "no such table: .* not as .* has made it: move")


async def test_no_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory does not suffice for the moment, that passes like any other failure."""
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"a": "1"})
        with monkeypatch.context() as patch:
            patch.setattr("ppapi_async.storage.database._pages", Mock(side_effect=MemoryError))
            await failing(partial(state.load, WATCH), "could not be read: MemoryError; try again")
        assert await state.load(WATCH) == {"a": "1"}


@pytest.mark.parametrize("make", [Path.touch, Path])
async def test_a_missing_directory(path: Path, make: Callable[[Path], object]) -> None:
    """The message says that it is the directory; once it is there, all is well."""
    make(path.parent / "not")
    state = SQLiteState(path.parent / "not" / "there.sqlite")
    async with state:
        error = await failing(
            partial(state.save, WATCH, {}), ": its directory does not exist; create it$"
        )
        assert str(state.path) in error.message
        state.path.parent.unlink(missing_ok=True)
        state.path.parent.mkdir()
        await state.save(WATCH, {"a": "1"})
        assert await state.load(WATCH) == {"a": "1"}


async def test_a_directory_is_no_file(path: Path) -> None:
    """A path that is something else is told."""
    async with SQLiteState(path.parent) as state:
        await failing(partial(state.load, WATCH), "is a directory, not a file: pass another path$")


@contextlib.contextmanager
def only_to_be_read(directory: Path) -> Iterator[None]:
    """Be somebody to whom permissions apply, and have none to write."""
    file, user = directory / "old.sqlite", os.geteuid()
    file.chmod(0o444)
    directory.chmod(0o555)
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)
        directory.chmod(0o755)


async def test_what_may_not_be_written() -> None:
    """A directory or file that may only be read: the message says what to allow."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own is closed to others
        directory = Path(name)
        old = SQLiteState(directory / "old.sqlite")
        async with old:
            await old.save(WATCH, {"a": "1"})
        with only_to_be_read(directory):
            async with old, SQLiteState(directory / "new.sqlite") as new:
                await failing(partial(old.save, WATCH, {"a": "2"}), "(readonly|open).*; let this")
                await failing(partial(new.save, WATCH, {"a": "2"}), "Permission denied; let this")
        async with old:
            assert await old.load(WATCH) == {"a": "1"}
        assert names_in(directory) == {"old.sqlite"}


@contextlib.contextmanager
def no_more_pages(state: SQLiteState, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let SQLite find the disk full."""
    connect = sqlite3.connect

    def small(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)
        connection.execute("PRAGMA max_page_count = 10")
        return connection

    with patch.context() as context:
        context.setattr(sqlite3, "connect", small)
        yield


@contextlib.contextmanager
def no_more_bytes(state: SQLiteState, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the system refuse to make files longer."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    ("limited", "match"),
    [
        (no_more_pages, "full; make room, then try again"),
        (no_more_bytes, "; (try again|make room)"),
    ],
)
async def test_no_room(
    path: Path, monkeypatch: pytest.MonkeyPatch, limited: Any, match: str
) -> None:
    """A save that finds no room is not made at all, what was there stays, and a later one works."""
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"a": "1", "b": "1"})
        await state.aclose()
        with limited(state, monkeypatch):
            large = partial(state.save, WATCH, {"a": "2", "c": SECRET * 20_000}, ["b"])
            await failing(large, match)
            assert await state.load(WATCH) == {"a": "1", "b": "1"}
        await state.aclose()
        await large()
        assert (await state.load(WATCH)).keys() == {"a", "c"}


async def test_waits_for_other_writers(path: Path) -> None:
    """While another process writes, a save waits and reading goes on."""
    async with SQLiteState(path) as state, SQLiteState(path) as reader:
        await state.save(WATCH, {"a": "1"})
        await reader.load(WATCH)
        with raw(path) as other:
            other.execute("BEGIN IMMEDIATE")
            saving = asyncio.create_task(state.save(WATCH, {"a": "2"}))
            for _ in range(5):
                assert await reader.load(WATCH) == {"a": "1"}
            assert not saving.done()
            other.execute("COMMIT")
        await saving
        assert await reader.load(WATCH) == {"a": "2"}


async def test_does_not_wait_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time-out each of those who wait gets an error of its own; later all is well."""
    gate = HostLimiter(monkeypatch)
    async with SQLiteState(path, timeout=0.03) as state:
        await state.load(WATCH)
        with raw(path) as other:
            other.execute("BEGIN IMMEDIATE")
            saves = [partial(state.save, f"{n}", {"a": SECRET}) for n in range(3)]
            match = "could not be written: database is locked; another process holds it"
            failures = [asyncio.create_task(failing(save, match)) for save in saves]
            await gate.reached()
            gate.open()
            async with asyncio.timeout(10):
                errors = await asyncio.gather(*failures)
        assert len({id(error) for error in errors}) == len(saves)
        assert all(isinstance(error.__cause__, sqlite3.OperationalError) for error in errors)
        await asyncio.gather(*(save() for save in saves))
        assert await state.load("2") == {"a": SECRET}


async def test_waits_while_others_open_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch to WAL, for which SQLite does not wait, is tried until nobody writes."""
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"a": "1"})
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.executescript("PRAGMA journal_mode = DELETE; BEGIN IMMEDIATE")
        async with SQLiteState(path, timeout=timedelta(seconds=0.02)) as state:
            await failing(partial(state.load, WATCH), "database is locked; another process")
        monkeypatch.setattr(time, "sleep", lambda _: other.rollback())
        async with SQLiteState(path) as state:
            assert await state.load(WATCH) == {"a": "1"}


async def test_where_no_file_can_be_shared(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite has no WAL, as on some network drives, it says so instead of doing worse."""
    connect = sqlite3.connect

    def dotfile(url: str, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(f"{url}&vfs=unix-dotfile", **options)
        return connection

    monkeypatch.setattr(sqlite3, "connect", dotfile)
    async with SQLiteState(path) as state:
        await failing(partial(state.save, WATCH, {"a": "1"}), "cannot share .* on a local disk")


# --- positions of streams


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_checkpoint_keeps_what_was_saved_last(path: Path, kind: str) -> None:
    """Nothing at first, then the latest; what is no position says where and what to do."""
    checkpoint: Checkpoint = MemoryCheckpoint() if kind == "memory" else FileCheckpoint(path)
    assert checkpoint.load() is None
    positions: list[dict[str, Json]] = [{"a": "1"}, {"b": [1, {"имя": None}]}]
    for position in positions:
        checkpoint.save(position)
        assert checkpoint.load() == position
    where = "the checkpoint" if kind == "memory" else str(path)
    for damaged in ("", "{", "[]", "null"):
        if isinstance(checkpoint, MemoryCheckpoint):
            checkpoint.text = damaged
        else:
            path.write_text(damaged, "utf-8")
        match = f"^checkpoint: {where} holds no position; delete it to start anew$"
        with pytest.raises(ValueError, match=match):
            checkpoint.load()


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draft beside it is written whole and synced, and only then takes its place."""
    steps: list[str] = []
    checkpoint = FileCheckpoint(str(path))
    checkpoint.save({"a": 0})

    def sync(descriptor: int) -> None:
        [draft] = names_in(path.parent) - {path.name}
        assert draft.startswith(path.name)
        assert (path.parent / draft).read_text("utf-8") == '{"a": 1}'
        assert os.fstat(descriptor).st_ino == (path.parent / draft).stat().st_ino
        assert checkpoint.load() == {"a": 0}
        steps.append("synced")

    monkeypatch.setattr(os, "fsync", sync)
    checkpoint.save({"a": 1})
    assert (steps, checkpoint.load()) == (["synced"], {"a": 1})
    assert names_in(path.parent) == {path.name}


def test_a_checkpoint_that_cannot_be_saved_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: the position before stays, and drafts do not pile up."""
    checkpoint = FileCheckpoint(path)
    checkpoint.save({"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Mock(side_effect=OSError("No space left on device")))
        with pytest.raises(StateError, match=r"p could not be written: No space|No space left"):
            checkpoint.save({"a": 2})
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoint.save({"a": object()})  # type: ignore[dict-item]
    assert checkpoint.load() == {"a": 1}
    assert names_in(path.parent) == {path.name}


# --- files that others may have touched


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


ODD_FILES: Mapping[str, Callable[[Path], None]] = {
    "a pipe": _pipe,
    "a socket": _socket,
    "a directory": lambda path: path.mkdir(),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.skipif(os.name != "posix", reason="files of POSIX")
@pytest.mark.parametrize("kind", ODD_FILES)
def test_a_state_that_is_no_file_is_refused_at_once(path: Path, kind: str) -> None:
    """Nothing waits for a pipe that nobody writes, and a device is not read to its end."""
    ODD_FILES[kind](path)

    async def check() -> None:
        async with SQLiteState(path) as state, asyncio.timeout(30):
            for call in (partial(state.save, WATCH, {"a": SECRET}), partial(state.load, WATCH)):
                await failing(call, f"{path.name} is {kind}, not a file: pass another path$")

    asyncio.run(check())
    checkpoint = FileCheckpoint(path)
    with pytest.raises(StateError, match=f"could not be read: is {kind}, not a file; pass"):
        checkpoint.load()
    if kind == "a directory":
        with pytest.raises(StateError, match="could not be written"):
            checkpoint.save({"a": 1})
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize(
    ("mode", "around", "told"),
    [
        (0o600, 0o700, []),
        (0o640, 0o755, []),
        (0o660, 0o700, ["others can change it; run: chmod go-w"]),
        (0o602, 0o700, ["others can change it; run: chmod go-w"]),
        (0o600, 0o777, ["others can replace it, for they can write to"]),
    ],
)
def test_a_state_that_others_can_change_is_warned_of(
    path: Path, caplog: pytest.LogCaptureFixture, mode: int, around: int, told: list[str]
) -> None:
    """Once, in the log: who changes what was told decides what is told."""
    checkpoint = FileCheckpoint(path.with_name("position"))

    async def use() -> None:
        async with SQLiteState(path) as state:
            await state.save(WATCH, {"a": "1"})
            await state.load(WATCH)

    asyncio.run(use())
    checkpoint.save({"a": 1})
    assert caplog.messages == []
    path.chmod(mode)
    path.with_name("position").chmod(mode)
    path.parent.chmod(around)
    try:
        asyncio.run(use())
        checkpoint.load()
    finally:
        path.parent.chmod(0o700)
    assert len(caplog.messages) == 2 * len(told)
    for message in caplog.messages:
        assert told[0] in message
        assert message.endswith("; what it says is believed")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give")
@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
async def test_what_others_put_beside_a_state_is_refused(
    path: Path, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite believes a journal that it finds; a state of another user's is warned of."""
    async with SQLiteState(path) as state:
        await state.save(WATCH, {"a": "1"})
    beside = path.with_name(path.name + end)
    beside.write_bytes(b"")
    os.chown(beside, 12_345, -1)
    async with SQLiteState(path) as state:
        await failing(partial(state.load, WATCH), f"{end} belongs to another user: pass a path")
        beside.unlink()
        beside.symlink_to("/dev/zero")
        await failing(partial(state.load, WATCH), "belongs to another user|is .*, not a file")
        beside.unlink()
        assert await state.load(WATCH) == {"a": "1"}
    os.chown(path, 12_345, -1)
    async with SQLiteState(path) as state:
        assert await state.load(WATCH) == {"a": "1"}
    assert "it belongs to another user; what it says is believed" in caplog.messages[-1]


def test_a_tampered_checkpoint_is_an_error_at_once(path: Path) -> None:
    """One that is nested deeply, of huge numbers, of no text, or without an end."""
    checkpoint = FileCheckpoint(path)
    tampered = (
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a": ' + b"9" * 5_000 + b"}",
        b"\xff\xfe\x00",
        b'{"a": "\xff"}',
        b"\x1f\x8b",
    )
    for content in tampered:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"holds no position; delete it to start anew$"):
            checkpoint.load()
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(StateError, match="could not be read: is larger than 65536 KB"):
        checkpoint.load()
