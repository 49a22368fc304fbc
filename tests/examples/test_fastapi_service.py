"""The FastAPI example: health, readiness and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterator,
)
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples import fastapi_service
from ppapi_async import (
    AccountPhase,
    AccountStatus,
    Dialect,
)
from ppapi_async.sandbox import Click, Fault, Sandbox
from tests import virtual_time
from tests.examples.test_examples import (
    KEY,
    TWO_KINDS,
    books_of,
    fleet_on,
    move,
    run,
    site_of,
    status,
)
from tests.leaks import assert_absent


@asynccontextmanager
async def service_on(site: Sandbox, path: Path, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run the service, without a port of its own."""
    app = fastapi_service.create_app(fleet_on(site, path / "watches", **options), path / "book")
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
    async with app.router.lifespan_context(app), client:
        yield client


async def get(client: httpx.AsyncClient, path: str) -> Any:
    """Return an answer's JSON."""
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def health(client: httpx.AsyncClient) -> tuple[int, bool | None, str]:
    """Return the status, whether all is well, and what is said of the account."""
    answer = await client.get("/health")
    content = answer.json()
    is_wrong, is_unread = (
        bool(content["accounts"] or content["tasks"]),
        bool(content["not read yet"]),
    )
    assert content["ok"] is (False if is_wrong else None if is_unread else True)
    return answer.status_code, content["ok"], content["accounts"].get("one", "")


async def ready(client: httpx.AsyncClient) -> int:
    """Return the status of /ready."""
    return (await client.get("/ready")).status_code


@pytest.mark.untraced
def test_health_is_right_from_the_first_second(tmp_path: Path) -> None:
    """Unknown until the account has been read, then well; 503 while it fails, without the key."""

    async def main() -> None:
        async with site_of(books_of()) as site, service_on(site, tmp_path) as client:
            assert (await health(client), await ready(client)) == ((200, None, ""), 503)
            await asyncio.sleep(130)
            assert (await health(client), await ready(client)) == ((200, True, ""), 200)
            fault = site.faults.add(Fault.KEY_ECHO, times=None, status=500)
            await asyncio.sleep(130)
            code, ok, text = await health(client)
            assert (code, ok, await ready(client)) == (503, False, 200)
            assert text.startswith("failing, ")
            assert "polls failed: one: get_" in text
            assert_absent(KEY, text)
            site.faults.remove(fault)
            await asyncio.sleep(600)
            assert await health(client) == (200, True, "")

    run(main)


def test_health_tells_a_wrong_key_in_the_first_second(tmp_path: Path) -> None:
    """Polled at once, as the program does: suspended, so 503, and ready to be asked."""

    async def main() -> None:
        options: dict[str, Any] = {"first": "now", "key": KEY[::-1]}
        async with site_of(books_of()) as site, service_on(site, tmp_path, **options) as client:
            await asyncio.sleep(1)
            code, ok, text = await health(client)
            assert (code, ok, await ready(client)) == (503, False, 200)
            assert text.startswith("suspended, 1 polls failed")
            assert_absent(KEY[::-1], text)

    run(main)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (status(), None),
        (status(lag=180), None),
        (status(lag=181), "waiting, read 0:03:01 ago"),
        (status(AccountPhase.PAUSED, lag=999), None),
        (status(AccountPhase.POLLING, lag=None), None),
        (status(AccountPhase.FAILING, failures=2), "failing, 2 polls failed: a: 502"),
        (status(AccountPhase.SUSPENDED), "suspended, 0 polls failed: None"),
    ],
)
def test_trouble(found: AccountStatus, text: str | None) -> None:
    """Failures, suspension, a lag of more than three intervals; not what has not been read yet."""
    assert fastapi_service.trouble(found) == text


def test_a_task_that_fails_shows_in_health(tmp_path: Path) -> None:
    """A book that cannot be written ends the booking, and health says so."""

    async def main() -> None:
        books = books_of("")
        async with site_of(books) as site, service_on(site, tmp_path) as client:
            await asyncio.sleep(130)
            with fastapi_service.opened(tmp_path / "book") as connection:
                connection.execute("DROP TABLE exchanges")
            move(books, 1, "success")
            await asyncio.sleep(130)
            answer = await client.get("/health")
            assert answer.status_code == 503
            [ended] = answer.json()["tasks"]
            assert "no such table" in ended

    run(main)


@pytest.mark.untraced
@TWO_KINDS
def test_rewards_are_booked_once_by_sub_id(dialect: Dialect, tmp_path: Path) -> None:
    """By the last click before the exchange; a reversal counts; a restart goes on."""

    async def main() -> None:
        books = books_of("ann", "ann", "bob", "cid")
        begun = int(virtual_time.BEGINNING) - 300
        for at, (visitor, sub) in enumerate((("ann", "early"), ("ann", "select"), ("bob", "tg"))):
            row_id, query = books.clicks.next_id, f"?rid=1&sub={sub}"
            click = Click(id=row_id, created=begun + at, user_hash=visitor, query_string=query)
            books.clicks.put(click)
        books.clicks.put(Click(id=9, created=begun + 99, user_hash="bob", query_string="?sub=late"))
        since = datetime.fromtimestamp(begun - 60, UTC)
        expected = [
            {"account": "one", "sub": "", "exchanges": 1, "reward": "1.5"},
            {"account": "one", "sub": "select", "exchanges": 2, "reward": "3.0"},
        ]
        async with site_of(books, dialect) as site:
            async with service_on(site, tmp_path, since=since) as client:
                await asyncio.sleep(130)
                assert await get(client, "/rewards") == []
                for row_id in (1, 2, 3, 4):
                    move(books, row_id, "success")
                await asyncio.sleep(130)
                tg = {"account": "one", "sub": "tg", "exchanges": 1, "reward": "1.5"}
                assert await get(client, "/rewards") == [*expected, tg]
            move(books, 3, "cancel")
            async with service_on(site, tmp_path, since=since) as client:
                await asyncio.sleep(130)
                assert await get(client, "/rewards") == expected
                assert (await get(client, "/accounts"))[0]["balance"] == "9.5"

    run(main)


@pytest.mark.untraced
def test_balances_are_those_of_the_latest_poll(tmp_path: Path) -> None:
    """From the first poll on, though a state knows them; of an account that fails the last one."""

    async def main() -> None:
        books = books_of(balance="7.50")
        async with site_of(books) as site:
            for first, then in (("7.50", "8"), ("8", "9")):
                async with service_on(site, tmp_path, first="now") as client:
                    assert (await get(client, "/accounts"))[0]["balance"] is None
                    await asyncio.sleep(1)
                    account = (await get(client, "/accounts"))[0]
                    assert (account["name"], account["balance"]) == ("one", first)
                    books.partner.balance = then
                    await asyncio.sleep(130)
                    assert (await get(client, "/accounts"))[0]["balance"] == then
                    site.faults.add(Fault.HTML_502, method="get_info", times=None)
                    await asyncio.sleep(310)
                    assert (await get(client, "/accounts"))[0]["balance"] == then
                    site.faults.clear()

    run(main)
