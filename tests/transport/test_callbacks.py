"""Functions that users give: plain or `async def`, slow, failing, or closing what calls them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ppapi_async import Account, PPAPIError, Progress, RequestFacts, Session, UnreadableRow
from ppapi_async.sandbox import Fault, Order, Sandbox
from ppapi_async.transport.callbacks import Callbacks
from tests import virtual_time
from tests.virtual_time import run
from tests.watching.test_watch import books_of


def _session(sandbox: Sandbox) -> Session:
    return Session(Account(sandbox.url, sandbox.api_key), hooks=virtual_time.hooks(lambda: 0.5))


def test_async_on_request_is_called_in_order_and_waited_for() -> None:
    """Each request is told, one after the other, the last one before the session is closed."""

    async def main() -> None:
        begun, ended = list[str](), list[str]()

        async def note(facts: RequestFacts) -> None:
            begun.append(facts.method)
            assert len(begun) == len(ended) + 1, "two at once"
            await asyncio.sleep(0.5)
            ended.append(facts.method)

        async with Sandbox(books=books_of(20)) as sandbox:
            async with _session(sandbox) as session:
                session.on_request = note
                await session.get_info()
                await session.get_payouts()
            assert ended[0] == "get_info"
            assert "get_payouts" in ended
            assert begun == ended

    run(main())


def test_async_progress_is_waited_for() -> None:
    """The window after the one that it is about comes when it has ended."""

    async def main() -> None:
        seen = list[int]()

        async def note(progress: Progress) -> None:
            await asyncio.sleep(1)
            seen.append(progress.rows)

        async with Sandbox(books=books_of(50)) as sandbox, _session(sandbox) as session:
            rows = 0
            async for window in session.iter_exchanges(progress=note).windows():
                assert sum(seen[-1:]) == rows
                rows += len(window.records)
            assert seen[-1] == rows == 50

    run(main())


@pytest.mark.untraced
def test_async_on_unreadable_and_on_error_are_awaited() -> None:
    """A stream waits for the one; polls go on beside the other."""

    async def main() -> None:
        unreadable, errors = list[UnreadableRow](), list[str]()

        async def take(row: UnreadableRow) -> None:
            await asyncio.sleep(1)
            unreadable.append(row)

        async def tell(error: PPAPIError | None) -> None:
            await asyncio.sleep(100)
            errors.append("works" if error is None else type(error).__name__)

        books = books_of(20)
        books.orders.put(Order(id=600, created=int(virtual_time.now()) - 60, reward="9" * 70))
        async with Sandbox(books=books) as sandbox, _session(sandbox) as session:
            await session.get_exchanges(on_unreadable=take)
            assert len(unreadable) == 1
            watch = session.watch_exchanges(interval=60, on_error=tell)
            loop = asyncio.get_running_loop()
            loop.call_later(30, lambda: sandbox.faults.add(Fault.HTML_502, times=None))
            loop.call_later(600, sandbox.faults.clear)
            loop.call_later(4000, lambda: loop.create_task(watch.aclose()))
            async for _ in watch:
                pass
        assert errors == ["DecodeError", "ServerError", "works"]

    run(main())


def test_async_callback_that_fails_goes_to_the_loops_handler() -> None:
    """As one that is not async does; the next one is called all the same."""

    async def main() -> None:
        seen, calls = list[object](), list[str]()
        asyncio.get_running_loop().set_exception_handler(lambda _, c: seen.append(c["exception"]))

        async def broken(facts: RequestFacts) -> None:
            calls.append(facts.method)
            raise KeyError(facts.method)

        async with Sandbox() as sandbox, _session(sandbox) as session:
            session.on_request = broken
            await session.get_info()
            await session.get_info()
        assert calls == ["get_info", "get_info"]
        assert [str(error) for error in seen] == ["'get_info'", "'get_info'"]

    run(main())


def test_callback_that_never_ends_does_not_keep_the_session_open() -> None:
    """It is cancelled after some seconds; one that ignores this is left."""

    async def main() -> None:
        cancelled = list[bool]()

        async def hang(_: RequestFacts) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                await asyncio.sleep(3600)  # deaf

        loop = asyncio.get_running_loop()
        async with Sandbox() as sandbox:
            async with _session(sandbox) as session:
                session.on_request = hang
                await session.get_info()
                began = loop.time()
            assert 5 <= loop.time() - began <= 7
        assert cancelled
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            await asyncio.wait([task])

    run(main())


def test_callback_may_close_the_session() -> None:
    """`await session.aclose()` in an async callback waits for all but for itself."""

    async def main() -> None:
        closed = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with Sandbox() as sandbox:
            session = await _session(sandbox).__aenter__()

            async def close(_: RequestFacts) -> None:
                await session.aclose()
                closed.set()

            session.on_request = close
            began = loop.time()
            await session.get_info()
            await closed.wait()
            assert loop.time() - began < 1

    run(main())


async def test_callback_that_does_not_keep_up_is_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for it is limited, and that calls are left out is said once."""
    monkeypatch.setattr("ppapi_async.transport.callbacks._MOST_WAITING", 3)
    seen, gate, callbacks = list[int](), asyncio.Event(), Callbacks()

    async def slow(number: int) -> None:
        await gate.wait()
        seen.append(number)

    with caplog.at_level(logging.WARNING, "ppapi_async"):
        for number in range(8):
            callbacks.call_soon(slow, number)
        await asyncio.sleep(0)
    gate.set()
    await callbacks.close(None)
    assert seen == [0, 1, 2, 3]
    assert [record.message for record in caplog.records] == [
        "an async callback does not keep up; calls of it are left out"
    ]
