"""The truth that a sandbox serves: one partner's clicks, orders, payouts and balance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import Enum, auto

from attrs import asdict, evolve

from .records import (
    SUCCESSFUL,
    UNCONFIRMED,
    BookedPayout,
    Click,
    Order,
    Partner,
    PayoutOption,
    Step,
    plain,
)
from .shelf import DAY, By, Shelf
from .traffic import Event, EventKind, Rates, Traffic

WAITING, DONE, CANCELLED, CANCELLED_BY_USER = range(4)

_PAYOUT_PERIOD = 14 * DAY
_CONFIRMED_WITHIN = 15 * 60
# Which of the payouts of generated books, counted in fortnights, came to nothing.
_FAILED_PAYOUTS = {3: CANCELLED, 10: CANCELLED_BY_USER}


class Refusal(Enum):
    """Why a payout is refused."""

    METHOD = auto()
    ACCOUNT = auto()
    BLACKLIST = auto()
    RESERVE = auto()
    BALANCE = auto()


def usual_methods() -> list[PayoutOption]:
    """Return the payout methods of generated books; the second's reserve is always too small."""
    return [
        PayoutOption(id=11, title="Tether TRC20 USDT", currency="USDTTRC20", commission="2"),
        PayoutOption(
            id=22, title="Bitcoin BTC", currency="BTC", rate="0.00001556", reserve="0.00000001"
        ),
        PayoutOption(
            id=33, title="Сбербанк RUB", currency="SBERRUB", commission="1.5", rate="97.4213"
        ),
    ]


