"""Watches in trouble: polls that fail, states that fail, and how a watch is left."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import pytest

from ppapi_async import (
    ApiError,
    AuthError,
    Dialect,
    MemoryState,
    MethodNotSupportedError,
    PPAPIError,
    RedirectError,
    Session,
    StateError,
)
from ppapi_async.sandbox import Fault
from tests import virtual_time
from tests.leaks import assert_absent, assert_unlogged
from tests.watching.test_watch import (
    DAY,
    HOUR,
    KEY,
    account_of,
    books_of,
    later,
    new_order,
    run,
    sandbox_of,
    session_on,
    take,
)


class Flaky(MemoryState):
    """A store that fails while it is told to."""

    failing = False

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        """Put and drop entries, or not."""
        if self.failing:
            raise StateError("disk full")
        await super().save(watch, put, drop)


def test_a_store_that_fails_does_not_end_a_watch() -> None:
    """What was delivered meanwhile is not repeated, and is saved when the store works again."""

    async def main() -> None:
        books, state = books_of(), Flaky()
        errors: list[PPAPIError | None] = []
        async with sandbox_of(books=books) as sandbox:
            async with session_on(sandbox) as session:
                for seconds in (100, 400, 2000):
                    later(seconds, lambda: new_order(books))
                later(50, lambda: setattr(state, "failing", True))
                later(1000, lambda: setattr(state, "failing", False))
                watch = session.watch_exchanges(state=state, on_error=errors.append)
                assert [i for _, i in await take(watch, 3)] == [51, 52, 53]
            async with session_on(sandbox) as session:
                assert await take(session.watch_exchanges(state=state), 1) == [("new", 53)]
        assert [type(error) for error in errors] == [StateError, type(None)]

    run(main)


@pytest.mark.parametrize("name", ["position", "7"])
def test_a_damaged_state_is_an_error_at_once(name: str) -> None:
    """It says which entries are to be deleted, and tells no key."""

    async def main() -> None:
        state = MemoryState()
        async with sandbox_of() as sandbox, session_on(sandbox) as session:
            watch = f"{account_of(sandbox).fingerprint}/get_exchanges"
            await state.save(watch, {name: "{}"})
            with pytest.raises(StateError, match="delete the entries") as caught:
                await take(session.watch_exchanges(state=state), 1)
            assert watch in str(caught.value)
            assert_absent(KEY, caught.value)

    run(main)


def test_an_unreadable_info_is_forgotten() -> None:
    """There is nothing to lose but one comparison."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            await state.save(f"{account_of(sandbox).fingerprint}/get_info", {"info": "{}"})
            later(100, lambda: setattr(books.partner, "balance", "3"))
            async for change in session.watch_info(state=state):
                assert change.record.balance == 3
                break

    run(main)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.API_DISABLED, ApiError),
        (Fault.REDIRECT_301, RedirectError),
        (Fault.CHALLENGE_403, PPAPIError),
        (Fault.HTML_404, PPAPIError),
    ],
)
def test_what_never_worked_is_raised_at_once(fault: Fault, kind: type[PPAPIError]) -> None:
    """Such trouble does not pass by itself."""

    async def main() -> None:
        async with sandbox_of() as sandbox, session_on(sandbox) as session:
            sandbox.faults.add(fault, times=None)
            with pytest.raises(kind) as caught:
                await take(session.watch_exchanges(), 1)
            assert virtual_time.now() < virtual_time.BEGINNING + 1
            assert_absent(KEY, caught.value)

    run(main)


