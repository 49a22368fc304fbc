"""Accounts in trouble, and all the others that must not notice: in a loop whose time flies."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterator,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from itertools import pairwise

import aiohttp
import pytest
from attrs import define, field

from ppapi_async import (
    Account,
    AccountFailed,
    AccountPhase,
    AccountSuspended,
    Change,
    ChangeKind,
    Dialect,
    Exchange,
    Fleet,
    FleetEvent,
    Info,
    MemoryState,
    PPAPIError,
    RequestFacts,
    RequestTimeoutError,
    ResponseError,
    State,
    StateError,
    TransportError,
)
from ppapi_async.sandbox import Books, Click, Fault, Order, Partner, Sandbox
from ppapi_async.watching.resources import ResourceName
from tests import virtual_time
from tests.loops import living_rows
from tests.names import Names

pytestmark = pytest.mark.untraced  # takes twice as long with; other tests go through all lines, too

INTERVAL = 60
DAY = 86_400
hooks = virtual_time.hooks


def clock() -> float:
    """Return the seconds since the beginning."""
    return asyncio.get_running_loop().time()


def key_of(name: str) -> str:
    """Return the key of an account, as long as real ones: a shorter one is hashed slowly."""
    return f"k{name:-<31}"


@define(eq=False)
class Town:
    """Sites that run, and the accounts on them by name."""

    sites: list[Sandbox]
    accounts: dict[str, Account] = field(factory=dict)
    books: dict[str, Books] = field(factory=dict)

    def site_of(self, name: str) -> Sandbox:
        """Return the site of an account."""
        return self.sites[int(name.split("-")[1])]

    def order(self, name: str) -> int:
        """Book an order that was made just now, and return its id."""
        orders = self.books[name].orders
        orders.put(Order(id=orders.next_id, created=int(virtual_time.now()), reward="1.5"))
        return orders.next_id - 1

    def click(self, name: str) -> None:
        """Book a click."""
        clicks = self.books[name].clicks
        clicks.put(Click(id=clicks.next_id, created=int(virtual_time.now())))


@contextlib.asynccontextmanager
async def town(
    *dialects: Dialect,
    each: int = 1,
    label: str = "a",
    domain: str = "",
    lot: Books | None = None,
) -> AsyncIterator[Town]:
    """Run a site for each dialect; with a domain, accounts call it by a name.

    The first of them has another partner's books as well, if there are some.
    """
    async with contextlib.AsyncExitStack() as stack:
        found = Town([])
        for number, dialect in enumerate(dialects):
            names = [f"{label}-{number}-{place}" for place in range(each)]
            books = [Books(partner=Partner(api_key=key_of(n))) for n in names]
            found.books |= dict(zip(names, books, strict=True))
            more = [lot] if lot is not None and not number else []
            site = Sandbox(
                dialect,
                books=books[0],
                others=[*books[1:], *more],
                clock=virtual_time.now,
                hosts=[f"{number}.{domain}"],
            )
            found.sites.append(await stack.enter_async_context(site))
            url = site.url.replace("127.0.0.1", f"{number}.{domain}") if domain else site.url
            login = site.books.partner.api_login if dialect is Dialect.USER_API else None
            for name in names:
                found.accounts[name] = Account(
                    url, key_of(name), api_login=login, name=name, allow_http=True
                )
        yield found


@define(eq=False)
class Listener:
    """Writes down what it gets, and when."""

    pause: float = 0.0
    """How long the consumer takes for each event."""
    stop: int = 10**9
    """How many events it takes."""
    events: list[tuple[float, FleetEvent]] = field(factory=list)
    has_heard: asyncio.Event = field(factory=asyncio.Event)
    """Set at the first change."""
    has_ended: asyncio.Event = field(factory=asyncio.Event)
    """Set when there are no more."""

    async def listen(self, events: AsyncIterator[FleetEvent]) -> None:
        """Hear all there is."""
        async for event in events:
            self.events.append((clock(), event))
            if isinstance(event, Change):
                self.has_heard.set()
            if len(self.events) == self.stop:
                await asyncio.Event().wait()
            if self.pause >= 1:
                await asyncio.sleep(self.pause)
            elif self.pause and len(self.events) % 25 == 0:
                await asyncio.sleep(25 * self.pause)
        self.has_ended.set()

    def changes(self, name: str | None = None) -> list[tuple[float, str, int]]:
        """Return the moment, the account and the row of each change."""
        return [
            (at, event.account, getattr(event.record, "id", 0))
            for at, event in self.events
            if isinstance(event, Change) and name in (None, event.account)
        ]

    def notices(self, name: str) -> list[tuple[float, str]]:
        """Return what became of an account's polls."""
        return [
            (at, type(event).__name__)
            for at, event in self.events
            if not isinstance(event, Change) and event.account == name
        ]


