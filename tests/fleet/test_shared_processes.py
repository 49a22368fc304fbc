"""Three workers, each a process, over sandboxes: killed, stopped, added, removed, cut off.

The sandboxes see who asks for what and when: no account is polled by two at once, none is left
alone for long, and each order reaches a consumer, once where nobody was disturbed. In real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import define, field, frozen

from ppapi_async import Dialect
from ppapi_async.sandbox import Books, Sandbox
from ppapi_async.sandbox.records import Order
from ppapi_async.sandbox.server import SeenRequest
from tests.fleet.shared_worker import Job, Line
from tests.fleet.test_sharing import until
from tests.postgres import Cable, PostgresServer

INTERVAL, HUNG_AFTER = 0.5, 2.0
ORDERS_EVERY = 0.1
SOON = 3.0
"""Seconds after its turn within which an account is polled, if its worker has died."""
ROOT = Path(__file__).parents[2]


@frozen
class Asked:
    """A request that a site has answered."""

    worker: str
    method: str
    began: float
    ended: float


@define(eq=False)
class Site:
    """A sandbox with an account, and what it was asked."""

    name: str
    sandbox: Sandbox = field(init=False)
    asked: list[Asked] = field(factory=list)
    placed: dict[int, bool] = field(factory=dict)
    """The orders, and whether they were placed while nobody was disturbed."""

    def see(self, seen: SeenRequest) -> None:
        """Note a request."""
        worker = seen.headers["user-agent"].rpartition("/")[2]
        end = seen.arrived + (seen.seconds or 0.0)
        self.asked.append(Asked(worker, seen.method, seen.arrived, end))

    @property
    def polls(self) -> list[float]:
        """When polls began."""
        return [one.began for one in self.asked if one.method == "get_exchanges"]

    @property
    def owner(self) -> str:
        """Who has asked last."""
        return self.asked[-1].worker if self.asked else ""

    def gap_since(self, moment: float) -> float:
        """Return the longest time without a poll, from a moment on."""
        times = [moment, *(began for began in self.polls if began > moment), time.time()]
        return max(later - earlier for earlier, later in itertools.pairwise(times))

    def overlaps(self) -> list[tuple[Asked, Asked]]:
        """Return requests of one worker that came into another's poll."""
        asked = sorted(self.asked, key=lambda one: one.began)
        found = []
        for place, (one, other) in enumerate(itertools.pairwise(asked)):
            following = next((x for x in asked[place + 2 :] if x.worker == one.worker), None)
            is_amid = one.method == "get_exchanges"
            if one.worker != other.worker and (
                other.began < one.ended
                or (is_amid and following is not None and following.method == "get_info")
            ):
                found.append((one, other))
        return found


