"""A park of sandboxes that notes all that their books ever showed."""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeAlias, TypeVar
from zoneinfo import ZoneInfo

import attrs
from attrs import define, evolve, field, frozen

from ppapi_async import (
    Account,
    AccountStatus,
    Dialect,
    Exchange,
    Info,
    Link,
    Payout,
    PayoutStatus,
)
from ppapi_async.sandbox import BookedPayout, Books, Click, Order, Partner, Rates, Sandbox
from ppapi_async.sandbox.shelf import Shelf, StoredRow

__all__ = [
    "INFO_ID",
    "SOURCES",
    "Desk",
    "Facts",
    "Layout",
    "Park",
    "Record",
    "Site",
    "State",
    "facts_of",
]

Record: TypeAlias = Link | Exchange | Payout | Info
Facts: TypeAlias = Mapping[str, object]
RowT = TypeVar("RowT", bound=StoredRow)
DAY = 86_400
NEWER = frozenset({Dialect.DELEGATING, Dialect.USER_API})
LOOKBACK = 30 * DAY
SOURCES = {Link: "links", Exchange: "exchanges", Payout: "payouts", Info: "info"}
INFO_ID = 0
ABSENT = "absent"
_EXCHANGE = tuple(
    one.name for one in attrs.fields(Exchange) if one.name not in {"date", "statuses", "extra"}
)
_PAYOUT = tuple(one.name for one in attrs.fields(Payout) if one.name not in {"date", "extra"})
_LINK = ("id", "time", "browser", "ip", "referrer", "user_hash")


def facts_of(record: Record) -> Facts:
    """Return what is compared of a record: all but what the servers' disguises may change."""
    if isinstance(record, Link):
        return {name: getattr(record, name) for name in _LINK} | {"sub": record.query["sub"]}
    if isinstance(record, Info):
        methods = tuple(method.id for method in record.items)
        return {"balance": record.balance, "min_payout": record.min_payout, "items": methods}
    names = _EXCHANGE if isinstance(record, Exchange) else _PAYOUT
    return {name: getattr(record, name) for name in names}


@frozen
class State:
    """What the books showed of a row from a moment on."""

    facts: Facts
    since: float
    answers: int
    """How many the site had given before."""

    @property
    def seen_from(self) -> tuple[float, int]:
        """Which answer was the first that could show it."""
        return self.since, self.answers

    @property
    def patience(self) -> float:
        """How long it may take until a poll looks, in seconds."""
        time = self.facts.get("time")
        if self.is_first or not isinstance(time, datetime):
            return 0.0
        return min(6 * 3600.0, max(0.0, self.since - time.timestamp()) / 8)

    @property
    def is_absent(self) -> bool:
        """Whether no answer showed the row."""
        return ABSENT in self.facts

    @property
    def is_first(self) -> bool:
        """Whether it is how the row was before anything happened."""
        return self.since == -math.inf


class NotedShelf(Shelf[RowT]):
    """A shelf that reports what is put on it."""

    def __init__(self, rows: Iterable[RowT], note: Callable[[RowT], None]) -> None:
        super().__init__(rows)
        self._note = note
        for row in self:
            note(row)

    def put(self, row: RowT) -> None:
        """Put the row and report it."""
        super().put(row)
        self._note(row)


