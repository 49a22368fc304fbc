"""The life of what is iterated over: left, closed, cancelled and timed out at any time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ppapi_async import Dialect, FileCheckpoint, MemoryCheckpoint, Session, TransportError
from ppapi_async.models import Json
from ppapi_async.sandbox import Books, Fault, Sandbox
from ppapi_async.streaming.iteration import Items, Iteration
from tests import virtual_time
from tests.fleet.test_fleet import fleet_of, park
from tests.watching.test_watch import KEY, account_of, later, new_order, run, sandbox_of

DAY = 86_400
START = int(virtual_time.BEGINNING) - 41 * DAY
KINDS = ("rows", "windows", "watch", "merged", "events")
Make: TypeAlias = Callable[[], Iteration]


def items_of(kind: str, iteration: Any) -> Items[Any]:
    """Return the iterator over it."""
    items: Items[Any] = iteration.windows() if kind == "windows" else aiter(iteration)
    return items


@asynccontextmanager
async def source(kind: str, *, hang: bool = True) -> AsyncIterator[Make]:
    """Give what makes something to iterate over, which comes to a halt after a few items."""
    async with (
        park(Dialect.CLASSIC, Dialect.DELEGATING, rows=120) as (sandboxes, accounts),
        fleet_of(accounts, since=START) as fleet,
        Session(accounts[1], hooks=virtual_time.hooks()) as session,
    ):
        if hang and kind not in ("watch", "events"):  # those wait for the next poll
            for sandbox in sandboxes:
                sandbox.faults.add(Fault.HANG, method="get_exchanges", skip=3, times=None)
        makers: Mapping[str, Make] = {
            "rows": lambda: session.iter_exchanges(START, window=timedelta(days=1)),
            "windows": lambda: session.iter_exchanges(START, window=timedelta(days=1)),
            "watch": lambda: session.watch_exchanges(since=START),
            "merged": lambda: fleet.iter_exchanges(START),
            "events": lambda: fleet.events("exchanges"),
        }
        yield makers[kind]
        for sandbox in sandboxes:
            sandbox.faults.clear()


async def drain(items: Items[object], into: list[object]) -> None:
    """Iterate to the end."""
    async for item in items:
        into.append(item)  # noqa: PERF401 - what came before it is cancelled counts


# --- closing


@pytest.mark.untraced
@pytest.mark.parametrize("kind", KINDS)
def test_promise_6_closing_from_another_task_ends_the_loop(kind: str) -> None:
    """The loop that waits ends as if there were no more; what is closed has cleaned up."""

    async def main() -> None:
        async with source(kind) as make:
            iteration, found = make(), list[object]()
            before = asyncio.all_tasks()
            task = asyncio.create_task(drain(items_of(kind, iteration), found))
            await asyncio.sleep(30 if kind == "watch" else 90 if kind == "events" else 5)
            assert found
            assert not task.done()
            await asyncio.wait_for(iteration.aclose(), 20)
            await asyncio.wait_for(task, 0.05)
            ours = {t for t in asyncio.all_tasks() - before if "RequestHandler" not in repr(t)}
            assert not ours

    run(main)


@pytest.mark.untraced
@pytest.mark.parametrize("kind", KINDS)
def test_closing_twice_at_once_and_again(kind: str) -> None:
    """Every call waits for the same end, and calls after it have nothing to do."""

    async def main() -> None:
        async with source(kind) as make:
            iteration, found = make(), list[object]()
            task = asyncio.create_task(drain(items_of(kind, iteration), found))
            await asyncio.sleep(70)
            await asyncio.wait_for(asyncio.gather(iteration.aclose(), iteration.aclose()), 20)
            await iteration.aclose()
            await asyncio.wait_for(task, 0.05)

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_closed_before_it_begins_ends_at_once(kind: str) -> None:
    """No request is sent, and no error raised."""

    async def main() -> None:
        async with source(kind) as make:
            iteration, found = make(), list[object]()
            await iteration.aclose()
            await drain(items_of(kind, iteration), found)
            async with make() as other:
                items = items_of(kind, other)
            await drain(items, found)
            assert not found

    run(main)


@pytest.mark.untraced
@pytest.mark.parametrize("kind", KINDS)
def test_closing_in_the_body_of_the_loop_ends_it(kind: str) -> None:
    """The item in hand is the last one."""

    async def main() -> None:
        async with source(kind) as make:
            iteration, found = make(), list[object]()
            async for item in items_of(kind, iteration):
                found.append(item)
                await iteration.aclose()
            assert len(found) == 1
            await iteration.aclose()

    run(main)


@pytest.mark.untraced
@pytest.mark.parametrize("kind", ["rows", "windows", "merged"])
def test_closing_after_the_end_does_nothing(kind: str) -> None:
    """And who asks on gets nothing more."""

    async def main() -> None:
        async with source(kind, hang=False) as make:
            iteration, found = make(), list[object]()
            items = items_of(kind, iteration)
            await drain(items, found)
            await iteration.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(items)

    run(main)


@pytest.mark.parametrize(("kind", "ends"), [("rows", False), ("windows", False), ("watch", True)])
def test_closing_the_session_ends_what_is_read(kind: str, ends: bool) -> None:
    """A watch ends; a stream fails, for its rows are not complete; neither leaves a task."""

    async def main() -> None:
        async with sandbox_of() as sandbox:
            session = Session(account_of(sandbox), hooks=virtual_time.hooks())
            for waits in (False, True):
                async with session:
                    reading: Iteration = session.iter_exchanges(START, window=timedelta(days=1))
                    if kind == "watch":
                        reading = session.watch_exchanges()
                    items = items_of(kind, reading)
                    if kind == "watch":
                        later(100, lambda: new_order(sandbox.books))
                    await anext(items)
                    if waits:
                        sandbox.faults.add(Fault.HANG, method="get_exchanges", times=None)
                    task = asyncio.create_task(drain(items, []))
                    if waits:
                        await asyncio.sleep(20)
                assert not [t for t in asyncio.all_tasks() if "_read" in repr(t)]
                await asyncio.wait([task])
                assert (task.exception() is None) is ends
                assert ends or isinstance(task.exception(), TransportError)
                sandbox.faults.clear()

    run(main)


# --- cancelled and timed-out waits


@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_that_times_out_takes_nothing_away(kind: str) -> None:
    """The next wait gets what the first would have got: all items come, each once."""

    async def main() -> None:
        async with source(kind, hang=False) as make:
            whole, found, waits = list[object](), list[object](), 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(600):
                    await drain(items_of(kind, make()), whole)
        async with source(kind, hang=False) as make:
            items = items_of(kind, make())
            until = asyncio.get_running_loop().time() + 600
            while asyncio.get_running_loop().time() < until:
                waits += 1
                try:
                    async with asyncio.timeout(0.0 if waits % 2 else 7):
                        found.append(await anext(items))
                except TimeoutError:
                    continue
                except StopAsyncIteration:
                    break
            await items.aclose()
        assert len(found) == len(whole) > 40
        assert waits > len(found)

    run(main)


def test_one_task_at_a_time_waits_for_the_next() -> None:
    """Another one is told so, and takes nothing away."""

    async def main() -> None:
        async with source("watch", hang=False) as make:
            items = items_of("watch", make())
            await anext(items)
            first = asyncio.create_task(anext(items))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(items)
            await first
            await items.aclose()

    run(main)


@pytest.mark.untraced
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("times", [1, 20])
def test_promise_6_cancelling_the_loop_ends_everything(kind: str, times: int) -> None:
    """Once, or in every turn of the loop: no task is left, although the task is kept."""

    async def main() -> None:
        async with source(kind) as make:
            before = asyncio.all_tasks()

            async def consume(make: Make = make) -> None:
                async with make() as iteration:
                    await drain(items_of(kind, iteration), [])

            task = asyncio.create_task(consume())
            await asyncio.sleep(70)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([task], timeout=20)
            assert task.cancelled()
            await asyncio.sleep(10)
            ours = {t for t in asyncio.all_tasks() - before if "RequestHandler" not in repr(t)}
            assert not ours

    run(main)


@pytest.mark.parametrize("times", [1, 20])
def test_a_cancelled_call_for_all_rows_has_cleaned_up_when_it_ends(times: int) -> None:
    """No task reads on behind it."""

    async def main() -> None:
        async with sandbox_of() as sandbox:
            async with Session(account_of(sandbox), hooks=virtual_time.hooks()) as session:
                await session.get_info()
                sandbox.faults.add(Fault.HANG, times=None)
                before = asyncio.all_tasks()
                task = asyncio.create_task(session.get_exchanges(START))
                await asyncio.sleep(5)
                for _ in range(times):
                    task.cancel()
                    await asyncio.sleep(0)
                await asyncio.wait([task])
                assert task.cancelled()
                ours = {t for t in asyncio.all_tasks() - before if "RequestHandler" not in repr(t)}
                assert not ours
                sandbox.faults.clear()

    run(main)


# --- the position


class Leave(Exception):  # noqa: N818
    """The consumer's own."""


