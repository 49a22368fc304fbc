"""What a fleet does and says from its first second on: first polls, the present Info, health."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import pytest

from ppapi_async import (
    Account,
    AccountFailed,
    AccountPhase,
    AccountRecovered,
    AccountStatus,
    AccountSuspended,
    Change,
    ChangeKind,
    Dialect,
    Fleet,
    FleetEvent,
    Info,
    MemoryState,
    MethodNotSupportedError,
    ServerError,
    StateError,
)
from ppapi_async.fleet.scheduler import Notice
from ppapi_async.sandbox import Books, Fault, Sandbox
from tests import virtual_time
from tests.fleet.test_fleet import collect, fleet_of, park
from tests.watching.test_watch import (
    HOUR,
    KEY,
    books_of,
    later,
    new_order,
    run,
    sandbox_of,
    session_on,
)

INTERVAL = 60


# --- the first poll


@pytest.mark.untraced
def test_first_now_polls_every_account_at_once() -> None:
    """All in the first second, and then each in its turn, which is what it was."""

    async def main() -> None:
        times: dict[str, list[float]] = {}
        async with park(*[Dialect.CLASSIC] * 6) as (_, accounts):
            began = virtual_time.now()
            async with fleet_of(
                accounts,
                first="now",
                on_request=lambda facts: times.setdefault(facts.account, []).append(
                    virtual_time.now() - began
                ),
            ) as fleet:
                await collect(fleet, "info", seconds=5 * INTERVAL)
            turns = {
                name: {round((began + t) % INTERVAL, 3) for t in ts[1:]}
                for name, ts in times.items()
            }
        assert set(times) == {account.name for account in accounts}
        assert all(first < 1 for first, *_ in times.values())
        assert all(len(turn) == 1 for turn in turns.values()), turns
        assert len(set(map(tuple, turns.values()))) == 6

    run(main)


def test_without_first_an_account_waits_for_its_turn() -> None:
    """The default stays: first polls are spread over the interval."""

    async def main() -> None:
        async with park(*[Dialect.CLASSIC] * 6) as (sandboxes, accounts):
            async with fleet_of(accounts) as fleet:
                await collect(fleet, "info", seconds=1)
                assert sum(sandbox.requests_count for sandbox in sandboxes) < 6

    run(main)


def test_first_now_keeps_to_per_host_and_concurrency() -> None:
    """Twelve accounts on one host at once: one request at a time all the same."""

    async def main() -> None:
        now = int(virtual_time.BEGINNING)
        others = [Books.generate(seed, 5, now - 86_400, now) for seed in range(2, 13)]
        async with Sandbox(books=books_of(), others=others, clock=virtual_time.now) as sandbox:
            sandbox.faults.add(Fault.SLOW, times=None, seconds=2)
            keys = [KEY, *(books.partner.api_key for books in others)]
            accounts = [Account(sandbox.url, key, name=f"a{n}") for n, key in enumerate(keys)]
            began, ends = virtual_time.now(), list[float]()
            async with fleet_of(
                accounts, first="now", on_request=lambda _: ends.append(virtual_time.now() - began)
            ) as fleet:
                await collect(fleet, "info", seconds=12 * 2 + 1)
            assert [round(end) for end in ends[:12]] == [2 * n for n in range(1, 13)]

    run(main)


def test_an_account_that_is_added_is_polled_at_once_too() -> None:
    """Where the first poll is to be now, that holds for every account."""

    async def main() -> None:
        async with park(*[Dialect.CLASSIC] * 2) as (sandboxes, accounts):
            async with fleet_of(accounts[:1], first="now") as fleet:
                later(10, lambda: fleet.add(accounts[1]))
                await collect(fleet, "info", seconds=11)
                assert sandboxes[1].requests_count == 1
                assert fleet.healthy is True

    run(main)


@pytest.mark.parametrize("first", ["later", "NOW", "", None, True, 3])
def test_another_first_poll_is_refused(first: object) -> None:
    """By name, with what to pass."""
    with pytest.raises((ValueError, TypeError), match=r"^first: pass 'turn' or 'now'"):
        Fleet([], first=first)  # type: ignore[arg-type]


# --- the present Info


def infos(events: Sequence[FleetEvent]) -> list[tuple[str, str, Decimal, bool]]:
    """Return account, kind, balance, and whether there is a previous one."""
    return [
        (event.account, event.kind, event.record.balance, event.previous is not None)
        for event in events
        if isinstance(event, Change) and isinstance(event.record, Info)
    ]


def test_the_present_info_is_delivered_first_on_request() -> None:
    """Of each account, once; then changes only."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING) as (sandboxes, accounts):
            for sandbox, balance in zip(sandboxes, ("5", "6"), strict=True):
                sandbox.books.partner.balance = balance
            async with fleet_of(accounts) as fleet:
                later(400, lambda: setattr(sandboxes[1].books.partner, "balance", "7"))
                events = await collect(fleet, "info", seconds=600, initial_info=True)
            found = infos(events)
            assert sorted(found[:2]) == [
                ("site 0", "new", Decimal(5), False),
                ("site 1", "new", Decimal(6), False),
            ]
            assert found[2:] == [("site 1", "changed", Decimal(7), True)]

    run(main)


