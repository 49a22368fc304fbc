"""A small service on all your partner accounts: their health, balances and rewards by sub-id.

    pip install ppapi-async fastapi uvicorn
    export ONE_KEY=…
    python fastapi_service.py --accounts accounts.toml --data . --since 2026-01-01 --port 8000

    GET /health    503 and what is wrong where an account fails, is polled no more, or was read long
                   ago, or where a task has ended; else 200. `ok` is null until all have been read
    GET /ready     200 once every account has been polled, else 503
    GET /accounts  how each account gets on, and its balance
    GET /rewards   what has accrued, by account and by the `sub` of the click that brought it

Clicks and exchanges are booked in rewards.sqlite before they count as delivered in watches.sqlite:
a restart goes on where it was, and what comes twice is booked once. Keep or delete both together.
One process only: it has no use for `--workers`. SIGINT and SIGTERM end it: uvicorn takes them, and
the app's lifespan closes the fleet. Let /health restart nothing: a restart mends no site.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from ppapi_async import (
    AccountPhase,
    AccountStatus,
    Change,
    Exchange,
    Fleet,
    Info,
    Link,
    SQLiteState,
    load_accounts,
)

SUB = "sub"  # the parameter of your links that tells where a visitor comes from
INTERVAL = 60.0  # seconds from one poll of an account to its next
MOST_LAG = timedelta(seconds=3 * INTERVAL)
SCHEMA = """
CREATE TABLE IF NOT EXISTS clicks (account, id, visitor, time, sub, PRIMARY KEY (account, id));
CREATE INDEX IF NOT EXISTS clicks_of_visitor ON clicks (account, visitor, time);
CREATE TABLE IF NOT EXISTS exchanges
    (account, id, visitor, time, reward, accrued, PRIMARY KEY (account, id));
"""
PUT_CLICK = "INSERT OR REPLACE INTO clicks VALUES (?, ?, ?, ?, ?)"
# The time stays that of the first delivery: on 2.7 sites it moves with each change.
PUT_EXCHANGE = """
INSERT INTO exchanges VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET reward = excluded.reward, accrued = excluded.accrued
"""
REWARDS = """
SELECT account, reward, coalesce((
    SELECT sub FROM clicks WHERE account = e.account AND visitor = e.visitor AND time <= e.time
    ORDER BY time DESC LIMIT 1), '') AS sub FROM exchanges AS e WHERE accrued ORDER BY account, sub
"""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the book for one transaction, in whatever thread."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        yield connection


def book(path: Path, account: str, row: Link | Exchange) -> None:
    """Book a click, or how an exchange is now."""
    head = (account, row.id, row.user_hash, int(row.time.timestamp()))
    with opened(path) as connection:
        if isinstance(row, Link):
            connection.execute(PUT_CLICK, (*head, row.query.get(SUB, "")))
        else:  # the reward as text, which is exact
            connection.execute(PUT_EXCHANGE, (*head, str(row.partner_reward), row.accrued))


def rewards(path: Path) -> list[dict[str, str | int]]:
    """Return what has accrued, by account and sub-id."""
    found: dict[tuple[str, str], list[Decimal]] = {}
    with opened(path) as connection:
        for account, reward, sub in connection.execute(REWARDS):
            found.setdefault((account, sub), []).append(Decimal(reward))
    return [
        {"account": account, "sub": sub, "exchanges": len(some), "reward": f"{sum(some):f}"}
        for (account, sub), some in found.items()
    ]


def trouble(status: AccountStatus) -> str | None:
    """Return what is wrong with an account, None if nothing, or if it has not been read yet."""
    if not status.ok:
        return f"{status.phase}, {status.failures} polls failed: {status.last_error}"
    is_late = status.lag is not None and status.lag > MOST_LAG
    is_wanted = status.phase is not AccountPhase.PAUSED
    return f"{status.phase}, read {status.lag} ago" if is_late and is_wanted else None


async def follow(fleet: Fleet, path: Path, balances: dict[str, Info]) -> None:
    """Book what the accounts deliver, until the fleet is left."""
    async with fleet.events("info", "links", "exchanges", initial_info=True) as events:
        async for event in events:
            # All else there is to deliver, such as failures, is said by status().
            if not isinstance(event, Change):
                continue
            if isinstance(event.record, Info):
                balances[event.account] = event.record
            elif isinstance(event.record, Link | Exchange):
                await asyncio.to_thread(book, path, event.account, event.record)


def create_app(fleet: Fleet, path: Path) -> FastAPI:
    """Return an app that polls the accounts as long as it runs, and books in the file at `path`."""
    balances: dict[str, Info] = {}
    tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with opened(path) as connection:
            connection.executescript(SCHEMA)
        async with fleet:
            tasks[:] = [asyncio.create_task(follow(fleet, path, balances))]
            try:
                yield
            finally:
                await fleet.aclose()  # ends the loop over the events
                await asyncio.wait(tasks)

    app = FastAPI(title="Partner accounts", lifespan=lifespan)

    @app.get("/health")
    async def get_health() -> JSONResponse:
        statuses = fleet.status()
        # A task that ended has failed; nobody else would notice.
        ended = [repr(task.exception()) for task in tasks if task.done()]
        wrong = {name: text for name, s in statuses.items() if (text := trouble(s)) is not None}
        unread = [name for name, status in statuses.items() if status.last_success is None]
        ok = False if wrong or ended else fleet.healthy  # None: not all have been read
        content = {"ok": ok, "accounts": wrong, "not read yet": unread, "tasks": ended}
        return JSONResponse(content, 503 if ok is False else 200)

    @app.get("/ready")
    async def get_ready() -> JSONResponse:
        statuses = fleet.status().values()
        ready = bool(tasks) and all(s.last_success is not None or not s.ok for s in statuses)
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    @app.get("/accounts")
    async def get_accounts() -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for name, status in fleet.status().items():
            info = balances.get(name)
            row = {"name": name, "phase": status.phase, "last_success": status.last_success}
            found.append(row | {"balance": info and f"{info.balance:f}"})
        return found

    @app.get("/rewards")
    async def get_rewards() -> list[dict[str, str | int]]:
        return await asyncio.to_thread(rewards, path)

    return app


def main() -> None:
    """Run the service."""
    parser = argparse.ArgumentParser(description="A small service on your partner accounts.")
    parser.add_argument("--accounts", default="accounts.toml", help="default: %(default)s")
    parser.add_argument("--data", type=Path, default=Path(), help="where the files are kept")
    parser.add_argument("--since", type=date.fromisoformat, help="begin then, not now")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    options = parser.parse_args()
    since = options.since and datetime.combine(options.since, time(), UTC)
    state = SQLiteState(options.data / "watches.sqlite")
    accounts = load_accounts(options.accounts)
    fleet = Fleet(accounts, interval=INTERVAL, first="now", state=state, since=since)
    uvicorn.run(create_app(fleet, options.data / "rewards.sqlite"), port=options.port)


if __name__ == "__main__":
    main()
