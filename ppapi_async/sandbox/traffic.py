"""Seeded traffic: visitors, orders that live through their statuses, and what is to come."""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum, auto
from typing import Any
from urllib.parse import quote

from attrs import evolve, frozen

from .records import SUCCESSFUL, Click, Order, Step, plain
from .shelf import DAY

# Share of the day's busiest traffic, hour by hour in UTC: quiet nights, a long afternoon.
_RHYTHM = tuple(
    share / 100
    for share in (
        25,
        18,
        14,
        12,
        14,
        22,
        36,
        52,
        68,
        80,
        90,
        96,
        100,
        98,
        95,
        92,
        90,
        88,
        84,
        76,
        66,
        54,
        42,
        32,
    )
)
_BURST_CHANCE = 0.01
_BURST_SIZES = (2, 3, 3, 4, 6, 9)
_DEALS = 512
_VISITORS = 1024
_REWARD_SHARE = Decimal("0.003")

_MINUTE, _HOUR = 60, 3600
_Story = tuple[tuple[str, int], ...]
# How orders go: a weight, then statuses after "new" with the mean delay of each in seconds.
_STORIES: tuple[tuple[int, _Story], ...] = (
    (52, (("payed", 7 * _MINUTE), ("success", 25 * _MINUTE))),
    (9, (("techpay", 4 * _MINUTE), ("realpay", 9 * _MINUTE), ("success", 12 * _MINUTE))),
    (14, (("cancel", 40 * _MINUTE),)),
    (5, (("delete", 5 * _HOUR),)),
    (5, (("payed", 8 * _MINUTE), ("verify", 10 * _MINUTE), ("success", 3 * _HOUR))),
    (3, (("payed", 8 * _MINUTE), ("amlwait", 5 * _MINUTE), ("amlerror", 6 * _HOUR))),
    (3, (("payed", 8 * _MINUTE), ("error", 2 * _HOUR), ("success", 9 * _HOUR))),
    (2, (("payed", 8 * _MINUTE), ("my12", _HOUR), ("success", 5 * _HOUR))),
    (2, (("payed", 8 * _MINUTE), ("success", 20 * _MINUTE), ("cancel", 4 * DAY))),
    (5, ()),
)
_ROADS = tuple(story for _, story in _STORIES)
_ROAD_WEIGHTS = tuple(itertools.accumulate(weight for weight, _ in _STORIES))

# Code and name given, code and name got, what one gives and gets at the rate, a usual amount
# given, dollars for one given.
_PAIRS = (
    ("USDTTRC20", "Tether TRC20", "SBERRUB", "Сбербанк", "1", "97.4213", "350", "1"),
    ("BTC", "Bitcoin", "USDTTRC20", "Tether TRC20", "1", "64250.5", "0.015", "64250.5"),
    ("USDTTRC20", "Tether TRC20", "BTC", "Bitcoin", "1", "0.00001556", "500", "1"),
    ("SBERRUB", "Сбербанк", "BTC", "Bitcoin", "6250000", "1", "45000", "0.0103"),
    ("ETH", "Ethereum", "CARDUAH", "Visa/MasterCard UAH", "1", "104012.77", "0.2", "2510"),
    ("XMR", "Monero", "USDTTRC20", "Tether TRC20", "1", "158.3", "2.5", "158.3"),
    ("LTC", "Litecoin", "", "Наличные & курьер", "1", "84.02", "6", "84"),
)
_BROWSERS = ("Chrome", "Firefox", "Safari", "Edge", "Opera", "Яндекс.Браузер")
_REFERRERS = (
    "",
    "",
    'https://t.me/crypto_club?post=7&from="pin"',
    "https://example.org/обмен",
    "https://forum.example.net/topic/41?page=2&sort=asc",
)
# Some of these are words that the servers disguise, and texts that they escape.
_CAMPAIGNS = tuple(
    quote(campaign)
    for campaign in (
        "telegram",
        "select",
        "youtube",
        "обзор",
        "update",
        "it's ok",
        "banner_3",
        "Script",
        "sub-17",
    )
)


@frozen
class _Deal:
    """What is exchanged, shared by many orders so that a million of them stay small."""

    currency_give: str
    psys_give: str
    currency_get: str
    psys_get: str
    course_give: str
    course_get: str
    amount_give: str
    amount_get: str
    reward: str


_USUAL_ORDERS = 20.0  # an hour
_ORDERS_PER_PAYOUT = 20


