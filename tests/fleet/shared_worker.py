"""A worker of a shared fleet, as a process of its own: `python -m tests.fleet.shared_worker JSON`.

It writes a line of JSON for each event that it is delivered, until SIGTERM. Sites can tell it by
its name in `User-Agent`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TypedDict
from unittest import mock

from ppapi_async import Account, Change, Exchange, Fleet, PostgresState
from ppapi_async.transport import connection

__all__ = ["Job", "Line"]


class Job(TypedDict):
    """What a worker is to do."""

    name: str
    postgres: str
    accounts: list[tuple[str, str, str]]
    """Url, key and name of each."""
    interval: float
    hung_after: float


class Line(TypedDict):
    """What it tells of an event."""

    event: str
    account: str
    id: int


async def work(job: Job) -> None:
    """Poll until a signal comes."""
    accounts = [Account(url, key, name=name) for url, key, name in job["accounts"]]
    state = PostgresState(job["postgres"], hung_after=job["hung_after"])
    async with Fleet(accounts, interval=job["interval"], state=state, shared="group") as fleet:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: closing.append(loop.create_task(close())))
        closing: list[asyncio.Task[None]] = []

        async def close() -> None:
            await fleet.aclose()

        async for event in fleet.events("exchanges", "info"):
            is_order = isinstance(event, Change) and isinstance(event.record, Exchange)
            number = event.record.id if is_order else 0  # type: ignore[union-attr]
            line: Line = {"event": type(event).__name__, "account": event.account, "id": number}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        await asyncio.gather(*closing)


if __name__ == "__main__":
    read: Job = json.loads(sys.argv[1])
    with mock.patch.object(connection, "__version__", read["name"]):
        asyncio.run(work(read))
