"""An hour of fifty accounts, with faults all the time and a process that is killed again and again.

In the suite it is half an hour. What the consumer gets is checked against all that the sandboxes'
books ever showed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from attrs import define, field

from ppapi_async import Fleet, FleetEvent, Hooks, SQLiteState, StateError
from ppapi_async.sandbox import Fault, traffic
from tests import virtual_time
from tests.conftest import IS_THOROUGH
from tests.fleet.audit import Auditor
from tests.sites.park import Park, Site

pytestmark = pytest.mark.untraced  # takes twice as long with; other tests go through all lines, too
HOUR = 3600
DAY = 24 * HOUR
_LENGTH = HOUR if IS_THOROUGH else HOUR // 2
SEEDS = range(60 if IS_THOROUGH else 1)
INTERVALS = (60, 120, 180, 300) if IS_THOROUGH else (300,)
BEGINNINGS = (
    1_792_891_200.0 - 1500,  # 2026-10-25 01:00 UTC: in Berlin an hour is repeated
    virtual_time.BEGINNING,
    1_774_746_000.0 - 1500,  # 2026-03-29 01:00 UTC: and here one is left out
)
PLACES = ("anywhere", "in hand", "before a save", "after a save", "left")
"""Where a process may end; "left": nobody kills it."""
PASSING = (
    Fault.CLOSED, Fault.RESET, Fault.HALF_HEADER, Fault.HANG, Fault.HTML_500, Fault.HTML_502,
    Fault.HTML_503, Fault.HTML_504, Fault.HTML_520, Fault.HTML_524, Fault.GEO_200,
    Fault.FATAL_200, Fault.BODY_CUT, Fault.CHUNKED_CUT, Fault.SLOW, Fault.GZIP, Fault.BOM,
    Fault.NOTICE_HTML, Fault.NOTICE_PLAIN, Fault.HTML_429,
)  # fmt: skip
OTHERS = (
    Fault.HTML_404, Fault.CHALLENGE_403, Fault.KEY_ECHO, Fault.REDIRECT_301, Fault.REDIRECT_302,
    Fault.REDIRECT_307, Fault.EMPTY, Fault.NULL, Fault.FALSE, Fault.API_DISABLED,
    Fault.TRUNCATED_JSON, Fault.GZIP_CUT, Fault.FILTER_IGNORED,
)  # fmt: skip
"""Faults that an account which never worked is not asked again for."""


@define(eq=False)
class Fate:
    """When and where a process ends."""

    where: str
    after: float
    """By the loop's clock."""
    came: asyncio.Event = field(factory=asyncio.Event)

    @property
    def is_dead(self) -> bool:
        """Whether nothing of what the process still does is real."""
        return self.came.is_set() and self.where != "left"

    def strikes(self, where: str) -> bool:
        """Tell whether the process ends here."""
        if where == self.where and asyncio.get_running_loop().time() >= self.after:
            self.came.set()
        return self.is_dead


async def never() -> None:
    """Wait for what will not come."""
    await asyncio.Event().wait()


