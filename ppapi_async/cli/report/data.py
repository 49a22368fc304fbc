"""What a report tells, before it is drawn: plain values that need no database and no page.

Amounts are exact Decimals. They are never added up across currencies: the API names no base
currency, so a site's is the one that its payouts are taken from, and where it has none yet, the
account has a currency of its own, written `¤ name`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal, TypeAlias

from attrs import field, frozen

__all__ = [
    "ALL_ACCOUNTS",
    "NO_REFERRER",
    "NO_SUB_ID",
    "AccountSummary",
    "Amounts",
    "Coverage",
    "DaySum",
    "Direction",
    "Exhibit",
    "Finding",
    "FindingKind",
    "Funnel",
    "FunnelStep",
    "Grain",
    "Hours",
    "Owed",
    "PayoutLine",
    "Range",
    "ReportData",
    "Severity",
]

NO_REFERRER = "(direct)"
"""The label of the step of clicks that came from no page."""
NO_SUB_ID = "(none)"
"""The label of the step of clicks without a sub-id."""
ALL_ACCOUNTS = "*"
"""The account of a finding that is about the whole mirror, as where nobody has synchronised it."""

Amounts: TypeAlias = Mapping[str, Decimal]
"""An amount for each currency: "USD", or `¤ name` for the unknown one of an account."""


Grain: TypeAlias = Literal["day", "week", "month", "year"]
"""What sums over time are of: the longer the report, the longer the times."""


class Severity(StrEnum):
    """How soon a finding wants a hand."""

    HIGH = "high"
    """Money is or will be lost."""
    MEDIUM = "medium"
    """Something does not work, or does not add up."""
    LOW = "low"
    """The report may be incomplete."""


class FindingKind(StrEnum):
    """What wants a hand."""

    REWARDS_TAKEN_BACK = "rewards_taken_back"
    """Rewards that had been credited are no longer, or their orders are gone."""
    SITE_BEHIND = "site_behind"
    """The mirror has not caught up with the account for long: the site fails or is silent."""
    SITE_QUIET = "site_quiet"
    """No clicks and no orders come where they used to."""
    PAYOUT_WAITING = "payout_waiting"
    """A payout waits for longer than those of the account usually do."""
    ACCRUALS_LAG = "accruals_lag"
    """Orders were carried out long ago and their rewards have not been credited."""
    CLICKS_WITHOUT_ORDERS = "clicks_without_orders"
    """Clicks come as before, and no orders of them."""
    BALANCE_UNEXPLAINED = "balance_unexplained"
    """The balance is not what accruals and payouts add up to."""
    COVERAGE_INCOMPLETE = "coverage_incomplete"
    """Times within the report are not proven to be here completely."""
    ROWS_UNREADABLE = "rows_unreadable"
    """The site lists rows that cannot be read."""


@frozen(kw_only=True)
class Exhibit:
    """A row, or a time, that shows what a finding says."""

    resource: str
    """links, exchanges, payouts or info."""
    id: int | None = None
    at: datetime | None = None
    until: datetime | None = None
    """The end, where it is a range of time."""
    before: str | None = None
    """What the row was: of rewards the credited amount, of unreadable rows what cannot be read."""
    after: str | None = None
    amount: Decimal | None = None
    currency: str | None = None


@frozen(kw_only=True)
class Finding:
    """Something that wants a hand, and what shows it."""

    kind: FindingKind
    severity: Severity
    account: str
    count: int = 0
    """How many rows it is about."""
    since: datetime | None = None
    amount: Decimal | None = None
    currency: str | None = None
    expected: Decimal | None = None
    """What `amount` should be, or how many there usually are."""
    lasting: timedelta | None = None
    """How long it has been so, or how long the oldest one has waited."""
    usual: timedelta | None = None
    """How long it usually takes at this account."""
    evidence: tuple[Exhibit, ...] = ()
    """The first of the rows; `count` says how many there are."""


@frozen(kw_only=True)
class AccountSummary:
    """An account, and its sums over the time of the report."""

    name: str
    host: str
    currency: str
    timezone: str
    first_seen: datetime
    last_synced: datetime | None
    """When everything of it was caught up last; None: never."""
    clicks: int = 0
    visitors: int = 0
    orders: int = 0
    completed: int = 0
    accrued: Decimal = Decimal()
    """Rewards of the time of the report that have been credited."""
    forecast: Decimal = Decimal()
    taken_back: Decimal = Decimal()
    paid: Decimal = Decimal()
    """Payouts of the time of the report that are done, in the currency of the balance."""
    balance: Decimal | None = None
    """As last told; None: never."""
    min_payout: Decimal | None = None
    is_due: bool = False
    """Whether the balance can be paid out now."""
    waiting: Decimal = Decimal()
    """Payouts that are requested and not done, whenever that was."""
    unreadable: int = 0


@frozen(kw_only=True)
class DaySum:
    """One day of one account, or one week, month or year of it; see `ReportData.grain`."""

    day: date
    """The first one."""
    account: str
    clicks: int = 0
    orders: int = 0
    completed: int = 0
    accrued: Decimal = Decimal()
    forecast: Decimal = Decimal()


@frozen(kw_only=True)
class FunnelStep:
    """Clicks and what became of them, of one account, sub-id or referrer."""

    label: str
    """Text from visitors: hostile. The account's name; the sub-id as `name=value`, decoded; the
    referrer's host; or `NO_SUB_ID` or `NO_REFERRER`."""
    clicks: int = 0
    visitors: int = 0
    orders: int = 0
    completed: int = 0
    accrued_orders: int = 0
    accrued: Amounts = field(factory=dict)
    forecast: Amounts = field(factory=dict)
    paid: Amounts | None = None
    """None where payouts cannot be told apart: they are of an account as a whole."""


