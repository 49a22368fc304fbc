"""Processes that keep a mirror until they are killed, and one that starts and kills them.

`python -m tests.mirror.victim` takes "start FILE" and "kill PID" from its standard input, and
answers with a number. It has imported all when it is asked to start a process, and so needs no
second for that. What a process does is in its file. It writes down, a line each, which account was
read well by a reading that began when, and which change it was delivered.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

from attrs import asdict, define, field, frozen
from procrastinate import App, PsycopgConnector

from ppapi_async import Account, Hooks
from ppapi_async.mirror import Mirror, MirrorChange, SyncReport, jobs

__all__ = ["Clock", "Mode", "Orders", "OrdersOfAccount"]

Mode: TypeAlias = Literal["sync", "follow", "shared", "jobs"]
"""What the processes do; "shared" is to follow, as workers that share the accounts."""
_TIMEOUT = 3.0
_LOOKBACK = 60 * 86_400
"""Seconds: more than the books go back."""


@frozen
class Clock:
    """A time that all processes share, and that runs faster than the true one."""

    origin: float
    beginning: float
    speed: float

    def __call__(self) -> float:
        """Return the present, in unix seconds."""
        return self.beginning + (time.time() - self.origin) * self.speed

    async def sleep(self, seconds: float) -> None:
        """Sleep so long by this clock."""
        await asyncio.sleep(seconds / self.speed)


@frozen
class OrdersOfAccount:
    """An account, as a process is told of it."""

    url: str
    key: str
    login: str | None
    name: str
    timezone: str

    def account(self) -> Account:
        """Return it."""
        return Account(
            self.url, self.key, api_login=self.login, name=self.name, timezone=self.timezone
        )


@frozen(kw_only=True)
class Orders:
    """What the process is to do."""

    mode: Mode
    database: str
    accounts: list[OrdersOfAccount]
    clock: Clock
    journal: str
    """The file to write to."""
    page_size: int = 500
    interval: float = 60.0

    def to_json(self) -> str:
        """Return them as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """Return what was written."""
        read = json.loads(text)
        read["accounts"] = [OrdersOfAccount(**one) for one in read["accounts"]]
        read["clock"] = Clock(**read["clock"])
        return cls(**read)


@define(eq=False)
class Victim:
    """The process."""

    orders: Orders
    _journal: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._journal = os.open(self.orders.journal, flags)

    def note(self, kind: str, *values: object) -> None:
        """Write a line, whole or not at all."""
        line = json.dumps([os.getpid(), kind, *values])
        os.write(self._journal, f"{line}\n".encode())

    def mirror(self, accounts: list[Account] | None = None) -> Mirror:
        """Return a mirror of these accounts or all."""
        clock = self.orders.clock
        return Mirror(
            self.orders.database,
            [one.account() for one in self.orders.accounts] if accounts is None else accounts,
            lookback=_LOOKBACK,
            timeout=_TIMEOUT,
            page_size=self.orders.page_size,
            drain=0.1,
            shared="kills" if self.orders.mode == "shared" else None,
            hooks=Hooks(clock=clock, sleep=clock.sleep),
        )

    async def sync(self) -> None:
        """Synchronise each account again and again, all at once."""
        async with self.mirror() as mirror:

            async def go_on(name: str) -> None:
                while True:
                    await self.note_sync(mirror.sync, [name])
                    await asyncio.sleep(0.05)

            await asyncio.gather(*(go_on(one.name) for one in self.orders.accounts))

    async def note_sync(
        self,
        sync: Callable[[Collection[str]], Awaitable[SyncReport]],
        accounts: Collection[str],
    ) -> SyncReport:
        """Synchronise, and write down for which accounts it went well."""
        began = self.orders.clock()
        report = await sync(accounts)
        for name, one in report.accounts.items():
            if one.error is None:
                self.note("read", name, began)
            else:
                self.note("failed", name, type(one.error).__name__, str(one.error)[:300])
        return report

    async def follow(self) -> None:
        """Follow all accounts."""
        async with self.mirror() as mirror:
            noting = asyncio.create_task(self._note_polls(mirror))
            try:
                async for event in mirror.follow(interval=self.orders.interval):
                    if isinstance(event, MirrorChange):
                        self.note("change", event.account, event.resource, event.cursor)
                    else:
                        self.note("event", repr(event)[:300])
            finally:
                noting.cancel()

    async def _note_polls(self, mirror: Mirror) -> None:
        last: Mapping[str, float] = {}
        while True:
            found = {
                name: one.last_success.timestamp() - 1e-5
                for name, one in mirror.status().items()
                if one.last_success is not None
            }
            for name, began in found.items():
                if last.get(name) != began:
                    self.note("read", name, began)
            last = found
            await asyncio.sleep(0.05)

    async def jobs(self) -> None:
        """Work at procrastinate's jobs."""
        connector = PsycopgConnector(conninfo=self.orders.database, min_size=1, max_size=4)
        app = App(connector=connector, worker_defaults={"delete_jobs": "successful"})
        made = jobs.blueprint(
            lambda accounts: _NotedMirror(self, accounts),
            [one.account() for one in self.orders.accounts],
            every="* * * * * *",
            stalled_every="* * * * * *",
            stalled_after=2,
            retry=jobs.Backoff(first=0.2, longest=1),
        )
        app.add_tasks_from(made, namespace="mirror")
        async with app.open_async():
            await app.run_worker_async(
                concurrency=4,
                install_signal_handlers=False,
                fetch_job_polling_interval=0.2,
                update_heartbeat_interval=0.4,
            )


@define(eq=False)
class _NotedMirror:
    """A mirror of one job, whose syncs are written down."""

    victim: Victim
    accounts: list[Account]
    _mirror: Mirror = field(init=False)

    async def __aenter__(self) -> Self:
        self._mirror = await self.victim.mirror(self.accounts).__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._mirror.__aexit__(kind, error, trace)

    async def sync(self, *, accounts: Collection[str]) -> SyncReport:
        """Synchronise the job's account."""
        return await self.victim.note_sync(self._mirror.sync, accounts)


async def _live(victim: Victim, parent: int) -> None:
    """Do as ordered, for as long as there is somebody to kill it."""
    ways = {
        "sync": victim.sync,
        "follow": victim.follow,
        "shared": victim.follow,
        "jobs": victim.jobs,
    }
    life = asyncio.create_task(ways[victim.orders.mode]())
    while os.getppid() == parent and not life.done():
        await asyncio.wait([life], timeout=0.5)
    if not life.done():
        os._exit(1)
    life.result()


def _start(file: str, parent: int) -> int:
    """Fork a process; return its number."""
    child = os.fork()
    if child:
        return child
    try:
        victim = Victim(Orders.from_json(Path(file).read_text("utf-8")))
        asyncio.run(_live(victim, parent))
    except BaseException:  # noqa: BLE001 - the process ends here, and says why
        traceback.print_exc()
    os._exit(1)


def _kill(process: int) -> int:
    """Kill a process; return how it has ended, -9 if by that."""
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    """Start and kill processes as told."""
    here = os.getpid()
    for line in sys.stdin:
        command, value = line.rstrip("\n").split(" ", 1)
        number = _start(value, here) if command == "start" else _kill(int(value))
        os.write(1, f"{number}\n".encode())


if __name__ == "__main__":
    main()
