"""What stands in each section of the page, made from a report's values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal

from attrs import frozen
from markupsafe import Markup

from ppapi_async.cli.report.charts import bar, heat_map, sparkline, strip
from ppapi_async.cli.report.data import (
    ALL_ACCOUNTS,
    NO_REFERRER,
    NO_SUB_ID,
    AccountSummary,
    Coverage,
    Direction,
    Exhibit,
    Finding,
    FindingKind,
    Funnel,
    FunnelStep,
    Range,
    ReportData,
    Severity,
)
from ppapi_async.cli.report.limits import Limits
from ppapi_async.cli.report.ranking import together
from ppapi_async.cli.report.rewards import Rewards
from ppapi_async.cli.report.sums import total
from ppapi_async.cli.report.words import WEEKDAYS
from ppapi_async.cli.report.writing import UNNAMED, Writer

__all__ = [
    "BestList",
    "CoverageLine",
    "FindingGroup",
    "FindingLine",
    "FunnelTable",
    "HourMap",
    "KeyFigure",
    "best_sub_ids",
    "coverage_lines",
    "direction_bars",
    "finding_groups",
    "funnel_bars",
    "funnel_table",
    "hour_maps",
    "key_figures",
    "unnamed_left",
]

_MOST_FIGURES = 4
_MOST_BEST_LISTS = 3
_MOST_PARTS, _MOST_GAPS = 40, 3
_FEW_CURRENCIES = 4
_COUNTED = {
    FindingKind.REWARDS_TAKEN_BACK: "rewards",
    FindingKind.PAYOUT_WAITING: "payouts",
    FindingKind.ACCRUALS_LAG: "orders",
    FindingKind.CLICKS_WITHOUT_ORDERS: "clicks",
    FindingKind.COVERAGE_INCOMPLETE: "times",
    FindingKind.ROWS_UNREADABLE: "rows",
}
"""What the count of a finding counts; the others have none worth telling."""
_TIMES_OF = {"links": "links", "exchanges": "exchanges", "payouts": "payout_rows", "info": "info"}
"""What to call a time of a resource."""
_AMOUNT = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_OLDEST = {FindingKind.PAYOUT_WAITING, FindingKind.ACCRUALS_LAG}


@frozen
class KeyFigure:
    """What was credited in one currency, and what goes with it."""

    currency: Markup
    accrued: Markup
    size: str
    """A class for numbers that are long."""
    line: Markup
    details: tuple[tuple[str, Markup], ...]


def key_figures(data: ReportData, rewards: Rewards, writer: Writer) -> list[KeyFigure]:
    """Return a figure for each currency that has most accounts."""
    groups: dict[str, list[AccountSummary]] = {}
    for one in data.accounts:
        groups.setdefault(one.currency, []).append(one)
    order = sorted(groups, key=lambda one: (one.startswith(UNNAMED), -len(groups[one]), one))
    if len(order) > _MOST_FIGURES:
        order = [one for one in order if not one.startswith(UNNAMED)][:_MOST_FIGURES]
    return [_figure(one, groups[one], rewards, writer) for one in order]


def unnamed_left(data: ReportData, figures: Sequence[KeyFigure]) -> int:
    """Return how many currencies that are not named have no figure."""
    currencies = {one.currency for one in data.accounts}
    unnamed = sum(one.startswith(UNNAMED) for one in currencies)
    return unnamed if len(currencies) > len(figures) else 0


def _figure(
    currency: str, accounts: Sequence[AccountSummary], rewards: Rewards, writer: Writer
) -> KeyFigure:
    def shown(amounts: Iterable[Decimal | None]) -> Markup:
        return writer.amount(total(one for one in amounts if one is not None), currency)

    accrued = shown(one.accrued for one in accounts)
    length = len(accrued.striptags())
    return KeyFigure(
        writer.unit(currency),
        accrued,
        "" if length < 10 else "long" if length < 14 else "huge",
        sparkline(rewards.lines.get(currency, ())),
        (
            ("forecast", shown(one.forecast for one in accounts)),
            ("paid", shown(one.paid for one in accounts)),
            ("owed_now", shown(one.balance for one in accounts)),
        ),
    )


@frozen
class FindingLine:
    """A finding of one account."""

    account: Markup
    facts: tuple[Markup, ...]
    evidence: tuple[tuple[Markup, Markup, Markup, Markup], ...]
    """What, when, change, amount."""
    more: int

    @property
    def has_changes(self) -> bool:
        """Whether any row of the evidence tells of a change."""
        return any(change for _, _, change, _ in self.evidence)

    @property
    def has_amounts(self) -> bool:
        """Whether any row of the evidence has an amount."""
        return any(amount for _, _, _, amount in self.evidence)


@frozen
class FindingGroup:
    """Findings of one kind."""

    kind: FindingKind
    severity: Severity
    lines: tuple[FindingLine, ...]
    more: int
    """How many of this kind are left out."""


def finding_groups(data: ReportData, writer: Writer, limits: Limits) -> list[FindingGroup]:
    """Return the findings by kind, that of the gravest one first; none takes the room of others."""
    by_kind: dict[FindingKind, list[Finding]] = {}
    for one in data.findings:
        by_kind.setdefault(one.kind, []).append(one)
    currencies = {one.name: one.currency for one in data.accounts}
    most = max(1, limits.findings // max(1, len(by_kind)))
    return [
        FindingGroup(
            kind,
            found[0].severity,
            tuple(
                _finding(one, currencies.get(one.account, ""), writer, limits.evidence)
                for one in found[:most]
            ),
            max(0, len(found) - most),
        )
        for kind, found in by_kind.items()
    ]


def _finding(finding: Finding, currency: str, writer: Writer, most: int) -> FindingLine:
    rows = tuple(
        _evidence(one, finding.account, currency, writer) for one in finding.evidence[:most]
    )
    is_counted = finding.kind in _COUNTED and finding.kind != FindingKind.CLICKS_WITHOUT_ORDERS
    count = finding.count if is_counted else len(finding.evidence)
    facts = tuple(_facts(finding, finding.currency or currency, writer))
    is_all = finding.account == ALL_ACCOUNTS
    account = writer.say("all_accounts") if is_all else writer.site(finding.account, 40)
    return FindingLine(account, facts, rows, max(0, count - len(rows)))


def _facts(finding: Finding, currency: str, writer: Writer) -> Iterable[Markup]:
    """Yield what is known of a finding, each in a few words."""
    kind, numbers = finding.kind, writer.numbers
    if finding.count and kind in _COUNTED:
        yield writer.counted(_COUNTED[kind], finding.count)
    if finding.amount is not None:
        money = writer.money(finding.amount, currency, finding.account)
        is_balance = kind == FindingKind.BALANCE_UNEXPLAINED
        yield writer.say("fact_balance", amount=money) if is_balance else money
    if finding.expected is not None:
        if finding.amount is not None:
            expected = writer.money(finding.expected, currency, finding.account)
            yield writer.say("fact_expected", amount=expected)
            apart = writer.money(finding.amount - finding.expected, currency, finding.account)
            yield writer.say("fact_difference", amount=apart)
        else:
            yield _usually(kind, finding.expected, writer)
    if finding.lasting is not None:
        key = "fact_oldest" if kind in _OLDEST and finding.count > 1 else "fact_lasting"
        yield writer.say(key, time=numbers.lasting(finding.lasting))
    if finding.usual is not None:
        yield writer.say("fact_usual", time=numbers.lasting(finding.usual))
    if finding.since is not None:
        yield writer.say("fact_since", moment=numbers.moment(finding.since))


def _usually(kind: FindingKind, expected: Decimal, writer: Writer) -> Markup:
    """Return what there usually is in place of nothing."""
    if kind == FindingKind.CLICKS_WITHOUT_ORDERS:
        return writer.say("fact_usual_orders", amount=writer.counted("orders", int(expected)))
    return writer.say("fact_usually", amount=writer.counted("events", int(expected)))


def _evidence(
    one: Exhibit, account: str, currency: str, writer: Writer
) -> tuple[Markup, Markup, Markup, Markup]:
    key = _TIMES_OF.get(one.resource)
    if key is not None and one.until is None:
        # A click or an order that is not named stands for the last one that there was.
        is_last = one.id is None and one.resource in {"links", "exchanges"}
        key = f"{'last' if is_last else 'resource'}_{one.resource}"
    what = writer.site(one.resource) if key is None else writer.say(key)
    if one.id is not None:
        what = Markup("{} {}").format(what, one.id)
    times = [writer.numbers.moment(at) for at in (one.at, one.until) if at is not None]
    if one.at is None and one.until is not None:
        times = [writer.say("period_open", end=writer.numbers.moment(one.until))]
    sides = [_side(side, writer) for side in (one.before, one.after) if side is not None]
    amount = Markup("")
    if one.amount is not None:
        amount = writer.money(one.amount, one.currency or currency, account)
    return what, Markup(" \u2013 ").join(times), Markup(" → ").join(sides), amount


def _side(text: str, writer: Writer) -> Markup:
    if _AMOUNT.fullmatch(text):
        return Markup("{}").format(writer.numbers.digits(Decimal(text)))
    return writer.site(text)


def funnel_bars(data: ReportData, writer: Writer) -> list[tuple[Markup, Markup, Markup, Markup]]:
    """Return the steps from a click on of all accounts: name, count, share, bar."""
    clicks = sum(one.clicks for one in data.accounts)
    orders = sum(one.orders for one in data.accounts)
    completed = sum(one.completed for one in data.accounts)
    steps = [("clicks", clicks, 0, ""), ("orders", orders, clicks, "of_clicks")]
    steps.append(("completed", completed, orders, "of_orders"))
    by_account = next((one for one in data.funnels if one.by == "account"), None)
    if by_account is not None:
        rest = [by_account.rest] if by_account.rest is not None else []
        accrued = sum(one.accrued_orders for one in (*by_account.steps, *rest))
        steps.append(("accrued_orders", accrued, completed, "of_completed"))
    most = Decimal(max(count for _, count, _, _ in steps))
    return [
        (
            writer.say(key),
            writer.number(count),
            writer.say(of, share=writer.numbers.share(count, whole)) if whole else Markup(""),
            bar(Decimal(count), most, "s1"),
        )
        for key, count, whole, of in steps
    ]


@frozen
class FunnelTable:
    """Clicks and what became of them, by one thing."""

    by: str
    rows: tuple[tuple[FunnelStep, Markup, Markup, str | None], ...]
    """A step, its label, a line over time, and the account that it is."""
    more: int
    rest: FunnelStep | None
    note: Markup | None
    """How much could not be joined."""


def funnel_table(funnel: Funnel, rewards: Rewards, writer: Writer, limits: Limits) -> FunnelTable:
    """Return the table of a funnel."""
    is_account = funnel.by == "account"
    rows = tuple(
        (
            step,
            _label(step.label, funnel.by, writer),
            sparkline(rewards.lines.get(f"@{step.label}", ()), most=24)
            if is_account
            else Markup(""),
            step.label if is_account else None,
        )
        for step in funnel.steps[: limits.steps]
    )
    left = funnel.steps[limits.steps :]
    note = None if is_account else _unjoined(funnel, writer)
    return FunnelTable(funnel.by, rows, funnel.more + len(left), _rest(funnel, left), note)


def _label(label: str, by: str, writer: Writer, longest: int = 80) -> Markup:
    key = {("sub_id", NO_SUB_ID): "none", ("referrer", NO_REFERRER): "direct"}.get((by, label))
    if key is None:
        return writer.site(label, longest)
    return Markup('<span class="none">{}</span>').format(writer.say(key))


def _rest(funnel: Funnel, left: Sequence[FunnelStep]) -> FunnelStep | None:
    """Return what the steps that are not shown add up to; None where that is not known."""
    if not left or (funnel.more and funnel.rest is None):
        return funnel.rest
    return together([*left, *([funnel.rest] if funnel.rest is not None else [])])


def _unjoined(funnel: Funnel, writer: Writer) -> Markup | None:
    if not funnel.unjoined_orders:
        return writer.say("all_joined") if funnel.orders else None
    share = writer.numbers.share(funnel.unjoined_orders, funnel.orders)
    count = writer.counted("unjoined", funnel.unjoined_orders)
    text = writer.say("unjoined", count=count, share=share)
    if any(funnel.unjoined_accrued.values()):
        amounts = writer.amounts(funnel.unjoined_accrued, between=Markup(", "))
        return writer.say("unjoined_amount", text=text, amount=amounts)
    return writer.say("unjoined_plain", text=text)


@frozen
class BestList:
    """The sub-ids that earned most in one currency."""

    currency: Markup
    rows: tuple[tuple[Markup, Markup, Markup], ...]
    """Label, amount, bar."""


def best_sub_ids(data: ReportData, writer: Writer, limits: Limits) -> list[BestList]:
    """Return the best sub-ids in the currencies that most of them have earned in."""
    funnel = next((one for one in data.funnels if one.by == "sub_id"), None)
    steps = funnel.steps if funnel is not None else ()
    earners: dict[str, list[FunnelStep]] = {}
    for step in steps:
        for currency, amount in step.accrued.items():
            if amount > 0:
                earners.setdefault(currency, []).append(step)
    order = sorted(earners, key=lambda one: (one.startswith(UNNAMED), -len(earners[one]), one))
    if len(order) > _FEW_CURRENCIES:
        order = [one for one in order if not one.startswith(UNNAMED)]
    lists = []
    for currency in order[:_MOST_BEST_LISTS]:
        best = sorted(earners[currency], key=lambda one: -one.accrued[currency])[: limits.best]
        most = best[0].accrued[currency]
        rows = tuple(
            (
                _label(step.label, "sub_id", writer, 48),
                writer.amount(step.accrued[currency], currency),
                bar(step.accrued[currency], most, "s1"),
            )
            for step in best
        )
        lists.append(BestList(writer.unit(currency), rows))
    return lists


def direction_bars(directions: Sequence[Direction]) -> list[tuple[Direction, Markup]]:
    """Return each direction with a bar of its orders."""
    most = Decimal(max((one.orders for one in directions), default=0))
    return [(one, bar(Decimal(one.orders), most, "s1")) for one in directions]


@frozen
class HourMap:
    """Counts by weekday and hour."""

    title: Markup
    drawing: Markup
    rows: tuple[tuple[str, tuple[int, ...]], ...]


def hour_maps(data: ReportData, writer: Writer) -> list[HourMap]:
    """Return a map of clicks and one of orders."""
    if data.hours is None:
        return []
    return [
        _hour_map(writer.say("hours_clicks"), data.hours.clicks, writer),
        _hour_map(writer.say("hours_orders"), data.hours.orders, writer),
    ]


def _hour_map(title: Markup, cells: Sequence[Sequence[int]], writer: Writer) -> HourMap:
    days, numbers = WEEKDAYS[writer.language], writer.numbers
    notes = [
        [f"{days[at]} {hour:02}:00 \u2013 {numbers.count(value)}" for hour, value in enumerate(row)]
        for at, row in enumerate(cells)
    ]
    places = [(value, -at, -hour) for at, row in enumerate(cells) for hour, value in enumerate(row)]
    _, day, hour = max(places)
    label = writer.say(
        "hours_chart",
        what=title,
        total=numbers.count(sum(map(sum, cells))),
        day=days[-day],
        hour=f"{-hour:02}:00",
    )
    marks = [f"{hour:02}" if hour % 6 == 0 else "" for hour in range(24)]
    drawing = heat_map(days, cells, notes, label=label, columns=marks)
    rows = tuple((name, tuple(row)) for name, row in zip(days, cells, strict=True))
    return HourMap(title, drawing, rows)


@frozen
class CoverageLine:
    """How much of an account is proven."""

    account: Markup
    cells: tuple[tuple[Markup, Markup, tuple[Markup, ...], int] | None, ...]
    """Of clicks, orders and payouts: the share, a strip, times that are missing, how many more."""


def coverage_lines(data: ReportData, writer: Writer) -> tuple[list[CoverageLine], int]:
    """Return the accounts of which something is not proven, and how many others there are."""
    by_account: dict[str, dict[str, Coverage]] = {}
    for one in data.coverage:
        by_account.setdefault(one.account, {})[one.resource] = one
    lines = []
    for name, found in by_account.items():
        if any(one.fraction < 1 for one in found.values()):
            cells = (
                _coverage(found[resource], writer) if resource in found else None
                for resource in ("links", "exchanges", "payouts")
            )
            lines.append(CoverageLine(writer.site(name), tuple(cells)))
    return lines, len(by_account) - len(lines)


def _coverage(one: Coverage, writer: Writer) -> tuple[Markup, Markup, tuple[Markup, ...], int]:
    share = Markup("{}").format(writer.numbers.share(one.fraction, 1))
    if one.fraction >= 1:
        return share, strip([(1.0, True)]), (), 0
    gaps = [part for part in one.ranges if part.proven_at is None]
    shown = tuple(_gap(part, writer) for part in gaps[:_MOST_GAPS])
    return share, strip(_parts(one.ranges)), shown, max(one.missing, len(gaps)) - len(shown)


def _gap(part: Range, writer: Writer) -> Markup:
    end = writer.numbers.moment(part.end)
    if part.start is None:
        return writer.say("period_open", end=end)
    return writer.say("period", start=writer.numbers.moment(part.start), end=end)


def _parts(ranges: Sequence[Range]) -> list[tuple[float, bool]]:
    """Return the widths of a strip; what has no beginning is as wide as a tenth of the others."""
    known = [(one.end - one.start).total_seconds() for one in ranges if one.start is not None]
    open_width = max(sum(known) / 9, timedelta(days=1).total_seconds())
    parts = [
        (
            open_width if one.start is None else (one.end - one.start).total_seconds(),
            one.proven_at is not None,
        )
        for one in ranges
    ]
    while len(parts) > _MOST_PARTS:  # the narrowest goes into the one before it
        at = min(range(1, len(parts)), key=lambda place: parts[place][0])
        width, is_there = parts[at - 1]
        parts[at - 1 : at + 1] = [(width + parts[at][0], is_there and parts[at][1])]
    return parts
