"""Processes that keep a mirror and are killed again and again, while the sites live on.

The sites are a park of sandboxes in this process, with faults all the time; the time runs some two
hundred times as fast for all. What is in the database in the end is compared with the books, and
with all that they ever showed (`comparison`).
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import define, evolve, field

from ppapi_async import Dialect
from ppapi_async.sandbox import Fault, Rates
from tests import virtual_time
from tests.mirror.victim import Clock, Mode, Orders, OrdersOfAccount
from tests.sites.park import Desk, Layout, Park, Site

__all__ = ["LARGE", "SMALL", "Journal", "Kills"]

SMALL: Layout = (
    (Dialect.CLASSIC, "Europe/Moscow", "Europe/Moscow", 1),
    (Dialect.DELEGATING, "UTC", "UTC", 1),
    (Dialect.CLONE, "UTC", "UTC", 1),
    (Dialect.USER_API, "Europe/Berlin", "Europe/Berlin", 1),
)
LARGE: Layout = (
    (Dialect.CLASSIC, "UTC", "UTC", 3),
    (Dialect.CLASSIC, "Europe/Moscow", "Europe/Moscow", 3),
    (Dialect.DELEGATING, "UTC", "UTC", 2),
    (Dialect.DELEGATING, "Europe/Moscow", "Europe/Moscow", 2),
    (Dialect.DELEGATING, "Europe/Berlin", "Europe/Berlin", 2),
    (Dialect.CLONE, "UTC", "UTC", 2),
    (Dialect.CLONE, "America/New_York", "America/New_York", 2),
    (Dialect.USER_API, "UTC", "UTC", 2),
    (Dialect.USER_API, "Europe/Berlin", "Europe/Berlin", 2),
)
"""Twenty accounts. A wrong zone would only move the days; `test_fleet_hour` has such."""
FAULTS = (
    Fault.CLOSED, Fault.RESET, Fault.HALF_HEADER, Fault.HANG, Fault.HTML_500, Fault.HTML_502,
    Fault.HTML_503, Fault.HTML_520, Fault.GEO_200, Fault.FATAL_200, Fault.BODY_CUT,
    Fault.CHUNKED_CUT, Fault.GZIP, Fault.BOM, Fault.NOTICE_HTML, Fault.NOTICE_PLAIN, Fault.HTML_429,
    Fault.CHALLENGE_403, Fault.KEY_ECHO, Fault.REDIRECT_302, Fault.EMPTY, Fault.NULL,
    Fault.API_DISABLED, Fault.TRUNCATED_JSON, Fault.GZIP_CUT, Fault.FILTER_IGNORED,
)  # fmt: skip
RATES = Rates(
    clicks_per_hour=25,
    orders_per_hour=20,
    pace=0.2,
    payout_delay=900,
    by_hand_per_hour=5,
    baskets_per_hour=2,
    basket_time=3600,
    payouts_per_hour=1,
    around_the_clock=True,
)
SPEED = 200.0
_STEP = 0.06
"""Seconds from one look of the sites' operators to the next."""
_QUIET = 27 * 3600
"""Seconds, by the shared clock, after which everything is read again, clicks too."""
_DOUBT = 3700.0
_SOON = 2.0
"""True seconds in which accounts are read well unless something is in the way, at first."""
_PATIENCE = 150.0
"""True seconds for all accounts to be read well when nothing is in the way."""


@define(eq=False)
class Journal:
    """What the processes have written down."""

    reads: dict[str, list[float]] = field(factory=dict)
    """Of each account, when readings began that went well."""
    changes: list[tuple[int, str, str, str]] = field(factory=list)
    """What was delivered: process, account, resource, cursor."""
    failures: Counter[str] = field(factory=Counter)

    @classmethod
    def read(cls, path: Path) -> Journal:
        """Read the file; its last line may be half written."""
        journal = cls()
        text = path.read_text("utf-8") if path.exists() else ""
        for line in text.split("\n")[:-1]:
            process, kind, *values = json.loads(line)
            if kind == "read":
                journal.reads.setdefault(values[0], []).append(values[1])
            elif kind == "change":
                journal.changes.append((process, *values))
            elif kind == "failed":
                journal.failures[values[1]] += 1
        for reads in journal.reads.values():
            reads.sort()
        return journal


