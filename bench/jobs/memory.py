"""How much memory a long stream takes over the idle process, and when its first record comes."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

from bench.processes import Site
from ppapi_async import Session

_CLEAR_PEAK = "5"


def resident(name: str) -> float:
    """Return VmRSS or VmHWM of this process in MB; without /proc, the peak so far."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def forget_peak() -> None:
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text(_CLEAR_PEAK, "ascii")


async def _read(site: Site, concurrency: int) -> dict[str, float]:
    rows, first, requests, largest = 0, 0.0, 0, 0

    def count(facts: object) -> None:
        nonlocal requests, largest
        requests += 1
        largest = max(largest, getattr(facts, "received", 0))

    async with Session(site.url, site.key, on_request=count) as session:
        await session.get_info()
        forget_peak()
        idle = resident("VmRSS")
        began = time.perf_counter()
        stream = session.iter_exchanges(site.start, site.end, concurrency=concurrency)
        async for _ in stream:
            if not rows:
                first = time.perf_counter() - began
            rows += 1
        whole = time.perf_counter() - began
    return {
        "rows": rows,
        "idle": idle,
        "peak": resident("VmHWM"),
        "first": first,
        "whole": whole,
        "requests": requests,
        "largest": largest,
    }


def run(site: Site, *, concurrency: int = 1) -> dict[str, float]:
    return asyncio.run(_read(site, concurrency))
