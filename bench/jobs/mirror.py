"""A mirror: how long the first synchronisation takes and the second one, and what it weighs.

What each measure returns is described in `bench.mirror`, which runs them.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from attrs import define

from bench.jobs.fleet import accounts_at
from bench.jobs.memory import forget_peak, resident
from bench.processes import Site
from ppapi_async import Account, Hooks
from ppapi_async.mirror import Mirror, SyncReport


def run(site: Site, *, measure: str, database: str, **options: float) -> dict[str, float]:
    """Run one of the measures, in SQLite where `database` is empty."""
    job = {"one": _one, "quiet": _quiet}[measure]
    if database:
        return asyncio.run(job(site, database, **options))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mirror.db"
        told = asyncio.run(job(site, f"sqlite:///{path}", **options))
        return told | {"bytes": path.stat().st_size}


@define
class _Clock:
    """Shows the end of the site's rows at first, and goes on."""

    ahead: float

    def __call__(self) -> float:
        return time.time() + self.ahead


async def _one(site: Site, url: str) -> dict[str, float]:
    """Mirror the exchanges of one account: from nothing, at once again, and later again."""
    clock = _Clock(site.end - time.time())
    account = Account(site.url, site.key, name="one", allow_http=True)
    hooks = Hooks(clock=clock)
    async with Mirror(url, account, resources=("exchanges",), hooks=hooks) as mirror:
        forget_peak()
        idle = resident("VmRSS")
        first, report = await _timed(mirror)
        told = {"rows": report.accounts["one"].new, "requests": report.accounts["one"].requests}
        told |= {"first": first, "idle": idle, "peak": resident("VmHWM")}
        for name, later in (("again", 0), ("hour", 3_600), ("day", 86_400)):
            clock.ahead += later
            seconds, report = await _timed(mirror)
            told |= {name: seconds, f"{name}_rows": report.accounts["one"].rows}
    return told


async def _quiet(site: Site, url: str, *, accounts: int) -> dict[str, float]:
    """Mirror many accounts of which each has little, and then nothing new."""
    async with Mirror(url, accounts_at(site, accounts)) as mirror:
        first, _ = await _timed(mirror)
        cpu = time.process_time()
        again, report = await _timed(mirror)
        cpu = time.process_time() - cpu
    requests = sum(one.requests for one in report.accounts.values())
    return {"first": first, "again": again, "again_cpu": cpu, "requests": requests}


async def _timed(mirror: Mirror) -> tuple[float, SyncReport]:
    began = time.perf_counter()
    report = await mirror.sync()
    taken = time.perf_counter() - began
    if not report.ok:
        raise next(iter(report.failed.values()))
    return taken, report