@frozen(kw_only=True)
class Rates:
    """How lively a site is. `pace` stretches (above 1) or squeezes the time between statuses.

    `by_hand_per_hour`: how often an operator changes an order's reward and accrual without moving
    its time. `baskets_per_hour`: how often a payout vanishes, for `basket_time` seconds.
    `payouts_per_hour`: how often the partner requests a payout on the site's own page. The hourly
    rates are those of the day's busiest time, unless `around_the_clock`.
    """

    clicks_per_hour: float = 60.0
    orders_per_hour: float = _USUAL_ORDERS
    pace: float = 1.0
    payout_delay: int = 2 * _HOUR
    by_hand_per_hour: float = 0.0
    baskets_per_hour: float = 0.0
    basket_time: int = _HOUR
    payouts_per_hour: float = 0.0
    around_the_clock: bool = False

    def at_pace(self, orders_per_hour: float) -> Rates:
        """Return the rates of a site that lives so much faster or slower that so many orders come.

        All else goes with the orders: clicks, what operators do, the steps of orders and payouts.
        They come by day and by night alike, and with payouts: one to twenty orders, if these rates
        have none.

        Raises:
            ValueError: no order would come.
        """
        if not 0 < orders_per_hour < float("inf"):
            raise ValueError("pace: pass how many orders come in an hour, a number above 0")
        faster = orders_per_hour / (self.orders_per_hour or _USUAL_ORDERS)
        return evolve(
            self,
            clicks_per_hour=self.clicks_per_hour * faster,
            orders_per_hour=orders_per_hour,
            pace=self.pace / faster,
            payout_delay=round(self.payout_delay / faster),
            by_hand_per_hour=self.by_hand_per_hour * faster,
            baskets_per_hour=self.baskets_per_hour * faster,
            basket_time=round(self.basket_time / faster),
            payouts_per_hour=self.payouts_per_hour * faster or orders_per_hour / _ORDERS_PER_PAYOUT,
            around_the_clock=True,
        )


def _draw_deal(draw: random.Random) -> _Deal:
    give, give_name, get, get_name, course_give, course_get, usual, dollars = draw.choice(_PAIRS)
    course = round(Decimal(course_get) * Decimal(repr(draw.uniform(0.98, 1.02))), 8)
    amount = round(Decimal(usual) * Decimal(repr(draw.lognormvariate(0, 0.8))), 6)
    return _Deal(
        give, give_name, get, get_name, course_give, plain(course), plain(amount),
        plain(round(amount * course / Decimal(course_give), 8)),
        plain(round(amount * Decimal(dollars) * _REWARD_SHARE, 8)),
    )  # fmt: skip


def _draw_visitor(draw: random.Random) -> tuple[str, str]:
    user_hash = f"{draw.getrandbits(128):032x}"
    if draw.random() < 0.1:
        return user_hash, f"2001:db8::{draw.randrange(1, 65_536):x}"
    return user_hash, f"203.0.113.{draw.randrange(1, 255)}"


@functools.lru_cache(maxsize=16)
def _who_comes(seed: int) -> tuple[Sequence[_Deal], Sequence[tuple[str, str]], tuple[Any, ...]]:
    """Draw the deals and visitors that rows are drawn from; return the state of chance after it.

    That takes as long as to start a server, and most tests of users start many from one seed.
    """
    draw = random.Random(seed)
    deals = tuple(_draw_deal(draw) for _ in range(_DEALS))
    visitors = tuple(_draw_visitor(draw) for _ in range(_VISITORS))
    return deals, visitors, draw.getstate()


class EventKind(Enum):
    """What can happen."""

    CLICK = auto()
    ORDER = auto()
    ORDER_MOVES = auto()
    PAYOUT_MOVES = auto()
    ORDER_LAPSES = auto()
    BY_HAND = auto()
    BASKET = auto()
    PAYOUT = auto()


@frozen
class Event:
    """Something that happens at an instant, to the row `row_id` if it moves one."""

    at: int
    kind: EventKind
    row_id: int = 0
    status: str = ""

    @property
    def is_arrival(self) -> bool:
        """Whether something new comes, and the next one of its kind after it."""
        return self.kind in _ARRIVALS and not self.row_id


_ARRIVALS: Mapping[EventKind, Callable[[Rates], float]] = {
    EventKind.CLICK: lambda rates: rates.clicks_per_hour,
    EventKind.ORDER: lambda rates: rates.orders_per_hour,
    EventKind.BY_HAND: lambda rates: rates.by_hand_per_hour,
    EventKind.BASKET: lambda rates: rates.baskets_per_hour,
    EventKind.PAYOUT: lambda rates: rates.payouts_per_hour,
}
"""What comes again and again, and how often in an hour."""


