"""The longest time that streams keep everything else from running."""

from __future__ import annotations

import asyncio
import gc
import time
from statistics import median

from attrs import define

from bench.processes import Site
from bench.rows import listed, newest_first
from ppapi_async import Account, Exchange, Session
from ppapi_async.protocol import Answer, PageCodec, Reader
from ppapi_async.protocol.site_clock import SiteClock

_TICK = 0.001
_PAGE = 500


@define
class Ticker:
    """Wants to run every millisecond, and keeps by how much it was late at worst."""

    stall: float = 0.0
    without_gc: float = 0.0
    """The same, less the garbage collections in it."""
    cpu: float = 0.0
    """The most that this thread worked between two ticks: a stall that is not the machine's."""
    late: int = 0
    """Ticks more than 10 ms late."""
    collecting: float = 0.0
    """Seconds of garbage collection so far."""
    longest_gc: float = 0.0
    _gc_began: float = 0.0

    async def run(self) -> None:
        while True:
            began, worked, collected = time.perf_counter(), time.thread_time(), self.collecting
            await asyncio.sleep(_TICK)
            late = time.perf_counter() - began - _TICK
            self.stall = max(self.stall, late)
            self.without_gc = max(self.without_gc, late - (self.collecting - collected))
            self.cpu = max(self.cpu, time.thread_time() - worked)
            self.late += late > 0.010

    def note_collection(self, phase: str, _: object) -> None:
        """Take a call of `gc.callbacks`."""
        if phase == "start":
            self._gc_began = time.perf_counter()
            return
        taken = time.perf_counter() - self._gc_began
        self.collecting += taken
        self.longest_gc = max(self.longest_gc, taken)


def _seconds_of_page() -> float:
    """Return the CPU that a page of 500 plain rows takes to decode: how fast this machine is now.

    Without the loop, a stream or a collection, so that stalls of two machines can be compared.
    """
    account = Account("https://site.example", "k" * 32)
    codec = PageCodec(Exchange, SiteClock(account.zone), Reader(account, "get_exchanges"))
    answer = Answer(200, {}, listed(newest_first("plain", _PAGE)))
    taken = []
    for _ in range(20):
        began = time.thread_time()
        codec.decode(answer)
        taken.append(time.thread_time() - began)
    return median(taken)


async def _consume(session: Session, site: Site) -> int:
    rows = 0
    async for _ in session.iter_exchanges(site.start, site.end):
        rows += 1
    return rows


async def _read(site: Site, streams: int) -> dict[str, float]:
    async with Session(site.url, site.key) as session:
        await session.get_info()
        ticker = Ticker()
        gc.callbacks.append(ticker.note_collection)
        ticking = asyncio.create_task(ticker.run())
        rows = await asyncio.gather(*(_consume(session, site) for _ in range(streams)))
        ticking.cancel()
        gc.callbacks.remove(ticker.note_collection)
    return {
        "rows": sum(rows),
        "stall": ticker.stall * 1000,
        "without_gc": ticker.without_gc * 1000,
        "cpu_stall": ticker.cpu * 1000,
        "late": ticker.late,
        "gc": ticker.longest_gc * 1000,
    }


def run(site: Site, *, streams: int) -> dict[str, float]:
    before = _seconds_of_page()
    measured = asyncio.run(_read(site, streams))
    return measured | {"page": (before + _seconds_of_page()) / 2 * 1000}
