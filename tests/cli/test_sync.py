"""`ppapi sync`: a copy of everything, with progress, through interruptions, told plainly."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppapi_async import Account, Dialect
from ppapi_async.cli.copying.syncing import MirrorOptions, sync
from ppapi_async.cli.exits import CommandFailed
from ppapi_async.cli.failures import state_of, tell_failures, words_of
from ppapi_async.cli.running import run
from ppapi_async.errors import (
    AuthError,
    BlockedError,
    PPAPIError,
    RequestTimeoutError,
    ServerError,
    StateError,
    TransportError,
)
from ppapi_async.mirror import database
from ppapi_async.sandbox import Fault, Sandbox
from tests.cli.sites import accounts_text, running, write_accounts
from tests.cli.terminal import Terminal, bare, ppapi
from tests.leaks import assert_absent

WRONG = "w7ong" * 7
DEAD = "dE4d9" * 7


@pytest.fixture
def sites(home: Path) -> Iterator[dict[str, Sandbox]]:
    """Serve a site of each dialect, one whose pages change their size, and two that fail."""
    found = {str(one): Sandbox(one, rows=40, seed=4) for one in Dialect}
    found["capped"] = Sandbox(Dialect.DELEGATING, rows=100, seed=5, cap=(50, 37, 20))
    refusing = Sandbox(rows=0)
    with running(*found.values(), refusing):
        path = write_accounts(home / "config" / "ppapi" / "accounts.toml", found)
        more = accounts_text({"revoked": refusing}).replace(refusing.api_key, WRONG)
        dead = f'[[accounts]]\nname = "dead"\nurl = "http://127.0.0.1:9"\napi_key = "{DEAD}"\n'
        path.write_text(path.read_text() + more + dead)
        yield found


def held(path: Path, resource: str = "exchanges") -> dict[str, set[int]]:
    """Return the ids that a copy holds, by account."""
    found: dict[str, set[int]] = {}
    with sqlite3.connect(path) as connection:
        query = f"SELECT a.name, r.id FROM {resource} r JOIN accounts a USING (account)"
        for name, row_id in connection.execute(query):
            found.setdefault(name, set()).add(row_id)
    connection.close()
    return found


def books(sites: dict[str, Sandbox]) -> dict[str, set[int]]:
    """Return the ids of all orders that the sites have."""
    return {name: {one.id for one in site.books.orders} for name, site in sites.items()}


def test_everything_is_copied(sites: dict[str, Sandbox], home: Path) -> None:
    """Into a file of one's own; those that fail are marked and told below, the others come."""
    ran = ppapi("sync", "--json", "account,rows,new,requests,behind,state")
    rows = {row.pop("account"): row for row in json.loads(ran.out)}
    assert ran.code == 1
    assert held(home / "data" / "ppapi" / "partner.db") == books(sites)
    for name, site in sites.items():
        whole = len(site.books.orders) + len(site.books.clicks) + len(site.books.payouts)
        assert rows[name]["state"] == "ok"
        assert rows[name]["new"] == whole
        assert rows[name]["behind"] == 0.0
    assert rows["dead"]["state"] == "no answer"
    assert rows["revoked"]["behind"] is None
    assert "dead: get_info: cannot connect" in ran.err
    assert "revoked: get_info: the API refused" in ran.err
    assert_absent((WRONG, DEAD, *(one.api_key for one in sites.values())), ran.out, ran.err)


def test_it_fits_a_terminal_of_80_columns(sites: dict[str, Sandbox], tmp_path: Path) -> None:
    """Bars on stderr, then the table; the account that never worked says so."""
    ran = ppapi("sync", "--to", "copy.db", "classic", "revoked", terminal=True)
    assert ran.code == 5
    lines = bare(ran.out).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[-4:] == ["0", "never", "key", "refused"] for line in lines)
    assert (tmp_path / "copy.db").stat().st_mode & 0o077 == 0


@pytest.mark.untraced
def test_resources_and_since_are_heeded(sites: dict[str, Sandbox], tmp_path: Path) -> None:
    """Only what is asked for is copied."""
    command = ("sync", "--to", "copy.db", "capped", "--resources", "exchanges", "--since", "30d")
    assert ppapi(*command).code == 0
    found = held(tmp_path / "copy.db")["capped"]
    assert 0 < len(found) < 100
    assert held(tmp_path / "copy.db", "links") == {}


def test_a_second_run_reads_what_is_new(sites: dict[str, Sandbox]) -> None:
    """Few requests, and no row twice."""
    assert ppapi("sync", "--to", "copy.db", *Dialect).code == 0
    ran = ppapi("sync", "--to", "copy.db", *Dialect, "--json", "account,new,changed,requests")
    for row in json.loads(ran.out):
        assert (row["new"], row["changed"]) == (0, 0)
        assert row["requests"] <= 20


@pytest.mark.untraced
@pytest.mark.parametrize(("how", "columns"), [("ctrl-c", 80), ("SIGTERM", 200)])
def test_interrupted_in_the_middle_another_run_goes_on(
    home: Path, tmp_path: Path, how: str, columns: int
) -> None:
    """On a real terminal: bars that fit, a clean end, exit 130; then all rows, in few requests."""
    site = Sandbox(Dialect.DELEGATING, rows=3000, seed=6, cap=50)
    with running(site):
        write_accounts(home / "config" / "ppapi" / "accounts.toml", {"one": site})
        copy = tmp_path / "copy.db"
        # From the first rows on the site says nothing more, for as long as it takes.
        site.faults.add(
            Fault.HANG, method="get_exchanges", times=None, when=lambda _: has_rows(copy)
        )
        with Terminal("sync", "--to", "copy.db", columns=columns) as terminal:
            until_there_are_rows(copy)
            terminal.wait_for("rows")
            if how == "ctrl-c":
                terminal.type("\x03")
            else:
                terminal.send(signal.SIGTERM)
            code = terminal.end()
            text, raw = terminal.text, terminal.raw
        assert code == 130
        assert "what was read so far is kept: another run goes on from there" in text
        assert text.rstrip().endswith("interrupted")
        assert "Traceback" not in text
        assert raw.rindex("\x1b[?25h") > raw.rindex("\x1b[?25l")
        assert max(len(line) for part in text.split("\n") for line in part.split("\r")) <= columns
        site.faults.clear()
        kept = len(held(copy)["one"])
        asked = len(site.requests)
        assert 0 < kept < 3000
        assert ppapi("sync", "--to", "copy.db", "--resources", "exchanges").code == 0
    assert held(copy) == books({"one": site})
    rows = sum(one.rows or 0 for one in list(site.requests)[asked:])
    assert rows < 2 * (3000 - kept) + 200


