"""A fleet of accounts at cheap sites: how punctual, how large, how fast.

What each measure returns is described in `bench.fleet`, which runs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from bench.processes import Site
from ppapi_async import Account, Fleet, MemoryState, RequestFacts, SQLiteState, State
from ppapi_async.watching.poll_policy import phase_of

_SOURCES = ("info", "links", "exchanges", "payouts")
_PAGE = Path("/proc/self/statm")


def run(site: Site, *, measure: str, accounts: int, **options: float) -> dict[str, float]:
    """Run one of the measures."""
    job = {"turns": _turns, "poll": _poll}[measure]
    return asyncio.run(job(site, accounts, **options))


def accounts_at(site: Site, count: int) -> list[Account]:
    """Return accounts at as many hosts, half of them classic."""
    port = urlsplit(site.url).port
    return [
        Account(
            f"http://127.0.{1 + number // 250}.{1 + number % 250}:{port}",
            f"{('classic', 'newer')[number % 2]}{number:025}",
            name=f"account {number}",
        )
        for number in range(count)
    ]


def _resident() -> float:
    """Return the process's resident size in KB."""
    gc.collect()
    return int(_PAGE.read_text().split()[1]) * 4.0


async def _arrivals(site: Site) -> list[tuple[float, str, str]]:
    async with aiohttp.ClientSession() as http, http.get(f"{site.url}/arrivals") as response:
        found: list[tuple[float, str, str]] = json.loads(await response.read())
        return found


# --- punctuality and size


async def _turns(
    site: Site, count: int, *, interval: float, seconds: float, on_disk: bool = True
) -> dict[str, float]:
    """Let a fleet poll for a while, with what was told on disk or in memory."""
    with tempfile.TemporaryDirectory() as directory:
        state = SQLiteState(f"{directory}/state.db") if on_disk else MemoryState()
        return await _turns_with(state, site, count, interval, seconds)


async def _turns_with(
    state: State, site: Site, count: int, interval: float, seconds: float
) -> dict[str, float]:
    await _arrivals(site)
    empty = _resident()
    made = accounts_at(site, count)
    names = {account.api_key.reveal(): account.name for account in made}
    half = 0.0
    began, cpu = time.time(), time.process_time()
    async with Fleet(made, interval=interval, state=state) as fleet:
        async with _listening(fleet):
            await asyncio.sleep(seconds / 2)
            half = _resident()
            await asyncio.sleep(seconds / 2)
            used = (time.process_time() - cpu) / (time.time() - began)
            whole = _resident()
        failing = sum(status.failures > 0 for status in fleet.status().values())
    arrived = await _arrivals(site)
    late = [
        (at - phase_of(names[key], interval)) % interval
        for at, key, method in arrived
        if method == "get_info"
    ]
    middle = len(late) // 2
    return {
        "polls": len(late),
        "late": quantiles(late, n=100)[98],
        "late_first_half": quantiles(late[:middle], n=100)[98],
        "late_second_half": quantiles(late[middle:], n=100)[98],
        "kilobytes": (whole - empty) / count,
        "kilobytes_half": (half - empty) / count,
        "cpu_share": used,
        "failing": failing,
    }


@contextlib.asynccontextmanager
async def _listening(fleet: Fleet) -> AsyncIterator[None]:
    async def listen() -> None:
        async for _ in fleet.events(*_SOURCES):
            pass

    task = asyncio.create_task(listen())
    await asyncio.sleep(0.1)  # until it polls
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# --- a full poll


async def _poll(site: Site, count: int, *, rounds: int) -> dict[str, float]:
    """Poll all accounts at once, and do the bare requests of the same, in turns."""
    made = accounts_at(site, count)
    meter = _Meter()
    async with Fleet(made, interval=86_400, on_request=meter) as fleet, _listening(fleet):
        for requests_of_one in (1, 4, 4):  # the first polls look back, which takes more
            await _poll_all(fleet, meter, requests_of_one * count)
        requests = _requests(made)
        ours, bare = [], []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            await _gather(http, requests)
            for _ in range(int(rounds)):
                bare.append(await _gather(http, requests))
                ours.append(await _poll_all(fleet, meter, 4 * count))
    return {"ours": median(ours), "bare": median(bare), "requests": len(requests)}


class _Meter:
    """Counts requests, and says when there were enough."""

    def __init__(self) -> None:
        self.count = 0
        self.enough = asyncio.Event()
        self.wanted = 0

    def __call__(self, _: RequestFacts) -> None:
        self.count += 1
        if self.count == self.wanted:
            self.enough.set()


async def _poll_all(fleet: Fleet, meter: _Meter, wanted: int) -> float:
    """Have every account polled now; return the seconds until so many requests were made."""
    meter.count, meter.wanted = 0, wanted
    meter.enough.clear()
    began = time.perf_counter()
    for name in fleet.status():
        fleet.resume(name)
    await meter.enough.wait()
    taken = time.perf_counter() - began
    while any(  # noqa: ASYNC110 - nothing tells when the last poll has noted what it read
        status.phase == "polling" for status in fleet.status().values()
    ):
        await asyncio.sleep(0.2)
    return taken


def _requests(accounts: list[Account]) -> list[tuple[str, URL, bytes | None]]:
    """Return what a poll of each account asks: the same urls and forms."""
    start = int(time.time()) - 4200
    found: list[tuple[str, URL, bytes | None]] = []
    for account in accounts:
        routing = f"{account.url}/api.html?api_action=pp&api_key={account.api_key.reveal()}&method="
        found.append(("GET", URL(f"{routing}get_info", encoded=True), None))
        form = f"start_time={start}" + ("&limit=500" if "newer" in routing else "")
        for method in ("get_links", "get_exchanges", "get_payouts"):
            url = URL(f"{routing}{method}&{form}", encoded=True)
            found.append(("POST", url, form.encode()))
    return found


async def _gather(
    http: aiohttp.ClientSession, requests: list[tuple[str, URL, bytes | None]]
) -> float:
    """Send all, a hundred at a time, and read the bodies; return the seconds."""
    places = asyncio.Semaphore(100)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    async def send(verb: str, url: URL, form: bytes | None) -> None:
        async with (
            places,
            http.request(verb, url, data=form, headers=None if form is None else headers) as answer,
        ):
            await answer.read()

    began = time.perf_counter()
    await asyncio.gather(*(send(*request) for request in requests))
    return time.perf_counter() - began
