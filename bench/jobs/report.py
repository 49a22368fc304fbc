"""A report: how long it takes to gather one, and what it weighs. Described in `bench.report`."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from zoneinfo import ZoneInfo

from bench.filled import DAYS, END
from bench.jobs.memory import forget_peak, resident
from bench.processes import Site
from ppapi_async.cli.report.gather import gather
from ppapi_async.mirror import ReadOnlyMirror


def run(_: Site, *, url: str) -> dict[str, float]:
    """Gather a report of all rows."""

    async def measure() -> dict[str, float]:
        forget_peak()
        idle = resident("VmRSS")
        began, cpu = time.perf_counter(), time.process_time()
        async with ReadOnlyMirror(url) as mirror:
            data = await gather(
                mirror,
                start=END - timedelta(days=DAYS),
                end=END,
                zone=ZoneInfo("Europe/Moscow"),
                now=END,
            )
        taken, cpu = time.perf_counter() - began, time.process_time() - cpu
        orders = sum(one.orders for one in data.accounts)
        clicks = sum(one.clicks for one in data.accounts)
        return {"gather": taken, "gather_cpu": cpu, "idle": idle, "peak": resident("VmHWM"),
                "rows": orders + clicks}  # fmt: skip

    return asyncio.run(measure())
