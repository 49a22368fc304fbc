"""`ppapi sync --follow`: each change is a line; how accounts get on is told beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import evolve

from ppapi_async import Account, DecodeError, Dialect, StateError
from ppapi_async.cli.copying import following
from ppapi_async.cli.copying.syncing import MirrorOptions
from ppapi_async.cli.exits import CommandFailed, Exit
from ppapi_async.cli.watching.texts import change_line
from ppapi_async.fleet.status import ShardsGained, ShardsLost
from ppapi_async.models import Payout, PayoutStatus
from ppapi_async.sandbox import Sandbox
from ppapi_async.watching.changes import Change, ChangeKind, RowsUnreadable

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
SECOND = timedelta(seconds=0.2)


def options_of(*sites: Sandbox, key: str | None = None) -> MirrorOptions:
    """Return the options of a copy of these sites, called `site 0` and so on."""
    accounts = [
        Account(one.url, key or one.api_key, name=f"site {place}", timezone="Europe/Moscow")
        for place, one in enumerate(sites)
    ]
    return MirrorOptions(
        url="sqlite:///copy.db", accounts=accounts, resources=("info", "exchanges", "links")
    )


@asynccontextmanager
async def following_until_left(
    options: MirrorOptions, fields: tuple[str, ...] | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """Follow until the block is left."""
    task = asyncio.create_task(
        following.follow(options, interval=SECOND, fields=fields, is_utc=True)
    )
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def said(capsys: pytest.CaptureFixture[str], text: str, so_far: str = "") -> str:
    """Wait until it is written; return all that was."""
    async with asyncio.timeout(30):
        while text not in so_far:
            await asyncio.sleep(0.01)
            printed = capsys.readouterr()
            so_far += printed.err + printed.out
    return so_far


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often at how many are caught up."""
    monkeypatch.setattr(following, "_LOOK", 0.01)


@pytest.mark.untraced
async def test_changes_are_lines(
    home: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first poll is at once; then each change is a line as it comes."""
    async with Sandbox(Dialect.CLASSIC, rows=5, seed=1) as site:
        async with following_until_left(options_of(site)):
            await said(capsys, "1 of 1 account caught up")
            site.books.partner.balance = "777.01"
            text = await said(capsys, "→ 777.01")
    line = text.splitlines()[-1]
    assert line.endswith(" → 777.01") or " → 777.01, " in line
    assert "  site 0  balance " in line


async def test_changes_are_json(
    home: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line each, amounts as exact text; nothing else is on stdout."""
    async with Sandbox(Dialect.CLASSIC, rows=5, seed=1) as site:
        fields = ("account", "resource", "kind", "id", "fields", "record", "previous")
        async with following_until_left(options_of(site), fields):
            await said(capsys, "1 of 1 account caught up")
            site.books.partner.balance = "777.01"
            text = await said(capsys, '"777.01"')
    found = json.loads(text.splitlines()[-1])
    assert list(found) == list(fields)
    assert (found["account"], found["resource"], found["kind"]) == ("site 0", "info", "changed")
    assert (found["fields"], found["record"]["balance"]) == (["balance", "items"], "777.01") or (
        found["fields"] == ["balance"]
    )


async def test_accounts_of_which_none_works_end_it(home: Path, quick: None) -> None:
    """A service that can do nothing says so by its exit code."""
    async with Sandbox(rows=0) as one, Sandbox(Dialect.CLONE, rows=0) as two:
        options = options_of(one, two, key="w7ong" * 7)
        with pytest.raises(CommandFailed, match="no account works") as caught:
            await following.follow(options, interval=SECOND, fields=None, is_utc=False)
    assert caught.value.exit is Exit.KEY


async def test_how_many_are_caught_up_is_told_now_and_then(
    home: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As long as there is one on the way."""
    monkeypatch.setattr(following, "_SELDOM", 0.0)
    async with Sandbox(rows=50) as site, following_until_left(options_of(site)):
        text = await said(capsys, "1 of 1 account caught up\n")
    assert "0 of 1 account caught up …" in text


async def test_workers_that_share_say_what_they_follow(
    home: Path, quick: None, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is alone has all of it."""
    async with Sandbox(rows=3) as one, Sandbox(rows=3) as two:
        options = evolve(options_of(one, two), url=postgres_url, shared="group")
        async with following_until_left(options):
            text = await said(capsys, "2 of 2 accounts caught up")
    assert "follows site 0, site 1" in text


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (RowsUnreadable("a\x1b", DecodeError("row 5", account="a\x1b")), "a\\x1b: row 5"),
        (ShardsGained(("a", "b", "c", "d", "e")), "follows a, b, c and 2 more"),
        (ShardsLost(("a",)), "lets a go"),
        (ShardsLost(("a",), StateError("silence")), "lets a go: silence"),
    ],
)
def test_how_accounts_get_on(
    event: RowsUnreadable | ShardsGained | ShardsLost,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr, in a line."""
    following._print(event, None, UTC)
    assert capsys.readouterr().err == f"{said}\n"


def test_what_a_site_lists_no_more_is_a_line_too() -> None:
    """Only mirrors tell of it."""
    payout = Payout(
        id=3,
        time=NOON,
        method_id=1,
        account="TX\x1b1",
        pay_amount=Decimal(9),
        original_amount=Decimal(10),
        status=PayoutStatus.WAITING,
    )
    lines = [
        change_line(Change(kind, payout, account="one"), NOON, UTC, colour=False)
        for kind in (ChangeKind.GONE, ChangeKind.RETURNED)
    ]
    assert lines == [
        "2026-11-28 12:00:00  one  payout 3: gone, 9.00 to TX\\x1b1",
        "2026-11-28 12:00:00  one  payout 3: returned, 9.00 to TX\\x1b1",
    ]