def test_each_start_delivers_the_present_info_once() -> None:
    """With a state, too: new where the state knows the same one, else a change that is not lost."""

    async def main() -> None:
        state = MemoryState()
        async with park(Dialect.CLASSIC) as (sandboxes, accounts):
            partner = sandboxes[0].books.partner
            partner.balance = "5"
            heard = []
            for balance in ("5", "5", "8"):
                partner.balance = balance
                async with fleet_of(accounts, state=state) as fleet:
                    events = await collect(fleet, "info", seconds=200, initial_info=True)
                heard.append(infos(events))
            assert heard == [
                [("site 0", "new", Decimal(5), False)],
                [("site 0", "new", Decimal(5), False)],
                [("site 0", "changed", Decimal(8), True)],
            ]

    run(main)


def test_each_loop_over_the_events_may_ask_for_the_present_info() -> None:
    """A loop that asks for it gets it, although an earlier one had it; others do not."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as (_, accounts), fleet_of(accounts) as fleet:
            counts = [
                len(infos(await collect(fleet, "info", seconds=200, initial_info=initial)))
                for initial in (False, True, False, True)
            ]
            assert counts == [0, 1, 0, 1]

    run(main)


def test_the_present_info_is_that_of_the_first_poll_that_works() -> None:
    """An account that is down at first delivers it when it is back."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as (sandboxes, accounts), fleet_of(accounts) as fleet:
            sandboxes[0].faults.add(Fault.HTML_502, times=None)
            later(300, sandboxes[0].faults.clear)
            events = await collect(fleet, "info", seconds=1500, initial_info=True)
            assert [type(event).__name__ for event in events] == [
                "AccountFailed",
                "Change",
                "AccountRecovered",
            ]

    run(main)


@pytest.mark.parametrize("taken", [0, 1])
def test_a_present_info_in_hand_comes_again_after_a_restart(taken: int) -> None:
    """At least once: left in hand, or acknowledged; a change comes with what was saved."""

    async def main() -> None:
        state = MemoryState()
        async with sandbox_of(Dialect.CLASSIC) as sandbox:
            for balance, kind in (("5", ChangeKind.NEW), ("9", ChangeKind.CHANGED)):
                sandbox.books.partner.balance = balance
                async with session_on(sandbox) as session:
                    watch = session.watch_info(state=state, initial=True)
                    async with watch:
                        changes = aiter(watch)
                        change = await anext(changes)
                        if taken:
                            with pytest.raises(TimeoutError):
                                async with asyncio.timeout(200):
                                    await anext(changes)
                if taken:
                    assert (change.kind, change.record.balance) == (kind, Decimal(balance))
                else:
                    assert (change.kind, change.previous) == (ChangeKind.NEW, None)

    run(main)


def test_a_watch_of_info_begins_with_the_present_on_request() -> None:
    """`initial=True`; without it a watch says nothing until something changes."""

    async def main() -> None:
        async with sandbox_of() as sandbox, session_on(sandbox) as session:
            later(200, lambda: setattr(sandbox.books.partner, "balance", "77"))
            heard = []
            async for change in session.watch_info(initial=True):
                heard.append((change.kind, change.fields, change.previous is None))
                if len(heard) == 2:
                    break
            assert heard[0] == (ChangeKind.NEW, (), True)
            assert heard[1][0] is ChangeKind.CHANGED
            assert "balance" in heard[1][1]

    run(main)


def test_a_present_info_that_cannot_be_saved_is_delivered_once() -> None:
    """The store fails when it is acknowledged: the next poll saves it, and nothing comes twice."""

    class Frail(MemoryState):
        is_full = True

        async def save(self, watch: str, put: object, drop: object = ()) -> None:
            if self.is_full:
                raise StateError("the disk is full")
            await super().save(watch, put, drop)  # type: ignore[arg-type]

    async def main() -> None:
        state = Frail()
        async with park(Dialect.CLASSIC) as (_, accounts):
            async with fleet_of(accounts, state=state) as fleet:
                later(200, lambda: setattr(state, "is_full", False))
                events = await collect(fleet, "info", seconds=1000, initial_info=True)
            assert len(infos(events)) == 1
            assert isinstance(events[1], AccountFailed)

    run(main)


