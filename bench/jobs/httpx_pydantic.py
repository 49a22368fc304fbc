"""Httpx and pydantic models with the types of our records."""

from __future__ import annotations

import asyncio
from datetime import datetime
from decimal import Decimal

import httpx
import pydantic

from bench.processes import Site

PAGE = 500


class _Exchange(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    id: int
    time: datetime
    date: str = ""
    currency_code_give: str = ""
    currency_code_get: str = ""
    course_give: Decimal
    course_get: Decimal
    amount_give: Decimal
    amount_get: Decimal
    exchange_success: bool
    accrued: bool
    partner_reward: Decimal
    user_hash: str = ""
    user_ip: str | None = None


class _Items(pydantic.BaseModel):
    items: list[_Exchange]


class _Envelope(pydantic.BaseModel):
    data: _Items | list[int]


async def _read(site: Site) -> dict[str, float]:
    query = {"api_action": "pp", "api_key": site.key, "method": "get_exchanges"}
    form = {"start_time": site.start, "end_time": site.end - 1, "limit": PAGE}
    rows, ids, offset = 0, set[int](), 0
    async with httpx.AsyncClient() as http:
        while True:
            response = await http.post(
                f"{site.url}/api.html", params=query, data={**form, "offset": offset}
            )
            data = _Envelope.model_validate_json(response.content).data
            if isinstance(data, list):
                return {"rows": rows, "ids": len(ids)}
            for record in data.items:
                rows += 1
                ids.add(record.id)
            offset += PAGE


def run(site: Site) -> dict[str, float]:
    return asyncio.run(_read(site))
