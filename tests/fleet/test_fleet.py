"""Many accounts at once, in a loop whose time flies."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from ppapi_async import (
    Account,
    AccountFailed,
    AccountPhase,
    AccountRecovered,
    AccountStatus,
    AccountSuspended,
    AuthError,
    Change,
    Dialect,
    Exchange,
    Fleet,
    FleetEvent,
    IncompleteError,
    Info,
    Link,
    MemoryState,
    Payout,
    PayoutOutcomeUnknown,
    PPAPIError,
    TransportError,
)
from ppapi_async.sandbox import Books, Click, Fault, Sandbox
from ppapi_async.watching.poll_slots import HostLimiter
from ppapi_async.watching.resources import ResourceName
from tests import virtual_time
from tests.leaks import assert_absent
from tests.watching.test_watch import HOUR, KEY, books_of, later, new_order, run

WRONG = "Zz9wRoNgKeY8vUtSrQpOnMlKjIhGfEdC"


@asynccontextmanager
async def park(
    *dialects: Dialect, rows: int = 20
) -> AsyncIterator[tuple[list[Sandbox], list[Account]]]:
    """Run a sandbox for each dialect, with an account on each: named `site 0` and so on."""
    async with AsyncExitStack() as stack:
        sandboxes = [
            await stack.enter_async_context(
                Sandbox(dialect, books=books_of(rows), clock=virtual_time.now)
            )
            for dialect in dialects
        ]
        accounts = [
            Account(sandbox.url, KEY, api_login=sandbox.api_login, name=f"site {number}")
            for number, sandbox in enumerate(sandboxes)
        ]
        yield sandboxes, accounts


def fleet_of(accounts: Sequence[Account], **options: object) -> Fleet:
    """Return a fleet that lives in virtual time."""
    return Fleet(accounts, hooks=virtual_time.hooks(), **options)  # type: ignore[arg-type]


async def collect(
    fleet: Fleet, *resources: ResourceName, seconds: float, initial_info: bool = False
) -> list[FleetEvent]:
    """Return the events of so many seconds."""
    found: list[FleetEvent] = []

    async def consume() -> None:
        async for event in fleet.events(*resources, initial_info=initial_info):
            found.append(event)  # noqa: PERF401 - what was found before it is cancelled counts

    task = asyncio.create_task(consume())
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return found


def changes(events: Sequence[FleetEvent]) -> list[tuple[str, str, int]]:
    """Return account, kind and id of the changes of rows among events."""
    return [
        (event.account, event.kind, event.record.id)
        for event in events
        if isinstance(event, Change) and not isinstance(event.record, Info)
    ]


def test_all_accounts_are_heard() -> None:
    """New rows of each, of all dialects, under the account's name."""

    async def main() -> None:
        async with park(*Dialect) as (sandboxes, accounts), fleet_of(accounts) as fleet:
            for sandbox in sandboxes:
                later(100, lambda sandbox=sandbox: new_order(sandbox.books))  # type: ignore[misc]
            events = await collect(fleet, seconds=300)
            assert sorted(changes(events)) == [(f"site {n}", "new", 21) for n in range(4)]

    run(main)


@pytest.mark.untraced
def test_each_account_has_its_turn() -> None:
    """At a stable phase of the interval; a second fleet has the same."""

    async def main() -> None:
        async with park(*[Dialect.CLASSIC] * 8) as (_, accounts):
            turns: list[dict[str, float]] = []
            for _ in range(2):
                seen: dict[str, list[float]] = {}
                async with fleet_of(
                    accounts,
                    on_request=lambda facts: seen.setdefault(facts.account, []).append(  # noqa: B023
                        virtual_time.now()
                    ),
                ) as fleet:
                    await collect(fleet, "info", seconds=600)
                phases = {name: {round(t % 60, 3) for t in times} for name, times in seen.items()}
                assert all(len(phase) == 1 for phase in phases.values())
                assert all(len(times) >= 9 for times in seen.values())
                turns.append({name: phase.pop() for name, phase in phases.items()})
            assert turns[0] == turns[1]
            assert len(set(turns[0].values())) == 8

    run(main)


