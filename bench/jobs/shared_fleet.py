"""A worker of a fleet that polls until it is ended: alone, or sharing the accounts with others."""

from __future__ import annotations

import asyncio
import signal
import tempfile

from bench.jobs.fleet import accounts_at
from bench.processes import Site
from ppapi_async import Fleet, PostgresState, SQLiteState


def run(site: Site, *, accounts: int, interval: float, postgres: str) -> dict[str, float]:
    """Poll until SIGTERM comes."""
    with tempfile.TemporaryDirectory() as directory:
        state = PostgresState(postgres) if postgres else SQLiteState(f"{directory}/state.db")
        shared = "bench" if postgres else None
        made = accounts_at(site, accounts)
        fleet = Fleet(made, interval=interval, state=state, shared=shared)
        asyncio.run(_poll(fleet))
    return {}


async def _poll(fleet: Fleet) -> None:
    async with fleet:
        closing: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(
            signal.SIGTERM, lambda: closing.append(loop.create_task(fleet.aclose()))
        )
        async for _ in fleet.events():
            pass
        await asyncio.gather(*closing)
