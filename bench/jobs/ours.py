"""The library: `async for` over single records."""

from __future__ import annotations

import asyncio

from bench.processes import Site
from ppapi_async import Session


async def _read(site: Site, concurrency: int) -> dict[str, float]:
    rows, ids, requests = 0, set[int](), 0

    def count(_: object) -> None:
        nonlocal requests
        requests += 1

    async with Session(site.url, site.key, on_request=count) as session:
        async for record in session.iter_exchanges(site.start, site.end, concurrency=concurrency):
            rows += 1
            ids.add(record.id)
    return {"rows": rows, "ids": len(ids), "requests": requests}


def run(site: Site, *, concurrency: int = 1) -> dict[str, float]:
    return asyncio.run(_read(site, concurrency))