@contextlib.asynccontextmanager
async def listening(
    fleet: Fleet, *resources: ResourceName, pause: float = 0.0, stop: int = 10**9
) -> AsyncIterator[Listener]:
    """Consume the events of a fleet meanwhile."""
    listener = Listener(pause, stop)
    task = asyncio.create_task(listener.listen(aiter(fleet.events(*resources))))
    try:
        yield listener
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.wait([task])


@define(eq=False)
class Meter:
    """WatchStore when each account's requests were sent and answered."""

    spans: dict[str, list[tuple[float, float]]] = field(factory=lambda: defaultdict(list))
    facts: list[RequestFacts] = field(factory=list)

    def __call__(self, facts: RequestFacts) -> None:
        """Note a request."""
        self.spans[facts.account].append((clock() - facts.seconds, clock()))
        self.facts.append(facts)

    def polls(self, name: str) -> list[float]:
        """Return when each poll began: after some seconds without a request."""
        starts = [start for start, _ in self.spans[name]]
        return [b for a, b in pairwise([-INTERVAL, *starts]) if b - a > 5]


async def find(host: str, port: int) -> int | None:
    """Find every host here, but for one."""
    return None if host == "nowhere.test" else port


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """Hold a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def left_behind() -> list[str]:
    """Return the tasks that run beside this one and the sandboxes'."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return [repr(task) for task in tasks if "RequestHandler" not in repr(task)]


def open_transports() -> int:
    """Count the connections that are open at either end."""
    found = (one for one in gc.get_objects() if isinstance(one, asyncio.Transport))
    return sum(not one.is_closing() for one in found)


# --- a whole fleet


@pytest.mark.untraced
def test_accounts_do_not_notice_broken_hosts() -> None:
    """120 accounts on 24 hosts hear a new row within two intervals, whatever five others do."""

    async def whole() -> None:
        dialects = [Dialect.CLASSIC, Dialect.DELEGATING, Dialect.CLONE] * 8
        connector = aiohttp.TCPConnector(resolver=Names(find), limit=0, use_dns_cache=False)
        async with (
            town(*dialects, each=5, domain="site.test") as good,
            town(Dialect.CLASSIC, each=5, label="hanging") as hanging,
            town(Dialect.CLASSIC, each=5, label="page") as page,
            town(Dialect.CLASSIC, label="key") as key,
            aiohttp.ClientSession(connector=connector) as http,
        ):
            hanging.sites[0].faults.add(Fault.HANG, times=None)
            page.sites[0].faults.add(Fault.GEO_200, times=None)
            with refusing_port() as port:
                broken = [*hanging.accounts.values(), *page.accounts.values()]
                broken += accounts_at(f"http://127.0.0.1:{port}", "refused")
                broken += accounts_at("http://nowhere.test", "nowhere")
                broken += accounts_at(key.sites[0].url, "wrong")
                await hear_all(good, broken, http)
            hanging.sites[0].faults.clear()

    virtual_time.run(whole())


def accounts_at(url: str, label: str) -> list[Account]:
    """Return five accounts that will not work."""
    return [Account(url, f"none{n}", name=f"{label}-0-{n}", allow_http=True) for n in range(5)]