@frozen(kw_only=True)
class Funnel:
    """Clicks → orders → completed → accrued → paid, by one thing."""

    by: str
    """account, sub_id or referrer."""
    steps: tuple[FunnelStep, ...] = ()
    """Those that earned most come first."""
    more: int = 0
    """How many steps were left out."""
    rest: FunnelStep | None = None
    """What those that were left out add up to."""
    unjoined_orders: int = 0
    """Orders of visitors of whom there is no click here; they are in no step."""
    unjoined_accrued: Amounts = field(factory=dict)
    orders: int = 0
    """All of them."""


@frozen(kw_only=True)
class Direction:
    """A direction of exchange."""

    give: str
    """The currency that visitors give, with its payment system where the site names it."""
    get: str
    orders: int = 0
    completed: int = 0
    accrued: Amounts = field(factory=dict)
    forecast: Amounts = field(factory=dict)


@frozen(kw_only=True)
class Hours:
    """Counts by weekday (Monday first) and hour of the report's zone."""

    clicks: tuple[tuple[int, ...], ...]
    orders: tuple[tuple[int, ...], ...]


@frozen(kw_only=True)
class PayoutLine:
    """A payout."""

    account: str
    id: int
    time: datetime
    status: str
    """0 waiting, 1 done, 2 cancelled, 3 cancelled by the user."""
    amount: Decimal
    currency: str
    original_amount: Decimal
    original_currency: str
    is_gone: bool = False


@frozen(kw_only=True)
class Owed:
    """What the sites owe in one currency."""

    currency: str
    balance: Decimal
    waiting: Decimal
    due: Decimal
    """How much of the balances can be paid out now."""
    accounts: int


@frozen(kw_only=True)
class Range:
    """A range of time, `[start, end)`; None: from the beginning."""

    start: datetime | None
    end: datetime
    proven_at: datetime | None = None
    """None: it is not proven."""


@frozen(kw_only=True)
class Coverage:
    """Which times of the report are proven to be here completely."""

    account: str
    resource: str
    ranges: tuple[Range, ...] = ()
    """In order, without gaps, from the start of the report to its end. Of very many, those that are
    proven and short count as not proven here."""
    missing: int = 0
    """How many times are not proven; `ranges` may have fewer of them, which are longer."""
    fraction: float = 0.0
    """How much of the time is proven, 0 to 1."""


@frozen(kw_only=True)
class ReportData:
    """All that a report tells."""

    made_at: datetime
    start: datetime | None
    """None: from the beginning."""
    end: datetime
    zone: str
    """The zone whose days and hours the report has."""
    accounts: tuple[AccountSummary, ...] = ()
    """By name."""
    findings: tuple[Finding, ...] = ()
    """The gravest first."""
    more_findings: int = 0
    unfollowed: tuple[str, ...] = ()
    """Accounts that the accounts file has no longer, and nobody copies: nothing wants a hand."""
    days: tuple[DaySum, ...] = ()
    """By day and account; days on which nothing was are left out."""
    grain: Grain = "day"
    """What each of `days` is: as many of them as a chart can show, whatever the report's time."""
    funnels: tuple[Funnel, ...] = ()
    directions: tuple[Direction, ...] = ()
    more_directions: int = 0
    hours: Hours | None = None
    """None: there is nothing to count."""
    payouts: tuple[PayoutLine, ...] = ()
    """Newest first, those that wait before all others."""
    more_payouts: int = 0
    owed: tuple[Owed, ...] = ()
    coverage: tuple[Coverage, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the mirror has no account."""
        return not self.accounts
