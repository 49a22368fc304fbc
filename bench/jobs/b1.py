"""B1: a hand-written loop over the same pages, aiohttp + msgspec to the same attrs classes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import msgspec

from bench.jobs.typed import unescaped
from bench.processes import Site
from ppapi_async.models import Exchange

PAGE = 500


class _Items(msgspec.Struct):
    items: list[Exchange]


class _Envelope(msgspec.Struct):
    data: _Items | list[int]


_DECODER = msgspec.json.Decoder(_Envelope, strict=False)


def decode(body: bytes) -> list[Exchange]:
    """Return the records of a page; none is the end."""
    data = _DECODER.decode(body).data
    records = [] if isinstance(data, list) else data.items
    return unescaped(records) if b"&" in body else records


async def _records(http: aiohttp.ClientSession, site: Site) -> AsyncIterator[Exchange]:
    query = {"api_action": "pp", "api_key": site.key, "method": "get_exchanges"}
    form = {"start_time": site.start, "end_time": site.end - 1, "limit": PAGE}
    offset = 0
    while True:
        async with http.post(
            f"{site.url}/api.html", params=query, data={**form, "offset": offset}
        ) as response:
            records = decode(await response.read())
        if not records:
            return
        for record in records:
            yield record
        offset += PAGE


async def _read(site: Site) -> dict[str, float]:
    rows, ids = 0, set[int]()
    async with aiohttp.ClientSession() as http:
        async for record in _records(http, site):
            rows += 1
            ids.add(record.id)
    return {"rows": rows, "ids": len(ids)}


def run(site: Site) -> dict[str, float]:
    return asyncio.run(_read(site))