async def hear_all(good: Town, broken: list[Account], http: aiohttp.ClientSession) -> None:
    """Book rows for each good account when all has settled, and wait for two intervals."""
    meter, accounts = Meter(), [*good.accounts.values(), *broken]
    async with (
        Fleet(accounts, timeout=20, http=http, on_request=meter, hooks=hooks()) as fleet,
        listening(fleet, "links", "exchanges") as listener,
    ):
        await asyncio.sleep(3.5 * INTERVAL)
        assert listener.changes() == []
        for name in good.accounts:
            good.order(name)
            good.click(name)
        await asyncio.sleep(2 * INTERVAL)
        assert Counter(name for _, name, _ in listener.changes()) == dict.fromkeys(good.accounts, 2)
        for name in good.accounts:
            assert listener.notices(name) == []
            check_punctuality(meter.polls(name))
            fleet.pause(name)
        await asyncio.sleep(3600)
        for account in broken:
            check_notices(account.name, listener)
            phase = fleet.status()[account.name].phase
            assert (phase is AccountPhase.SUSPENDED) == account.name.startswith("wrong")


def check_punctuality(polls: Sequence[float]) -> None:
    """Check that polls come a second around their turn."""
    gaps = [later - earlier for earlier, later in pairwise(polls)]
    assert len(gaps) >= 4
    assert all(abs(gap - INTERVAL) < 1 for gap in gaps), gaps


def check_notices(name: str, listener: Listener) -> None:
    """Check that each kind of trouble was delivered, and once."""
    kinds: dict[str, type[PPAPIError]] = {"page": ResponseError, "hanging": RequestTimeoutError}
    events = [e for _, e in listener.events if e.account == name]
    if name.startswith("wrong"):
        assert [type(event) for event in events] == [AccountSuspended]
        return
    errors = [type(event.error) for event in events if isinstance(event, AccountFailed)]
    assert len(errors) == len(events) == len(set(errors)) > 0
    expected = kinds.get(name.partition("-")[0], TransportError)
    assert all(issubclass(error, expected | TransportError) for error in errors)
    assert any(issubclass(error, expected) for error in errors) or len(errors) == 1


# --- one account and the others


@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
def test_slow_consumer(dialect: Dialect) -> None:
    """A consumer that takes a second for each event gets all; no more than is read is held."""

    async def whole() -> None:
        since, held = int(virtual_time.now()) - 40, []
        async with town(*[dialect] * 4, each=5) as here:
            for _ in range(41):
                for name in here.accounts:
                    here.order(name)
            fleet = Fleet(here.accounts.values(), since=since, concurrency=3, hooks=hooks())
            async with fleet, listening(fleet, "exchanges", pause=1) as listener:
                for _ in range(8):
                    await asyncio.sleep(100)
                    held.append(living_rows(collect=False) - before - len(listener.changes()))
                for name in here.accounts:
                    here.order(name)
                await asyncio.sleep(2 * INTERVAL)
            for name in here.accounts:
                assert [row for _, _, row in listener.changes(name)] == list(range(1, 43))
            assert max(held) <= (3 + 1) * 41

    before = living_rows()  # what other tests keep for each other
    virtual_time.run(whole())


@pytest.mark.untraced
@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.DELEGATING])
@pytest.mark.parametrize("on_same_site", [False, True])
def test_backlog_does_not_starve_the_others(dialect: Dialect, on_same_site: bool) -> None:
    """While one account tells of 50,000 rows, others hear new ones within two intervals."""

    async def whole() -> None:
        now = int(virtual_time.now())
        books = Books.uniform(50_000, now - 20 * DAY, now - 1)
        async with town(*[dialect] * 5, lot=books if on_same_site else None) as here:
            site = Sandbox(dialect, books=books, clock=virtual_time.now)
            async with site:
                url = here.sites[0].url if on_same_site else site.url
                loaded = Account(url, site.api_key, name="loaded")
                accounts = [loaded, *here.accounts.values()]
                fleet = Fleet(accounts, since=now - 20 * DAY, concurrency=4, hooks=hooks())
                async with fleet, listening(fleet, pause=0.03) as listener:
                    await asyncio.sleep(90)
                    for name in here.accounts:
                        here.order(name)
                    await asyncio.sleep(2 * INTERVAL)
            backlog = [row for _, _, row in listener.changes("loaded")]
            assert len(backlog) > 3000
            assert backlog == sorted(set(backlog))
            for name in here.accounts:
                assert len(listener.changes(name)) == 1

    virtual_time.run(whole())