def has_rows(path: Path) -> bool:
    """Tell whether a copy has orders."""
    try:
        return bool(held(path))
    except sqlite3.OperationalError:
        return False  # it has no tables yet


def until_there_are_rows(path: Path) -> None:
    """Wait until a copy has orders."""
    until = time.monotonic() + 30
    while not has_rows(path):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("--to nowhere/copy.db", 1, "nowhere/copy.db: No such file or directory; its directory"),
        ("--to postgresql://me:sEcretword@127.0.0.1:9/db", 1, "look whether the server runs"),
        ("--to mysql://me:sEcretword@host/db", 2, "is neither of SQLite nor of PostgreSQL"),
        ("--to Postgres:me:sEcretword@host", 2, "this is neither a url nor a path"),
        ("--shared group --to copy.db", 2, "--shared: goes with --follow only"),
        ("--shared group --follow --to copy.db", 2, "shared: needs PostgreSQL"),
        (
            "--resources links,clicks",
            2,
            "'clicks' is none; choose from links, exchanges, payouts, info",
        ),
        ("--resources ,", 2, "choose from links"),
        ("--interval soon", 2, "'soon' is none; write 90s"),
        ("--json size", 2, "there is no field 'size'; choose from"),
        ("--follow --json rows", 2, "there is no field 'rows'; choose from"),
        ("tow", 2, "there is no account 'tow'"),
    ],
)
def test_what_cannot_be_says_what_to_do(home: Path, arguments: str, code: int, said: str) -> None:
    """In few words, without the password of a database."""
    path = write_accounts(home / "config" / "ppapi" / "accounts.toml", {})
    path.write_text(f'[[accounts]]\nname = "one"\nurl = "http://127.0.0.1:9"\napi_key = "{DEAD}"\n')
    ran = ppapi("sync", *arguments.split())
    assert ran.code == code
    assert said in ran.err
    assert_absent((DEAD, "sEcretword"), ran.out, ran.err)


def test_a_full_disk_is_told_with_what_to_do(
    sites: dict[str, Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the site's trouble, so nobody is sent to look there."""

    class Small(database._SqliteConnection):
        _STATEMENTS = (*database._SqliteConnection._STATEMENTS, "PRAGMA max_page_count = 60")

    monkeypatch.setattr(database, "_SqliteConnection", Small)
    ran = ppapi("sync", "--to", "copy.db", "capped", "--json", "state")
    assert ran.code == 1
    assert json.loads(ran.out) == [{"state": "database"}]
    assert "database or disk is full; make room, then try again" in ran.err
    assert "doctor" not in ran.err


def test_one_trouble_of_many_accounts_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Names and texts do nothing to the terminal."""
    full = {f"site {number}": StateError("the disk is full") for number in range(5)}
    blocked = BlockedError("a page\x1b[2J stands before the API", account="x\x1by", status=403)
    tell_failures({**full, "x\x1by": blocked})
    assert capsys.readouterr().err.splitlines() == [
        "site 0, site 1, site 2 and 2 more: the disk is full",
        "x\\x1by: a page\\x1b[2J stands before the API",
        "a closer look: ppapi doctor 'x\\x1by'",
    ]


@pytest.mark.parametrize("advice", ["raise largest_answer", "pass a longer timeout="])
def test_advice_for_programmers_is_left_out(advice: str) -> None:
    """There is no such option; what happened and what else to do is told."""
    error = RequestTimeoutError(f"no answer; try again later, or {advice}", account="one")
    assert words_of(error) == "no answer; try again later"

    async def fail() -> None:
        raise error

    with pytest.raises(CommandFailed) as caught:
        run(fail)
    assert caught.value.message == "one: no answer; try again later"


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (None, "ok"),
        (AuthError("no"), "key refused"),
        (ServerError("it broke", status=500), "site is broken"),
        (RequestTimeoutError("too late"), "timed out"),
        (TransportError("no"), "no answer"),
        (PPAPIError("what?"), "failed"),
    ],
)
def test_a_word_for_each_trouble(error: PPAPIError | None, word: str) -> None:
    """For the table."""
    assert state_of(error) == word


async def test_cancelled_it_says_that_nothing_is_lost(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Ctrl-C does; the copy is closed then, and can be opened again."""
    asked = asyncio.Event()

    def note_that_it_was_asked(_: object) -> bool:
        asked.set()
        return True

    async with Sandbox(Dialect.CLASSIC, rows=5) as site:
        site.faults.add(Fault.HANG, method="get_links", times=None, when=note_that_it_was_asked)
        accounts = [Account(site.url, site.api_key, name="one")]
        options = MirrorOptions(url="sqlite:///copy.db", accounts=accounts, resources=["links"])
        for _ in range(2):
            asked.clear()
            task = asyncio.create_task(sync(options))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert "what was read so far is kept: another run goes on" in capsys.readouterr().err