def test_an_initial_info_needs_the_resource() -> None:
    """Asked of clicks alone it would never come; and it is a yes or a no."""

    async def main() -> None:
        async with fleet_of([]) as fleet:
            fleet.events(initial_info=True)
            with pytest.raises(ValueError, match="initial_info: needs the resource 'info'"):
                fleet.events("links", initial_info=True)
            with pytest.raises(TypeError, match="initial_info: pass True or False"):
                fleet.events("info", initial_info=1)  # type: ignore[call-overload]
        async with sandbox_of() as sandbox, session_on(sandbox) as session:
            with pytest.raises(TypeError, match="initial: pass True or False"):
                session.watch_info(initial="yes")  # type: ignore[arg-type]

    run(main)


# --- health


@pytest.mark.untraced
def test_health_is_right_from_the_first_second() -> None:
    """Unknown until each account was read, then well, then not, then well again."""

    async def main() -> None:
        async with park(*[Dialect.CLASSIC] * 3) as (sandboxes, accounts):
            fleet = fleet_of(accounts)
            assert fleet.healthy is None
            async with fleet:
                assert fleet.healthy is None
                seen: list[tuple[int, bool | None]] = []

                def look() -> None:
                    read = sum(one.last_success is not None for one in fleet.status().values())
                    seen.append((read, fleet.healthy))

                for second in range(0, 120, 5):
                    later(second, look)
                later(200, lambda: sandboxes[0].faults.add(Fault.HTML_502, times=None))
                later(199, look)
                later(300, look)
                later(500, sandboxes[0].faults.clear)
                later(1600, look)
                await collect(fleet, "info", seconds=1700)
                assert all(healthy is (True if read == 3 else None) for read, healthy in seen[:24])
                assert [healthy for _, healthy in seen[24:]] == [True, False, True]

    run(main)


def test_an_account_that_never_worked_makes_a_fleet_unhealthy_at_once() -> None:
    """As soon as its poll has failed, though others have not been read yet."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.CLASSIC) as (sandboxes, accounts):
            sandboxes[0].books.partner.banned = True
            sandboxes[1].faults.add(Fault.SLOW, times=None, seconds=8)
            async with fleet_of(accounts, first="now") as fleet:
                seen: list[tuple[bool | None, dict[str, AccountStatus]]] = []
                later(4, lambda: seen.append((fleet.healthy, fleet.status())))
                events = await collect(fleet, "info", seconds=5)
                assert [type(event) for event in events] == [AccountSuspended]
                [(healthy, statuses)] = seen
                one, other = statuses.values()
                assert healthy is False
                assert (one.phase, one.ok) == (AccountPhase.SUSPENDED, False)
                assert (other.phase, other.ok) == (AccountPhase.POLLING, True)

    run(main)


def test_a_failing_account_says_so_in_its_phase() -> None:
    """Between polls and during them; paused it is paused, and well again it waits."""

    async def main() -> None:
        phases: list[tuple[AccountPhase, bool]] = []
        async with park(Dialect.CLASSIC) as (sandboxes, accounts), fleet_of(accounts) as fleet:

            def look() -> None:
                status = fleet.status()["site 0"]
                phases.append((status.phase, status.ok))

            later(130, look)
            later(130, lambda: sandboxes[0].faults.add(Fault.HTML_502, times=None))
            for second in range(200, 400, 10):
                later(second, look)
            later(400, lambda: fleet.pause("site 0"))
            later(401, look)
            later(402, sandboxes[0].faults.clear)
            later(402, lambda: fleet.resume("site 0"))
            later(450, look)
            await collect(fleet, "info", seconds=460)
        assert phases[0] == (AccountPhase.WAITING, True)
        assert set(phases[1:-2]) == {(AccountPhase.FAILING, False)}
        assert phases[-2:] == [(AccountPhase.PAUSED, False), (AccountPhase.WAITING, True)]

    run(main)


def test_what_was_read_long_ago_is_not_known_to_be_well() -> None:
    """Nobody iterates, so nothing is polled: the fleet does not go on saying it is well."""

    async def main() -> None:
        async with park(Dialect.CLASSIC) as (_, accounts), fleet_of(accounts) as fleet:
            await collect(fleet, "info", seconds=2 * INTERVAL)
            assert fleet.healthy is True
            await asyncio.sleep(HOUR)
            assert fleet.healthy is None

    run(main)


def test_a_paused_account_does_not_count() -> None:
    """Nobody wants to know of it; without any other the fleet is well."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.CLASSIC) as (sandboxes, accounts):
            async with fleet_of(accounts) as fleet:
                sandboxes[1].faults.add(Fault.HTML_502, times=None)
                await collect(fleet, "info", seconds=3 * INTERVAL)
                assert fleet.healthy is False
                fleet.pause("site 1")
                assert fleet.healthy is True
                fleet.pause("site 0")
                assert fleet.healthy is True

    run(main)