@pytest.mark.untraced
def test_dead_host_is_left_alone() -> None:
    """A host that hangs gets a probe now and then, one at a time; all five accounts recover."""

    async def whole() -> None:
        meter = Meter()
        async with town(Dialect.CLASSIC, Dialect.DELEGATING, each=5) as here:
            site, accounts = here.sites[0], here.accounts.values()
            async with (
                Fleet(accounts, per_host=5, timeout=20, on_request=meter, hooks=hooks()) as fleet,
                listening(fleet) as listener,
            ):
                await asyncio.sleep(4 * INTERVAL)
                site.faults.add(Fault.HANG, times=None)
                began, before = clock(), site.requests_count
                await asyncio.sleep(3600)
                assert site.requests_count - before < 40
                here.order("a-0-3")
                await asyncio.sleep(10)
                site.faults.clear()
                await asyncio.sleep(900 + 2 * INTERVAL)
            probes = sorted(
                span
                for name in here.accounts
                for span in meter.spans[name]
                if here.site_of(name) is site and began + 200 < span[0] < began + 3600
            )
            assert len(probes) >= 6
            assert all(end <= start for (_, end), (start, _) in pairwise(probes))
            assert [name for _, name, _ in listener.changes()] == ["a-0-3"]
            for name in here.accounts:
                kinds = {kind: at for at, kind in listener.notices(name)}
                if here.site_of(name) is site:
                    assert set(kinds) == {"AccountFailed", "AccountRecovered"}
                    assert kinds["AccountFailed"] < began + 200
                else:
                    assert kinds == {}
                    assert len(meter.polls(name)) >= 3600 // INTERVAL

    virtual_time.run(whole())


def test_siblings_trouble_is_not_that_of_a_healthy_account() -> None:
    """Three accounts of a host fail each for itself: two others are not said to fail."""

    async def whole() -> None:
        async with town(Dialect.CLASSIC, each=5) as here:
            fleet = Fleet(here.accounts.values(), hooks=hooks())
            async with fleet, listening(fleet) as listener:
                await asyncio.sleep(2 * INTERVAL)
                turns = {str(status.next_poll): name for name, status in fleet.status().items()}
                *ill, one, other = (turns[turn] for turn in sorted(turns))
                keys = set(map(key_of, ill))
                here.sites[0].faults.add(
                    Fault.HTML_500, times=None, when=lambda call: call.query["api_key"] in keys
                )
                await asyncio.sleep(3600)
            assert listener.notices(one) == listener.notices(other) == []

    virtual_time.run(whole())


def test_hanging_host_leaves_places_for_others() -> None:
    """With fewer places than a hanging host has accounts, others still hear in two intervals."""

    async def whole() -> None:
        async with (
            town(Dialect.CLASSIC, each=8, label="bad") as bad,
            town(Dialect.CLASSIC, Dialect.DELEGATING) as good,
        ):
            accounts = [*bad.accounts.values(), *good.accounts.values()]
            fleet = Fleet(accounts, concurrency=4, hooks=hooks())
            async with fleet, listening(fleet) as listener:
                await asyncio.sleep(2.5 * INTERVAL)
                bad.sites[0].faults.add(Fault.HANG, times=None)
                await asyncio.sleep(2 * INTERVAL)
                for name in good.accounts:
                    good.order(name)
                await asyncio.sleep(2 * INTERVAL)
                bad.sites[0].faults.clear()
            assert len(listener.changes()) == 2

    virtual_time.run(whole())


# --- the store


