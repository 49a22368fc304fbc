"""Files that are something else: told at once by each command, and left as they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from ppapi_async import Account, Fleet, SQLiteState, StateError
from ppapi_async.cli.missing import is_missing, missing
from ppapi_async.cli.payouts.journal import PayoutJournal
from ppapi_async.mirror.store import MirrorStore
from ppapi_async.watching.delivery import in_use
from ppapi_async.watching.poll_policy import PollPolicy
from tests.cli.terminal import ppapi

ACCOUNTS = (
    '[[accounts]]\nname = "one"\nurl = "http://127.0.0.1:9"\napi_key = "k3yk3yk3yk3yk3yk3y"\n'
)


@pytest.fixture(autouse=True)
def accounts(home: Path) -> None:
    """Have an account of a site that nobody serves: nothing here gets as far as to ask it."""
    path = home / "config" / "ppapi" / "accounts.toml"
    path.parent.mkdir(parents=True)
    path.write_text(ACCOUNTS)
    path.chmod(0o600)


def state(path: Path) -> None:
    """Make a state of watches."""

    async def make() -> None:
        async with SQLiteState(path) as made:
            await made.save("watch", {"a": "1"})

    asyncio.run(make())


def mirror(path: Path) -> None:
    """Make a mirror."""

    async def make() -> None:
        await (await MirrorStore.open(f"sqlite:///{path}")).aclose()

    asyncio.run(make())
    Path(f"{path}-lock").unlink()


def journal(path: Path) -> None:
    """Make a journal of payouts."""
    with PayoutJournal(path):
        pass


def other(path: Path) -> None:
    """Make another application's database, with tables that are called as some of ours."""
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        for name in ("exchanges", "entries", "attempts", "owners", "holder"):
            made.execute(f"CREATE TABLE {name} (id)")
        made.execute("PRAGMA user_version = 1")


def newer(path: Path) -> None:
    """Make a state of a later version."""
    state(path)
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA user_version = 9")


def note(path: Path) -> None:
    """Make a short text."""
    path.write_text("buy milk")


COMMANDS = {
    "watch": "watch --interval 1s --state",
    "sync": "sync --to",
    "payout": "payout one 11 TXabc --yes --journal",
    "settle": "payout settle --journal",
    "list": "payout list --journal",
    "export": "export links --from",
    "report": "report --out r.html --from",
    "audit": "audit --from",
    "serve": "serve --port 0 --from",
}
OWN = {"watch": state, "payout": journal, "settle": journal, "list": journal}
WORDS = {
    state: "state of watches",
    mirror: "is a mirror",
    journal: "journal of payouts",
    other: "another application",
    newer: "",
    note: "not a database",
    Path.mkdir: "",
}


@pytest.mark.parametrize("make", WORDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_something_else(
    tmp_path: Path, command: str, make: Callable[[Path], None]
) -> None:
    """It is refused at once, by its name and with advice; nothing is written into or beside it."""
    if make is OWN.get(command, mirror):
        pytest.skip("that is the right one")
    path = tmp_path / "thing.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    ran = ppapi(*COMMANDS[command].split(), str(path))
    assert ran.code in (1, 2), ran.err
    words = " ".join(ran.err.split())
    assert str(path) in words
    assert WORDS[make] in words
    assert (path.read_bytes() if path.is_file() else b"") == before
    left = {one.name for one in tmp_path.iterdir()} - {"thing.db", "thing.db-wal", "thing.db-shm"}
    assert not left


@pytest.mark.parametrize("command", ["watch", "sync"])
def test_a_folder_that_is_not_there(tmp_path: Path, command: str) -> None:
    """It is told at once, too; no folder is made."""
    ran = ppapi(*COMMANDS[command].split(), str(tmp_path / "not" / "there.db"))
    assert ran.code == 1
    assert "not/there.db" in ran.err.replace("\n", "")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command", [one for one in COMMANDS if one not in ("watch", "sync", "payout")]
)
def test_a_command_that_reads_makes_nothing(tmp_path: Path, command: str) -> None:
    """A mistyped path is an error that suggests the right one, not an empty answer."""
    (tmp_path / "partners.db").touch()
    ran = ppapi(*COMMANDS[command].split(), str(tmp_path / "partnesr.db"))
    assert ran.code in (1, 2), ran.out
    assert "partnesr.db" in ran.err.replace("\n", "")
    assert "partners.db" in ran.err.replace("\n", "")
    assert {one.name for one in tmp_path.iterdir()} == {"partners.db"}


def test_the_first_payout_is_still_to_come(home: Path) -> None:
    """Without the usual journal there is nothing to tell, and none is made."""
    for command in ("settle", "list"):
        ran = ppapi("payout", command)
        assert ran.code == 0
        assert "no payout was requested" in ran.out + ran.err
    assert json.loads(ppapi("payout", "list", "--json", "account").out) == []
    assert not (home / "data").exists()


def test_a_journal_made_before_it_said_so_is_opened(tmp_path: Path) -> None:
    """Its tables tell that it is one."""
    journal(path := tmp_path / "payouts.db")
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA application_id = 0")
    assert ppapi("payout", "settle", "--journal", str(path)).code == 0


async def test_a_fleet_ends_with_a_state_that_is_something_else(tmp_path: Path) -> None:
    """To poll on would help nobody: the loop over its events ends with the reason."""
    note(path := tmp_path / "notes.txt")
    account = Account("http://127.0.0.1:9", "k3yk3yk3yk3yk3yk3y", name="one")
    async with Fleet([account], state=path) as fleet:
        with pytest.raises(StateError, match="not a database; pass another path") as caught:
            async for _ in fleet.events("info"):
                pass
    assert not caught.value.may_pass
    assert path.read_text() == "buy milk"


def test_a_lock_is_not_put_into_what_is_something_else(tmp_path: Path) -> None:
    """Where the lock would be stands another application's file: it stays as it is."""
    other(lock := tmp_path / "copy.db-lock")
    before = lock.read_bytes()
    ran = ppapi("sync", "--to", str(tmp_path / "copy.db"))
    assert ran.code == 1
    assert "copy.db-lock is a database of another application" in " ".join(ran.err.split())
    assert lock.read_bytes() == before


def test_what_will_not_pass_is_not_tried_again() -> None:
    """Before anything worked, an account whose state is something else is given up on."""
    for may_pass in (True, False):
        policy = PollPolicy(60.0, may_pass=(StateError,))
        error = StateError("it is another application's", may_pass=may_pass)
        assert policy.fail(error, 0.5, worked=False).may_pass is may_pass
        assert policy.fail(error, 0.5, worked=True).may_pass


async def test_a_locked_state_is_waited_for(tmp_path: Path) -> None:
    """Who holds it lets go of it again: the fleet does not end."""
    state_of = SQLiteState(tmp_path / "state.db", timeout=0.01)
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        async with in_use(state_of):
            with pytest.raises(StateError, match="another process holds it") as caught:
                await state_of.check()
            assert caught.value.may_pass
            holder.execute("ROLLBACK")
            await state_of.check()


def test_a_file_that_cannot_be_looked_at_may_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not said to be missing; without the folder, no names are suggested."""
    path = tmp_path / "no" / "such.db"
    assert is_missing(path)
    assert missing(path).endswith("such.db: there is no such file")
    path.parent.write_text("")
    assert missing(path).endswith(f": there is no such file, because {path.parent} is no folder")
    path.parent.unlink()
    monkeypatch.setattr(Path, "stat", Mock(side_effect=PermissionError))
    assert not is_missing(path)
