"""What watches make of sites that move, of wrong clocks, and of rows that are odd or too many."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from bench.watching import Clock, pure_session
from ppapi_async import (
    Account,
    Change,
    Dialect,
    Exchange,
    Fleet,
    Link,
    MemoryState,
    PPAPIError,
    Session,
)
from ppapi_async.protocol.site_clock import ClockCheck
from ppapi_async.sandbox import Books, Order, Sandbox
from ppapi_async.sandbox.manners import Call, SentAnswer
from ppapi_async.transport.connection import Connection
from ppapi_async.watching.delivery import Poller
from ppapi_async.watching.resources import row_poller
from tests import virtual_time
from tests.leaks import assert_absent, assert_unlogged
from tests.watching.test_watch import (
    DAY,
    DIALECTS,
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


def put_before(sandbox: Sandbox, answer: Callable[[Call, int], SentAnswer]) -> None:
    """Have a sandbox answer otherwise."""
    setattr(sandbox._site, "answer", answer)  # noqa: B010 - a method


# --- how far back


def accrue(books: Books, row_id: int) -> None:
    """Set `accrued` as an operator does by hand: the time of the edit stays."""
    order = books.orders[row_id]
    books.orders.put(evolve(order, accrued=True, reward="7"))


@pytest.mark.untraced
@DIALECTS
@pytest.mark.parametrize(("age", "within"), [(HOUR, 450), (DAY, 3 * HOUR), (25 * DAY, 6 * HOUR)])
def test_promise_7_what_an_operator_sets_by_hand_is_delivered_in_time(
    dialect: Dialect, age: int, within: int
) -> None:
    """`accrued` and the reward do not move a row's time: delivered within an eighth of its age."""

    async def main() -> None:
        books = books_of()
        old = Order(id=700, created=int(virtual_time.now()) - age, reward="1")
        books.orders.put(old)
        async with sandbox_of(dialect, books) as sandbox, session_on(sandbox) as session:
            changed: list[float] = []

            def change() -> None:
                accrue(books, 700)
                changed.append(virtual_time.now())

            later(6 * HOUR, lambda: new_order(books))  # the newest one is always read again
            later(7 * HOUR, change)
            async for event in session.watch_exchanges(interval=60):
                if event.kind == "changed":
                    assert (event.record.id, event.record.accrued) == (700, True)
                    break
            # It was older by seven hours when it changed.
            limit = min(6 * HOUR, within + 7 * HOUR / 8)
            assert virtual_time.now() - changed[0] <= limit + 66

    run(main)


@pytest.mark.untraced
@DIALECTS
def test_polls_of_a_site_with_many_orders_read_few_of_them(dialect: Dialect) -> None:
    """Of a month of orders, polls read a few hours' worth on the average, not all each time."""

    async def main() -> None:
        books = books_of(3000)
        async with sandbox_of(dialect, books) as sandbox, session_on(sandbox) as session:
            received: list[int] = []
            session.on_request = lambda facts: received.append(facts.received)
            later(100, received.clear)
            later(3 * HOUR, lambda: new_order(books))
            await take(session.watch_exchanges(interval=60), 1)
            whole = 2250 * 400  # bytes of a month of orders, at the least
            assert sum(received) < 180 * whole / 50

    run(main)


@pytest.mark.untraced
def test_a_restart_reads_what_is_overdue() -> None:
    """A change of an old row, made while nobody watched, is delivered by the first poll."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(Dialect.DELEGATING, books) as sandbox:
            order = Order(id=700, created=int(virtual_time.now()) - 10 * DAY)
            books.orders.put(order)
            async with session_on(sandbox) as session:
                later(HOUR, lambda: new_order(books))
                await take(session.watch_exchanges(state=state), 1)
            await asyncio.sleep(7 * HOUR)
            accrue(books, 700)
            begun = virtual_time.now()
            async with session_on(sandbox) as session:
                delivered = await take(session.watch_exchanges(state=state), 2)
            assert set(delivered) == {("changed", 700), ("new", 701)}
            assert virtual_time.now() < begun + 30

    run(main)


@pytest.mark.untraced
def test_an_old_part_that_cannot_be_read_does_not_keep_new_rows_back() -> None:
    """Reading far back fails for hours: what is new is delivered all the while."""

    async def main() -> None:
        books = books_of(300)
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            answer = sandbox._site.answer

            def fail_far_back(call: Call, now: int) -> SentAnswer:
                first = int(call.form.get("start_time", 0))
                if call.query["method"] == "get_exchanges" and now - first > 20 * HOUR:
                    return sandbox._site.refuse(1, "Server is busy")
                return answer(call, now)

            later(1000, lambda: put_before(sandbox, fail_far_back))
            later(13 * HOUR, lambda: new_order(books))
            assert await take(session.watch_exchanges(interval=60), 1) == [("new", 301)]
            assert virtual_time.now() < virtual_time.BEGINNING + 13 * HOUR + 1900

    run(main)


# --- sites that move


def test_a_named_account_keeps_its_state_when_its_site_moves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What happened meanwhile is delivered, and the log says that the host is another one."""
    hosts: list[str] = []

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            later(100, lambda: new_order(books))
            assert await take(session.watch_exchanges(state=state), 1) == [("new", 51)]
            hosts.append(session.account.host)
        new_order(books)
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            hosts.append(session.account.host)
            watch = session.watch_exchanges(state=state)
            assert await take(watch, 2) == [("new", 51), ("new", 52)]

    run(main)
    lines = [r.getMessage() for r in caplog.records if r.name == "ppapi_async"]
    assert len(lines) == 1
    assert all(host in lines[0] for host in hosts)
    assert_unlogged(KEY, caplog.records)