def test_all_methods_missing_is_not_well() -> None:
    """An account whose site has none of the resources is suspended, also while that is in hand."""

    async def main() -> None:
        async with park(Dialect.DELEGATING) as (sandboxes, accounts):
            sandboxes[0].books.partner.methods = frozenset({"get_info"})
            async with fleet_of(accounts, first="now") as fleet:
                async for event in fleet.events("exchanges"):
                    assert isinstance(event, AccountSuspended)
                    assert fleet.status()["site 0"].phase is AccountPhase.SUSPENDED
                    assert fleet.healthy is False
                    break
                found = fleet.status()["site 0"]
                assert (found.last_success, found.failures) == (None, 1)
                assert (found.polls, found.polls_failed) == (1, 1)
                assert found.failing_since is not None
                assert isinstance(found.last_error, MethodNotSupportedError)

    run(main)


def test_what_is_not_asked_for_anything_is_not_known_to_be_well() -> None:
    """A second loop wants only what the site does not have: nothing is asked, nothing is said."""

    async def main() -> None:
        async with park(Dialect.DELEGATING) as (sandboxes, accounts), fleet_of(accounts) as fleet:
            sandboxes[0].books.partner.methods = frozenset({"get_info"})
            await collect(fleet, "exchanges", "info", seconds=2 * INTERVAL)
            assert fleet.healthy is True
            asked = sandboxes[0].requests_count
            assert await collect(fleet, "exchanges", seconds=10 * INTERVAL) == []
            assert sandboxes[0].requests_count == asked
            assert fleet.healthy is None

    run(main)


def status(phase: AccountPhase, failures: int = 0) -> AccountStatus:
    """Return how a fleet gets on with an account."""
    return AccountStatus(
        phase=phase,
        dialect=None,
        last_success=None,
        next_poll=None,
        failures=failures,
        last_error=ServerError("502") if failures else None,
        lag=None,
    )


@pytest.mark.parametrize(
    ("found", "ok"),
    [
        (status(AccountPhase.WAITING), True),
        (status(AccountPhase.POLLING), True),
        (status(AccountPhase.PAUSED), True),
        (status(AccountPhase.FAILING, 1), False),
        (status(AccountPhase.PAUSED, 2), False),
        (status(AccountPhase.SUSPENDED), False),
    ],
)
def test_an_account_is_ok_until_something_is_wrong(found: AccountStatus, ok: bool) -> None:
    """Not read yet is not wrong; a failure is, and being suspended."""
    assert found.ok is ok


def test_a_new_order_is_heard_after_a_first_poll_at_once() -> None:
    """What is there at the first poll is the past; what comes later is delivered, once."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.DELEGATING) as (sandboxes, accounts):
            async with fleet_of(accounts, first="now") as fleet:
                for sandbox in sandboxes:
                    later(2, lambda sandbox=sandbox: new_order(sandbox.books))  # type: ignore[misc]
                events = await collect(fleet, "exchanges", seconds=70)
            heard = [(e.account, e.kind) for e in events if isinstance(e, Change)]
            assert sorted(heard) == [("site 0", "new"), ("site 1", "new")]

    run(main)


def test_what_is_lost_is_delivered_no_more() -> None:
    """Of an account that another worker has now; what waits of the others, and trouble, stays."""

    async def main() -> None:
        async with park(Dialect.CLASSIC, Dialect.CLASSIC) as (_, accounts):
            async with fleet_of(accounts) as fleet:
                scheduler, members = fleet._open_scheduler, fleet._roster.members
                trouble = ZeroDivisionError("a mistake")
                mine, other = (Notice(AccountRecovered(name)) for name in members)
                for item in (mine, trouble, other):
                    scheduler._outbox.put_nowait(item)
                scheduler.lose([members["site 0"]])
                assert [scheduler._outbox.get_nowait() for _ in range(2)] == [trouble, other]
                assert scheduler._outbox.empty()

    run(main)