class Traffic:
    """Draws clicks and orders, and holds the agenda of what is still to happen.

    Everything is drawn in the order of time, so the same seed tells the same story however often
    it is asked.
    """

    def __init__(self, seed: int = 1, *, rates: Rates | None = None) -> None:
        """Prepare the deals and visitors that rows are drawn from."""
        self.rates = rates or Rates()
        self._random = random.Random()
        self._deals, self._visitors, drawn = _who_comes(seed)
        self._random.setstate(drawn)
        self._agenda: list[tuple[float, int, Event]] = []
        self._ticket = itertools.count()
        self._begun = False

    def times(self, count: int, start: int, end: int) -> list[int]:
        """Draw rising instants in ``[start, end)``: day and night, bursts that share a second."""
        found: list[int] = []
        draw = self._random.random
        while len(found) < count:
            at = start + int(draw() * (end - start))
            if draw() < _RHYTHM[at // _HOUR % 24]:
                burst = self._random.choice(_BURST_SIZES) if draw() < _BURST_CHANCE else 1
                found.extend([at] * burst)
        return sorted(found[:count])

    def click(self, row_id: int, at: int) -> Click:
        """Draw a click."""
        user_hash, ip = self._random.choice(self._visitors)
        return Click(
            id=row_id,
            created=at,
            browser=self._random.choice(_BROWSERS),
            ip=ip,
            referrer=self._random.choice(_REFERRERS),
            user_hash=user_hash,
            query_string=f"rid=17&utm_source={self._random.choice(_CAMPAIGNS)}&sub={row_id % 97}",
        )

    def order(self, row_id: int, at: int, until: int) -> tuple[Order, tuple[Step, ...]]:
        """Draw an order as it stands at `until`, and the steps that it will take later."""
        deal = self._random.choice(self._deals)
        user_hash, ip = self._random.choice(self._visitors)
        steps = self._life(at)
        history = tuple(step for step in steps if step[0] <= until)
        won = history[-1][1] in SUCCESSFUL
        order = Order(
            id=row_id, created=at, history=history, success=won, accrued=won, reward=deal.reward,
            currency_give=deal.currency_give, currency_get=deal.currency_get,
            psys_give=deal.psys_give, psys_get=deal.psys_get,
            course_give=deal.course_give, course_get=deal.course_get,
            amount_give=deal.amount_give, amount_get=deal.amount_get,
            user_hash=user_hash, ip=ip,
        )  # fmt: skip
        return order, steps[len(history) :]

    def _life(self, at: int) -> tuple[Step, ...]:
        road = self._random.choices(_ROADS, cum_weights=_ROAD_WEIGHTS)[0]
        steps = [(at, "new")]
        for status, mean in road:
            at += 1 + int(mean * self.rates.pace * (0.2 + 1.6 * self._random.random()))
            steps.append((at, status))
        return tuple(steps)

    def expect(self, events: Iterable[Event]) -> None:
        """Put events on the agenda."""
        for event in events:
            self._put(event.at, event)

    def expect_steps(self, row_id: int, steps: Iterable[Step]) -> None:
        """Put the coming steps of an order on the agenda."""
        self.expect(Event(at, EventKind.ORDER_MOVES, row_id, status) for at, status in steps)

    def _put(self, at: float, event: Event) -> None:
        heapq.heappush(self._agenda, (at, next(self._ticket), event))

    def begin(self, at: float) -> None:
        """Let clicks, orders and all else that has a rate come from an instant on."""
        self._begun = True
        for kind in _ARRIVALS:
            self._arrive(kind, at)

    def change_rates(self, rates: Rates, at: float) -> None:
        """Go on at other rates from an instant on; steps that are on the agenda stay there."""
        self.rates = rates
        if self._begun:
            self._agenda = [entry for entry in self._agenda if not entry[2].is_arrival]
            heapq.heapify(self._agenda)
            self.begin(at)

    def pick(self, end: int) -> int:
        """Draw an id below `end`."""
        return self._random.randrange(1, max(2, end))

    def _arrive(self, kind: EventKind, after: float) -> None:
        """Put the next event of a kind on the agenda."""
        per_hour = _ARRIVALS[kind](self.rates)
        if per_hour <= 0:
            return
        at = after
        while True:
            at += self._random.expovariate(per_hour / _HOUR)
            if self.rates.around_the_clock:
                break
            if self._random.random() < _RHYTHM[int(at) // _HOUR % 24]:
                break
        self._put(at, Event(int(at), kind))

    def due(self, now: float) -> Iterator[Event]:
        """Take off the agenda what happens up to `now`; a running second may yet bring more."""
        if not self._begun:
            self.begin(now)
        while self._agenda and self._agenda[0][0] <= now:
            at, _, event = heapq.heappop(self._agenda)
            if event.is_arrival:
                self._arrive(event.kind, at)
            yield event