def test_a_wrong_key_is_raised_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Of each watch; and the key is nowhere."""
    wrong = "Zz9wRoNgKeY8vUtSrQpOnMlKjIhGfEdC"
    caplog.set_level(logging.DEBUG, "ppapi_async")

    async def main() -> None:
        async with sandbox_of() as sandbox, session_on(sandbox, wrong) as session:
            for watch in (session.watch_exchanges(), session.watch_links(), session.watch_info()):
                with pytest.raises(AuthError) as caught:
                    async for _ in watch:
                        pass
                assert_absent(wrong, caught.value)

    run(main)
    assert_unlogged(wrong, [r for r in caplog.records if r.name != "aiohttp.access"])


def test_a_method_that_the_site_lacks_is_raised_at_once() -> None:
    """Not enabled for the key: there is nothing to wait for."""

    async def main() -> None:
        books = books_of()
        books.partner.methods = frozenset({"get_info", "get_links"})
        async with (
            sandbox_of(Dialect.DELEGATING, books) as sandbox,
            session_on(sandbox) as session,
        ):
            with pytest.raises(MethodNotSupportedError):
                await take(session.watch_exchanges(), 1)

    run(main)


@pytest.mark.untraced
@pytest.mark.parametrize(
    "fault", [Fault.HTML_502, Fault.CLOSED, Fault.HANG, Fault.TRUNCATED_JSON, Fault.HTML_429]
)
def test_what_passes_is_waited_for(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    """From the first poll on: the watch begins when the site works, and `on_error` says so."""
    caplog.set_level(logging.INFO, "ppapi_async")

    async def main() -> None:
        books = books_of()
        errors: list[PPAPIError | None] = []
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            sandbox.faults.add(fault, times=None, retry_after=5)
            later(HOUR, sandbox.faults.clear)
            later(HOUR, sandbox.faults.release)
            later(2 * HOUR, lambda: new_order(books))
            watch = session.watch_exchanges(on_error=errors.append)
            assert await take(watch, 1) == [("new", 51)]
        assert len(errors) == 2
        assert isinstance(errors[0], PPAPIError)
        assert errors[1] is None

    run(main)
    lines = [r.getMessage() for r in caplog.records if r.name == "ppapi_async"]
    assert len(lines) == 2
    assert "polling on" in lines[0]
    assert "works again" in lines[1]


@pytest.mark.untraced
def test_a_key_that_worked_once_is_waited_for() -> None:
    """After a first success, even a revoked key does not end the watch; nor after a restart."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(books=books) as sandbox:
            for count in (1, 2):
                async with session_on(sandbox) as session:
                    errors: list[PPAPIError | None] = []
                    later(100, lambda: setattr(books.partner, "banned", True))
                    later(DAY, lambda: new_order(books))
                    later(2 * DAY, lambda: setattr(books.partner, "banned", False))
                    watch = session.watch_exchanges(state=state, on_error=errors.append)
                    assert len(await take(watch, count)) == count
                    assert [type(error) for error in errors][:1] == [AuthError]
                books.partner.banned = True

    run(main)


def test_polls_of_a_failing_site_become_rare() -> None:
    """No more often than every quarter of an hour in the end, jitter aside."""

    async def main() -> None:
        books = books_of()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            times: list[float] = []
            session.on_request = lambda facts: times.append(virtual_time.now())
            later(100, lambda: sandbox.faults.add(Fault.API_DISABLED, times=None))
            later(DAY, sandbox.faults.clear)
            later(DAY, lambda: new_order(books))
            await take(session.watch_exchanges(interval=60), 1)
            waits = [b - a for a, b in itertools.pairwise(times) if b - a > 1]
            assert max(waits) <= 900
            assert len(waits) < 130
            assert sum(waits[20:30]) > 6000

    run(main)


@pytest.mark.untraced
def test_intervals_have_jitter() -> None:
    """A tenth either way, around the interval."""

    async def main() -> None:
        books, chances = books_of(), iter([i % 10 / 10 for i in range(10_000)])
        async with sandbox_of(books=books) as sandbox:
            hooks = virtual_time.hooks(lambda: next(chances))
            async with Session(account_of(sandbox), hooks=hooks) as session:
                times: list[float] = []
                session.on_request = lambda facts: times.append(virtual_time.now())
                later(HOUR, lambda: new_order(books))
                await take(session.watch_exchanges(interval=60), 1)
        waits = [b - a for a, b in itertools.pairwise(times) if b - a > 1]
        assert 53.5 < min(waits) < 56
        assert 63 < max(waits) < 66.5

    run(main)


