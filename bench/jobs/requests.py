"""How many requests a range takes."""

from __future__ import annotations

import asyncio

from bench.processes import Site
from ppapi_async import Session


async def _read(
    site: Site, concurrency: int, *, open_ended: bool, newest_first: bool
) -> dict[str, float]:
    requests = 0

    def count(_: object) -> None:
        nonlocal requests
        requests += 1

    start, end = (None, None) if open_ended else (site.start, site.end)
    async with Session(site.url, site.key, on_request=count) as session:
        stream = session.iter_exchanges(
            start, end, concurrency=concurrency, newest_first=newest_first
        )
        ids = [record.id async for record in stream]
    return {"rows": len(ids), "ids": len(set(ids)), "requests": requests}


def run(
    site: Site, *, concurrency: int = 1, open_ended: bool = False, newest_first: bool = False
) -> dict[str, float]:
    return asyncio.run(_read(site, concurrency, open_ended=open_ended, newest_first=newest_first))
