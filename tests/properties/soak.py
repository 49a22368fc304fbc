"""A soak: many mixed faulted requests and polls, after which nothing may be left behind.

`python -X dev -W error -m tests.properties.soak [--requests 10000] [--polls 10000] [--seed 1]`, in
virtual time with real sockets. Descriptors, tasks, threads and the library's own objects have to be
back where they were after a warm-up, and the heap may grow by 256 KiB. The sites' rows change, but
within a fixed set, so that whatever grows is a leak.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import linecache
import logging
import random
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias, TypeVar
from unittest import mock

import aiohttp
from attrs import Factory, define, field, frozen

from ppapi_async import (
    Account,
    Exchange,
    FileCheckpoint,
    Fleet,
    FleetEvent,
    Info,
    Link,
    MemoryCheckpoint,
    MemoryState,
    Payout,
    PayoutOutcomeUnknown,
    PPAPIError,
    RequestFacts,
    Session,
    SQLiteState,
)
from ppapi_async.account import Dialect
from ppapi_async.fleet.events import Events
from ppapi_async.payouts import UNSETTLED
from ppapi_async.storage import Checkpoint, State
from ppapi_async.streaming.stream import Stream
from ppapi_async.watching.info_poller import InfoPoller
from ppapi_async.watching.row_poller import RowPoller
from ppapi_async.watching.watch import Watch
from tests import virtual_time
from tests.laboratory.catalogue import KINDS, script_of
from tests.sites.raw import KEY, RawServer, Reply, Seen, http
from tests.sites.restless import LARGEST, PAGE, RestlessSite

__all__ = ["HEAP", "Footprint", "Growth", "Report", "Soak", "soak"]

HEAP = 256 * 1024
"""Bytes by which the heap may grow."""
_MOST_LOOKS = 3  # what is still on its way through a socket when the clock has jumped is no leak
_HOUR = 3600
_QUIET = 2 * _HOUR  # longer than any wait of a poll that failed
_INTERVAL = 60
_WARM_UP = 0.15
_LEAST_WARM, _MOST_WARM = 25, 600
_DIALECTS = (Dialect.CLASSIC, Dialect.DELEGATING, Dialect.CLONE, Dialect.USER_API)
_LEVELS = {"asyncio": logging.ERROR, "ppapi_async": logging.CRITICAL}
"""Of asyncio, -X dev tells of every slow callback; of us, every fault is told."""
_KEPT = "a gzip bomb of 256 MB"  # made once and kept, which is no leak
_SPOILING = [name for name, one in KINDS.items() if one.spoil is not None and name != _KEPT]
_DESCRIPTORS = Path("/proc/self/fd")
_LIBRARY = "ppapi_async."
_SERVER = "ppapi_async.sandbox"
_NOT_OURS = (tracemalloc.__file__, linecache.__file__, "/coverage/", "/_pytest/", "/fnmatch.py")
"""Files whose memory is the measurement's own."""
P = TypeVar("P")
Q = TypeVar("Q")
AnyStream: TypeAlias = Stream[Exchange] | Stream[Link] | Stream[Payout]
AnyWatch: TypeAlias = Watch[Exchange] | Watch[Link] | Watch[Payout] | Watch[Info]
Act: TypeAlias = Callable[[Session], Awaitable[object]]


# What is measured


@frozen
class Footprint:
    """What a process holds."""

    descriptors: int
    tasks: int
    threads: int
    objects: Counter[str]
    """The library's, by class."""

    @classmethod
    def now(cls) -> Footprint:
        """Measure, after all garbage is gone."""
        for _ in range(3):
            UNSETTLED.clear()  # a payout whose outcome is unknown is remembered on purpose
            gc.collect()
        kinds = (type(one) for one in gc.get_objects())
        return cls(
            descriptors=len(list(_DESCRIPTORS.iterdir())) if _DESCRIPTORS.exists() else 0,
            tasks=len(asyncio.all_tasks()),
            threads=threading.active_count(),
            objects=Counter(f"{k.__module__}.{k.__qualname__}" for k in kinds if _is_ours(k)),
        )

    def more_than(self, other: Footprint) -> dict[str, int]:
        """Return what there is more of than in another; nothing, if all is back."""
        counted = Counter(
            descriptors=self.descriptors - other.descriptors,
            tasks=self.tasks - other.tasks,
            threads=self.threads - other.threads,
        )
        counted.update(self.objects)
        counted.subtract(other.objects)
        return dict(+counted)


