"""Httpx and pydantic models with the fields and types of our records."""

from __future__ import annotations

import asyncio
import html
from datetime import datetime
from decimal import Decimal
from typing import Annotated

import httpx
import pydantic

from bench.processes import Site

PAGE = 500


_Text = Annotated[str, pydantic.AfterValidator(html.unescape)]


class _StatusChange(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    time: datetime
    status: str
    date: str = ""


class _Exchange(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="allow")

    id: int
    time: datetime
    amount_give: Decimal
    amount_get: Decimal
    exchange_success: bool
    accrued: bool
    partner_reward: Decimal
    date: str = ""
    currency_code_give: _Text = ""
    currency_code_get: _Text = ""
    course_give: Decimal | None = None
    course_get: Decimal | None = None
    user_hash: str = ""
    user_ip: str | None = None
    psys_give: _Text | None = None
    psys_get: _Text | None = None
    status: str | None = None
    hash: str | None = None
    statuses: tuple[_StatusChange, ...] = ()


class _Items(pydantic.BaseModel):
    items: list[_Exchange]


class _Envelope(pydantic.BaseModel):
    data: _Items | list[int]


def decode(body: bytes) -> list[_Exchange]:
    """Return the records of a page; none is the end."""
    data = _Envelope.model_validate_json(body).data
    return [] if isinstance(data, list) else data.items


async def _read(site: Site) -> dict[str, float]:
    query = {"api_action": "pp", "api_key": site.key, "method": "get_exchanges"}
    form = {"start_time": site.start, "end_time": site.end - 1, "limit": PAGE}
    rows, ids, offset = 0, set[int](), 0
    async with httpx.AsyncClient() as http:
        while True:
            response = await http.post(
                f"{site.url}/api.html", params=query, data={**form, "offset": offset}
            )
            records = decode(response.content)
            if not records:
                return {"rows": rows, "ids": len(ids)}
            for record in records:
                rows += 1
                ids.add(record.id)
            offset += PAGE


def run(site: Site) -> dict[str, float]:
    return asyncio.run(_read(site))
