"""What wants a hand, found in plain facts of an account. Pure.

A finding must be worth a partner's time: each threshold is measured by what is usual at the very
account, and says nothing where too little is known of it. They stand beside their kinds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TypeAlias

from attrs import field, frozen

from ppapi_async.cli.report.data import (
    ALL_ACCOUNTS,
    Exhibit,
    Finding,
    FindingKind,
    PayoutLine,
    Range,
    Severity,
)
from ppapi_async.cli.report.sums import total

__all__ = [
    "SHOWN",
    "AccountFacts",
    "BalanceFacts",
    "LateOrder",
    "LateOrders",
    "TakenBack",
    "UnreadableFact",
    "accrual_limit",
    "behind",
    "findings_of",
    "graver_first",
    "unfollowed",
]

Counts: TypeAlias = Mapping[date, int]
_DAY = timedelta(days=1)
_LONGEST = 40
"""Characters of an amount; the wire allows for thousands."""
SHOWN = 5
"""Rows that are shown of a finding."""

_BEHIND = _DAY
"""Who synchronises by cron does so once a day."""
_BEHIND_OTHERS = timedelta(hours=6)
"""What was caught up so much earlier than half of the others has failed since; a first reading of
many accounts may take hours."""

_WINDOW = 28
"""Days before the last event that say what is usual: four weeks, for weekdays differ."""
_QUIET_DAYS, _QUIET_EVENTS = 7, 20
"""Days with events, and events, that there must have been in these four weeks."""
_QUIET_EXPECTED = 10
"""Events that should have come: that none does is one case in 22,000 if they come by chance; some
room, for they come in bursts."""
_ORDER_DAYS, _ORDERS, _CLICKS = 5, 10, 50
"""The same of orders, and the clicks of the time."""
_ORDERS_EXPECTED = 8
"""One case in 3,000."""

_ENOUGH_PAYOUTS, _PAYOUT_WAIT = 5, timedelta(days=7)
"""Payouts of which it is known how long they took; and how long is long where it is not."""
_ENOUGH_ACCRUALS, _ACCRUAL_WAIT = 10, timedelta(days=30)
"""The same of rewards. Sites credit some of them by hand, once a month."""
_LEAST_ACCRUAL_WAIT = timedelta(days=3)
_LATE_ORDERS = 3
"""One or two may have a reason."""

_NOISE = Decimal("1e-9")
"""Of the turnover: amounts go through floats, which have 15 digits, and are added up there."""


@frozen(kw_only=True)
class TakenBack:
    """An order whose reward was credited, and is no longer, or less."""

    id: int
    seen_at: datetime
    credited: Decimal
    left: Decimal


@frozen(kw_only=True)
class LateOrder:
    """An order that was carried out, and its reward was not credited."""

    id: int
    time: datetime
    reward: Decimal


@frozen(kw_only=True)
class LateOrders:
    """Those of an account that wait for longer than `accrual_limit`."""

    first: Sequence[LateOrder] = ()
    """The oldest ones."""
    count: int = 0
    rewards: Decimal = Decimal()


@frozen(kw_only=True)
class UnreadableFact:
    """A row that cannot be read."""

    resource: str
    id: int | None
    time: datetime | None
    problem: str


@frozen(kw_only=True)
class BalanceFacts:
    """What a balance should be made of, where all of the account's history is known."""

    balance: Decimal
    told_at: datetime
    accrued: Decimal
    """All rewards ever credited, those of archived orders too."""
    waiting: Decimal
    paid: Decimal
    unsure_less: Decimal = Decimal()
    """By so much it may be less: what changed when the balance had just been read."""
    unsure_more: Decimal = Decimal()
    gone: Sequence[Exhibit] = ()
    """Orders that are gone and had been credited: if they were banned, their rewards are lost."""