@define(eq=False, kw_only=True)
class Kills:
    """One run."""

    database: str
    folder: Path
    kills: int
    seed: int = 1
    mode: Mode = "sync"
    workers: int = 1
    layout: Layout = SMALL
    rows: tuple[int, ...] = (3, 60)
    lives: tuple[float, float] = (0.1, 2.5)
    """True seconds that a process lives, at the least and at the most."""
    is_ripe: Callable[[], bool] | None = None
    """Tells when a process may be killed; None: always."""
    wrong: list[str] = field(factory=list)
    park: Park = field(init=False)
    clock: Clock = field(init=False)
    _draw: random.Random = field(init=False)
    _killer: asyncio.subprocess.Process = field(init=False)
    _processes: list[int] = field(factory=list)
    _calm: bool = False

    def __attrs_post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self.clock = Clock(time.time(), virtual_time.BEGINNING, SPEED)
        self.park = Park(
            random.Random(self.seed), self.now, layout=self.layout, rates=RATES, rows=self.rows
        )

    def now(self) -> float:
        """Return the present, in unix seconds, by the clock of all processes."""
        return self.clock()

    @property
    def journal(self) -> Journal:
        """What the processes have written so far."""
        return Journal.read(self.folder / "journal")

    async def run(self) -> None:
        """Let the sites live, and kill the processes that follow them; in the end all is quiet."""
        await self.park.start()
        if self.mode == "jobs":
            await _make_queue(self.database)
        world = asyncio.create_task(self._live())
        await self._start_killer()
        try:
            for _ in range(self.workers):
                await self._begin()
            for _ in range(self.kills):
                await asyncio.sleep(self._draw.uniform(*self.lives) / self.workers)
                while self.is_ripe is not None and not self.is_ripe():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await self._kill(self._draw.randrange(self.workers))
                await self._begin()
            self._calm_down()
            await world
            await self._be_read()
            await self._let_time_pass(_QUIET)
            await self._be_read()
            await self._be_read()
        finally:
            world.cancel()
            await asyncio.wait([world])
            await self._stop_killer()
            await self.park.close()

    # The world

    async def _live(self) -> None:
        while not self._calm:
            self.park.step()
            for site in self.park.sites:
                site.busy = True
                if self._draw.random() < 0.1:
                    self._trouble(site)
                for desk in site.desks:
                    self._remove(desk)
                    desk.note_absent()
            await asyncio.sleep(_STEP)

    def _trouble(self, site: Site) -> None:
        site.sandbox.faults.add(
            self._draw.choice(FAULTS),
            times=self._draw.choice((1, 1, 2)),
            skip=self._draw.randrange(4),
            when=lambda call: call.path.startswith(site.sandbox.endpoint),
            retry_after=self._draw.choice((None, 5, 90)),
        )

    def _remove(self, desk: Desk) -> None:
        """Delete a row, hide one, or show one again, now and then."""
        books, chance = desk.books, self._draw.random()
        if chance < 0.002 and len(books.clicks):
            books.clicks.remove(self._draw.choice(list(books.clicks)).id)
        elif chance < 0.004 and len(books.orders):
            books.orders.remove(self._draw.choice(list(books.orders)).id)
        elif chance < 0.008 and len(books.orders):
            books.hidden_orders.add(self._draw.choice(list(books.orders)).id)
        elif chance < 0.012 and books.hidden_orders:
            books.hidden_orders.discard(self._draw.choice(sorted(books.hidden_orders)))

    def _calm_down(self) -> None:
        self._calm = True
        for site in self.park.sites:
            site.busy = False
            site.sandbox.faults.clear()
            site.sandbox.faults.release()

    # The processes

    async def _begin(self) -> None:
        accounts = [
            OrdersOfAccount(
                desk.sandbox.url,
                desk.books.partner.api_key,
                desk.books.partner.api_login if desk.sandbox.dialect is Dialect.USER_API else None,
                desk.account.name,
                desk.account.timezone,
            )
            for desk in self.park.desks
        ]
        orders = Orders(
            mode=self.mode,
            database=self.database,
            accounts=accounts,
            clock=self.clock,
            journal=str(self.folder / "journal"),
            page_size=self._draw.choice((500, 20)),
        )
        file = self.folder / f"orders-{self._draw.getrandbits(40)}"
        file.write_text(orders.to_json(), "utf-8")
        self._processes.append(await self._tell(f"start {file}"))

    async def _kill(self, number: int) -> None:
        if await self._tell(f"kill {self._processes.pop(number)}") != -signal.SIGKILL:
            self.wrong.append(f"a process has ended by itself:\n{self._errors()}")

    async def _start_killer(self) -> None:
        with (self.folder / "errors").open("ab") as errors:
            self._killer = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tests.mirror.victim"),
                stdin=PIPE,
                stdout=PIPE,
                stderr=errors,
            )

    async def _tell(self, command: str) -> int:
        assert self._killer.stdin is not None
        assert self._killer.stdout is not None
        self._killer.stdin.write(f"{command}\n".encode())
        return int(await self._killer.stdout.readline())

    async def _stop_killer(self) -> None:
        while self._processes:
            await self._kill(0)
        assert self._killer.stdin is not None
        self._killer.stdin.close()
        await self._killer.wait()

    def _errors(self) -> str:
        return (self.folder / "errors").read_text("utf-8")[-3_000:]

    async def _be_read(self) -> None:
        """Wait until each account was read well, from now on.

        Where a site lists nothing any more, that is believed only an hour later: time passes.
        """
        since, deadline = self.clock(), time.monotonic() + _PATIENCE
        patience = _SOON * self.workers * len(self.park.desks) / 4
        soon = time.monotonic() + patience
        while late := self._unread(self.journal.reads, since):
            if time.monotonic() > deadline:
                tail = "\n".join((self.folder / "journal").read_text("utf-8").split("\n")[-12:])
                raise AssertionError(f"not read: {late}\n{tail}\n{self._errors()}")
            if time.monotonic() > soon:
                await self._let_time_pass(_DOUBT)
                patience *= 2
                soon = time.monotonic() + patience
            await asyncio.sleep(0.05)

    def _unread(self, reads: Mapping[str, Sequence[float]], since: float) -> list[str]:
        names = (desk.account.name for desk in self.park.desks)
        return [name for name in names if not any(began >= since for began in reads.get(name, ()))]

    async def _let_time_pass(self, seconds: float) -> None:
        """Go on much later, in new processes."""
        while self._processes:
            await self._kill(0)
        self.clock = evolve(self.clock, beginning=self.clock.beginning + seconds)
        for _ in range(self.workers):
            await self._begin()


async def _make_queue(database: str) -> None:
    """Make the tables of procrastinate."""
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=database, min_size=1, max_size=1))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