@define(eq=False)
class Desk:
    """One account: its books, and all that they ever showed on the wire."""

    account: Account
    books: Books
    sandbox: Sandbox
    clock: Callable[[], float]
    states: dict[str, dict[int, list[State]]] = field(factory=dict)
    polls: list[float] = field(factory=list)
    """When polls began that worked."""
    begun: float = math.inf
    """When a poll was known to have worked."""
    since: float | None = None
    """What happened since then is to be delivered first."""
    answers: int = 0
    """Which the site has given; what changes between two of them nobody sees."""
    _opened: bool = False
    _shown: str = ""
    """Which rows there were to be seen."""

    def __attrs_post_init__(self) -> None:
        self.states = {source: {} for source in SOURCES.values()}
        books = self.books
        books.clicks = NotedShelf(books.clicks, self._note_click)
        books.orders = NotedShelf(books.orders, self._note_order)
        books.payouts = NotedShelf(books.payouts, self._note_payout)
        self.note_info()
        self._opened = True

    @property
    def newer(self) -> bool:
        """Whether the site is a 2.7 one."""
        return self.sandbox.dialect in NEWER

    def _instant(self, second: int) -> datetime:
        """Return what the account makes of the site's clock: read in its own zone, right or not."""
        wall = datetime.fromtimestamp(second, ZoneInfo(self.sandbox.timezone))
        return wall.replace(tzinfo=self.account.zone, fold=0).astimezone(UTC)

    def _note(self, source: str, row_id: int, facts: Facts) -> None:
        states = self.states[source].setdefault(row_id, [])
        since = self.clock() if self._opened else -math.inf
        if states and states[-1].seen_from == (since, self.answers):
            states.pop()  # nobody has seen it
        if not states or states[-1].facts != facts:
            states.append(State(facts, since, self.answers))

    def _note_click(self, row: Click) -> None:
        facts = {name: getattr(row, name, None) for name in _LINK}
        sub = row.query_string.rpartition("sub=")[2]
        self._note("links", row.id, facts | {"time": self._instant(row.created), "sub": sub})

    def _note_order(self, row: Order) -> None:
        exact = ("course_give", "course_get", "amount_give", "amount_get")
        facts: dict[str, object] = {name: Decimal(getattr(row, name)) for name in exact}
        facts |= dict.fromkeys(("psys_give", "psys_get", "status", "hash"))
        if self.newer:
            facts |= {name: getattr(row, name) for name in ("status", "hash")}
            facts |= {name: getattr(row, name) for name in ("psys_give", "psys_get")}
        facts |= {
            "id": row.id,
            "time": self._instant(row.edited if self.newer else row.created),
            "exchange_success": row.success,
            "accrued": row.accrued,
            "partner_reward": Decimal(row.reward),
            "currency_code_give": row.currency_give,
            "currency_code_get": row.currency_get,
            "user_hash": row.user_hash,
            "user_ip": row.ip,
        }
        if row.id in self.books.hidden_orders:
            facts = {"time": facts["time"], ABSENT: True}
        self._note("exchanges", row.id, facts)

    def _note_payout(self, row: BookedPayout) -> None:
        facts: dict[str, object] = {
            "id": row.id,
            "time": self._instant(row.created),
            "method_id": row.method_id,
            "account": row.account,
            "pay_amount": Decimal(row.pay_amount),
            "original_amount": Decimal(row.original_amount),
            "status": PayoutStatus(str(row.status)),
            "pay_currency_code": row.pay_currency,
            "original_currency_code": row.original_currency,
        }
        if row.id in self.books.hidden_payouts:
            facts = {"time": facts["time"], ABSENT: True}
        self._note("payouts", row.id, facts)

    def note_absent(self) -> None:
        """Note which rows no answer shows, being removed or hidden, and which are back."""
        books = self.books
        counts = [(len(one), one.next_id) for one in (books.clicks, books.orders, books.payouts)]
        shown = repr((counts, books.hidden_orders, books.hidden_payouts))
        if shown == self._shown:
            return
        self._shown = shown
        self._note_absent("links", books.clicks, (), self._note_click)
        self._note_absent("exchanges", books.orders, books.hidden_orders, self._note_order)
        self._note_absent("payouts", books.payouts, books.hidden_payouts, self._note_payout)

    def _note_absent(
        self,
        source: str,
        shelf: Shelf[RowT],
        hidden: Collection[int],
        note: Callable[[RowT], None],
    ) -> None:
        for row_id, states in self.states[source].items():
            row = shelf.get(row_id)
            if row is None or row_id in hidden:
                self._note(source, row_id, {"time": states[-1].facts["time"], ABSENT: True})
            elif states[-1].is_absent:
                note(row)

    def note_info(self) -> None:
        """Note the balance; the books report rows only."""
        books, balance = self.books, self.books.partner.balance
        payable = Decimal(balance) > 0 or not self.newer
        methods = [m.id for m in books.methods if payable and m.covers(balance)]
        facts = {"balance": Decimal(balance), "min_payout": Decimal(books.min_payout)}
        self._note("info", INFO_ID, {**facts, "items": tuple(methods)})

    def look(self, status: AccountStatus, now: float) -> None:
        """Note when the last poll began that worked."""
        if status.last_success is None:
            return
        began = status.last_success.timestamp() - 1e-5  # a datetime may have rounded it up
        self.begun = min(self.begun, now)
        if not self.polls or began > self.polls[-1]:
            self.polls.append(began)

    def polls_since(self, since: float) -> Sequence[float]:
        """Return when polls began that worked and began after a moment."""
        return self.polls[bisect_right(self.polls, since) :]

    # What the fleet owes

    def is_past(self, states: Sequence[State]) -> bool:
        """Whether a row is from before the time that is delivered of."""
        time = states[0].facts.get("time")
        if not isinstance(time, datetime):  # the balance is never new
            return True
        if self.since is None:
            return states[0].is_first
        return states[0].is_first and time.timestamp() < self.since

    def is_surely_new(self, states: Sequence[State]) -> bool:
        """Whether a row is to be delivered as new: it came when the watch had surely begun."""
        if self.is_past(states):
            return False
        return self.since is not None or states[0].since > self.begun

    def is_forgotten(self, source: str, states: Sequence[State]) -> bool:
        """Whether a row may be from before what the fleet knows of."""
        time = states[0].facts.get("time")
        if not (isinstance(time, datetime) and self.is_past(states)) or source == "links":
            return False
        return self.since is not None or time.timestamp() < self.begun - LOOKBACK + 2 * DAY

    def needless(self, states: Sequence[State]) -> Sequence[Facts]:
        """Return how a row was while it need not be delivered."""
        if self.is_surely_new(states):
            return ()
        is_silent = self.since is None or "balance" in states[0].facts
        until = self.begun if is_silent else -math.inf
        return [state.facts for state in states if state.since <= until]