def _is_ours(kind: type) -> bool:
    module = str(kind.__module__)
    return module.startswith(_LIBRARY) and not module.startswith(_SERVER)


@frozen
class Growth:
    """What a phase left behind."""

    name: str
    requests: int
    polls: int
    more: dict[str, int]
    heap: int
    """Bytes."""
    where: Sequence[str]
    """The lines that grew the most."""

    @property
    def is_clean(self) -> bool:
        """Whether all is back where it was."""
        return not self.more and self.heap < HEAP

    def __str__(self) -> str:
        shown = f"{self.name}: {self.requests:,} requests, {self.polls:,} polls"
        shown += f"; heap {self.heap / 1024:+.1f} KiB; left behind: {self.more or 'nothing'}"
        return shown if self.is_clean else "\n  ".join([shown, *self.where])


@define
class Report:
    """What a soak came to."""

    growths: list[Growth] = Factory(list)
    ends: Counter[str] = Factory(Counter)
    """How calls ended, by the name of the error."""
    faults: Counter[str] = Factory(Counter)
    troubles: list[str] = Factory(list)
    """Warnings in finalisers, exceptions nobody took, tasks that were destroyed."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing was left behind and nothing was complained about."""
        return not self.troubles and all(growth.is_clean for growth in self.growths)

    def __str__(self) -> str:
        ends = ", ".join(f"{name} {count:,}" for name, count in self.ends.most_common())
        faults = f"{sum(self.faults.values()):,} faults of {len(self.faults)} kinds"
        return "\n".join([*map(str, self.growths), f"ends: {ends}", faults, *self.troubles])


def _grown(
    snapshot: tracemalloc.Snapshot, later: tracemalloc.Snapshot
) -> list[tracemalloc.StatisticDiff]:
    """Return the lines that hold more than before, or less, without those of the measurement."""
    lines = later.compare_to(snapshot, "lineno")
    ours = [line for line in lines if not any(own in str(line.traceback) for own in _NOT_OURS)]
    return sorted(ours, key=lambda line: -line.size_diff)


@contextlib.contextmanager
def _traced() -> Iterator[None]:
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        yield
    finally:
        if not was_tracing:
            tracemalloc.stop()