class FrailState(MemoryState):
    """Fails as often as it is told to."""

    loads_failing = 0
    saves_failing = 0

    async def load(self, watch: str) -> Mapping[str, str]:
        """Load, or fail."""
        if self.loads_failing > 0:
            self.loads_failing -= 1
            raise StateError("the disk is away")
        return await super().load(watch)

    async def save(self, watch: str, put: Mapping[str, str], drop: Collection[str] = ()) -> None:
        """Save, or fail."""
        if self.saves_failing > 0:
            self.saves_failing -= 1
            raise StateError("the disk is full")
        await super().save(watch, put, drop)


def test_store_fails_for_a_while() -> None:
    """What was delivered and could not be saved is not delivered twice; the accounts recover."""

    async def whole() -> None:
        state = FrailState()
        async with town(Dialect.CLASSIC, Dialect.DELEGATING) as here:
            fleet = Fleet(here.accounts.values(), state=state, hooks=hooks())
            async with fleet, listening(fleet) as listener:
                await asyncio.sleep(2.5 * INTERVAL)
                state.saves_failing = 5
                for name in [*here.accounts, *here.accounts]:
                    here.order(name)
                await asyncio.sleep(40 * INTERVAL)
            for name in here.accounts:
                assert [row for _, _, row in listener.changes(name)] == [1, 2]
                kinds = [kind for _, kind in listener.notices(name)]
                assert kinds == ["AccountFailed", "AccountRecovered"]

    virtual_time.run(whole())


def test_store_fails_at_first() -> None:
    """A store that cannot be read for a moment is no reason to suspend an account."""

    async def whole() -> None:
        state = FrailState()
        state.loads_failing = 1
        async with town(Dialect.CLASSIC) as here:
            fleet = Fleet(here.accounts.values(), state=state, hooks=hooks())
            async with fleet, listening(fleet, "exchanges") as listener:
                await asyncio.sleep(10 * INTERVAL)
                here.order("a-0-0")
                await asyncio.sleep(2 * INTERVAL)
            assert len(listener.changes()) == 1

    virtual_time.run(whole())


def test_first_balance_is_saved_later() -> None:
    """A balance that could not be saved at once is saved by the next poll."""

    async def whole() -> None:
        state = FrailState()
        state.saves_failing = 1
        async with town(Dialect.CLASSIC) as here:
            await run_for(10, here, state, "info")
            here.books["a-0-0"].partner.balance = "17"
            listener = await run_for(2, here, state, "info")
            assert len(listener.changes()) == 1

    virtual_time.run(whole())


# --- a restart


@pytest.mark.parametrize("fault", [Fault.API_DISABLED, Fault.CHALLENGE_403])
def test_restart_in_maintenance(fault: Fault) -> None:
    """An account that has worked is not suspended because it is refused after a restart."""

    async def whole() -> None:
        state = MemoryState()
        async with town(Dialect.DELEGATING) as here:
            await run_for(2, here, state)
            here.sites[0].faults.add(fault, times=2)
            listener = await run_for(10, here, state)
            kinds = [kind for _, kind in listener.notices("a-0-0")]
            assert kinds == ["AccountFailed", "AccountRecovered"]

    virtual_time.run(whole())


async def run_for(
    intervals: float, here: Town, state: State, *sources: str, stop: int = 10**9
) -> Listener:
    """Run a fleet for some time; the consumer stops with an event in hand, if there are so many."""
    fleet = Fleet(here.accounts.values(), state=state, hooks=hooks())
    async with fleet, listening(fleet, *(sources or ["exchanges"]), stop=stop) as listener:
        await asyncio.sleep(intervals * INTERVAL)
    return listener


@pytest.mark.parametrize("dialect", list(Dialect))
def test_killed_in_a_backlog(dialect: Dialect) -> None:
    """Wherever a process ends while it tells of the past, the next one goes on there."""

    async def whole() -> None:
        now, rows = int(virtual_time.now()), 7
        times = [now - at * 3600 for at in (24 * 9, 24 * 9, 24 * 5, 50, 49, 3, 1)]
        async with town(dialect) as here:
            orders = here.books["a-0-0"].orders
            for number, at in enumerate(times, 1):
                orders.put(Order(id=number, created=at))
            for stop in range(1, rows + 1):
                state = MemoryState()
                first = await hear_from(now - 12 * DAY, here, state, stop)
                assert first == list(range(1, stop + 1))
                assert await hear_from(0, here, state, rows) == list(range(stop, rows + 1))

    virtual_time.run(whole())


