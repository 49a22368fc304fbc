"""Whatever happens in whatever order to what is iterated over, nothing hangs and nothing is left.

A property test: a list of actions on streams, watches, fleets and their events, on a loop whose
time flies or on a real one, bare or in a scope of anyio, that ends by itself or by cancellation.
After it all tasks have ended, all sockets are closed, and the next use works.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import anyio
import pytest
from attrs import define, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppapi_async import Account, Dialect, Fleet, Info, PPAPIError, Retry, Session
from ppapi_async.sandbox import Books, Fault, Sandbox
from tests import loops, virtual_time
from tests.conftest import DEPTH

ROWS = 60
DAY = 86_400
KINDS = ("rows", "windows", "watch", "info watch", "merged", "merged windows", "events")
BY_WINDOW = ("windows", "merged windows")
Action: TypeAlias = tuple[str, int, int]
"""What to do, to which of several, how often or how long."""
ACTIONS = (
    *("start", "start", "next", "next in time", "leave", "drop", "close", "close and forget"),
    *("cancel", "cancel often", "ask all", "remove", "add", "pause", "resume", "hang", "answer"),
    *("rest", "rest long", "close fleet", "close session"),
)
actions = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, len(KINDS) - 1), st.integers(0, 30)),
    max_size=25,
)
ENDINGS = ("itself", "cancelled once", "cancelled often", "scope", "error")


class Mistake(Exception):  # noqa: N818
    """The consumer's own."""


@define(eq=False)
class Use:
    """Something that is iterated over by a task."""

    kind: str
    iteration: Any
    items: Any = None
    task: asyncio.Task[None] | None = None
    found: list[Any] = field(factory=list)
    is_closed: bool = False

    async def run(self, leave_after: int) -> None:
        """Iterate; leave after so many items, by a break or an error."""
        items = self.iteration.windows() if self.kind in BY_WINDOW else self.iteration
        async for item in items:
            self.found.append(item)
            if len(self.found) == leave_after:
                if leave_after % 2:
                    raise Mistake
                return
            if leave_after % 3 == 0:
                await asyncio.sleep(0)
        if self.kind in ("rows", "merged", *BY_WINDOW) and not self.is_closed:
            self.check_complete()

    def check_complete(self) -> None:
        """See that a loop that ended by itself got all rows, once."""
        rows: dict[str, list[int]] = {"": []}
        failed = set[str]()
        for item in self.found:
            if self.kind == "windows":
                rows[""] += [row.id for row in item.records]
            elif self.kind.startswith("merged"):
                name, found = item
                if isinstance(found, PPAPIError):
                    failed.add(name)
                else:
                    some = found.records if self.kind in BY_WINDOW else [found]
                    rows.setdefault(name, []).extend(row.id for row in some)
            else:
                rows[""].append(item.id)
        for name, ids in rows.items():
            assert len(ids) == len(set(ids))
            if name not in failed and (name or not self.kind.startswith("merged")):
                assert sorted(ids) == list(range(1, ROWS + 1))