def test_rows_that_cannot_be_proven_hide_no_other_resource() -> None:
    """A second that cannot be read whole ends the poll of exchanges, not that of payouts."""

    async def main() -> None:
        now = int(virtual_time.BEGINNING)
        books = Books.uniform(100, now - 40 * HOUR, now, burst_at=now - HOUR, burst=1_300)
        books.partner = evolve(books.partner, api_key=KEY)
        async with Sandbox(
            Dialect.DELEGATING, books=books, honours_offset=False, clock=virtual_time.now
        ) as site:
            account = Account(site.url, KEY, name="site")
            later(100, lambda: books.clicks.put(Click(id=1, created=int(virtual_time.now()))))
            async with fleet_of([account], since=now - 2 * HOUR) as fleet:
                events = await collect(fleet, "exchanges", "links", seconds=300)
        failed = [event for event in events if isinstance(event, AccountFailed)]
        assert isinstance(failed[0].error, IncompleteError)
        assert any(isinstance(event, Change) and isinstance(event.record, Link) for event in events)

    run(main)


@pytest.mark.untraced
def test_trouble_of_one_is_not_anothers(caplog: pytest.LogCaptureFixture) -> None:
    """Failed once, recovered once, a wrong key suspended; the rest hear everything."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING) as (sandboxes, accounts):
            wrong = Account(sandboxes[0].url, WRONG, name="wrong")
            async with fleet_of([*accounts, wrong]) as fleet:
                later(100, lambda: sandboxes[1].faults.add(Fault.CLOSED, times=None))
                later(100, lambda: new_order(sandboxes[0].books))
                later(200, lambda: new_order(sandboxes[1].books))
                later(1000, sandboxes[1].faults.clear)
                events = await collect(fleet, seconds=2 * HOUR)
                delivered = [event for event in events if not isinstance(event, Change)]
                assert [type(event) for event in delivered] == [
                    AccountSuspended,
                    AccountFailed,
                    AccountRecovered,
                ]
                assert [event.account for event in delivered] == ["wrong", "site 1", "site 1"]
                assert isinstance(delivered[0], AccountSuspended)
                assert isinstance(delivered[0].error, AuthError)
                assert_absent(WRONG, delivered[0].error)
                assert_absent(KEY, *(e.error for e in delivered if isinstance(e, AccountFailed)))
                assert changes(events) == [("site 0", "new", 21), ("site 1", "new", 21)]
                status = fleet.status()["wrong"]
                assert status.phase is AccountPhase.SUSPENDED
                assert status.next_poll is None

    run(main)
    assert WRONG not in "".join(r.getMessage() for r in caplog.records if "access" not in r.name)


@pytest.mark.untraced
def test_a_suspended_account_can_be_resumed() -> None:
    """When the key has been enabled, `resume` polls it again at once."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as (sandboxes, accounts):
            sandboxes[0].books.partner.banned = True
            async with fleet_of(accounts) as fleet:

                def enable() -> None:
                    sandboxes[0].books.partner.banned = False
                    fleet.resume("site 0")

                later(500, enable)
                later(600, lambda: new_order(sandboxes[0].books))
                events = await collect(fleet, "exchanges", seconds=800)
                assert isinstance(events[0], AccountSuspended)
                assert isinstance(events[1], AccountRecovered)
                assert changes(events) == [("site 0", "new", 21)]

    run(main)


def test_a_method_that_a_site_lacks_is_polled_no_more() -> None:
    """The others of the account go on; if it has none of them, it is suspended."""

    async def main() -> None:
        async with park(Dialect.DELEGATING) as (sandboxes, accounts):
            sandboxes[0].books.partner.methods = frozenset({"get_info", "get_links"})
            async with fleet_of(accounts) as fleet:
                events = await collect(fleet, seconds=600)
                assert [type(event) for event in events] == [AccountSuspended] * 2
                assert {e.error.method for e in events if isinstance(e, AccountSuspended)} == {
                    "get_exchanges",
                    "get_payouts",
                }
                assert fleet.status()["site 0"].phase is AccountPhase.WAITING
                assert fleet.status()["site 0"].failures == 0
                count = sandboxes[0].requests_count
                events = await collect(fleet, "exchanges", seconds=600)
                assert events == []
                assert sandboxes[0].requests_count == count

    run(main)


