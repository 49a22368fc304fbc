"""The longest time that streams keep everything else from running."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator

from attrs import define

from bench.processes import Site
from ppapi_async import Session

_TICK = 0.001


@define
class Ticker:
    """Wants to run every millisecond, and keeps by how much it was late at worst."""

    stall: float = 0.0
    cpu: float = 0.0
    """The most that this thread worked between two ticks: a stall that is not the machine's."""
    late: int = 0
    """Ticks more than 10 ms late."""

    async def run(self) -> None:
        while True:
            began, worked = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_TICK)
            late = time.perf_counter() - began - _TICK
            self.stall = max(self.stall, late)
            self.cpu = max(self.cpu, time.thread_time() - worked)
            self.late += late > 0.010


@contextlib.contextmanager
def collections_timed() -> Iterator[list[float]]:
    """Keep how long each garbage collection took."""
    taken: list[float] = []
    began = 0.0

    def note(phase: str, _: object) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            taken.append(time.perf_counter() - began)

    gc.callbacks.append(note)
    try:
        yield taken
    finally:
        gc.callbacks.remove(note)


async def _consume(session: Session, site: Site) -> int:
    rows = 0
    async for _ in session.iter_exchanges(site.start, site.end):
        rows += 1
    return rows


async def _read(site: Site, streams: int) -> dict[str, float]:
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    await asyncio.sleep(0.1)
    async with Session(site.url, site.key) as session:
        await session.get_info()
        ticker.stall = ticker.cpu = 0.0
        ticker.late = 0
        with collections_timed() as pauses:
            rows = await asyncio.gather(*(_consume(session, site) for _ in range(streams)))
    ticking.cancel()
    return {
        "rows": sum(rows),
        "stall": ticker.stall * 1000,
        "cpu_stall": ticker.cpu * 1000,
        "late": ticker.late,
        "gc": max(pauses, default=0.0) * 1000,
    }


def run(site: Site, *, streams: int) -> dict[str, float]:
    return asyncio.run(_read(site, streams))