class _Complaints(logging.Handler):
    """Keeps what asyncio complains about."""

    def __init__(self, troubles: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._troubles = troubles

    def emit(self, record: logging.LogRecord) -> None:
        self._troubles.append(f"{record.name}: {record.getMessage()}")


@contextlib.contextmanager
def _complaints(troubles: list[str]) -> Iterator[None]:
    """Note what would otherwise be printed and forgotten."""

    def note(unraisable: sys.UnraisableHookArgs) -> None:
        troubles.append(f"ignored in {unraisable.object!r}: {unraisable.exc_value!r}")

    handler, logger = _Complaints(troubles), logging.getLogger("asyncio")
    logger.addHandler(handler)
    levels = {name: logging.getLogger(name).level for name in _LEVELS}
    try:
        for name, level in _LEVELS.items():
            logging.getLogger(name).setLevel(level)
        with mock.patch.object(sys, "unraisablehook", note):
            yield
    finally:
        logger.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


# The sites


def _script(draw: random.Random, faults: Counter[str], usual: str) -> Callable[[Seen], Reply]:
    """Answer as usual, or with one of the laboratory's faults."""

    def answer(seen: Seen) -> Reply:
        if draw.random() < 0.4:
            return http(200, usual)
        name = draw.choice(_SPOILING)
        faults[f"raw: {name}"] += 1
        return script_of(name)(seen)

    return answer


_USUAL = {
    "get_info": '{"error":0,"error_text":"","data":{"balance":"122.01","min_payout":"10"}}',
    "get_links": '{"error":0,"error_text":""}',
    "get_exchanges": '{"error":0,"error_text":""}',
    "get_payouts": '{"error":0,"error_text":""}',
    "add_payout": '{"error":0,"error_text":"","data":{"payout_id":"7"}}',
}


# What is done


@define(eq=False)
class Soak:
    """Many calls and polls against sites in trouble."""

    seed: int
    directory: Path
    report: Report = Factory(Report)
    looks: int = _MOST_LOOKS
    """How often to look whether all is back."""
    requests: int = 0
    polls: int = 0
    """Of watches and fleets, as they begin."""
    draw: random.Random = field(init=False)
    sites: list[RestlessSite] = Factory(list)
    raw: RawServer = Factory(RawServer)
    _last_attempt: PayoutOutcomeUnknown | None = None

    def __attrs_post_init__(self) -> None:
        self.draw = random.Random(self.seed)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Open the sites."""
        faults = self.report.faults
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.raw)
            self.raw.script |= {
                method: _script(self.draw, faults, usual) for method, usual in _USUAL.items()
            }
            for dialect in _DIALECTS:
                site = RestlessSite.make(dialect, self.draw, faults)
                await stack.enter_async_context(site.sandbox)
                self.sites.append(site)
            yield

    async def run(self, requests: int, polls: int) -> Report:
        """Soak, and report."""
        async with self.serving():
            # Once through everything, so that what is made once for ever is there.
            await self.call_much(min(_MOST_WARM, int(requests * _WARM_UP) + _LEAST_WARM))
            await self.poll_much(min(_MOST_WARM, int(polls * _WARM_UP) + _LEAST_WARM))
            await self.measure("requests", self.call_much, requests)
            await self.measure("polls", self.poll_much, polls)
        return self.report

    async def measure(self, name: str, work: Callable[[int], Awaitable[None]], count: int) -> None:
        """Do work, and note what it left behind."""
        await self.calm_down()
        before, snapshot = Footprint.now(), tracemalloc.take_snapshot()
        requests, polls = self.requests, self.polls
        await work(count)
        for _ in range(self.looks):
            await self.calm_down()
            after = Footprint.now()
            grown = _grown(snapshot, tracemalloc.take_snapshot())
            growth = Growth(
                name=name,
                requests=self.requests - requests,
                polls=self.polls - polls,
                more=after.more_than(before),
                heap=sum(line.size_diff for line in grown),
                where=[str(one) for one in grown[:10]],
            )
            if growth.is_clean:
                break
        self.report.growths.append(growth)

    async def calm_down(self) -> None:
        """End all trouble, and wait until nothing goes on any more."""
        for site in self.sites:
            site.sandbox.faults.clear()
        await asyncio.sleep(_QUIET)
        self.raw.seen.clear()
        self._last_attempt = None

    def count(self, _: RequestFacts) -> None:
        """Take a call of `on_request`."""
        self.requests += 1

    # Requests

    async def call_much(self, count: int) -> None:
        """Call until so many requests have been made, in long sessions and in short ones."""
        end = self.requests + count
        while self.requests < end:
            async with contextlib.AsyncExitStack() as stack:
                sessions = [await stack.enter_async_context(self.session(a)) for a in self._all()]
                once = min(end, self.requests + max(25, count // 10))
                while self.requests < once:
                    for session in sessions:
                        await self.call_in_trouble(session)
                    await self.call_briefly()
                    self.raw.seen.clear()

    def _all(self) -> list[Account]:
        return [site.account for site in self.sites] + [Account(self.raw.url, KEY, name="raw")]

    def session(self, account: Account, http: aiohttp.ClientSession | None = None) -> Session:
        """Return a session that is counted."""
        return Session(
            account,
            http=http,
            timeout=20,
            page_size=PAGE,
            largest_answer=LARGEST,
            on_request=self.count,
            hooks=virtual_time.hooks(self.draw.random),
        )

    async def call_in_trouble(self, session: Session) -> None:
        """Do one thing in one session, cut off in the middle now and then."""
        for site in self.sites:
            site.trouble()
            site.move()
        act = self.draw.choice(
            [self.ask, self.ask, self.read, self.read, self.leave, self.resume, self.pay, self.pay]
        )
        await self.ended(self.cut_off(act, session))

    async def ended(self, call: Awaitable[object]) -> None:
        """Wait for a call, and note how it ended."""
        try:
            await call
        except (PPAPIError, TimeoutError, asyncio.CancelledError) as error:
            current = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and current and current.cancelling():
                raise
            self.report.ends[type(error).__name__] += 1
            if isinstance(error, PayoutOutcomeUnknown):
                self._last_attempt = error.with_traceback(None)
        else:
            self.report.ends["well"] += 1

    async def cut_off(self, act: Act, session: Session) -> None:
        """Let a call end by itself, by its caller's time-out, or by being cancelled."""
        chance = self.draw.random()
        if chance < 0.6:
            await act(session)
        elif chance < 0.75:
            async with asyncio.timeout(self.draw.choice([0, 0.3, 5, 19])):
                await act(session)
        else:
            task = asyncio.ensure_future(act(session))
            for _ in range(self.draw.choice([0, 1, 2, 5, 10, 20, 40])):
                await asyncio.sleep(0)
            task.cancel()
            await task

    async def ask(self, session: Session) -> None:
        """Make a call that is no stream."""
        calls: list[Callable[[], Awaitable[object]]] = [
            session.get_info,
            session.get_links,
            session.get_exchanges,
            session.get_payouts,
            lambda: session.call("get_info"),
            lambda: session.call("get_nothing"),
            lambda: asyncio.gather(*(session.get_info() for _ in range(6))),
        ]
        await self.draw.choice(calls)()

    def stream(self, session: Session, checkpoint: Checkpoint | None = None) -> AnyStream:
        """Return a stream of any kind."""
        kinds: list[Callable[..., AnyStream]]
        kinds = [session.iter_exchanges, session.iter_links, session.iter_payouts]
        iterate = self.draw.choice(kinds)
        now = int(virtual_time.now())
        start = self.draw.choice([None, now - 24 * _HOUR, now - 6 * _HOUR])
        return iterate(
            start,
            self.draw.choice([None, now, now - 2 * _HOUR]),
            window=None if start is None else self.draw.choice([None, None, timedelta(hours=2)]),
            concurrency=self.draw.choice([1, 1, 4]),
            newest_first=checkpoint is None and self.draw.random() < 0.3,
            checkpoint=checkpoint,
        )

    async def read(self, session: Session) -> None:
        """Read a stream to its end, by rows or by windows."""
        stream = self.stream(session)
        if self.draw.random() < 0.5:
            async for _ in stream:
                pass
        else:
            async for _ in stream.windows():
                pass

    async def leave(self, session: Session) -> None:
        """Leave a stream in the middle, in each way that there is."""
        stream, rest = self.stream(session), self.draw.randint(0, 15)
        if self.draw.random() < 0.3:
            async with stream:
                await self._some(stream, rest)
        else:
            await self._some(stream, rest)
            if self.draw.random() < 0.5:
                await stream.aclose()

    async def _some(self, stream: AnyStream, rows: int) -> None:
        async for _ in stream:
            rows -= 1
            if rows < 0:
                break

    async def resume(self, session: Session) -> None:
        """Leave a stream with a checkpoint, and go on with it."""
        path = self.directory / "checkpoint.json"
        path.unlink(missing_ok=True)
        checkpoint: Checkpoint
        checkpoint = MemoryCheckpoint() if self.draw.random() < 0.5 else FileCheckpoint(path)
        now = int(virtual_time.now())
        for rows in (3, 12, 10_000):
            stream = session.iter_exchanges(now - 24 * _HOUR, now, checkpoint=checkpoint)
            async with stream:
                await self._some(stream, rows)

    async def pay(self, session: Session) -> None:
        """Ask for a payout, or look for one."""
        attempt = self._last_attempt
        if attempt is not None and self.draw.random() < 0.3:
            await session.find_payout(attempt)
            return
        await session.add_payout(
            self.draw.choice([1, 2, 99]),
            self.draw.choice(["T" + "1" * 33, "x"]),
            at_least=self.draw.choice([None, 1, 1000]),
        )

    async def call_briefly(self) -> None:
        """Do one thing in a session of its own, or in a fleet."""
        if self.draw.random() < 0.3:
            await self.ended(self.ask_fleet())
            return
        account = self.draw.choice(self._all())
        if self.draw.random() < 0.5:
            async with self.session(account) as session:
                await self.call_in_trouble(session)
            return
        async with aiohttp.ClientSession() as lent, self.session(account, lent) as session:
            await self.call_in_trouble(session)

    async def ask_fleet(self) -> None:
        """Ask all accounts at once, and read from all of them."""
        async with self.fleet(MemoryState()) as fleet:
            await fleet.get_info()
            rows = self.draw.choice([5, 10_000])
            async for _ in fleet.iter_exchanges():
                rows -= 1
                if rows < 0:
                    break

    # Polls

    def fleet(self, state: State) -> Fleet:
        """Return a fleet of all accounts that is counted."""
        return Fleet(
            self._all(),
            interval=_INTERVAL,
            state=state,
            timeout=20,
            page_size=PAGE,
            largest_answer=LARGEST,
            on_request=self.count,
            hooks=virtual_time.hooks(self.draw.random),
        )

    async def poll_much(self, count: int) -> None:
        """Watch and let a fleet poll, with faults all the time, until so many polls began."""
        end = self.polls + count
        with self._counted_polls():
            # Each generation leaves what it has to a next one, so that the leaving soaks, too.
            while self.polls < end:
                await self._poll_until(min(end, self.polls + max(25, count // 8)))

    async def _poll_until(self, end: int) -> None:
        states: list[State] = [MemoryState(), SQLiteState(self.directory / "watches.sqlite")]
        async with contextlib.AsyncExitStack() as stack:
            tasks = []
            for site, state in zip(self.sites[:3], [*states, states[1]], strict=True):
                session = await stack.enter_async_context(self.session(site.account))
                tasks += [
                    asyncio.create_task(self.watch(session, number, state)) for number in range(4)
                ]
            fleet = await stack.enter_async_context(
                self.fleet(SQLiteState(self.directory / "fleet.sqlite"))
            )
            tasks.append(asyncio.create_task(self.follow(fleet)))
            try:
                while self.polls < end:
                    await self._make_trouble(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def _make_trouble(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        self.draw.choice(self.sites).trouble()
        self.draw.choice(self.sites).move()
        await asyncio.sleep(self.draw.uniform(1, 15))
        self.raw.seen.clear()
        for task in tasks:
            if task.done():
                await task  # for ever is not over

    async def watch(self, session: Session, number: int, state: State) -> None:
        """Watch one thing for ever: for a while, left and taken up again."""
        watches: list[Callable[[], AnyWatch]]
        watches = [
            lambda: session.watch_exchanges(interval=_INTERVAL, state=state),
            lambda: session.watch_payouts(interval=_INTERVAL, state=state),
            lambda: session.watch_links(interval=_INTERVAL, state=state),
            lambda: session.watch_info(interval=_INTERVAL, state=state),
        ]
        while True:
            await self.ended(self._follow(watches[number]()))
            await asyncio.sleep(_INTERVAL)

    async def follow(self, fleet: Fleet) -> None:
        """Take the events of a fleet, leaving and coming back, with accounts that come and go."""
        while True:
            await self.ended(self._follow(fleet.events()))
            name = self.draw.choice(list(fleet.status()))
            if self.draw.random() < 0.5:
                account = fleet.session(name).account
                fleet.remove(name)
                fleet.add(account)
            else:
                fleet.pause(name)
                await asyncio.sleep(_INTERVAL)
                fleet.resume(name)

    async def _follow(self, source: AnyWatch | Events[FleetEvent]) -> None:
        changes = self.draw.randint(1, 20)
        async with asyncio.timeout(self.draw.choice([90, 1000, 5000])):
            async for _ in source:
                changes -= 1
                if changes < 0:
                    break

    @contextlib.contextmanager
    def _counted_polls(self) -> Iterator[None]:
        def counting(poll: Callable[[P], AsyncGenerator[Q, None]]) -> Callable[[P], object]:
            def counted(poller: P) -> AsyncGenerator[Q, None]:
                self.polls += 1
                return poll(poller)

            return counted

        with (
            mock.patch.object(RowPoller, "poll", counting(RowPoller.poll)),
            mock.patch.object(InfoPoller, "poll", counting(InfoPoller.poll)),
        ):
            yield


def soak(requests: int, polls: int, *, seed: int = 1, looks: int = _MOST_LOOKS) -> Report:
    """Run a soak in a loop of its own and return what it came to."""
    report = Report()
    with tempfile.TemporaryDirectory() as directory, _complaints(report.troubles), _traced():
        return virtual_time.run(Soak(seed, Path(directory), report, looks).run(requests, polls))


def main() -> int:
    """Soak and tell; 1 where something is left behind."""
    parser = argparse.ArgumentParser(prog="python -X dev -W error -m tests.properties.soak")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--polls", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.perf_counter()
    report = soak(asked.requests, asked.polls, seed=asked.seed)
    sys.stdout.write(f"{report}\nin {time.perf_counter() - began:.0f} s\n")
    return int(not report.is_clean)


if __name__ == "__main__":
    sys.exit(main())