class Books:
    """One partner's books on a site.

    Instants are true unix seconds and ranges half-open, whatever clock a server shows. Orders and
    payouts whose ids are in `hidden_orders` and `hidden_payouts` are in the books, and no answer
    shows them: banned, or in the operator's basket.
    """

    def __init__(
        self,
        *,
        partner: Partner | None = None,
        methods: Sequence[PayoutOption] | None = None,
        clicks: Iterable[Click] = (),
        orders: Iterable[Order] = (),
        payouts: Iterable[BookedPayout] = (),
        currency: str = "USD",
        min_payout: str = "10",
        blacklist: Iterable[str] = (),
        traffic: Traffic | None = None,
    ) -> None:
        """Open the books; accounts on `blacklist` are never paid, `traffic` drives `advance`."""
        self.partner = partner or Partner()
        self.methods = list(usual_methods() if methods is None else methods)
        self.clicks = Shelf(clicks)
        self.orders = Shelf(orders)
        self.payouts = Shelf(payouts)
        self.currency = currency
        self.min_payout = min_payout
        self.blacklist = frozenset(blacklist)
        self.traffic = traffic or Traffic()
        self.hidden_orders: set[int] = set()
        self.hidden_payouts: set[int] = set()
        self.keeps_log = True
        """Whether the module that logs statuses is on."""
        self._log_begins: int | None = None

    def __repr__(self) -> str:
        return (
            f"Books(clicks={len(self.clicks)}, orders={len(self.orders)}, "
            f"payouts={len(self.payouts)}, balance={self.partner.balance!r})"
        )

    # --- made up

    @classmethod
    def generate(
        cls,
        seed: int,
        rows: int,
        start: int,
        end: int,
        *,
        clicks: int | None = None,
        rates: Rates | None = None,
        partner: Partner | None = None,
    ) -> Books:
        """Make up `rows` orders created in ``[start, end)`` and all that goes with them.

        The same arguments make the same books, but for the partner's key. Clicks are three to
        an order, up to 30,000, unless told. What the orders will do after `end` is on the agenda
        of `advance`.
        """
        traffic = Traffic(seed, rates=rates)
        orders = []
        for row_id, at in enumerate(traffic.times(rows, start, end), 1):
            order, steps = traffic.order(row_id, at, end - 1)
            orders.append(order)
            traffic.expect_steps(row_id, steps)
        visits = traffic.times(min(3 * rows, 30_000) if clicks is None else clicks, start, end)
        books = cls(
            partner=partner,
            clicks=[traffic.click(row_id, at) for row_id, at in enumerate(visits, 1)],
            orders=orders,
            traffic=traffic,
        )
        books._settle(start, end)
        traffic.begin(end)
        return books

    @classmethod
    def uniform(
        cls,
        rows: int,
        start: int,
        end: int,
        *,
        burst_at: int | None = None,
        burst: int = 1300,
        seed: int = 1,
    ) -> Books:
        """Make `rows` successful orders evenly spaced over ``[start, end)``, cheaply.

        With `burst_at`, that second holds `burst` of them (and any that falls there anyway).
        Orders never move (edited = created), and there are no clicks and no payouts.
        """
        crowd = 0 if burst_at is None else min(burst, rows)
        even = rows - crowd
        times = [start + index * (end - start) // even for index in range(even)]
        if burst_at is not None:
            times = sorted(times + [burst_at] * crowd)
        sample, _ = Traffic(seed).order(1, start, start)
        own = ("id", "created", "history", "given_hash")
        shared = asdict(
            evolve(sample, success=True, accrued=True),
            recurse=False,
            filter=lambda attribute, _: attribute.name not in own,
        )
        orders = (
            Order(id=row_id, created=at, history=((at, "success"),), **shared)
            for row_id, at in enumerate(times, 1)
        )
        balance = plain(Decimal(sample.reward) * rows)
        return cls(partner=Partner(balance=balance), orders=orders)

    def _settle(self, start: int, end: int) -> None:
        """Pay out what had accrued every fortnight, so that rewards, payouts and balance agree."""
        changes = sorted(change for order in self.orders for change in _accruals(order))
        taken = iter(changes)
        upcoming = next(taken, None)
        for number, at in enumerate(range(start + _PAYOUT_PERIOD, end, _PAYOUT_PERIOD), 1):
            while upcoming is not None and upcoming[0] <= at:
                self._credit(upcoming[1])
                upcoming = next(taken, None)
            if self._refusal_of_balance() is None:
                self._conclude(
                    self._book_payout(self.methods[0], f"TX{number:032x}", at), number, end
                )
        while upcoming is not None:
            self._credit(upcoming[1])
            upcoming = next(taken, None)

    def _conclude(self, payout: BookedPayout, number: int, end: int) -> None:
        status = _FAILED_PAYOUTS.get(number, DONE)
        decided = payout.created + self.traffic.rates.payout_delay
        if decided < end:
            self.move_payout(payout.id, status)
        else:
            self.traffic.expect([Event(decided, EventKind.PAYOUT_MOVES, payout.id)])

    # --- questions about the truth

    def exchanges_in(
        self, start: int | None = None, end: int | None = None, *, by: By = "created"
    ) -> list[Order]:
        """Return the orders created, or last edited, in the range, oldest first."""
        return self.orders.within(start, end, by=by)

    def links_in(self, start: int | None = None, end: int | None = None) -> list[Click]:
        """Return the clicks in the range, oldest first."""
        return self.clicks.within(start, end)

    def payouts_in(self, start: int | None = None, end: int | None = None) -> list[BookedPayout]:
        """Return the payouts requested in the range, oldest first."""
        return self.payouts.within(start, end)

    def rewards_by_currency(
        self, start: int | None = None, end: int | None = None, *, by: By = "created"
    ) -> dict[str, Decimal]:
        """Add up the accrued rewards in the range, by the currency that was given."""
        totals: dict[str, Decimal] = {}
        for order in self.exchanges_in(start, end, by=by):
            if order.accrued:
                totals[order.currency_give] = totals.get(order.currency_give, Decimal()) + Decimal(
                    order.reward
                )
        return totals

    def log_of(self, order: Order) -> Iterable[Step] | None:
        """Return what is left of an order's log of statuses; None where none is kept."""
        if not self.keeps_log:
            return None
        begins = self._log_begins
        return [step for step in order.log if begins is None or step[0] >= begins]

    # --- changes

    def place_order(self, order: Order) -> None:
        """Take an order that waits for its confirmation: hidden, and removed after 15 minutes.

        It is removed by `advance`, unless `confirm_order` comes before.
        """
        self.orders.put(evolve(order, history=((order.created, UNCONFIRMED),)))
        self.hidden_orders.add(order.id)
        lapses = Event(order.created + _CONFIRMED_WITHIN, EventKind.ORDER_LAPSES, order.id)
        self.traffic.expect([lapses])

    def confirm_order(self, row_id: int, at: int) -> Order:
        """Confirm an order: it appears, created and edited at that moment."""
        old = self.orders[row_id]
        order = evolve(old, created=at, history=((at, "new"),), placed=old.created)
        self.orders.put(order)
        self.hidden_orders.discard(row_id)
        return order

    def set_by_hand(self, row_id: int, *, accrued: bool, reward: str) -> Order:
        """Do what an operator does on the page of partner exchanges: the time of edit stays."""
        old = self.orders[row_id]
        order = evolve(old, accrued=accrued, reward=reward)
        self.orders.put(order)
        for one, sign in ((old, -1), (order, 1)):
            if one.accrued:
                self._credit(sign * Decimal(one.reward))
        return order

    def forget(self, *, clicks: int = 0, orders: int = 0, history: int | None = None) -> None:
        """Delete clicks and orders before an instant, and what the log of statuses holds of then.

        Sites do so daily: clicks after 60 days, orders 60 days after their last edit where they
        are archived, the log after 40.
        """
        for click in self.links_in(end=clicks):
            self.clicks.remove(click.id)
        for order in self.exchanges_in(end=orders, by="edited"):
            self.orders.remove(order.id)
        self._log_begins = self._log_begins if history is None else history

    def _credit(self, amount: Decimal) -> None:
        self.partner.balance = plain(Decimal(self.partner.balance) + amount)

    def move_order(self, row_id: int, at: int, status: str) -> Order:
        """Give an order a new status; success accrues the reward, leaving it takes it back."""
        old = self.orders[row_id]
        won = status in SUCCESSFUL
        order = evolve(old, history=(*old.history, (at, status)), success=won, accrued=won)
        self.orders.put(order)
        if order.accrued != old.accrued:
            self._credit(Decimal(order.reward) if order.accrued else -Decimal(order.reward))
        return order

    def move_payout(self, row_id: int, status: int) -> BookedPayout:
        """Settle a waiting payout: the money is gone for good, or comes back to the balance."""
        payout = evolve(self.payouts[row_id], status=status)
        self.payouts.put(payout)
        amount = Decimal(payout.original_amount)
        if status == DONE:
            self.partner.received = plain(Decimal(self.partner.received) + amount)
        else:
            self._credit(amount)
        return payout

    def request_payout(self, method_id: int, account: str, now: int) -> BookedPayout | Refusal:
        """Request the whole balance, or tell the first reason why not, as servers check them."""
        method = next((method for method in self.methods if method.id == method_id), None)
        if method is None:
            return Refusal.METHOD
        refusal = self._refusal(method, account)
        if refusal is not None:
            return refusal
        payout = self._book_payout(method, account, now)
        settled = Event(now + self.traffic.rates.payout_delay, EventKind.PAYOUT_MOVES, payout.id)
        self.traffic.expect([settled])
        return payout

    def _refusal(self, method: PayoutOption, account: str) -> Refusal | None:
        if re.fullmatch(method.account_pattern, account) is None:
            return Refusal.ACCOUNT
        if account in self.blacklist:
            return Refusal.BLACKLIST
        refusal = self._refusal_of_balance()
        if refusal is None and not method.covers(self.partner.balance):
            return Refusal.RESERVE
        return refusal

    def _refusal_of_balance(self) -> Refusal | None:
        balance = Decimal(self.partner.balance)
        return Refusal.BALANCE if balance <= 0 or balance < Decimal(self.min_payout) else None

    def _book_payout(self, method: PayoutOption, account: str, at: int) -> BookedPayout:
        balance = self.partner.balance
        payout = BookedPayout(
            id=self.payouts.next_id,
            created=at,
            method_id=method.id,
            account=account,
            pay_amount=plain(method.receives(balance)),
            pay_currency=method.currency,
            original_amount=balance,
            original_currency=self.currency,
        )
        self.payouts.put(payout)
        self.partner.balance = "0"
        return payout

    def advance(self, now: float) -> int:
        """Let happen what happens up to `now`, and return how many things did.

        Asked often or seldom, the outcome is the same.
        """
        happened = 0
        for event in self.traffic.due(now):
            self._apply(event)
            happened += 1
        return happened

    def _apply(self, event: Event) -> None:
        if event.kind is EventKind.CLICK:
            self.clicks.put(self.traffic.click(self.clicks.next_id, event.at))
        elif event.kind is EventKind.ORDER:
            order, steps = self.traffic.order(self.orders.next_id, event.at, event.at)
            self.orders.put(order)
            self.traffic.expect_steps(order.id, steps)
        elif event.kind in (EventKind.ORDER_MOVES, EventKind.ORDER_LAPSES):
            self._go_on_with(event)
        elif event.kind is EventKind.BY_HAND:
            self._set_any_by_hand()
        elif event.kind is EventKind.BASKET:
            self._move_basket(event)
        elif event.kind is EventKind.PAYOUT and self.methods:
            wallet = f"TX{self.payouts.next_id:032x}"
            self.request_payout(self.methods[0].id, wallet, event.at)
        elif event.row_id and self.payouts[event.row_id].status == WAITING:
            self.move_payout(event.row_id, DONE)

    def _go_on_with(self, event: Event) -> None:
        """Let an order move or lapse, unless it was deleted or confirmed meanwhile."""
        row_id = event.row_id
        if event.kind is EventKind.ORDER_MOVES and self.orders.get(row_id) is not None:
            self.move_order(row_id, event.at, event.status)
        elif event.kind is EventKind.ORDER_LAPSES and row_id in self.hidden_orders:
            self.hidden_orders.discard(row_id)
            self.orders.remove(row_id)

    def _set_any_by_hand(self) -> None:
        row_id = self.traffic.pick(self.orders.next_id)
        order = self.orders.get(row_id)
        if order is not None and row_id not in self.hidden_orders:
            reward = plain(Decimal(order.reward) + Decimal("0.01"))
            self.set_by_hand(row_id, accrued=not order.accrued, reward=reward)

    def _move_basket(self, event: Event) -> None:
        """Put a payout into the operator's basket, or take the one out that is in it."""
        if event.row_id:
            self.hidden_payouts.discard(event.row_id)
            return
        row_id = self.traffic.pick(self.payouts.next_id)
        if self.payouts.get(row_id) is not None and row_id not in self.hidden_payouts:
            self.hidden_payouts.add(row_id)
            out = event.at + self.traffic.rates.basket_time
            self.traffic.expect([Event(out, EventKind.BASKET, row_id)])


def _accruals(order: Order) -> list[tuple[int, Decimal]]:
    """List when an order's reward came and went."""
    changes = []
    held = False
    for at, status in order.history:
        if (status in SUCCESSFUL) != held:
            held = not held
            changes.append((at, Decimal(order.reward) if held else -Decimal(order.reward)))
    return changes