@pytest.mark.untraced
def test_a_hook_that_fails_does_not_end_the_watch() -> None:
    """It goes to the loop's exception handler."""

    async def main() -> None:
        books, seen = books_of(), list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _, c: seen.append(c["exception"]))

        def hook(_: PPAPIError | None) -> None:
            raise RuntimeError("hook")

        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            later(30, lambda: sandbox.faults.add(Fault.HTML_502, times=None))
            later(600, sandbox.faults.clear)
            later(HOUR, lambda: new_order(books))
            assert await take(session.watch_exchanges(on_error=hook), 1) == [("new", 51)]
        assert [str(error) for error in seen] == ["hook", "hook"]

    run(main)


def test_closing_the_session_ends_its_watches() -> None:
    """Quietly, at the next poll."""

    async def main() -> None:
        async with sandbox_of() as sandbox:
            session = await Session(account_of(sandbox), hooks=virtual_time.hooks()).__aenter__()
            later(100, lambda: asyncio.ensure_future(session.aclose()))
            assert [change async for change in session.watch_exchanges()] == []
            assert virtual_time.now() < virtual_time.BEGINNING + 300

    run(main)


def test_leaving_leaves_nothing() -> None:
    """By break, by an exception, by cancelling: no task, and the watch cannot be iterated again."""

    async def main() -> None:
        books = books_of()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            since = int(virtual_time.now()) - 30 * DAY
            async for _ in session.watch_exchanges(since=since):
                break

            async def fail() -> None:
                async for _ in session.watch_exchanges(since=since):
                    raise LookupError

            with pytest.raises(LookupError):
                await fail()
            watch = session.watch_exchanges()

            async def wait() -> None:
                async for _ in watch:
                    pass

            task = asyncio.create_task(wait())
            await asyncio.sleep(90)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(RuntimeError, match="once"):
                aiter(watch)

    run(main)


def test_a_store_that_can_be_opened_is_held_open() -> None:
    """For as long as the watch lasts, and no longer."""
    seen: list[str] = []

    class Opened(MemoryState):
        async def __aenter__(self) -> None:
            seen.append("in")

        async def __aexit__(self, *_: object) -> None:
            seen.append("out")

    async def main() -> None:
        async with sandbox_of() as sandbox, session_on(sandbox) as session:
            since = int(virtual_time.now()) - 30 * DAY
            await take(session.watch_exchanges(since=since, state=Opened()), 1)

    run(main)
    assert seen == ["in", "out"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"interval": 0}, "interval"),
        ({"interval": -1}, "interval"),
        ({"since": datetime(2026, 1, 1)}, "since"),  # noqa: DTZ001 - naive is the point
        ({"lookback": timedelta()}, "lookback"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, object], name: str) -> None:
    """At once, before anything is asked."""

    async def main() -> None:
        async with sandbox_of() as sandbox, session_on(sandbox) as session:
            with pytest.raises(ValueError, match=name):
                session.watch_exchanges(**options)  # type: ignore[arg-type]
            assert sandbox.requests_count == 0

    run(main)


def test_a_limiter_is_held_during_each_request() -> None:
    """Sessions that share one wait for each other."""

    async def main() -> None:
        limiter = asyncio.Semaphore(1)
        async with sandbox_of() as sandbox:
            sandbox.faults.add(Fault.SLOW, times=1, seconds=10)
            sandbox._sleep = asyncio.sleep
            account = account_of(sandbox)
            hooks = virtual_time.hooks()
            async with (
                Session(account, limiter=limiter, hooks=hooks) as one,
                Session(account, limiter=limiter, hooks=hooks) as other,
            ):
                slow = asyncio.create_task(one.get_info())
                await sandbox.arrived(1)
                quick = asyncio.create_task(other.get_info())
                await asyncio.sleep(5)
                assert sandbox.requests_count == 1
                await asyncio.gather(slow, quick)
                assert sandbox.requests_count == 2

    run(main)