def test_status_tells_how_it_goes() -> None:
    """Last success, next poll, failures, error, dialect, lag."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING) as (sandboxes, accounts):
            async with fleet_of(accounts) as fleet:
                assert fleet.status()["site 0"].lag is None
                sandboxes[1].faults.add(Fault.HTML_502, times=None)
                await collect(fleet, "info", seconds=400)
                good, bad = fleet.status().values()
                assert good.last_success is not None
                assert good.dialect is Dialect.CLASSIC
                assert timedelta() <= (good.lag or timedelta.max) <= timedelta(seconds=60)
                assert (good.failures, good.last_error) == (0, None)
                assert bad.failures > 2
                assert isinstance(bad.last_error, PPAPIError)
                assert bad.dialect is None
                assert [one.host for one in (good, bad)] == [one.host for one in accounts]
                assert good.interval == bad.interval == timedelta(seconds=60)

    run(main)


def test_status_counts_polls_and_tells_since_when_they_fail() -> None:
    """Failures count on when all is well again; so does a host that is not asked at all."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as ([sandbox], accounts), fleet_of(accounts) as fleet:
            found: list[AccountStatus] = []
            later(130, lambda: sandbox.faults.add(Fault.HTML_502, times=None))
            for second in (129, 300, 900):
                later(second, lambda: found.append(fleet.status()["site 0"]))
            later(900, sandbox.faults.clear)
            await collect(fleet, "info", seconds=2_000)
            found.append(fleet.status()["site 0"])
        well, ill, worse, recovered = found
        assert (well.polls, well.polls_failed, well.failing_since) == (2, 0, None)
        assert ill.failing_since is not None
        assert (
            timedelta()
            < ill.failing_since - datetime.fromtimestamp(virtual_time.BEGINNING + 130, UTC)
            <= timedelta(seconds=61)
        )
        assert worse.failing_since == ill.failing_since
        assert ill.polls == well.polls + ill.polls_failed
        assert worse.polls_failed > ill.polls_failed > 0
        assert recovered.failing_since is None
        assert recovered.polls_failed >= worse.polls_failed
        assert recovered.polls > worse.polls

    run(main)


def test_status_tells_of_a_payout_that_is_not_settled() -> None:
    """As long as nobody knows what became of it."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as ([sandbox], accounts), fleet_of(accounts) as fleet:
            session = fleet.session("site 0")
            method = (await session.get_info()).items[0]
            sandbox.faults.add(Fault.HTML_500, method="add_payout")
            with pytest.raises(PayoutOutcomeUnknown) as unknown:
                await session.add_payout(method.id, "TXabcdefgh")
            assert fleet.status()["site 0"].unsettled_payouts == 1
            await session.find_payout(unknown.value)
            assert fleet.status()["site 0"].unsettled_payouts == 0

    run(main)


@pytest.mark.untraced
def test_accounts_come_and_go() -> None:
    """Added, removed, paused and resumed while the events are iterated."""

    async def main() -> None:
        async with park(*[Dialect.CLASSIC] * 3) as (sandboxes, accounts):
            async with fleet_of(accounts[:2]) as fleet:
                later(70, lambda: fleet.add(accounts[2]))
                later(70, lambda: fleet.remove("site 0"))
                later(70, lambda: fleet.pause("site 1"))
                for seconds in (200, 700):
                    for sandbox in sandboxes:
                        later(seconds, lambda sandbox=sandbox: new_order(sandbox.books))  # type: ignore[misc]
                later(500, lambda: fleet.resume("site 1"))
                events = await collect(fleet, "exchanges", seconds=600)
                assert sorted(changes(events)) == [("site 1", "new", 21), ("site 2", "new", 21)]
                assert set(fleet.status()) == {"site 1", "site 2"}
                with pytest.raises(KeyError, match="site 0"):
                    fleet.pause("site 0")
                with pytest.raises(ValueError, match="site 2"):
                    fleet.add(accounts[2])

    run(main)


def test_removing_breaks_a_poll_off() -> None:
    """One that hangs, too; the account can be added again."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as (sandboxes, accounts), fleet_of(accounts) as fleet:
            sandboxes[0].faults.add(Fault.HANG, times=None)
            later(90, lambda: fleet.remove("site 0"))
            later(91, sandboxes[0].faults.clear)
            later(100, lambda: fleet.add(accounts[0]))
            later(200, lambda: new_order(sandboxes[0].books))
            events = await collect(fleet, "exchanges", seconds=400)
            assert changes(events) == [("site 0", "new", 21)]

    run(main)


def test_two_of_one_name_are_refused() -> None:
    """Events and state could not tell them apart."""
    account = Account("https://site.example", KEY)
    with pytest.raises(ValueError, match=r"site\.example"):
        Fleet([account, Account("https://site.example", WRONG)])


@pytest.mark.untraced
def test_a_restart_goes_on_where_it_stopped() -> None:
    """With a store: nothing twice but what was in hand, and nothing lost."""

    async def main() -> None:
        state = MemoryState()
        async with park(Dialect.CLASSIC, Dialect.DELEGATING) as (sandboxes, accounts):
            async with fleet_of(accounts, state=state) as fleet:
                later(100, lambda: new_order(sandboxes[0].books))
                first = await collect(fleet, "exchanges", seconds=200)
            new_order(sandboxes[1].books)
            async with fleet_of(accounts, state=state) as fleet:
                second = await collect(fleet, "exchanges", seconds=200)
            assert changes(first) == [("site 0", "new", 21)]
            assert changes(second) == [("site 1", "new", 21)]

    run(main)