@define(eq=False)
class Site:
    """A sandbox and the desks of its accounts."""

    sandbox: Sandbox
    desks: list[Desk]
    down_until: float = 0.0
    late_until: float = 0.0
    """Until then nothing gets into the books; then all at once."""
    busy: bool = False
    """Whether things happen while it answers."""


Layout: TypeAlias = Sequence[tuple[Dialect, str, str, int]]
_LAYOUT: Layout = (
    (Dialect.CLASSIC, "UTC", "UTC", 5),
    (Dialect.CLASSIC, "Europe/Moscow", "Europe/Moscow", 5),
    (Dialect.CLASSIC, "Europe/Moscow", "UTC", 4),
    (Dialect.CLASSIC, "Europe/Berlin", "Europe/Berlin", 4),
    (Dialect.DELEGATING, "UTC", "UTC", 5),
    (Dialect.DELEGATING, "Europe/Moscow", "Europe/Moscow", 5),
    (Dialect.DELEGATING, "UTC", "Asia/Tokyo", 4),
    (Dialect.DELEGATING, "Europe/Berlin", "Europe/Berlin", 4),
    (Dialect.CLONE, "UTC", "UTC", 4),
    (Dialect.CLONE, "America/New_York", "UTC", 3),
    (Dialect.USER_API, "UTC", "UTC", 4),
    (Dialect.USER_API, "Europe/Berlin", "Europe/Berlin", 3),
)
"""Dialect, the site's zone, the zone that the accounts name, how many accounts: 50 of them."""