@define(eq=False)
class Worker:
    """A process."""

    name: str
    process: asyncio.subprocess.Process
    lines: list[Line] = field(factory=list)

    async def listen(self) -> None:
        """Take in what it tells."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


@define(eq=False)
class Group:
    """Workers, sites, and orders that come in all the time."""

    sites: list[Site]
    workers: dict[str, Worker] = field(factory=dict)
    is_calm: bool = True
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    async def start(self, name: str, url: str) -> Worker:
        """Start a worker."""
        job: Job = {
            "name": name,
            "postgres": url,
            "accounts": [(one.sandbox.url, one.sandbox.api_key, one.name) for one in self.sites],
            "interval": INTERVAL,
            "hung_after": HUNG_AFTER,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-m", "tests.fleet.shared_worker", json.dumps(job),
            stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        worker = self.workers[name] = Worker(name, process)
        self._tasks.add(asyncio.create_task(worker.listen()))
        return worker

    async def place_orders(self) -> None:
        """Have orders come in at one site after the other."""
        for number in itertools.count(1):
            site = random.choice(self.sites)
            order = Order(id=number, created=int(time.time()), success=True, reward="1")
            site.sandbox.books.orders.put(order)
            site.placed[number] = self.is_calm
            await asyncio.sleep(ORDERS_EVERY)

    @property
    def delivered(self) -> Counter[tuple[str, int]]:
        """How often each order was delivered, by account and id."""
        lines = (line for worker in self.workers.values() for line in worker.lines)
        return Counter((line["account"], line["id"]) for line in lines if line["id"])

    @property
    def placed(self) -> dict[tuple[str, int], bool]:
        """All orders, and whether they came in a calm moment."""
        return {
            (one.name, number): calm for one in self.sites for number, calm in one.placed.items()
        }

    @property
    def owners(self) -> set[str]:
        """Who polls just now."""
        return {site.owner for site in self.sites}

    async def until_shared(self, *names: str) -> None:
        """Wait until just these workers poll."""
        await until(lambda: self.owners == set(names), 30)

    async def end(self) -> None:
        """End all that goes on."""
        for worker in self.workers.values():
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()
            await worker.process.wait()
        await asyncio.gather(*self._tasks)


@contextlib.asynccontextmanager
async def group(count: int) -> AsyncIterator[Group]:
    """Run sandboxes of two dialects, with an account each."""
    async with contextlib.AsyncExitStack() as stack:
        sites: list[Site] = []
        for number in range(count):
            dialect = Dialect.DELEGATING if number % 2 else Dialect.CLASSIC
            site = Site(f"account {number}")
            site.sandbox = sandbox = Sandbox(dialect, books=Books(), on_request=site.see)
            sites.append(site)
            await stack.enter_async_context(sandbox)
        running = Group(sites)
        try:
            yield running
        finally:
            await running.end()


@pytest.mark.untraced
async def test_no_account_is_polled_by_two_and_none_is_missed(
    own_postgres: PostgresServer,
) -> None:
    """Whatever happens to workers, their database and the network between."""
    url = own_postgres.url
    async with group(9) as workers, Cable.to(url) as cable:
        sites = workers.sites
        await asyncio.gather(
            workers.start("a", url), workers.start("b", url), workers.start("c", cable.url(url))
        )
        await workers.until_shared("a", "b", "c")
        await asyncio.sleep(2 * INTERVAL)
        placing = asyncio.create_task(workers.place_orders())
        began = time.time()
        await asyncio.sleep(2)
        assert max(site.gap_since(began) for site in sites) < INTERVAL + 0.4, "calm"

        workers.is_calm = False
        began = time.time()
        workers.workers["a"].send(signal.SIGKILL)
        await workers.until_shared("b", "c")
        assert max(site.gap_since(began) for site in sites) < INTERVAL + SOON, "killed"

        await workers.start("d", url)
        await workers.until_shared("b", "c", "d")

        began = time.time()
        workers.workers["b"].send(signal.SIGSTOP)
        await workers.until_shared("c", "d")
        await asyncio.sleep(max(0.0, began + HUNG_AFTER + 1 - time.time()))
        workers.workers["b"].send(signal.SIGCONT)
        await workers.until_shared("b", "c", "d")
        assert max(site.gap_since(began) for site in sites) < INTERVAL + HUNG_AFTER + SOON, "hung"

        began = time.time()
        await asyncio.to_thread(own_postgres.restart)
        await asyncio.sleep(1)
        await workers.until_shared("b", "c", "d")
        assert max(site.gap_since(began) for site in sites) < INTERVAL + SOON, "restarted"

        began = time.time()
        cable.cut(new=True)
        await workers.until_shared("b", "d")
        cable.mend()
        await workers.until_shared("b", "c", "d")
        assert max(site.gap_since(began) for site in sites) < INTERVAL + HUNG_AFTER + SOON, "cut"

        began = time.time()
        workers.workers["d"].send(signal.SIGTERM)
        assert await workers.workers["d"].process.wait() == 0
        await workers.until_shared("b", "c")
        assert max(site.gap_since(began) for site in sites) < INTERVAL + SOON, "removed"

        workers.is_calm = True
        await asyncio.sleep(1)
        placing.cancel()
        await asyncio.wait([placing])
        await until(lambda: workers.placed.keys() <= workers.delivered.keys())
        for name in "bc":
            workers.workers[name].send(signal.SIGTERM)
            assert await workers.workers[name].process.wait() == 0

        assert {site.name: found for site in sites if (found := site.overlaps())} == {}
        calm = [key for key, is_calm in workers.placed.items() if is_calm]
        assert {key for key in calm if workers.delivered[key] > 1} == set()
        twice = sum(count - 1 for count in workers.delivered.values())
        assert twice <= len(sites), workers.delivered
