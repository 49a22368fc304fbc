"""Stores of state: all or nothing, kept whatever dies, shared, and gone without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.fleet.held_state import HeldState
from ppapi_async.secret import Secret
from ppapi_async.storage import (
    MemoryState,
    SQLiteState,
    State,
)
from ppapi_async.storage.database import _READ_AT_ONCE, _WRITTEN_AT_ONCE, Database
from ppapi_async.storage.postgres_session import PostgresSession
from ppapi_async.storage.stores import StateChange
from tests.storage.child import WATCHES, Child, die_everywhere, entries_after, told_in

WATCH = "7f6b2c5a90d1e834/get_exchanges"
SECRET = "a text of an entry"
PIECES = (_WRITTEN_AT_ONCE, 2 * _WRITTEN_AT_ONCE, _READ_AT_ONCE, 2 * _READ_AT_ONCE)
EDGES = [piece + more for piece in PIECES for more in (-1, 0, 1)]


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


ODD_NAMES = {
    "empty": "",
    "spaces": "  ",
    "quotes": """'"`$$;--""",
    "percents": "%s %(a)s %%",
    "backslashes": "\\x00\\",
    "NUL": "\0",
    "what stands for NUL": "\1a\0\1b",
    "controls": "\n\r\t\x7f\x85\u2028",
    "one code, composed": "é",
    "two codes": "e\N{COMBINING ACUTE ACCENT}",
    "last of Unicode": "\U0010ffff\ufffe",
    "capitals": "Position",
    "longest": "n" * 400,
    "longest in Cyrillic": "ж" * 200,
    "longest of NUL": "\0" * 400,
}
TOO_LONG = {"bytes": "n" * 401, "letters": "ж" * 201, "emoji": "😀" * 101, "huge": "n" * 10**6}
LONG_GROUP = "".join(random.Random(1).choices("абвгдеж😀😁😂", k=200))


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
async def test_odd_names_come_back_as_they_were(state: State, name: str) -> None:
    """As the name of a watch and of an entry, next to others like it, in every store."""
    others = {"position": "0", "e": "1", "": "2", f"x{name[:199]}": "3"}
    await state.save(name, {**others, name: name})
    await state.save(f"x{name[:199]}", {"a": "of another watch"})
    assert await state.load(name) == {**others, name: name}
    assert await state.read(name, name) == name
    await state.save(name, {}, [name])
    assert await state.read(name, name) is None


@pytest.mark.parametrize("name", TOO_LONG.values(), ids=TOO_LONG)
async def test_long_names_are_refused_at_once_and_harm_no_other(state: State, name: str) -> None:
    """Saves that wait are written together: what the database refuses would fail them all."""
    calls = [
        state.save(name, {"a": "1"}), state.save(WATCH, {name: "1"}),
        state.save(WATCH, {}, [name]), state.load(name), state.read(name, "a"),
        state.read(WATCH, name), state.save(WATCH, {"a": "1"}),
    ]  # fmt: skip
    *refused, saved = await asyncio.gather(*calls, return_exceptions=True)
    for error in refused:
        assert isinstance(error, ValueError)
        assert re.search(r"^state: a name of \d+ bytes .* 400 bytes of UTF-8 at most$", str(error))
    assert saved is None
    assert await state.load(WATCH) == {"a": "1"}


async def test_the_longest_names_fit_into_postgresql(postgres_url: str) -> None:
    """All of them together: a watch of a group, and an entry, which cannot be compressed."""
    rng = random.Random(2)
    watch, name = ("".join(rng.choices("\0\1", k=400)) for _ in range(2))
    session = await PostgresSession.open(Secret(postgres_url))
    try:
        held = HeldState(session, f"mirror {LONG_GROUP}", lambda: True)
        await held.save(watch, {name: "1"})
        assert await held.load(watch) == {name: "1"}
        assert await held.read(watch, name) == "1"
        with pytest.raises(ValueError, match="a name of 401 bytes"):
            await held.save("n" * 401, {"a": "1"})
    finally:
        await session.aclose()


NAMES = st.sampled_from(["", "a", "position", "row/1", "row/10", "имя", "\0", "a\0b", "😀"])
CHANGES = st.builds(
    StateChange, st.sampled_from(["", "x/get_links", "x\0"]), st.dictionaries(NAMES, st.text()),
    st.lists(NAMES).map(tuple),
)  # fmt: skip


@pytest.mark.untraced
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


@pytest.mark.untraced
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


@pytest.mark.untraced
async def test_killed_while_the_file_is_made(path: Path) -> None:
    """SIGKILL as soon as there is a file: the next one makes it whole, and goes on."""
    for turn in range(10):
        file = path.with_name(f"{turn}.sqlite")
        told = Child(file).kill_once_there_is(file)
        steps = await steps_in(file, "lane")
        assert_kept(steps, told)
        goal = max(steps.values()) + 3
        assert Child(file, steps=goal).finish() == dict.fromkeys(WATCHES, goal)


@pytest.mark.untraced
async def test_killed_before_each_statement(tmp_path: Path) -> None:
    """A process that dies before its first, second, … statement leaves whole saves only."""
    die_everywhere(tmp_path)
    died = [tmp_path / name for name in names_in(tmp_path) if name.endswith(".told")]
    for file in died:
        with file.open() as told:
            assert_kept(await steps_in(file.with_suffix(".sqlite"), "lane"), told_in(told))
    assert len(died) > 15


# --- the thread


class Gate:
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
    gate = Gate(monkeypatch)
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
    gate = Gate(monkeypatch)
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
    gate = Gate(monkeypatch)
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
            gate = Gate(patch)
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
        *asked, last = results[1:]
        assert results[0] is None
        assert all("broke off" in str(result) for result in asked)
        # The last save came before what broke, or after it: the thread takes what waits just then.
        kept = {} if last else {"c": "1"}
        assert last is None or "broke off" in str(last)
        assert await state.load(WATCH) == {"a": "1", "b": "1", **kept}


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
_SLOW = re.compile(r"Executing <.*> took \d+\.\d+ seconds")
"""What asyncio says, when it is debugged, of a machine that is busy."""


@pytest.mark.parametrize(("code", "warnings"), [(EXITS, "error"), (FORKS, "ignore")])
def test_ends_with_its_process(path: Path, code: str, warnings: str) -> None:
    """A process that does not close exits at once and in silence; one that forks has two."""
    command = [sys.executable, "-X", "dev", "-W", warnings, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = [line for line in done.stderr.splitlines() if not _SLOW.fullmatch(line)]
    assert (done.stdout, said) == ("", [])
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