async def leave_by_break(items: Items[object], count: int, into: list[object]) -> None:
    """Break with the last one in hand."""
    async for item in items:
        into.append(item)
        if len(into) == count:
            break


async def leave_by_error(items: Items[object], count: int, into: list[object]) -> None:
    """Fail with the last one in hand."""
    with contextlib.suppress(Leave):
        async for item in items:
            into.append(item)
            if len(into) == count:
                raise Leave


async def leave_by_cancelling(items: Items[object], count: int, into: list[object]) -> None:
    """Be cancelled while waiting for the one after the last."""
    with contextlib.suppress(asyncio.CancelledError):
        async for item in items:
            into.append(item)
            if len(into) == count:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


LeaveBy: TypeAlias = Callable[[Items[object], int, list[object]], Awaitable[None]]


@pytest.mark.untraced
@pytest.mark.parametrize("leave", [leave_by_break, leave_by_error, leave_by_cancelling])
@pytest.mark.parametrize("kind", ["rows", "windows"])
@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_promise_1_a_checkpoint_is_saved_at_once(
    leave: LeaveBy, kind: str, dialect: Dialect, concurrency: int, tmp_path: Path
) -> None:
    """What is opened in the next statement goes on after what was handed out, exactly."""

    async def main() -> None:
        books = Books.uniform(700, START, int(virtual_time.BEGINNING) - 3600)
        async with Sandbox(dialect, books=books, clock=virtual_time.now) as sandbox:
            account = account_of(sandbox, sandbox.api_key)
            async with Session(account, hooks=virtual_time.hooks()) as session:
                for checkpoint in (MemoryCheckpoint(), FileCheckpoint(tmp_path / "position")):
                    found = list[Any]()
                    for count in (1, 3, 250, 2, 100_000):
                        stream = session.iter_exchanges(
                            START,
                            checkpoint=checkpoint,
                            concurrency=concurrency,
                            window=timedelta(days=3) if kind == "windows" else None,
                        )
                        part = list[object]()
                        await leave(items_of(kind, stream), count, part)
                        found += part
                    rows = [r for w in found for r in w.records] if kind == "windows" else found
                    assert sorted(row.id for row in rows) == list(range(1, 701))

    run(main)