@contextlib.contextmanager
def standing_still() -> Iterator[None]:
    """Hold the time while a thread works for the loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, virtual_time.VirtualLoop)
    loop.flying.threads += 1
    try:
        yield
    finally:
        loop.flying.threads -= 1


@define(eq=False)
class Disk:
    """A `SQLiteState` whose process may be killed before and after each save.

    That a save is made as a whole or not at all, wherever it is killed, `test_state` shows.
    """

    path: Path
    fate: Fate
    auditor: Auditor
    is_full: Callable[[], bool] = bool
    _store: SQLiteState = field(init=False)
    _busy: int = 0
    _idle: asyncio.Event = field(factory=asyncio.Event)

    def __attrs_post_init__(self) -> None:
        self._store = SQLiteState(self.path)

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with standing_still():
            await self._store.__aexit__(kind, error, traceback)

    @contextlib.asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        """Let nothing reach the file of a dead process, and nothing of it reach the process."""
        if self.fate.is_dead:
            await never()
        self._busy += 1
        try:
            with standing_still():
                yield
        finally:
            self._busy -= 1
            self._idle.set()
        if self.fate.is_dead:
            await never()

    async def load(self, watch: str) -> Mapping[str, str]:
        async with self._working():
            return await self._store.load(watch)

    async def read(self, watch: str, name: str) -> str | None:
        async with self._working():
            return await self._store.read(watch, name)

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        if self.fate.strikes("before a save"):
            await never()
        async with self._working():
            if self.is_full():
                self.auditor.fail()
                raise StateError("the disk is full")
            await self._store.save(watch, put, drop)
            self.auditor.save(watch)
        if self.fate.strikes("after a save"):
            await never()

    async def copy(self) -> Path:
        """Return what the file is when the process has been killed, under another name."""
        while self._busy:
            self._idle.clear()
            await self._idle.wait()
        new = self.path.with_name(f"{self.path.name}+")
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{self.path}{end}", f"{new}{end}")
        return new


@define(eq=False)
class Hour:
    """What happens in the world, and to the process."""

    seed: int
    draw: random.Random = field(init=False)
    beginning: float = field(init=False)
    since: float | None = field(init=False)
    park: Park = field(init=False)
    auditor: Auditor = field(init=False)
    fleet: Fleet | None = None
    calm: bool = False

    def __attrs_post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.beginning = BEGINNINGS[self.seed % 3]
        self.since = self.clock() - 3 * DAY if self.seed % 2 else None
        self.park = Park(self.draw, self.clock, self.since)
        self.auditor = Auditor(self.park)

    def clock(self) -> float:
        """Return the true time."""
        return self.beginning + asyncio.get_running_loop().time()

    # The world

    async def go_on(self) -> None:
        """Let the books live and the sites be troubled until all is calm."""
        while True:
            await asyncio.sleep(self.draw.uniform(10, 40))
            if self.calm:
                return
            self.park.step()
            for _ in range(self.draw.randrange(3)):
                await self._trouble(self.draw.choice(self.park.sites))
            for number, site in enumerate(self.park.sites):
                site.busy = self.park.begun and number % 2 == 0
                if site.down_until and site.down_until <= self.clock():
                    await self._raise(site)
            self.look()

    def look(self) -> None:
        """Let the auditor see how polls get on."""
        if self.fleet is not None:
            self.auditor.look(self.fleet.status())

    async def _trouble(self, site: Site) -> None:
        if self.draw.random() < 0.04:
            site.down_until = self.clock() + self.draw.uniform(60, 400)
            return await site.sandbox.close()
        kinds = PASSING + OTHERS if self.park.begun else PASSING
        site.sandbox.faults.add(
            self.draw.choice(kinds),
            times=self.draw.choice((1, 1, 1, 2, 4, 9)),
            skip=self.draw.randrange(6),
            when=lambda call: call.path.startswith(site.sandbox.endpoint),
            retry_after=self.draw.choice((None, 5, 90)),
            seconds=self.draw.uniform(0.5, 40),
        )
        return None

    async def _raise(self, site: Site) -> None:
        with contextlib.suppress(OSError):  # a client's connection may have its port
            await site.sandbox.start()
            site.down_until = 0.0

    async def calm_down(self) -> None:
        """Let all be well from now on."""
        self.calm = True
        for site in self.park.sites:
            site.busy = False
            site.late_until = 0.0
            site.sandbox.faults.clear()
        self.park.step()
        while any(site.down_until for site in self.park.sites):
            await asyncio.sleep(1)
            for site in self.park.sites:
                if site.down_until:
                    await self._raise(site)

    # The process

    async def consume(self, events: AsyncIterable[FleetEvent], fate: Fate) -> None:
        """Write down each event before the next is asked for."""
        async for event in events:
            if fate.is_dead:
                await never()
            self.auditor.hear(event)
            if fate.strikes("left"):
                return
            if fate.strikes("in hand"):
                await never()
            if self.draw.random() < 0.02:
                await asyncio.sleep(self.draw.uniform(0, 20))

    @property
    def interval(self) -> float:
        """How often accounts are polled."""
        return INTERVALS[self.seed % len(INTERVALS)]

    def _is_full(self) -> bool:
        """Tell whether the disk is full just now; with some seeds it is at times."""
        is_frail = self.seed % 4 == 1 and self.park.begun and not self.calm
        return is_frail and self.draw.random() < 0.01

    @contextlib.asynccontextmanager
    async def process(self, path: Path, fate: Fate) -> AsyncIterator[Disk]:
        """Run a fleet and its consumer, till they are killed or left."""
        disk = Disk(path, fate, self.auditor, self._is_full)
        hooks = Hooks(clock=self.clock, sleep=asyncio.sleep, chance=self.draw.random)
        async with Fleet(
            [desk.account for desk in self.park.desks],
            interval=self.interval,
            since=None if self.since is None else int(self.since),
            state=disk,
            timeout=30,
            page_size=self.draw.choice((500, 500, 15)),
            concurrency=self.draw.choice((100, 100, 3)),
            per_host=self.draw.choice((1, 1, 4)),
            drain=1,
            hooks=hooks,
            on_request=self.auditor.note_request,
        ) as self.fleet:
            consumer = asyncio.create_task(self.consume(self.fleet.events(), fate))
            try:
                yield disk
            finally:
                if consumer.done():
                    consumer.result()
                consumer.cancel()
                await asyncio.wait([consumer])
        self.auditor.restart()

    async def live(self, path: Path, fate: Fate) -> Path:
        """Run the process until its fate comes, and return where the next one goes on."""
        async with self.process(path, fate) as disk:
            if fate.where == "anywhere":
                await asyncio.sleep(fate.after - asyncio.get_running_loop().time())
            else:
                with contextlib.suppress(TimeoutError):
                    wait = fate.after - asyncio.get_running_loop().time() + 300
                    await asyncio.wait_for(fate.came.wait(), wait)
            self.look()
            fate.came.set()
            return await disk.copy() if fate.is_dead else path

    async def run(self, path: Path) -> None:
        """Live through the hour and until all is quiet."""
        await self.park.start()
        world = asyncio.create_task(self.go_on())
        # Two in the first interval, while those that look back have much to tell.
        ends = [self.draw.uniform(0, self.interval) for _ in range(2)]
        ends += [self.draw.uniform(0, _LENGTH) for _ in range(6)]
        for end in sorted(ends):
            path = await self.live(path, Fate(self.draw.choice(PLACES), end))
        async with self.process(path, Fate("nowhere", 0)):
            await asyncio.sleep(_LENGTH - asyncio.get_running_loop().time())
            await self.calm_down()
            await world
            await self._be_quiet()
        await self.park.close()
        self.auditor.check_completeness()

    async def _be_quiet(self) -> None:
        since = self.clock()
        while late := [d.account.name for d in self.park.desks if len(d.polls_since(since)) < 2]:
            if self.clock() > since + 900 + 90 + 4 * self.interval:
                assert self.fleet is not None
                pytest.fail(f"not all recover: {[(n, self.fleet.status()[n]) for n in late]}")
            await asyncio.sleep(30)
            self.look()


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make fifty books in less than a second."""
    monkeypatch.setattr(traffic, "_DEALS", 24)
    monkeypatch.setattr(traffic, "_VISITORS", 24)


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("seed", SEEDS)
def test_hour(seed: int, tmp_path: Path) -> None:
    """Every change is delivered at least once and in order, and none that did not happen."""

    async def whole() -> None:
        hour = Hour(seed)
        await hour.run(tmp_path / "state")
        assert hour.auditor.count > _LENGTH // 4
        assert hour.auditor.wrong == []

    virtual_time.run(whole())
