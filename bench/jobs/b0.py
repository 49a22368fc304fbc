"""B0: a hand-written loop, aiohttp + orjson to plain dicts."""

from __future__ import annotations

import asyncio

import aiohttp
import orjson

from bench.processes import Site

PAGE = 500


async def _read(site: Site) -> dict[str, float]:
    query = {"api_action": "pp", "api_key": site.key, "method": "get_exchanges"}
    form = {"start_time": site.start, "end_time": site.end - 1, "limit": PAGE}
    rows, ids, offset = 0, set[str](), 0
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.post(
                f"{site.url}/api.html", params=query, data={**form, "offset": offset}
            ) as response:
                data = orjson.loads(await response.read())["data"]
            if not data:
                return {"rows": rows, "ids": len(ids)}
            for record in data["items"]:
                rows += 1
                ids.add(record["id"])
            offset += PAGE


def run(site: Site) -> dict[str, float]:
    return asyncio.run(_read(site))