@pytest.mark.untraced
def test_since_and_lookback_are_handed_on() -> None:
    """The backlog of all accounts comes first."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING, rows=200) as (_, accounts):
            since = int(virtual_time.now()) - 39 * 86_400
            async with fleet_of(accounts, since=since, lookback=timedelta(days=2)) as fleet:
                events = await collect(fleet, "exchanges", seconds=130)
                for name in ("site 0", "site 1"):
                    records = [
                        e.record for e in events if isinstance(e, Change) and e.account == name
                    ]
                    rows = [r for r in records if isinstance(r, Exchange)]
                    assert len(rows) > 150
                    assert rows == sorted(rows, key=lambda row: (row.time, row.id))

    run(main)


@pytest.mark.untraced
def test_a_slow_consumer_slows_the_polls() -> None:
    """Nothing is lost and nothing piles up: a poll waits with what it has to tell."""

    async def main() -> None:
        async with park(*[Dialect.CLASSIC] * 4) as (sandboxes, accounts):
            async with fleet_of(accounts, concurrency=2) as fleet:
                for sandbox in sandboxes:
                    for number in range(10):
                        later(100 + number, lambda sandbox=sandbox: new_order(sandbox.books))  # type: ignore[misc]
                found: list[tuple[str, str, int]] = []
                async for event in fleet.events("exchanges"):
                    found += changes([event])
                    await asyncio.sleep(30)
                    if len(found) == 40:
                        break
                assert len(set(found)) == 40
                for name in fleet.status():
                    ids = [row_id for account, _, row_id in found if account == name]
                    assert ids == list(range(21, 31))

    run(main)


@pytest.mark.untraced
def test_the_consumer_may_ask_the_fleet() -> None:
    """Even with all places taken by polls that wait for it."""

    async def main() -> None:
        async with park(*[Dialect.CLASSIC] * 3) as (sandboxes, accounts):
            async with fleet_of(accounts, concurrency=1) as fleet:
                for sandbox in sandboxes:
                    later(100, lambda sandbox=sandbox: new_order(sandbox.books))  # type: ignore[misc]
                count = 0
                async for _ in fleet.events("exchanges"):
                    assert len(await fleet.get_info()) == 3
                    assert [name async for name, _ in fleet.iter_exchanges()]
                    count += 1
                    if count == 3:
                        break

    run(main)


def test_a_dead_host_is_left_alone() -> None:
    """Its accounts share one probe; all of them recover soon after it is back."""

    async def main() -> None:
        now = int(virtual_time.BEGINNING)
        others = [Books.generate(seed, 5, now - 86_400, now) for seed in range(2, 12)]
        async with Sandbox(books=books_of(), others=others, clock=virtual_time.now) as sandbox:
            keys = [KEY, *(books.partner.api_key for books in others)]
            accounts = [Account(sandbox.url, key, name=f"a{n}") for n, key in enumerate(keys)]
            async with fleet_of(accounts) as fleet:
                later(300, lambda: sandbox.faults.add(Fault.HTML_503, times=None))
                counts: list[int] = []
                later(400, lambda: counts.append(sandbox.requests_count))
                later(400 + 2 * HOUR, lambda: counts.append(sandbox.requests_count))
                later(400 + 2 * HOUR, sandbox.faults.clear)
                events = await collect(fleet, "info", seconds=400 + 2 * HOUR + 1200)
                assert counts[1] - counts[0] < 60
                failed = {e.account for e in events if isinstance(e, AccountFailed)}
                recovered = {e.account for e in events if isinstance(e, AccountRecovered)}
                assert failed == recovered == set(fleet.status())
                assert len([e for e in events if isinstance(e, AccountFailed)]) <= 2 * len(accounts)

    run(main)


def test_per_host_and_rate_limit_requests() -> None:
    """One request at a time to a host, and no more than so many a second."""

    async def main() -> None:
        now = int(virtual_time.BEGINNING)
        others = [Books.generate(seed, 5, now - 86_400, now) for seed in range(2, 6)]
        async with Sandbox(books=books_of(), others=others, clock=virtual_time.now) as sandbox:
            keys = [KEY, *(books.partner.api_key for books in others)]
            accounts = [Account(sandbox.url, key, name=f"a{n}") for n, key in enumerate(keys)]
            times: list[float] = []
            async with fleet_of(
                accounts, rate=0.5, on_request=lambda _: times.append(virtual_time.now())
            ) as fleet:
                await fleet.get_info()
            assert len(times) == 5
            assert times[-1] - times[0] >= 7.9

    run(main)


def test_a_cancelled_wait_for_the_rate_gives_the_place_back() -> None:
    """Whoever waits next gets it."""

    class Never:
        async def __aenter__(self) -> None:
            await asyncio.Event().wait()

        async def __aexit__(self, *_: object) -> None:
            raise AssertionError

    async def main() -> None:
        gate = HostLimiter(1, Never())
        for _ in range(2):
            task = asyncio.create_task(gate.__aenter__())
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)


def test_get_info_tells_failures_as_values() -> None:
    """By name; one that fails does not hide the rest."""

    async def main() -> None:
        async with park(*Dialect) as (_, accounts):
            refused = Account("http://127.0.0.1:9", WRONG, name="refused")
            async with fleet_of([*accounts, refused]) as fleet:
                answers = await fleet.get_info()
            assert list(answers) == [*(a.name for a in accounts), "refused"]
            assert isinstance(answers["refused"], TransportError)
            assert all(isinstance(answers[a.name], Info) for a in accounts)

    run(main)


def test_rows_of_all_accounts_in_one_stream() -> None:
    """Complete for each; a failure is a value; leaving early leaves nothing."""

    async def main() -> None:
        async with park(*Dialect, rows=700) as (sandboxes, accounts):
            refused = Account("http://127.0.0.1:9", WRONG, name="refused")
            async with fleet_of([*accounts, refused], concurrency=2) as fleet:
                found: dict[str, list[object]] = {}
                async for name, row in fleet.iter_exchanges():
                    found.setdefault(name, []).append(row)
                assert isinstance(found.pop("refused")[0], TransportError)
                assert {name: len(rows) for name, rows in found.items()} == {
                    a.name: 700 for a in accounts
                }
                payouts = [row async for _, row in fleet.iter_payouts() if isinstance(row, Payout)]
                assert len(payouts) == sum(len(s.books.payouts) for s in sandboxes)
                async for _ in fleet.iter_links():
                    break
                with pytest.raises(ValueError, match="end"):
                    fleet.iter_exchanges(5, 4)

    run(main)


class Broken(MemoryState):
    """A store with a mistake in one of its methods, which strikes one account."""

    def __init__(self, victim: str, breaks: str) -> None:
        super().__init__()
        self.victim, self.breaks, self.is_broken = victim, breaks, True

    def _check(self, watch: str, call: str) -> None:
        if self.is_broken and call == self.breaks and watch.startswith(self.victim):
            raise ZeroDivisionError(f"with the key {KEY} in it")

    async def load(self, watch: str) -> Mapping[str, str]:
        self._check(watch, "load")
        return await super().load(watch)

    async def read(self, watch: str, name: str) -> str | None:
        self._check(watch, "read")
        return await super().read(watch, name)

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        self._check(watch, "save")
        await super().save(watch, put, drop)


@pytest.mark.parametrize("breaks", ["load", "save", "read"])
def test_promise_7_an_error_that_nobody_expected_is_trouble_of_its_account_alone(
    breaks: str,
) -> None:
    """A mistake in a store of one's own is delivered by its class; the others do not notice."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING) as (sandboxes, accounts):
            state = Broken(accounts[0].fingerprint, breaks)
            async with fleet_of(accounts, state=state) as fleet:
                for seconds in (100, 200, 300):
                    for sandbox in sandboxes:
                        later(seconds, functools.partial(new_order, sandbox.books))
                        if seconds > 100:
                            later(seconds, functools.partial(change_order, sandbox.books))
                if breaks != "load":
                    state.is_broken = False
                    later(150, lambda: setattr(state, "is_broken", True))
                later(1000, lambda: setattr(state, "is_broken", False))
                events = await collect(fleet, "exchanges", seconds=3000)
            failed = [e for e in events if isinstance(e, AccountFailed)]
            assert {e.account for e in failed} == {"site 0"}
            assert all("ZeroDivisionError" in str(e.error) for e in failed)
            assert_absent(KEY, *(e.error for e in failed))
            assert not [e for e in events if isinstance(e, AccountSuspended)]
            assert [e.account for e in events if isinstance(e, AccountRecovered)] == ["site 0"]
            new = [(name, row) for name, kind, row in changes(events) if kind == "new"]
            assert {row for name, row in new if name == "site 1"} == {21, 22, 23}
            if breaks != "load":
                assert {row for name, row in new if name == "site 0"} == {21, 22, 23}

    run(main)


def change_order(books: Books) -> None:
    """Change the reward of the latest order but one."""
    order = list(books.orders)[-2]
    books.orders.put(evolve(order, reward="7.5"))