@frozen(kw_only=True)
class AccountFacts:
    """What is known of an account."""

    name: str
    currency: str
    now: datetime
    first_seen: datetime
    last_synced: datetime | None
    seen_to: datetime
    """What came later, the mirror cannot know, or is not asked for."""
    today: date
    """The day of `seen_to`."""
    clicks: Counts = field(factory=dict)
    """By day, for a few months."""
    orders: Counts = field(factory=dict)
    last_click: datetime | None = None
    last_order: datetime | None = None
    last_order_day: date | None = None
    last_day: date | None = None
    """Of the last click or order."""
    taken_back: Sequence[TakenBack] = ()
    waiting: Sequence[PayoutLine] = ()
    payout_times: Sequence[timedelta] = ()
    late: LateOrders = LateOrders()
    accrual_times: Sequence[timedelta] = ()
    balance: BalanceFacts | None = None
    gaps: Sequence[tuple[str, Range]] = ()
    """Times of a resource, within the report, that are not proven and should be."""
    unreadable: Sequence[UnreadableFact] = ()
    unreadable_count: int = 0


def findings_of(facts: AccountFacts) -> Iterator[Finding]:
    """Yield what wants a hand at an account; see `behind` for what needs the other accounts."""
    found = (
        _taken_back(facts),
        _payout_waiting(facts),
        _accruals_lag(facts),
        _quiet(facts),
        _clicks_without_orders(facts),
        _balance_unexplained(facts),
        _coverage_incomplete(facts),
        _rows_unreadable(facts),
    )
    for finding in found:
        if finding is not None:
            yield finding