def test_a_position_that_cannot_be_saved_is_a_warning_when_the_iterator_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody is there to catch an error then; who closes the stream gets it."""

    class Full(MemoryCheckpoint):
        is_full = False

        def save(self, position: Mapping[str, Json]) -> None:
            if self.is_full:
                raise OSError("no space left")

    async def main() -> None:
        async with sandbox_of() as sandbox:
            async with Session(account_of(sandbox, KEY), hooks=virtual_time.hooks()) as session:
                full = Full()
                async for _ in session.iter_exchanges(START, checkpoint=full):
                    full.is_full = True
                    break
                full = Full()
                stream = session.iter_exchanges(START, checkpoint=full)
                await anext(items := aiter(stream))
                full.is_full = True
                with pytest.raises(OSError, match="no space"):
                    await stream.aclose()
                del items

    run(main)
    assert "position could not be saved" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.untraced
def test_an_iterator_that_is_dropped_outside_its_loop_saves_its_position() -> None:
    """Also after the loop has been closed."""
    checkpoint, kept = MemoryCheckpoint(), list[object]()

    async def main() -> None:
        async with sandbox_of() as sandbox:
            session = Session(account_of(sandbox), hooks=virtual_time.hooks())
            await session.__aenter__()
            items = aiter(session.iter_exchanges(START, checkpoint=checkpoint))
            await anext(items)
            kept.append(items)
            session._connection.transport.under_way.clear()
            await session.aclose()

    with contextlib.suppress(AssertionError):
        run(main)
    kept.clear()
    gc.collect()
    assert checkpoint.text is not None


def test_an_iterator_may_be_dropped_in_another_thread() -> None:
    """As the garbage collector does where it is part of a circle: the loop is told to leave it."""

    async def main() -> None:
        checkpoint, kept = MemoryCheckpoint(), list[object]()
        async with sandbox_of() as sandbox:
            async with Session(account_of(sandbox), hooks=virtual_time.hooks()) as session:
                items = aiter(session.iter_exchanges(START, checkpoint=checkpoint))
                first = await anext(items)
                kept.append(items)
                del items
                under_way = session._connection.transport.under_way
                assert under_way
                await asyncio.to_thread(kept.clear)
                for _ in range(5):
                    await asyncio.sleep(0)
                assert not under_way
                rest = [r.id async for r in session.iter_exchanges(START, checkpoint=checkpoint)]
                assert first.id not in rest
                assert len(rest) == 49

    run(main)


class Untidy(Iteration):
    """Iterates, and fails while it is closed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.failure = error

    async def _portions(self) -> AsyncGenerator[list[int], None]:
        try:
            yield [1]
            yield [2]
        finally:
            raise self.failure

    def __aiter__(self) -> Items[int]:
        """Iterate."""
        return self._start(self._portions)


@pytest.mark.parametrize(
    ("error", "level"),
    [(TransportError("gone"), logging.DEBUG), (ValueError("k3y"), logging.WARNING)],
    ids=["of the site", "not foreseen"],
)
async def test_what_fails_while_it_is_closed_is_in_the_log(
    error: Exception, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for it any more; the text of a stranger's error is not shown."""
    caplog.set_level(logging.DEBUG, logger="ppapi_async")
    iteration = Untidy(error)
    assert await anext(aiter(iteration)) == 1
    await iteration.aclose()
    ours = [record for record in caplog.records if record.name == "ppapi_async"]
    assert [record.levelno for record in ours] == [level]
    assert "k3y" not in caplog.text