@define(eq=False)
class World:
    """Sites, and a session and a fleet on them."""

    sandboxes: list[Sandbox]
    accounts: list[Account]
    session: Session
    fleet: Fleet
    start: int
    uses: list[Use] = field(factory=list)
    tasks: list[asyncio.Task[Any]] = field(factory=list)

    def make(self, kind: str) -> Any:
        """Return something to iterate over."""
        makers: Mapping[str, Callable[[], Any]] = {
            "rows": lambda: self.session.iter_exchanges(self.start, concurrency=2),
            "windows": lambda: self.session.iter_exchanges(self.start),
            "watch": lambda: self.session.watch_exchanges(interval=0.01, since=self.start),
            "info watch": lambda: self.session.watch_info(interval=0.01),
            "merged": lambda: self.fleet.iter_exchanges(self.start),
            "merged windows": lambda: self.fleet.iter_exchanges(self.start),
            "events": lambda: self.fleet.events("exchanges", "info"),
        }
        return makers[kind]()

    async def act(self, action: str, which: int, count: int) -> None:
        """Do one thing; what cannot be done now is not done."""
        with contextlib.suppress(RuntimeError, KeyError, ValueError, StopAsyncIteration):
            await getattr(self, "do_" + action.replace(" ", "_"))(which, count)

    def spawn(self, work: Any) -> None:
        """Do something beside."""
        self.tasks.append(asyncio.create_task(work))

    async def do_start(self, which: int, count: int) -> None:
        use = Use(KINDS[which], self.make(KINDS[which]))
        use.task = asyncio.create_task(use.run(count))
        self.tasks.append(use.task)
        self.uses.append(use)

    def use(self, which: int) -> Use:
        if not self.uses:
            raise KeyError
        return self.uses[which % len(self.uses)]

    async def do_next(self, which: int, count: int) -> None:
        await self.do_next_in_time(which, 30)

    async def do_next_in_time(self, which: int, count: int) -> None:
        use = Use(KINDS[which], self.make(KINDS[which]))
        use.items = use.iteration.windows() if use.kind in BY_WINDOW else aiter(use.iteration)
        self.uses.append(use)
        for _ in range(3):
            with contextlib.suppress(TimeoutError, PPAPIError):
                async with asyncio.timeout(count / 1000):
                    use.found.append(await anext(use.items))

    async def do_leave(self, which: int, count: int) -> None:
        use = self.use(which)
        use.is_closed = True
        use.items = None

    async def do_drop(self, which: int, count: int) -> None:
        use = self.use(which)
        use.is_closed = True
        self.uses.remove(use)

    async def do_close(self, which: int, count: int) -> None:
        use = self.use(which)
        use.is_closed = True
        await use.iteration.aclose()

    async def do_close_and_forget(self, which: int, count: int) -> None:
        use = self.use(which)
        use.is_closed = True
        self.spawn(use.iteration.aclose())
        self.spawn(use.iteration.aclose())

    async def do_cancel(self, which: int, count: int) -> None:
        task = self.use(which).task
        if task is not None:
            task.cancel()

    async def do_cancel_often(self, which: int, count: int) -> None:
        task = self.use(which).task
        if task is not None:
            await loops.cancel_often(task, 1 + count)

    async def do_ask_all(self, which: int, count: int) -> None:
        self.spawn(self.fleet.get_info())

    async def do_remove(self, which: int, count: int) -> None:
        self.fleet.remove(self.accounts[which % 4].name)

    async def do_add(self, which: int, count: int) -> None:
        self.fleet.add(self.accounts[which % 4])

    async def do_pause(self, which: int, count: int) -> None:
        self.fleet.pause(self.accounts[which % 4].name)

    async def do_resume(self, which: int, count: int) -> None:
        self.fleet.resume(self.accounts[which % 4].name)

    async def do_hang(self, which: int, count: int) -> None:
        self.sandboxes[which % 2].faults.add(Fault.HANG, times=None)

    async def do_answer(self, which: int, count: int) -> None:
        for sandbox in self.sandboxes:
            sandbox.faults.clear()

    async def do_rest(self, which: int, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def do_rest_long(self, which: int, count: int) -> None:
        await asyncio.sleep(count / 1000)

    async def do_close_fleet(self, which: int, count: int) -> None:
        if which == 0:
            await self.fleet.aclose()
            await self.fleet.__aenter__()

    async def do_close_session(self, which: int, count: int) -> None:
        if which == 0:
            await self.session.aclose()
            await self.session.__aenter__()


@asynccontextmanager
async def world(clock: Callable[[], float], options: Mapping[str, Any]) -> AsyncIterator[World]:
    """Run two sites, with two accounts on each."""
    start = int(clock()) - 3 * DAY
    books = [Books.uniform(ROWS, start, start + 2 * DAY) for _ in range(2)]
    async with (
        Sandbox(Dialect.CLASSIC, books=books[0], clock=clock) as one,
        Sandbox(Dialect.DELEGATING, books=books[1], clock=clock) as other,
    ):
        sandboxes = [one, other]
        accounts = [
            Account(sandbox.url, sandbox.api_key, name=f"{number}-{place}")
            for number, sandbox in enumerate(sandboxes)
            for place in range(2)
        ]
        session = Session(accounts[2], retry=Retry(attempts=1), **options)
        fleet = Fleet(accounts, interval=0.01, since=start, drain=0.05, **options)
        yield World(sandboxes, accounts, session, fleet, start)
        for sandbox in sandboxes:
            sandbox.faults.clear()


async def play(here: World, todo: list[Action], ending: str) -> None:
    """Do the actions, and leave."""
    async with here.session, here.fleet:
        for action in todo:
            await here.act(*action)
        if ending == "error":
            raise Mistake
        if ending != "itself":
            await asyncio.Event().wait()


async def end(task: asyncio.Task[None], ending: str, scope: anyio.CancelScope) -> None:
    """Let the actions come to their end, however that is to be."""
    if ending in ("itself", "error"):
        await asyncio.wait([task])
        return
    await asyncio.wait([task], timeout=0.2)
    if ending == "scope":
        scope.cancel()
        await asyncio.wait([task])
    else:
        await loops.cancel_often(task, 1 if ending == "cancelled once" else 20)


async def examine(
    todo: list[Action], ending: str, clock: Callable[[], float], options: Mapping[str, Any]
) -> None:
    """Play, and see what is left."""
    async with world(clock, options) as here:
        before = loops.sockets()
        scope = anyio.CancelScope()

        async def scoped() -> None:
            with scope:
                await play(here, todo, ending)

        task = asyncio.create_task(scoped() if ending == "scope" else play(here, todo, ending))
        await end(task, ending, scope)
        error = None if task.cancelled() else task.exception()
        assert error is None or isinstance(error, Mistake), error
        if here.tasks:
            _, pending = await asyncio.wait(here.tasks, timeout=1)
            assert not pending, "what reads ends with what it reads from"
        for done in here.tasks:
            trouble = None if done.cancelled() else done.exception()
            if trouble is not None and not isinstance(trouble, PPAPIError | Mistake | RuntimeError):
                raise trouble
        here.uses.clear()
        here.tasks.clear()
        await asyncio.sleep(0.01)
        assert not loops.tasks_of_ours()
        for sandbox in here.sandboxes:
            sandbox.faults.clear()
        await use_again(here)
        await asyncio.sleep(0.01)
        assert not loops.tasks_of_ours()
        assert loops.sockets() <= before


async def use_again(here: World) -> None:
    """Open all of it once more, and read."""
    for account in here.accounts:
        with contextlib.suppress(ValueError):
            here.fleet.add(account)
    async with here.session as session, here.fleet as fleet:
        rows = [row.id async for row in session.iter_exchanges(here.start)]
        assert sorted(rows) == list(range(1, ROWS + 1))
        answers = await fleet.get_info()
        assert len(answers) == 4
        assert all(isinstance(answer, Info) for answer in answers.values())
        events = fleet.events("info")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await anext(aiter(events))


def play_on(loop: str, todo: list[Action], ending: str) -> None:
    """Play on a loop of this kind."""
    troubles: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: troubles.append(context)
        )
        virtual = loop == "virtual"
        clock = virtual_time.now if virtual else time.time
        options = {"hooks": virtual_time.hooks()} if virtual else {}
        await examine(todo, ending, clock, options)

    if loop == "virtual":
        virtual_time.run(main())
    else:
        loops.run(loop, main)
    gc.collect()
    assert not troubles


@pytest.mark.untraced
@pytest.mark.parametrize("loop", ["virtual", *loops.LOOPS])
@settings(suppress_health_check=list(HealthCheck), max_examples=8 * DEPTH)
@given(todo=actions, ending=st.sampled_from(ENDINGS))
def test_promise_6_nothing_hangs_and_nothing_is_left(
    loop: str, todo: list[Action], ending: str
) -> None:
    """Starting, asking, leaving, closing, cancelling, adding and removing in any order."""
    play_on(loop, todo, ending)