def graver_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order in which they want a hand."""
    severities, kinds = list(Severity), list(FindingKind)
    return sorted(
        findings,
        key=lambda one: (
            severities.index(one.severity), kinds.index(one.kind), -one.count, one.account
        ),
    )  # fmt: skip


def unfollowed(accounts: Sequence[AccountFacts], known: Collection[str]) -> list[str]:
    """Return the accounts of the copy that nobody follows any more.

    They are not in the accounts file, and have not been copied for a day: what another machine with
    a file of its own copies is followed still.

    Args:
        accounts: those of the copy.
        known: the names in the accounts file. If it has none of the copy, it is the file of
            another one, and says nothing here.
    """
    if all(one.name not in known for one in accounts):
        return []
    return [
        one.name
        for one in accounts
        if one.name not in known and one.now - (one.last_synced or one.first_seen) > _BEHIND
    ]


def behind(accounts: Sequence[AccountFacts]) -> Iterator[Finding]:
    """Yield who is behind: for longer than a day, or than the others.

    If all of them are, and by the same, nobody has synchronised the mirror, which is one finding.
    An account that was taken in within the last day may be at its first reading still.
    """
    synced = sorted(one.last_synced for one in accounts if one.last_synced is not None)
    usual = synced[len(synced) // 2] if synced else None
    if usual is not None and len(synced) > 1 and accounts[0].now - usual > _BEHIND:
        yield Finding(
            kind=FindingKind.SITE_BEHIND,
            severity=Severity.MEDIUM,
            account=ALL_ACCOUNTS,
            since=synced[-1],
            lasting=accounts[0].now - synced[-1],
        )
        usual_wait = None  # only who is behind the others as well has a finding of its own
    else:
        usual_wait = _BEHIND
    for one in accounts:
        since = one.last_synced or one.first_seen
        lasting = one.now - since
        is_late = usual_wait is not None and lasting > usual_wait
        is_behind = usual is not None and len(synced) > 1 and usual - since > _BEHIND_OTHERS
        if one.last_synced is None:
            is_behind = is_behind and lasting > _BEHIND
        if is_late or is_behind:
            yield Finding(
                kind=FindingKind.SITE_BEHIND,
                severity=Severity.MEDIUM,
                account=one.name,
                since=since,
                lasting=lasting,
            )


def _taken_back(facts: AccountFacts) -> Finding | None:
    """Tell of rewards that were credited and are no longer: each of them, for it is money."""
    lost = sorted(facts.taken_back, key=lambda one: (one.seen_at, one.id))
    if not lost:
        return None
    return Finding(
        kind=FindingKind.REWARDS_TAKEN_BACK,
        severity=Severity.HIGH,
        account=facts.name,
        count=len(lost),
        since=lost[0].seen_at,
        amount=total(one.credited - one.left for one in lost),
        currency=facts.currency,
        evidence=tuple(
            Exhibit(
                resource="exchanges",
                id=one.id,
                at=one.seen_at,
                before=_plain(one.credited),
                after=_plain(one.left),
                amount=one.credited - one.left,
                currency=facts.currency,
            )
            for one in lost[:SHOWN]
        ),
    )


def _payout_waiting(facts: AccountFacts) -> Finding | None:
    """Tell of payouts that wait for longer than half as long again as nine in ten took here."""
    usual, limit = None, _PAYOUT_WAIT
    if len(facts.payout_times) >= _ENOUGH_PAYOUTS:
        usual = _share(facts.payout_times, 0.5)
        limit = max(1.5 * _share(facts.payout_times, 0.9), _DAY)
    late = sorted(
        (one for one in facts.waiting if facts.seen_to - one.time > limit),
        key=lambda one: (one.time, one.id),
    )
    if not late:
        return None
    currencies = {one.original_currency for one in late}
    return Finding(
        kind=FindingKind.PAYOUT_WAITING,
        severity=Severity.HIGH,
        account=facts.name,
        count=len(late),
        since=late[0].time,
        amount=total(one.original_amount for one in late) if len(currencies) == 1 else None,
        currency=currencies.pop() if len(currencies) == 1 else None,
        lasting=facts.seen_to - late[0].time,
        usual=usual,
        evidence=tuple(
            Exhibit(
                resource="payouts",
                id=one.id,
                at=one.time,
                amount=one.original_amount,
                currency=one.original_currency,
            )
            for one in late[:SHOWN]
        ),
    )


def accrual_limit(times: Sequence[timedelta]) -> timedelta:
    """Return for how long a reward may wait here: twice as long as nine in ten did."""
    if len(times) < _ENOUGH_ACCRUALS:
        return _ACCRUAL_WAIT
    return max(2 * _share(times, 0.9), _LEAST_ACCRUAL_WAIT)


def _accruals_lag(facts: AccountFacts) -> Finding | None:
    late = facts.late
    if late.count < _LATE_ORDERS:
        return None
    is_known = len(facts.accrual_times) >= _ENOUGH_ACCRUALS
    return Finding(
        kind=FindingKind.ACCRUALS_LAG,
        severity=Severity.HIGH,
        account=facts.name,
        count=late.count,
        since=late.first[0].time,
        amount=late.rewards,
        currency=facts.currency,
        lasting=facts.seen_to - late.first[0].time,
        usual=_share(facts.accrual_times, 0.5) if is_known else None,
        evidence=tuple(
            Exhibit(
                resource="exchanges",
                id=one.id,
                at=one.time,
                amount=one.reward,
                currency=facts.currency,
            )
            for one in late.first[:SHOWN]
        ),
    )


def _quiet(facts: AccountFacts) -> Finding | None:
    """Tell of an account where nothing comes any more, which is more than a pause of its own."""
    last = max(filter(None, (facts.last_click, facts.last_order)), default=None)
    if last is None or facts.last_day is None:
        return None
    events = _added(facts.clicks, facts.orders)
    usual = _usual(events, facts.last_day)
    days = (facts.seen_to - last) / _DAY
    expected = usual.rate * days
    if (
        usual.active < _QUIET_DAYS
        or usual.events < _QUIET_EVENTS
        or expected < _QUIET_EXPECTED
        or days < 1
        or days <= 2 * usual.longest_pause
    ):
        return None
    resource = "links" if last == facts.last_click else "exchanges"
    return Finding(
        kind=FindingKind.SITE_QUIET,
        severity=Severity.MEDIUM,
        account=facts.name,
        since=last,
        expected=Decimal(round(expected)),
        lasting=facts.seen_to - last,
        evidence=(Exhibit(resource=resource, at=last),),
    )


def _clicks_without_orders(facts: AccountFacts) -> Finding | None:
    """Tell of clicks that by the rate of the weeks before would have brought several orders.

    Whole days count: those after the last order's.
    """
    day = facts.last_order_day
    if day is None or facts.last_order is None:
        return None
    before = _usual(facts.orders, day)
    clicks_before = sum(_window(facts.clicks, day).values())
    clicks = sum(count for one, count in facts.clicks.items() if day < one <= facts.today)
    if before.active < _ORDER_DAYS or before.events < _ORDERS or clicks_before < _CLICKS:
        return None
    expected = clicks * min(1.0, before.events / clicks_before)
    days = (facts.today - day) / _DAY
    if expected < _ORDERS_EXPECTED or days < 2 or days <= 2 * before.longest_pause:
        return None
    return Finding(
        kind=FindingKind.CLICKS_WITHOUT_ORDERS,
        severity=Severity.HIGH,
        account=facts.name,
        count=clicks,
        since=facts.last_order,
        expected=Decimal(round(expected)),
        lasting=facts.seen_to - facts.last_order,
        evidence=(
            Exhibit(resource="exchanges", at=facts.last_order),
            Exhibit(resource="links", at=facts.last_click),
        ),
    )


def _balance_unexplained(facts: AccountFacts) -> Finding | None:
    """Tell of a balance that is not what was credited less what was paid, beyond noise."""
    known = facts.balance
    if known is None:
        return None
    expected = total((known.accrued, -known.waiting, -known.paid))
    apart = total((known.balance, -expected))
    turnover = total(map(abs, (known.accrued, known.waiting, known.paid, known.balance)))
    noise = max(_NOISE * turnover, _last_place(known.balance))
    if -known.unsure_less - noise <= apart <= known.unsure_more + noise:
        return None
    return Finding(
        kind=FindingKind.BALANCE_UNEXPLAINED,
        severity=Severity.MEDIUM,
        account=facts.name,
        since=known.told_at,
        amount=known.balance,
        expected=expected,
        currency=facts.currency,
        evidence=(
            Exhibit(
                resource="info", at=known.told_at, amount=known.balance, currency=facts.currency
            ),
            *(known.gone[: SHOWN - 1] if apart < 0 else ()),
        ),
    )


def _coverage_incomplete(facts: AccountFacts) -> Finding | None:
    """Tell of times that are not proven although later ones are."""
    if not facts.gaps:
        return None
    return Finding(
        kind=FindingKind.COVERAGE_INCOMPLETE,
        severity=Severity.LOW,
        account=facts.name,
        count=len(facts.gaps),
        since=facts.gaps[0][1].start,
        evidence=tuple(
            Exhibit(resource=resource, at=gap.start, until=gap.end)
            for resource, gap in facts.gaps[:SHOWN]
        ),
    )


def _rows_unreadable(facts: AccountFacts) -> Finding | None:
    if not facts.unreadable_count:
        return None
    return Finding(
        kind=FindingKind.ROWS_UNREADABLE,
        severity=Severity.LOW,
        account=facts.name,
        count=facts.unreadable_count,
        evidence=tuple(
            Exhibit(resource=one.resource, id=one.id, at=one.time, before=one.problem)
            for one in facts.unreadable[:SHOWN]
        ),
    )


@frozen
class _Usual:
    """What came in four weeks."""

    events: int
    active: int
    """Days on which something did."""
    rate: float
    """Events a day, since the first of these days."""
    longest_pause: int
    """Days without any, one after the other."""


def _usual(counts: Counts, last: date) -> _Usual:
    """Return what came in the four weeks up to a day, which has the last event."""
    found = _window(counts, last)
    days = sorted(day for day, count in found.items() if count)
    events = sum(found.values())
    length = (last - days[0]).days + 1 if days else 1
    pauses = [(later - earlier).days - 1 for earlier, later in pairwise(days)]
    return _Usual(events, len(days), events / length, max(pauses, default=0))


def _window(counts: Counts, last: date) -> dict[date, int]:
    first = last - (_WINDOW - 1) * _DAY
    return {day: count for day, count in counts.items() if first <= day <= last}


def _added(one: Counts, other: Counts) -> Counts:
    return {day: one.get(day, 0) + other.get(day, 0) for day in one.keys() | other.keys()}


def _share(times: Sequence[timedelta], share: float) -> timedelta:
    """Return the time within which this share of them was done."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _last_place(amount: Decimal) -> Decimal:
    """Return what an amount was rounded to, if it has a fraction: sites show two places of more."""
    exponent = amount.as_tuple().exponent
    return Decimal(1).scaleb(exponent) if isinstance(exponent, int) and exponent < 0 else Decimal()


def _plain(amount: Decimal) -> str:
    text = format(amount, "f")
    return text if len(text) <= _LONGEST else f"{amount:.6E}"