async def hear_from(since: int, here: Town, state: State, most: int) -> list[int]:
    """Return the first rows that are delivered, the last of which is in hand in the end."""
    fleet = Fleet(here.accounts.values(), since=since, state=state, hooks=hooks())
    async with fleet, listening(fleet, "exchanges", stop=most) as listener:
        await asyncio.sleep(2 * INTERVAL)
    return [row for _, _, row in listener.changes()]


def test_api_elsewhere_after_an_error() -> None:
    """An API error at the wrong one of the known paths does not keep an account there."""

    async def whole() -> None:
        state = MemoryState()
        async with town(Dialect.CLONE) as here:
            await run_for(2, here, state, "info")
            here.sites[0].faults.add(Fault.API_DISABLED)
            listener = await run_for(30, here, state, "info")
            kinds = [kind for _, kind in listener.notices("a-0-0")]
            assert kinds == ["AccountFailed", "AccountRecovered"]

    virtual_time.run(whole())


@pytest.mark.parametrize("dialect", [Dialect.CLASSIC, Dialect.CLONE])
@pytest.mark.parametrize("others", [0, 1])
def test_change_in_hand_is_taken_back_before_the_restart(dialect: Dialect, others: int) -> None:
    """What was delivered before a kill, and is no longer so after it, is delivered once more."""

    async def whole() -> None:
        state, name = MemoryState(), "a-0-0"
        async with town(dialect) as here:
            move = here.books[name].move_order
            for _ in range(3):
                here.order(name)
                await asyncio.sleep(5)
            await run_for(2, here, state)
            move(2, int(virtual_time.now()), "success")
            before = await run_for(2, here, state, stop=1)
            move(2, int(virtual_time.now()), "cancel")
            for number in range(others):
                move(1 + 2 * number, int(virtual_time.now()), "success")
            after = await run_for(2, here, state)
        delivered = [e.record for _, e in before.events + after.events if isinstance(e, Change)]
        rows = [row.accrued for row in delivered if isinstance(row, Exchange) and row.id == 2]
        assert rows == [True, False]
        assert len(delivered) == 2 + others

    virtual_time.run(whole())


def test_balance_in_hand_is_taken_back_before_the_restart() -> None:
    """The same for the balance, which a payout may bring back to what it was."""

    async def whole() -> None:
        state = MemoryState()
        async with town(Dialect.CLASSIC) as here:
            partner = here.books["a-0-0"].partner
            await run_for(2, here, state, "info")
            partner.balance = "7"
            before = await run_for(2, here, state, "info", stop=1)
            partner.balance = "0"
            after = await run_for(2, here, state, "info")
        delivered = [e.record for _, e in before.events + after.events if isinstance(e, Change)]
        assert [info.balance for info in delivered if isinstance(info, Info)] == [7, 0]

    virtual_time.run(whole())


def test_old_order_changes_during_the_first_look() -> None:
    """It is no new one, though nothing else happened for a day."""

    async def whole() -> None:
        async with town(Dialect.DELEGATING) as here:
            books, at = here.books["a-0-0"], int(virtual_time.now()) - 5 * DAY
            for number in (1, 2):
                books.orders.put(Order(id=number, created=at + number, reward="1"))
            here.sites[0].faults.add(Fault.SLOW, method="get_exchanges", seconds=20)
            fleet = Fleet(here.accounts.values(), hooks=hooks())
            async with fleet, listening(fleet, "exchanges") as listener:
                await here.sites[0].arrived(2)
                await asyncio.sleep(10)
                books.move_order(1, int(virtual_time.now()), "success")
                await asyncio.sleep(3 * INTERVAL)
            kinds = [event.kind for _, event in listener.events if isinstance(event, Change)]
            assert ChangeKind.NEW not in kinds

    virtual_time.run(whole())
