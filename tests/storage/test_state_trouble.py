"""Stores of state in trouble: foreign, damaged, newer and locked files, positions, odd files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from ppapi_async.errors import PPAPIError, StateError
from ppapi_async.models import Json
from ppapi_async.storage import (
    Checkpoint,
    FileCheckpoint,
    MemoryCheckpoint,
    SQLiteState,
)
from tests.leaks import assert_survives_pickling
from tests.storage.test_state import SECRET, WATCH, Gate, names_in, raw


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
    gate = Gate(monkeypatch)
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
    ("mode", "around", "warned_of"),
    [
        (0o600, 0o700, []),
        (0o640, 0o755, []),
        (0o660, 0o700, ["others can change it; run: chmod go-w"]),
        (0o602, 0o700, ["others can change it; run: chmod go-w"]),
        (0o600, 0o777, ["others can replace it, for they can write to"]),
    ],
)
def test_a_state_that_others_can_change_is_warned_of(
    path: Path, caplog: pytest.LogCaptureFixture, mode: int, around: int, warned_of: list[str]
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
    assert len(caplog.messages) == 2 * len(warned_of)
    for message in caplog.messages:
        assert warned_of[0] in message
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


@pytest.mark.untraced
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