def test_state_of_an_earlier_version_is_taken_over() -> None:
    """Under the fingerprint of before, with its form of positions: nothing is delivered again."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(books=books) as sandbox:
            async with session_on(sandbox) as session:
                later(100, lambda: new_order(books))
                later(HOUR, lambda: new_order(books))
                async for change in session.watch_exchanges(state=state):
                    if change.record.id == 52:
                        break
                account = session.account
            now = f"{account.fingerprint}/get_exchanges"
            before = f"{account.former_fingerprints[0]}/get_exchanges"
            entries = dict(await state.load(now))
            entries["position"] = (
                f'{{"start":{int(virtual_time.now()) - 5000},'
                f'"floor":{int(virtual_time.now()) - 30 * DAY},"newest":null,"past_before":null,'
                '"old_id":50,"recent_id":51,"moved_up":1780000000,"looked_back":1780000000,'
                '"worked":true,"version":1}'
            )
            await state.save(now, {}, list(entries))
            await state.save(before, entries)
            new_order(books)
            async with session_on(sandbox) as session:
                delivered = await take(session.watch_exchanges(state=state), 2)
            assert delivered == [("new", 52), ("new", 53)]
            assert dict(await state.load(before)) == entries

    run(main)


# --- clocks


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says of rows that are dated ahead."""
    return [r.getMessage() for r in caplog.records if "ahead" in r.getMessage()]


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("site_zone", "zone", "named"),
    [
        ("Europe/Moscow", "UTC", "UTC+3"),
        ("Asia/Kathmandu", "UTC", "UTC+5:45"),
        ("Europe/Moscow", "America/New_York", "UTC+3"),
        ("UTC", "America/New_York", "UTC+0"),
    ],
)
def test_rows_dated_ahead_are_warned_about_once(
    site_zone: str, zone: str, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the zone that the site is likely in, for all watches of an account together."""

    async def main() -> None:
        books = books_of()
        new_order(books)
        site = Sandbox(books=books, clock=virtual_time.now, timezone=site_zone)
        async with site:
            account = Account(site.url, KEY, name="site", timezone=zone)
            fleet = Fleet([account], interval=60, hooks=virtual_time.hooks())
            async with fleet:
                for second in (59, 119, 179, 1000):
                    later(second, lambda: new_order(books))
                count = 0
                async for event in fleet.events("exchanges", "payouts", "links"):
                    count += isinstance(event, Change)
                    if count == 4:
                        break
                warning = fleet.status()["site"].clock_warning
        assert warning is not None
        assert f"{named}?" in warning
        assert "timezone=" in warning

    run(main)
    assert len(warnings_of(caplog)) == 1


def test_the_warning_of_rows_dated_ahead_is_given_again_when_it_says_more() -> None:
    """The first rows that are read may be old: what they show is the least that it can be."""
    check = ClockCheck(UTC)
    now = 1_780_000_000
    assert check.see(now + 500, now) is None
    first = check.see(now + 3 * HOUR - 4000, now)
    assert first is not None
    assert "UTC+2?" in first
    assert check.see(now + 2 * HOUR, now) is None
    again = check.see(now + 3 * HOUR - 30, now)
    assert again is not None
    assert "3 h ahead" in again
    assert "UTC+3?" in again
    assert check.see(now + 3 * HOUR, now + 20) is None
    assert check.warning == again


def test_rows_that_are_dated_further_ahead_than_any_zone_say_so() -> None:
    """A row dated twenty hours ahead at a site in UTC is no matter of zones."""
    warning = ClockCheck(UTC).see(1_780_000_000 + 20 * HOUR, 1_780_000_000)
    assert warning is not None
    assert "no time zone explains that" in warning


@pytest.mark.parametrize("zone", ["Europe/Moscow", "Pacific/Honolulu"])
def test_a_right_zone_is_not_warned_about(zone: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nor one that is behind the server's own."""

    async def main() -> None:
        books = books_of()
        site = Sandbox(books=books, clock=virtual_time.now, timezone=zone)
        async with site:
            account = Account(site.url, KEY, timezone=zone)
            async with Session(account, hooks=virtual_time.hooks()) as session:
                later(100, lambda: new_order(books))
                assert len(await take(session.watch_exchanges(), 1)) == 1
                assert session._connection.clock_check.warning is None

    run(main)
    assert warnings_of(caplog) == []


# --- rows that are odd


def test_the_key_inside_a_row_is_not_stored_nor_shown() -> None:
    """A site can write into its rows what it likes; changes and the store hold no key."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            now = int(virtual_time.now())
            texts = [f"sub={KEY}&x=1", f"?a={KEY.lower()}", f"b={KEY.upper()}", "c=harmless"]
            for number, text in enumerate(texts):
                click = books.traffic.click(9_000 + number, now + 50)
                click = evolve(click, query_string=text, referrer=text)
                later(50, lambda click=click: books.clicks.put(click))  # type: ignore[misc]
            changes: list[Change[Link]] = []
            watch = session.watch_links(state=state)
            async for change in watch:
                changes.append(change)
                if len(changes) == len(texts):
                    break
            stored = dict(await state.load(f"{session.account.fingerprint}/get_links"))
            for shown in (repr(changes), repr(stored)):
                assert KEY.lower() not in shown.lower()
            assert_absent(KEY, changes)
            assert "x=1" in changes[0].record.query_string
            assert changes[-1].record.query_string.endswith("c=harmless")
            # Saved as it is delivered: the next poll, and a restart, find nothing changed.
            later(200, lambda: books.clicks.put(books.traffic.click(9_100, now + 200)))
            async with session_on(sandbox) as again:
                ids: list[int] = []
                async for change in again.watch_links(state=state):
                    ids.append(change.record.id)
                    if len(ids) == 2:
                        break
            assert ids == [9_003, 9_100]

    run(main)


def test_the_key_inside_an_info_is_not_stored_nor_shown() -> None:
    """The title of a payout method may be anything, too."""

    async def main() -> None:
        books, state = books_of(), MemoryState()
        async with sandbox_of(books=books) as sandbox, session_on(sandbox) as session:
            method = books.methods[2]
            later(100, lambda: object.__setattr__(method, "title", f"Pay {KEY}"))
            async for change in session.watch_info(state=state):
                assert change.fields == ("items",)
                assert KEY not in repr(change)
                assert "Pay ***" in repr(change)
                break
            stored = dict(await state.load(f"{session.account.fingerprint}/get_info"))
            assert KEY not in repr(stored)

    run(main)


@pytest.mark.untraced
@DIALECTS
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_a_row_of_the_year_9999_ends_no_events(dialect: Dialect, zone: str) -> None:
    """Nor those of other accounts of the fleet: all rows beside it are delivered."""

    async def main() -> None:
        books, others = books_of(), books_of()
        at = int(virtual_time.now()) - 12_345
        books.orders.put(Order(id=600, created=at))
        site = Sandbox(dialect, books=books, clock=virtual_time.now, timezone=zone)
        answer, wall = site._site.answer, str(at + offset_of(zone, at)).encode()

        def alter(call: Call, now: int) -> SentAnswer:
            found = answer(call, now)
            return evolve(found, body=found.body.replace(wall, b"253402300799"))

        put_before(site, alter)
        async with site, sandbox_of(books=others) as other:
            login = books.partner.api_login if dialect is Dialect.USER_API else None
            odd = Account(site.url, KEY, api_login=login, name="odd", timezone=zone)
            accounts = [odd, Account(other.url, KEY, name="other")]
            async with Fleet(accounts, interval=60, hooks=virtual_time.hooks()) as fleet:
                later(100, lambda: new_order(books))
                later(100, lambda: new_order(others))
                delivered: set[str] = set()
                async for event in fleet.events("exchanges"):
                    assert isinstance(event, Change), event
                    delivered.add(event.account)
                    if len(delivered) == 2:
                        break

    run(main)


def offset_of(zone: str, second: int) -> int:
    """Return how far a zone is ahead of UTC, in seconds."""
    offset = datetime.fromtimestamp(second, ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


# --- rows that are too many


class Endless:
    """Has one row every ten seconds from an hour ago until 2096, as far as it is asked."""

    def __init__(self, sandbox: Sandbox, begin: int) -> None:
        self.sandbox, self.begin, self.served = sandbox, begin, 0
        self.answer = sandbox._site.answer

    def __call__(self, call: Call, now: int) -> SentAnswer:
        """Honour filter, limit and offset."""
        if call.query["method"] != "get_exchanges":
            return self.answer(call, now)
        form = call.form
        last = min(int(form.get("end_time", 0)) or 4_000_000_000, 4_000_000_000)
        first = max(int(form.get("start_time", 0)), self.begin)
        newest = last - (last - self.begin) % 10 - 10 * int(form.get("offset", 0))
        limit = min(int(form.get("limit", 0)) or 100, 500)
        times = range(newest, first - 1, -10)[:limit]
        self.served += len(times)
        if self.served > 100_000:
            return self.sandbox._site.refuse(1, "enough")
        books = Books(partner=self.sandbox.books.partner)
        for at in times:
            books.orders.put(Order(id=(at - self.begin) // 10 + 1, created=at))
        one = Sandbox(Dialect.DELEGATING, books=books, clock=virtual_time.now)
        return one._site.answer(evolve(call, form={"limit": "500"}), now)


@pytest.mark.untraced
def test_a_site_with_rows_until_2096_does_not_keep_a_poll_going(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What lies beyond the present, whatever the zone, is neither read nor delivered nor stored."""

    async def main() -> None:
        state, errors = MemoryState(), list[PPAPIError | None]()
        async with sandbox_of(Dialect.DELEGATING) as sandbox, session_on(sandbox) as session:
            endless = Endless(sandbox, int(virtual_time.now()) - HOUR)
            put_before(sandbox, endless)
            watch = session.watch_exchanges(interval=60, state=state, on_error=errors.append)
            delivered = await take(watch, 3)
            assert errors == []
            assert {kind for kind, _ in delivered} == {"new"}
            assert endless.served < 60_000
            stored = dict(await state.load(f"{session.account.fingerprint}/get_exchanges"))
            assert len(stored) < 28 * 360 * 2
            assert virtual_time.now() < virtual_time.BEGINNING + 300

    run(main)
    assert sum("dated after" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.untraced
def test_a_first_look_is_saved_window_by_window() -> None:
    """A process that ends in the middle of it does not begin anew; the past is not delivered."""

    async def main() -> None:
        books, state = books_of(9), MemoryState()
        now = int(virtual_time.now())
        for number in range(4000):
            books.orders.put(Order(id=1000 + number, created=now - 20 * HOUR + 18 * number))
        async with sandbox_of(books=books) as sandbox:
            answer, sizes = sandbox._site.answer, [0]

            def fail_at_last(call: Call, at: int) -> SentAnswer:
                read = sum(1000 < size < 800_000 for size in sizes)
                if call.query["method"] == "get_exchanges" and read >= 2:  # rows, and their proof
                    return sandbox._site.refuse(1, "Server is busy")
                found = answer(call, at)
                sizes.append(len(found.body))
                return found

            put_before(sandbox, fail_at_last)
            async with Session(
                account_of(sandbox), hooks=virtual_time.hooks(), largest_answer=800_000
            ) as session:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(take(session.watch_exchanges(state=state), 1), HOUR)
                watch = f"{session.account.fingerprint}/get_exchanges"
            before = len(dict(await state.load(watch))) - 1
            assert 0 < before < 4000
            put_before(sandbox, answer)
            count = sandbox.requests_count
            async with session_on(sandbox) as session:
                later(100, lambda: new_order(books))
                assert await take(session.watch_exchanges(state=state), 1) == [("new", 5000)]
            first = next(r for r in list(sandbox.requests)[count:] if r.method == "get_exchanges")
            assert int(first.form["start_time"]) > now - 20 * HOUR

    run(main)


# --- what an answer proves


@pytest.mark.untraced
def test_a_watch_does_not_deliver_100_of_250_new_orders() -> None:
    """A site lowers its cap while a watch runs: what earlier answers held proves nothing of it."""

    async def main() -> None:
        books = books_of(9)
        now = int(virtual_time.now())
        for number in range(300):
            books.orders.put(Order(id=100 + number, created=now - 1000 + 3 * number))
        async with sandbox_of(Dialect.DELEGATING, books) as sandbox, session_on(sandbox) as session:

            def lower() -> None:
                site = sandbox._site
                site.manner = evolve(site.manner, cap=100)
                for number in range(250):
                    books.orders.put(Order(id=1000 + number, created=now + 500 + number))

            later(1000, lower)
            watch = session.watch_exchanges(interval=60)
            delivered = await take(watch, 250)
        assert sorted(row_id for _, row_id in delivered) == list(range(1000, 1250))

    run(main)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 4)),
        st.tuples(st.just("set"), st.integers(0, 60)),
        st.tuples(st.just("move"), st.integers(0, 60)),
        st.tuples(st.just("hide"), st.integers(0, 60)),
        st.tuples(st.just("show"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([1, 60, 60, 60, 400, HOUR, 5 * HOUR])),
        st.tuples(st.just("poll"), st.just(0)),
        st.tuples(st.just("leave"), st.just(0)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=50,
)


@define(eq=False)
class Desk:
    """A site without sockets, the poller of its exchanges, and what came of the polls."""

    dialect: Dialect
    clock: Clock = field(factory=Clock)
    state: MemoryState = field(factory=MemoryState)
    delivered: dict[int, list[tuple[str, Exchange]]] = field(factory=dict)
    hidden: list[Order] = field(factory=list)
    values: int = 0
    poller: Poller[Exchange] | None = None

    async def act(self, books: Books, connection: Connection, step: str, number: int) -> None:
        """Do one of `STEPS`."""
        if step == "wait":
            self.clock.now += number
        elif step == "restart":
            self.poller = None
        elif step in ("poll", "leave"):
            await self.poll(connection, leave=step == "leave")
        else:
            self.change(books, step, number)

    def change(self, books: Books, step: str, number: int) -> None:
        """Have something happen at the site."""
        now, ids = int(self.clock.now), [order.id for order in books.orders]
        if step == "show":
            while self.hidden:
                books.orders.put(self.hidden.pop())
        elif step == "add":
            for _ in range(number):
                books.orders.put(Order(id=books.orders.next_id, created=now, reward="0"))
        elif ids:
            order = books.orders[ids[number % len(ids)]]
            if step == "hide":
                self.hidden.append(order)
                books.orders.remove(order.id)
                return
            # To and fro between two values: an answer of before may come again.
            order = evolve(order, reward="1" if order.reward == "0" else "0")
            moved = (*order.history, (now, "payed"))
            books.orders.put(evolve(order, history=moved) if step == "move" else order)

    async def poll(self, connection: Connection, *, leave: bool = False) -> None:
        """Poll, perhaps to leave with what is delivered first in hand."""
        if self.poller is None:
            self.poller = row_poller(
                connection,
                "get_exchanges",
                Exchange,
                self.state,
                interval=60.0,
                lookback=timedelta(days=3),
            )
        async with contextlib.aclosing(self.poller.poll()) as deliveries:
            async for delivery in deliveries:
                assert isinstance(delivery.change, Change)
                row = delivery.change.record
                self.delivered.setdefault(row.id, []).append((delivery.change.kind, row))
                if leave:
                    return
                await delivery.acknowledge()


@pytest.mark.untraced
@given(dialect=st.sampled_from(list(Dialect)), old=st.integers(0, 30), steps=STEPS)
def test_promise_7_what_was_delivered_last_is_what_the_site_shows(
    dialect: Dialect, old: int, steps: list[tuple[str, int]]
) -> None:
    """Through fast polls, answers that come again, restarts, rows that vanish and what is left."""

    async def main() -> None:
        desk = Desk(dialect)
        begin = int(desk.clock.now)
        orders = [Order(id=n + 1, created=begin - 8000 * (n + 1), reward="0") for n in range(old)]
        books = Books(orders=orders)
        site = Sandbox(dialect, books=books, clock=lambda: desk.clock.now)
        async with pure_session(site, desk.clock) as (connection, _):
            await desk.poll(connection)
            assert not desk.delivered
            desk.clock.now += 1
            for step, number in steps:
                await desk.act(books, connection, step, number)
            await desk.act(books, connection, "show", 0)
            for _ in range(3):
                desk.clock.now += 3 * HOUR
                await desk.poll(connection)
        for order in books.orders:
            events = desk.delivered.get(order.id, [])
            if order.id > old:
                assert events[0][0] == "new"
            last = events[-1][1].partner_reward if events else 0
            assert last == Decimal(order.reward), (order, events)

    asyncio.run(main())
