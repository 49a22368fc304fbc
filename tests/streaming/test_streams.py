"""Streams over real sockets: complete, few requests, resumable, clean when left."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest

from ppapi_async import (
    Account,
    DecodeError,
    Dialect,
    Exchange,
    FileCheckpoint,
    Hooks,
    IncompleteError,
    MemoryCheckpoint,
    Progress,
    RedirectError,
    RequestFacts,
    RequestTimeoutError,
    Retry,
    ServerError,
    Session,
    Stream,
)
from ppapi_async.sandbox import Books, Fault, Order, Sandbox
from ppapi_async.sandbox.manners import Call
from ppapi_async.sandbox.shelf import DAY
from tests import virtual_time
from tests.sites.raw import instantly

NOW = int(time.time()) // 60 * 60
START = NOW - 90 * DAY


HOOKS = Hooks(sleep=instantly, chance=lambda: 0.5)


def account_of(sandbox: Sandbox, zone: str = "UTC") -> Account:
    """Return an account on the sandbox; the dialect has to be recognised, where it can be."""
    dialect = Dialect.USER_API if sandbox.dialect is Dialect.USER_API else None
    return Account(
        sandbox.url, sandbox.api_key, api_login=sandbox.api_login, timezone=zone, dialect=dialect
    )


def clock_of(dialect: Dialect) -> Literal["created", "edited"]:
    """Return which time of an order the dialect shows."""
    return "created" if dialect in (Dialect.CLASSIC, Dialect.CLONE) else "edited"


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", list(Dialect))
async def test_promise_1_truth_on_all_dialects(dialect: Dialect) -> None:
    """All rows of all lists, and of ranges within, from a site three hours ahead of UTC."""
    zone = "Europe/Moscow"
    async with (
        Sandbox(dialect, rows=3_000, timezone=zone) as sandbox,
        Session(account_of(sandbox, zone), hooks=HOOKS) as session,
    ):
        books, by = sandbox.books, clock_of(dialect)
        times = sorted(getattr(order, by) for order in books.orders)
        for start, end in ((None, None), (times[700], times[2_000]), (times[2_900], None)):
            got = await session.get_exchanges(start, end)
            truth = books.exchanges_in(start, end, by=by)
            assert sorted(row.id for row in got) == sorted(order.id for order in truth)
            instants = {order.id: getattr(order, by) for order in truth}
            assert all(row.time.timestamp() == instants[row.id] for row in got)
            assert got == sorted(got, key=lambda row: (row.time, row.id))
        links = await session.get_links()
        # The server lower-cases the words that it alters; nothing can bring that back.
        assert {(link.id, link.query_string.lower(), link.referrer) for link in links} == {
            (click.id, click.query_string.lower(), click.referrer) for click in books.clicks
        }
        payouts = await session.get_payouts()
        assert {row.id for row in payouts} == {payout.id for payout in books.payouts}
        info = await session.get_info()
        assert str(info.balance) == books.partner.balance
        assert session.dialect is dialect


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_ip_is_right_even_where_the_servers_filter_is_broken(dialect: Dialect) -> None:
    """Classic's get_links finds nothing by ip; the answer is still right."""
    async with (
        Sandbox(dialect, rows=300) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        ip = next(iter(sandbox.books.clicks)).ip
        links = await session.get_links(ip=ip)
        assert {link.id for link in links} == {c.id for c in sandbox.books.clicks if c.ip == ip}
        exchanges = await session.get_exchanges(ip=ip, status_history=True)
        assert {e.id for e in exchanges} == {o.id for o in sandbox.books.orders if o.ip == ip}
        if dialect in (Dialect.DELEGATING, Dialect.USER_API):
            assert all(e.statuses for e in exchanges)


@pytest.mark.untraced
@pytest.mark.parametrize("start", [None, START], ids=["all", "from the first"])
async def test_promise_2_few_requests_on_a_capped_server(start: int | None) -> None:
    """10,000 rows with 1,300 in one second, within the requests that design allows.

    Where ties stand in one order: else a second that fills a page takes more of them.
    """
    rows = 10_000
    books = Books.uniform(rows, START, NOW, burst_at=START + 1_000_000, burst=1_300)
    async with (
        Sandbox(Dialect.DELEGATING, books=books, ties="by id") as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        got = [row.id async for row in session.iter_exchanges(start)]
        assert len(set(got)) == len(got) == rows
        assert sandbox.requests_count <= 1.15 * -(-rows // 500) + 5


@pytest.mark.untraced
async def test_overfull_second_without_offset_is_incomplete() -> None:
    """What cannot be proven is named, after all rows before it."""
    at = START + 1_000_000
    books = Books.uniform(5_000, START, NOW, burst_at=at, burst=1_300)
    async with (
        Sandbox(Dialect.DELEGATING, books=books, honours_offset=False) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        got: list[Exchange] = []

        async def read() -> None:
            async for row in session.iter_exchanges(START):
                got.append(row)  # noqa: PERF401 - the rows before the error count

        with pytest.raises(IncompleteError, match="cannot prove") as caught:
            await read()
        second = datetime.fromtimestamp(at, UTC)
        assert caught.value.spans == ((second, second),)
        assert all(row.time < second for row in got)


def begins(second: int) -> Callable[[Call], bool]:
    """Return what tells the calls for windows that begin in this second."""
    return lambda call: call.form.get("start_time") in (str(second), str(second - 1))


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_window_that_failed_early_is_waited_for_idly(newest_first: bool) -> None:
    """While windows before it are still being read, a failed one does not keep the loop turning."""
    now = int(virtual_time.BEGINNING)
    turns = 0

    class Counting(virtual_time.VirtualLoop):
        def _run_once(self) -> None:
            nonlocal turns
            turns += 1
            assert turns < 5_000, "the loop never rests"
            super()._run_once()  # type: ignore[misc]

    async def whole() -> list[int]:
        books = Books.uniform(40, now - 8 * DAY, now - 4 * DAY)
        first, second = (5, 6) if newest_first else (8, 7)
        async with Sandbox(books=books, clock=virtual_time.now) as sandbox:
            sandbox.faults.add(Fault.SLOW, seconds=30, when=begins(now - first * DAY))
            sandbox.faults.add(Fault.REDIRECT_301, when=begins(now - second * DAY))
            async with Session(account_of(sandbox), hooks=virtual_time.hooks()) as session:
                stream = session.iter_exchanges(
                    now - 8 * DAY,
                    now - 4 * DAY,
                    window=timedelta(days=1),
                    concurrency=3,
                    newest_first=newest_first,
                )
                rows = aiter(stream)
                got = [(await anext(rows)).id for _ in range(10)]
                with pytest.raises(RedirectError):
                    await anext(rows)
        return got

    with asyncio.Runner(loop_factory=Counting) as runner:
        assert len(set(runner.run(whole()))) == 10


async def test_positions_are_kept_oldest_first_only() -> None:
    """A stream from new to old has no position that a later one could go on from."""
    async with Session("https://site.example", "k") as session:
        with pytest.raises(ValueError, match="checkpoint: needs the order oldest first"):
            session.iter_payouts(newest_first=True, checkpoint=MemoryCheckpoint())


async def test_without_a_beginning_there_is_no_fraction() -> None:
    """Of a range from the beginning, nobody knows how long it is; a known one ends with 1."""
    reported: list[Progress] = []
    async with Sandbox(rows=20) as sandbox, Session(account_of(sandbox)) as session:
        async for _ in session.iter_exchanges(progress=reported.append):
            pass
        assert {progress.fraction for progress in reported} == {None}
        async for _ in session.iter_exchanges(START, progress=reported.append):
            pass
    assert reported[-1].fraction == 1


@pytest.mark.untraced
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
async def test_windows_in_flight_keep_the_order(
    dialect: Dialect, newest_first: bool, concurrency: int
) -> None:
    """Several windows at once come out in order, complete, with progress."""
    reported: list[Progress] = []
    books = Books.uniform(20_000, START, NOW)
    async with (
        Sandbox(dialect, books=books) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        stream = session.iter_exchanges(
            START, concurrency=concurrency, newest_first=newest_first, progress=reported.append
        )
        got = [row async for row in stream]
    assert len(got) == 20_000
    assert [row.id for row in got] == sorted((row.id for row in got), reverse=newest_first)
    assert reported[-1].rows == 20_000
    assert reported[-1].fraction == 1.0
    assert reported[-1].requests == sandbox.requests_count - 1
    assert reported[-1].covered >= timedelta(days=80)


async def test_windows_are_handed_out_whole() -> None:
    """`windows()` has the bounds, the rows and the requests; a fixed width is kept."""
    books = Books.uniform(900, START, NOW)
    async with (
        Sandbox(books=books) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        stream = session.iter_exchanges(START, NOW, window=timedelta(days=10))
        windows = [window async for window in stream.windows()]
    assert len(windows) == 9
    assert sum(len(window.records) for window in windows) == 900
    for window in windows:
        assert window.start is not None
        assert window.end is not None
        assert window.end - window.start == timedelta(days=10)
        assert all(window.start <= row.time < window.end for row in window.records)
    # The first needs a proof; each other begins at a row that is known, which proves it.
    assert [window.requests for window in windows] == [2] + [1] * 8


@pytest.mark.untraced
async def test_live_rows_are_met_at_the_edge() -> None:
    """Orders that come and change while the stream runs are not lost and not repeated."""
    clock = [float(NOW)]
    books = Books.generate(1, 3_000, START, NOW)
    async with (
        Sandbox(Dialect.DELEGATING, books=books, live=True, clock=lambda: clock[0]) as sandbox,
        Session(account_of(sandbox), hooks=Hooks(clock=lambda: clock[0])) as session,
    ):
        before = {order.id for order in books.orders}
        got: list[int] = []
        async for row in session.iter_exchanges():
            got.append(row.id)
            if len(got) % 100 == 0:
                clock[0] += 60
        assert len(got) == len(set(got))
        assert before <= set(got)


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
@pytest.mark.parametrize("cut", [0, 1, 37, 450, 999, 1_000])
async def test_checkpoint_goes_on_exactly(dialect: Dialect, cut: int, tmp_path: Path) -> None:
    """A stream left anywhere and resumed yields exactly the rest; then only what is new."""
    books = Books.uniform(1_000, START, NOW - 3_600)
    checkpoint = FileCheckpoint(tmp_path / "position.json")
    async with (
        Sandbox(dialect, books=books) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):

        async def read(limit: int) -> list[int]:
            got: list[int] = []
            stream = session.iter_exchanges(START, checkpoint=checkpoint)
            async with stream:
                if limit == 0:
                    return got
                async for row in stream:
                    got.append(row.id)
                    if len(got) == limit:
                        break
            return got

        first = await read(cut)
        rest = await read(-1)
        assert sorted(first + rest) == list(range(1, 1_001))
        assert await read(-1) == []
        books.orders.put(order_like(books, 1_001, NOW))
        assert await read(-1) == [1_001]
    assert sandbox.api_key not in json.dumps(dict(checkpoint.load() or {}))


def order_like(books: Books, row_id: int, created: int, **changes: Any) -> Order:
    """Return a new order like the books' first."""
    first = next(iter(books.orders))
    history = ((created, "new"),)
    return attrs.evolve(first, id=row_id, created=created, history=history, **changes)


@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
async def test_promise_1_a_row_dated_ahead_does_not_carry_the_checkpoint_away(
    dialect: Dialect,
) -> None:
    """The next stream went on at the year of that row, and never met what came since."""
    books = Books.uniform(50, START, NOW - 3_600)
    books.orders.put(order_like(books, 51, 4_000_000_000))
    checkpoint = MemoryCheckpoint()
    async with (
        Sandbox(dialect, books=books) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):

        async def read(most: int | None = None) -> list[int]:
            got: list[int] = []
            async with session.iter_exchanges(START, checkpoint=checkpoint) as stream:
                async for row in stream:
                    got.append(row.id)
                    if len(got) == most:
                        break
            return got

        assert await read(50) == list(range(1, 51))  # left before what is dated ahead
        books.orders.put(order_like(books, 52, NOW - 60))
        assert await read() == [52, 51]
        books.orders.put(order_like(books, 53, NOW))
        assert await read() == [53]
        assert await read() == []


@pytest.mark.untraced
async def test_promise_1_a_checkpoint_of_weeks_ago_goes_on() -> None:
    """What came since is not taken for dated ahead, however much it is."""
    then = NOW - 60 * DAY
    clock = [float(then)]
    books = Books.uniform(300, START, then - 3_600)
    later = Books.uniform(9_000, then, NOW - 3_600)
    checkpoint = MemoryCheckpoint()
    async with (
        Sandbox(Dialect.DELEGATING, books=books, clock=lambda: clock[0]) as sandbox,
        Session(account_of(sandbox), hooks=Hooks(clock=lambda: clock[0])) as session,
    ):

        async def read() -> set[int]:
            stream = session.iter_exchanges(START, checkpoint=checkpoint)
            return {row.id async for row in stream}

        assert len(await read()) == 300
        clock[0] = NOW
        for order in later.orders:
            books.orders.put(attrs.evolve(order, id=order.id + 1_000))
        assert await read() == set(range(1_001, 10_001))


async def test_a_range_of_the_past_is_read_once() -> None:
    """Its checkpoint says that all has come: a later stream hands out nothing more."""
    checkpoint = MemoryCheckpoint()
    books = Books.generate(3, 40, START, START + 9 * DAY)
    middle = sorted(order.created for order in books.orders)[20]
    async with Sandbox(books=books) as sandbox:
        async with Session(account_of(sandbox)) as session:
            stream = session.iter_exchanges(START, middle, checkpoint=checkpoint)
            rows = [row.id async for row in stream]
            assert rows == [row.id for row in await session.get_exchanges(START, middle)]
            assert len(rows) == 20
            again = session.iter_exchanges(START, middle, checkpoint=checkpoint)
            assert [row async for row in again] == []


@pytest.mark.untraced
async def test_checkpoint_within_windows(tmp_path: Path) -> None:
    """Window by window, closed in the middle of the range."""
    checkpoint = MemoryCheckpoint()
    books = Books.uniform(2_000, START, NOW - 3_600)
    async with (
        Sandbox(books=books) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        got: list[int] = []
        for _ in range(50):
            stream = session.iter_exchanges(START, checkpoint=checkpoint)
            async with stream:
                async for window in stream.windows():
                    got += [row.id for row in window.records]
                    if window.records:
                        break
        assert got == list(range(1, 2_001))


async def test_checkpoint_of_another_stream_is_refused() -> None:
    """Another account, method or range: the position is not used for it."""
    checkpoint = MemoryCheckpoint()
    async with (
        Sandbox(rows=50) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        assert [row async for row in session.iter_exchanges(START, checkpoint=checkpoint)]
        for stream in (
            session.iter_links(START, checkpoint=checkpoint),
            session.iter_exchanges(START + 1, checkpoint=checkpoint),
            session.iter_exchanges(START, ip="127.0.0.1", checkpoint=checkpoint),
        ):
            with pytest.raises(ValueError, match="checkpoint: belongs to a stream with another"):
                await anext(aiter(stream))
        other = Account(sandbox.url, "another-key")
        assert checkpoint.text is not None
        saved = json.loads(checkpoint.text)
        assert saved["account"] == session.account.fingerprint != other.fingerprint
        for text, message in (
            ("[]", "holds no position"),
            ("{", "holds no position"),
            ('{"version": 9}', "another version"),
            (json.dumps(saved | {"now": "x"}), "damaged"),
        ):
            checkpoint.text = text
            with pytest.raises(ValueError, match=message):
                await anext(aiter(session.iter_exchanges(START, checkpoint=checkpoint)))


def test_file_checkpoint_survives_what_is_there(tmp_path: Path) -> None:
    """No file is no position; a damaged one says so; saving replaces it whole."""
    checkpoint = FileCheckpoint(tmp_path / "p.json")
    assert checkpoint.load() is None
    checkpoint.save({"a": 1})
    checkpoint.save({"a": 2})
    assert checkpoint.load() == {"a": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]
    (tmp_path / "p.json").write_text("{")
    with pytest.raises(ValueError, match=r"p\.json holds no position"):
        checkpoint.load()


@pytest.mark.untraced
@pytest.mark.parametrize("fault", [Fault.HTML_504, Fault.HTML_500, Fault.CLOSED, Fault.BODY_CUT])
async def test_promise_2_failures_split_a_window(fault: Fault) -> None:
    """A range that the server cannot answer at once is asked for in parts."""
    books = Books.uniform(3_000, START, NOW)
    async with (
        Sandbox(books=books) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS, retry=Retry(budget=1_000)) as session,
    ):

        def is_wide(call: object) -> bool:
            form = call.form  # type: ignore[attr-defined]
            return int(form.get("end_time", NOW)) - int(form.get("start_time", 0)) > 3 * DAY

        sandbox.faults.add(fault, method="get_exchanges", times=None, when=is_wide)
        assert len(await session.get_exchanges(START)) == 3_000


async def test_dead_server_is_not_asked_for_ever() -> None:
    """Splitting ends, and the last error is raised."""
    async with (
        Sandbox(rows=100) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        await session.get_info()
        sandbox.faults.add(Fault.HTML_502, times=None)
        with pytest.raises(ServerError):
            await session.get_exchanges(START)
        assert sandbox.requests_count < 40


@pytest.mark.untraced
async def test_too_large_answers_narrow_the_window() -> None:
    """An answer over two megabytes is broken off, and the window asked for in parts."""
    books = Books.uniform(30_000, START, START + 2 * DAY)
    async with (
        Sandbox(books=books) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        rows = await session.get_exchanges(START, START + 3 * DAY)
        assert len(rows) == 30_000


@pytest.mark.untraced
async def test_burst_larger_than_an_answer_should_be() -> None:
    """A single second over two megabytes is read all the same, up to the session's limit."""
    books = Books.uniform(9_000, START, NOW, burst_at=START + 5 * DAY, burst=8_000)
    async with (
        Sandbox(books=books) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        assert len(await session.get_exchanges(START)) == 9_000


@pytest.mark.untraced
async def test_promise_6_a_window_takes_two_megabytes_at_the_most() -> None:
    """A window with more is narrowed, however wide it was asked for and however patient we are."""
    facts: list[RequestFacts] = []
    async with (
        Sandbox(books=Books.uniform(9_000, NOW - 5 * DAY, NOW)) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS, on_request=facts.append) as session,
    ):
        wide = session.iter_exchanges(NOW - 6 * DAY, NOW, window=timedelta(days=30))
        assert len([row async for row in wide]) == 9_000
    assert any(one.error for one in facts)
    assert max(one.received for one in facts if not one.error) <= 2 * 1024 * 1024


@pytest.mark.untraced
async def test_ignored_filter_still_gives_the_range() -> None:
    """A server that answers every range with everything is recognised, and answered for."""
    books = Books.uniform(1_000, START, NOW)
    async with (
        Sandbox(books=books, honours_filter=False) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        got = await session.get_exchanges(NOW - 30 * DAY, NOW - 20 * DAY)
        truth = books.exchanges_in(NOW - 30 * DAY, NOW - 20 * DAY)
        assert {row.id for row in got} == {order.id for order in truth}
        assert sandbox.requests_count <= 4


async def test_bad_row_stops_the_stream_with_its_name() -> None:
    """A row that cannot be decoded is an error, not a gap."""
    books = Books.uniform(10, START, NOW)
    async with (
        Sandbox(
            books=books,
            row_filter=lambda _, row: row | {"amount_give": "plenty"} if row["id"] == "12" else row,
        ) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        assert len(await session.get_exchanges(START)) == 10
        books.orders.put(order_like(books, 12, NOW))
        with pytest.raises(DecodeError, match=r"id=12\).amount_give"):
            await session.get_exchanges(START)


def left_behind() -> set[asyncio.Task[object]]:
    """Return the tasks besides this one and the server's."""
    tasks = {task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task)}
    return tasks - {asyncio.current_task()}


Leave = Callable[[Session], object]


@pytest.mark.untraced
@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("how", ["break", "aclose", "raise", "cancel", "with"])
async def test_leaving_a_stream_leaves_nothing(how: str, concurrency: int) -> None:
    """No task, no connection in use, no warning; the session works on."""
    async with (
        Sandbox(Dialect.DELEGATING, rows=5_000) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS) as session,
    ):
        await session.get_info()
        before = left_behind()
        stream = session.iter_exchanges(START, concurrency=concurrency)

        async def consume(stream: Stream[Exchange] = stream) -> None:
            async for _ in stream:
                if how == "raise":
                    raise KeyError
                if how != "cancel":
                    break
                await asyncio.Event().wait()

        task = asyncio.ensure_future(consume())
        if how == "cancel":
            await sandbox.arrived(4)
            for _ in range(50):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])
        task.cancelled() or task.exception()
        if how in ("aclose", "with"):
            async with stream:
                await stream.aclose()
        del task
        for _ in range(20):
            await asyncio.sleep(0)
        assert left_behind() <= before
        assert (await session.get_info()).min_payout


async def test_a_stream_is_iterated_once() -> None:
    """The second time says what to do."""
    async with Sandbox(rows=5) as sandbox, Session(account_of(sandbox), hooks=HOOKS) as session:
        stream = session.iter_exchanges(START)
        assert [row async for row in stream]
        with pytest.raises(RuntimeError, match="once"):
            aiter(stream)
        await session.iter_links().aclose()


async def test_time_outs_split_before_they_fail() -> None:
    """A server that hangs on everything ends in RequestTimeoutError."""
    async with (
        Sandbox(rows=5) as sandbox,
        Session(account_of(sandbox), hooks=HOOKS, timeout=0.05, retry=Retry(attempts=1)) as session,
    ):
        await session.get_info()
        sandbox.faults.add(Fault.HANG, times=None)
        with pytest.raises(RequestTimeoutError, match=r"no answer in 0\.05 s"):
            await session.get_links(START)
        sandbox.faults.release()
