"""A collector of Prometheus' that tells how accounts get on, at the moment it is asked.

Fleets and mirrors live in a loop, and are to be touched in no other thread. Who scrapes asks from a
thread of its own. So the collector has the loop take a reading, waits for it, and makes the metrics
of it in the thread that asked. A loop that does not answer is what one wants to know: `ppapi_up`
says so, and there is nothing else.

What a mirror's database holds is counted beside that, now and then, and scrapes get what was
counted last: no scrape waits for a database.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import define, field, frozen
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from ppapi_async._validation import Duration, check_flag, seconds_of
from ppapi_async.errors import StateError
from ppapi_async.fleet.status import AccountStatus
from ppapi_async.metrics.families import Labels, Polls, StatusReading, families

if TYPE_CHECKING:
    from ppapi_async.mirror import MirrorStanding

__all__ = ["StatusCollector"]

_SHARE = 100
"""A database counts its rows in one part of so many of the time, at the most."""


class HasStatus(Protocol):
    """A `Fleet` or a `Mirror`."""

    def status(self) -> dict[str, AccountStatus]:
        """Return how each account gets on, by name."""


@runtime_checkable
class HasStanding(Protocol):
    """A `Mirror`."""

    async def standing(self) -> dict[str, MirrorStanding]:
        """Return what the database has of each account, by name."""


@define(eq=False)
class Counting:
    """Counts what the database of a mirror holds, beside everything else."""

    mirror: HasStanding
    every: float
    """Seconds from one count to the next, at the least."""
    standings: dict[str, MirrorStanding] = field(factory=dict)
    """What was counted last."""
    at: float | None = None
    """When that was, in unix seconds; None: not yet."""
    _due: float = float("-inf")
    _task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to count anew, if it is time for that."""
        loop = asyncio.get_running_loop()
        if self._task is None and loop.time() >= self._due:
            self._task = loop.create_task(self._count(loop))

    async def _count(self, loop: asyncio.AbstractEventLoop) -> None:
        began = loop.time()
        try:
            self.standings, self.at = await self.mirror.standing(), time.time()
        except (StateError, RuntimeError):
            pass  # it cannot be reached, or is closed: how old the last count is, is told
        finally:
            self._due = loop.time() + max(self.every, (loop.time() - began) * _SHARE)
            self._task = None


@frozen
class Look:
    """What was seen in the loop, which is not to be held up for more."""

    number: int
    """Counts the looks."""
    statuses: Sequence[Mapping[str, AccountStatus]]
    """Of each source, by the accounts' names."""
    standings: Sequence[Mapping[str, MirrorStanding]]
    """Of each mirror, by the accounts' names."""
    counted_at: float | None
    """See `StatusReading`."""


@define(eq=False)
class Totals:
    """Adds polls up so that sums never fall: Prometheus would take that for a new beginning.

    They would where an account is removed, or is opened anew and begins to count from nothing.
    Threads that scrape at once take turns; a look that is older than the last one changes nothing.
    """

    _lock: threading.Lock = field(factory=threading.Lock, repr=False)
    _last: int = 0
    _seen: dict[tuple[int, str], Polls] = field(factory=dict)
    _sums: dict[Labels, Polls] = field(factory=dict)

    def add(self, look: Look, labels_of: Callable[[str, str], Labels]) -> dict[Labels, Polls]:
        """Take what the accounts have counted, and return the sums of their series."""
        found: dict[Labels, None] = {}
        with self._lock:
            is_newer, self._last = look.number > self._last, max(look.number, self._last)
            for source, statuses in enumerate(look.statuses):
                for name, status in statuses.items():
                    labels = labels_of(name, status.host)
                    if is_newer:
                        self._add((source, name), labels, Polls(status.polls, status.polls_failed))
                    found[labels] = None
            return {labels: self._sums.get(labels, Polls()) for labels in found}

    def _add(self, place: tuple[int, str], labels: Labels, now: Polls) -> None:
        before = self._seen.get(place, Polls())
        if now.begun < before.begun:
            before = Polls()
        self._seen[place] = now
        total = self._sums.get(labels, Polls())
        self._sums[labels] = Polls(
            total.begun + now.begun - before.begun, total.failed + now.failed - before.failed
        )


class StatusCollector(Collector):
    """How the accounts of fleets and mirrors get on: `REGISTRY.register(StatusCollector(fleet))`.

    Make it in the loop in which they are open. It may be asked in any thread. Take it off the
    registry (`unregister`) when they are closed.

    Args:
        sources: fleets and mirrors; all of a process in one collector.
        by_account: a series for each account, with the label `account`, in place of one for each
            host: as many series as there are accounts.
        patience: how long to wait for the loop.
        count_every: how often the database of a mirror counts its rows, at the most. Where that
            takes long it counts less often, and spends a hundredth of its time on it.

    Raises:
        RuntimeError: no loop is running.
        TypeError: an argument is of another kind.
        ValueError: a duration is not usable.
    """

    def __init__(
        self,
        *sources: HasStatus,
        by_account: bool = False,
        patience: Duration = 5,
        count_every: Duration = 60,
    ) -> None:
        if not sources or not all(hasattr(source, "status") for source in sources):
            raise TypeError("sources: pass fleets and mirrors")
        check_flag(by_account, "by_account")
        self._sources = sources
        self._by_account = by_account
        self._patience = seconds_of(patience, "patience")
        every = seconds_of(count_every, "count_every")
        self._loop = asyncio.get_running_loop()
        self._totals, self._numbers = Totals(), count(1)
        self._counting = [Counting(one, every) for one in sources if isinstance(one, HasStanding)]

    def __repr__(self) -> str:
        return f"<StatusCollector of {len(self._sources)}>"

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without their values, which need not be known to register them."""
        return families(StatusReading(by_account=self._by_account))

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now; where the loop does not answer, only that."""
        look = self._ask()
        if look is None:
            return families(StatusReading(by_account=self._by_account))
        labels_of = self._labels
        reading = StatusReading(
            by_account=self._by_account,
            accounts=[
                (labels_of(name, status.host), status)
                for statuses in look.statuses
                for name, status in statuses.items()
            ],
            polls=self._totals.add(look, labels_of),
            standings=[
                (labels_of(name, standing.host), standing)
                for standings in look.standings
                for name, standing in standings.items()
            ],
            counted_at=look.counted_at,
        )
        return families(reading)

    def _labels(self, name: str, host: str) -> Labels:
        return (host, name) if self._by_account else (host,)

    def _ask(self) -> Look | None:
        """Have the loop look; None where it does not."""
        with suppress(RuntimeError):  # no loop runs in this thread
            if asyncio.get_running_loop() is self._loop:
                return self._look()
        found: Future[Look] = Future()

        def look() -> None:
            if found.set_running_or_notify_cancel():
                try:
                    found.set_result(self._look())
                except Exception as error:  # noqa: BLE001 - raised where it is waited for
                    found.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(look)
        except RuntimeError:  # it is closed
            return None
        try:
            return found.result(self._patience)
        except TimeoutError:
            found.cancel()
            return None

    def _look(self) -> Look:
        """Look at the sources; in the loop."""
        for one in self._counting:
            one.begin()
        times = (one.at for one in self._counting if one.at is not None)
        return Look(
            number=next(self._numbers),
            statuses=[source.status() for source in self._sources],
            standings=[one.standings for one in self._counting],
            counted_at=min(times, default=None),
        )