@define(eq=False)
class Park:
    """Twelve live sites with fifty accounts, whose books go on as `step` lets them."""

    draw: random.Random
    clock: Callable[[], float]
    since: float | None = None
    sites: list[Site] = field(factory=list)
    layout: Layout = _LAYOUT
    rates: Rates | None = None
    """None: some thirty orders an hour, by night fewer."""
    rows: tuple[int, ...] = (3, 25)
    """Orders that a site may have at first."""
    _rates: Rates = field(init=False)

    def __attrs_post_init__(self) -> None:
        numbers = itertools.count(1)
        lively = 30 if self.clock() // 3600 % 24 < 4 else 12  # the nights are quiet
        self._rates = self.rates or Rates(
            clicks_per_hour=lively, orders_per_hour=lively, pace=0.15, payout_delay=900
        )
        for number, layout in enumerate(self.layout, 1):
            self.sites.append(self._build(number, numbers, *layout))

    def _build(
        self,
        number: int,
        keys: Iterator[int],
        dialect: Dialect,
        zone: str,
        given: str,
        count: int,
    ) -> Site:
        books = [self._books(next(keys)) for _ in range(count)]
        cap = 30 if number == 9 else ...  # a clone that cuts its answers, unasked
        sandbox = Sandbox(
            dialect,
            books=books[0],
            others=books[1:],
            timezone=zone,
            clock=lambda: self._answer(site),
            cap=cap,
        )
        site = Site(sandbox, [])
        for place, one in enumerate(books):
            login = one.partner.api_login if dialect is Dialect.USER_API else None
            name, key = f"{dialect}-{number}-{place}", one.partner.api_key
            # The port is known only when it listens; till then a desk has an account elsewhere.
            account = Account("http://127.0.0.1:1", key, api_login=login, name=name, timezone=given)
            site.desks.append(Desk(account, one, sandbox, self.clock, since=self.since))
        return site

    def _answer(self, site: Site) -> float:
        """Let things happen between the answers that make up one reading, too."""
        now = self.clock()
        if site.busy and now >= site.late_until and self.draw.random() < 0.2:
            self._go_on(self.draw.choice(site.desks), often=10)
        for desk in site.desks:
            desk.answers += 1
        return now

    def _books(self, number: int) -> Books:
        now, days = int(self.clock()), self.draw.choice((5, 20, 40))
        partner = Partner(id=number, api_key=f"k{number:034}", api_login=f"login{number}")
        # Of a site without any order in 30 days the fleet cannot know that an older one is not new.
        rows = max(self.rows) if days == 40 else self.draw.choice(self.rows)
        return Books.generate(
            self.draw.randrange(10**6),
            rows,
            now - days * DAY,
            now,
            rates=self._rates,
            partner=partner,
        )

    @property
    def desks(self) -> list[Desk]:
        """All accounts."""
        return [desk for site in self.sites for desk in site.desks]

    @property
    def begun(self) -> bool:
        """Whether every account has been polled with success."""
        return all(desk.polls for desk in self.desks)

    async def start(self) -> None:
        """Let all sites listen."""
        for site in self.sites:
            await site.sandbox.start()
            for desk in site.desks:
                desk.account = _at(desk.account, site.sandbox.url)

    async def close(self) -> None:
        """Close all sites."""
        for site in self.sites:
            await site.sandbox.close()

    def step(self) -> None:
        """Let happen in the books what has become due, and what operators think of."""
        now = self.clock()
        for site in self.sites:
            if self.draw.random() < 0.01:
                site.late_until = now + self.draw.uniform(30, 400)
            if now < site.late_until:
                continue
            for desk in site.desks:
                self._go_on(desk)

    def _go_on(self, desk: Desk, often: float = 1) -> None:
        desk.books.advance(self.clock())
        self._meddle(desk.books, int(self.clock()), self.draw.random() / often)
        desk.note_info()
        desk.note_absent()

    def _meddle(self, books: Books, now: int, chance: float) -> None:
        """Take rewards back, revive orders, ask for payouts and settle them; add rows late."""
        if chance < 0.02 and len(books.orders):
            row = self.draw.choice(list(books.orders)[-12:] + list(books.orders)[:1])
            status = self.draw.choice(("success", "cancel", "error", "my12", "coldsuccess"))
            books.move_order(row.id, now, status)
        elif chance < 0.03:
            books.request_payout(11, f"TX{now:032x}", now)
        elif chance < 0.04 and len(books.payouts):
            payout = self.draw.choice(list(books.payouts)[-3:])
            books.payouts.put(evolve(payout, status=self.draw.randrange(4)))
        elif chance < 0.06:  # servers look countries up, and their clocks are set
            late = now - self.draw.randrange(1, 3600)
            order, _ = books.traffic.order(books.orders.next_id, late, late)
            books.orders.put(order)
            books.clicks.put(books.traffic.click(books.clicks.next_id, late))


def _at(account: Account, url: str) -> Account:
    login = account.api_login
    return Account(
        url, account.api_key, api_login=login, name=account.name, timezone=account.timezone
    )
