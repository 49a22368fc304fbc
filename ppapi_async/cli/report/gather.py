"""From the mirror's database to what a report tells: read once, added up exactly.

Nothing but the database is needed, which may be written all the while: a report is of one moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from attrs import define, evolve, field

from ppapi_async.cli.report.data import (
    AccountSummary,
    DaySum,
    Direction,
    Funnel,
    FunnelStep,
    Grain,
    Hours,
    Owed,
    PayoutLine,
    ReportData,
)
from ppapi_async.cli.report.facts import AccountMoney, MirrorFacts
from ppapi_async.cli.report.findings import behind, findings_of, graver_first, unfollowed
from ppapi_async.cli.report.ranking import (
    Worth,
    amounts_added,
    best_directions,
    funnel_of,
    label_funnel,
)
from ppapi_async.cli.report.reading import AccountRow, ReportReader
from ppapi_async.cli.report.sums import AccountSums, LabelSums, ZoneDays, added, total
from ppapi_async.cli.report.timeline import grain_of, start_of
from ppapi_async.mirror.read_only import ReadOnlyMirror
from ppapi_async.mirror.types import unescape
from ppapi_async.protocol.fields import EXACT

__all__ = ["gather"]

_MOST_STEPS, _MOST_PAYOUTS, _MOST_DIRECTIONS, _MOST_FINDINGS = 50, 200, 50, 100
_WAITING, _DONE = "0", "1"
_ZERO = Decimal()


async def gather(
    mirror: ReadOnlyMirror,
    *,
    start: datetime | None = None,
    end: datetime,
    zone: ZoneInfo,
    accounts: Collection[str] | None = None,
    followed: Collection[str] | None = None,
    now: datetime,
) -> ReportData:
    """Gather what a report about `[start, end)` tells.

    Args:
        mirror: the database, opened.
        start: None: from the beginning.
        end: exclusive.
        zone: whose days and hours the report has.
        accounts: the names of those it is about; None: all that the mirror has.
        followed: the names in the accounts file; None: that is not known.
        now: the present.

    Raises:
        KeyError: the mirror has no account of a name.
        StateError: the database could not be read.
    """
    async with mirror.snapshot() as snapshot:
        numbers = snapshot.accounts
        chosen = numbers if accounts is None else {name: numbers[name] for name in accounts}
        reader = ReportReader(snapshot, start, end, frozenset(chosen.values()))
        return await _Gathering(reader, start, end, zone, now, followed).run()


@define(eq=False)
class _Gathering:
    """What is gathered, account by account."""

    reader: ReportReader
    start: datetime | None
    end: datetime
    zone: ZoneInfo
    now: datetime
    followed: Collection[str] | None
    calendar: ZoneDays = field(init=False)
    sub_ids: LabelSums = field(factory=LabelSums)
    referrers: LabelSums = field(factory=LabelSums)
    worth: Worth = field(factory=Worth)
    days: list[DaySum] = field(factory=list)
    grain: Grain = "day"
    directions: dict[tuple[str, str], Direction] = field(factory=dict)
    click_hours: list[int] = field(factory=lambda: [0] * 168)
    order_hours: list[int] = field(factory=lambda: [0] * 168)
    steps: list[FunnelStep] = field(factory=list)
    unjoined_orders: int = 0
    unjoined_accrued: list[dict[str, Decimal]] = field(factory=list)
    money: dict[int, AccountMoney] = field(factory=dict)
    lines: list[PayoutLine] = field(factory=list)
    line_count: int = 0
    """Of payouts of the report's time that do not wait; the newest of them are in `lines`."""

    def __attrs_post_init__(self) -> None:
        self.calendar = ZoneDays(self.zone)

    async def run(self) -> ReportData:
        """Read all there is, and put it together."""
        rows = await self.reader.accounts()
        await self._read_payouts(rows)
        known = await MirrorFacts.read(self.reader, self.money, self.calendar, now=self.now)
        rows = [evolve(row, last_synced=known.caught_up(row)) for row in rows]
        last = self.calendar.day(self.end - timedelta(microseconds=1))
        first = self.start or known.first_row()
        self.grain = grain_of(last if first is None else self.calendar.day(first), last)
        summaries, facts = [], []
        for row in rows:
            sums = await self._add_up(row, known)
            facts.append(await known.of(row, sums))
            summaries.append(self._summary(row, sums, known))
        left = [] if self.followed is None else unfollowed(facts, self.followed)
        facts = [one for one in facts if one.name not in left]
        findings = graver_first(
            [*behind(facts), *(found for one in facts for found in findings_of(one))]
        )
        directions, more_directions = best_directions(self.directions.values(), _MOST_DIRECTIONS)
        waiting = [one for row in rows for one in self.money[row.number].waiting]
        waiting.sort(key=lambda one: one.time, reverse=True)
        payouts = (*waiting, *self.lines)[:_MOST_PAYOUTS]
        return ReportData(
            made_at=self.now,
            start=self.start,
            end=self.end,
            zone=str(self.zone),
            accounts=tuple(summaries),
            findings=tuple(findings[:_MOST_FINDINGS]),
            more_findings=max(0, len(findings) - _MOST_FINDINGS),
            unfollowed=tuple(left),
            days=tuple(sorted(self.days, key=lambda one: (one.day, one.account))),
            grain=self.grain,
            funnels=self._funnels(summaries),
            directions=directions,
            more_directions=more_directions,
            hours=self._hours(),
            payouts=payouts,
            more_payouts=len(waiting) + self.line_count - len(payouts),
            owed=self._owed(summaries, rows),
            coverage=tuple(one for row in rows for one in known.coverage(row)),
        )

    async def _read_payouts(self, rows: Sequence[AccountRow]) -> None:
        self.money = {row.number: AccountMoney() for row in rows}
        names = {row.number: row.name for row in rows}
        async for number, line, changed in self.reader.payouts(names):
            of_account = self.money[number]
            currency, amount = line.original_currency, line.original_amount
            of_account.currency = of_account.currency or currency
            of_account.currencies.add(currency)
            of_account.changed.append((changed, amount))
            is_within = (self.start is None or line.time >= self.start) and line.time < self.end
            if line.status == _WAITING and not line.is_gone:
                of_account.waiting.append(line)
            elif is_within:
                self.line_count += 1
                if len(self.lines) < _MOST_PAYOUTS:
                    self.lines.append(line)
            if line.status == _WAITING and line.is_gone:
                of_account.vanished = EXACT.add(of_account.vanished, amount)
            if line.status == _DONE:
                of_account.ever_done = EXACT.add(of_account.ever_done, amount)
                if is_within:
                    done = of_account.done.get(currency, _ZERO)
                    of_account.done[currency] = EXACT.add(done, amount)
        for row in rows:
            of_account = self.money[row.number]
            of_account.currency = of_account.currency or f"¤ {row.name}"

    async def _add_up(self, row: AccountRow, known: MirrorFacts) -> AccountSums:
        currency = self.money[row.number].currency
        late = await known.late(row)
        sums = AccountSums(self.calendar, currency, self.sub_ids, self.referrers, late)
        await self.reader.visitor_rows(row.number, known.read_at(row), sums.add)
        await asyncio.to_thread(sums.finish)  # of a large account it takes a while
        spans: dict[date, list[list[int | Decimal]]] = {}
        for ordinal, one in sums.days.items():
            start = start_of(self.grain, date.fromordinal(ordinal))
            spans.setdefault(start, []).append(one)
        for start, days in spans.items():
            day = added(days)
            self.days.append(
                DaySum(
                    day=start,
                    account=row.name,
                    clicks=int(day[0]),
                    orders=int(day[2]),
                    completed=int(day[3]),
                    accrued=Decimal(day[5]),
                    forecast=Decimal(day[6]),
                )
            )
        for hour in range(168):
            self.click_hours[hour] += sums.click_hours[hour]
            self.order_hours[hour] += sums.order_hours[hour]
        for (give, give_by, get, get_by), way in sums.directions.items():
            key = _currency_label(give, give_by), _currency_label(get or "", get_by)
            so_far = self.directions.get(key) or Direction(give=key[0], get=key[1])
            self.directions[key] = evolve(
                so_far,
                orders=so_far.orders + int(way[2]),
                completed=so_far.completed + int(way[3]),
                accrued=amounts_added((so_far.accrued, {currency: Decimal(way[5])})),
                forecast=amounts_added((so_far.forecast, {currency: Decimal(way[6])})),
            )
        self.unjoined_orders += int(sums.unjoined[2])
        self.unjoined_accrued.append({currency: Decimal(sums.unjoined[5])})
        return sums

    def _summary(self, row: AccountRow, sums: AccountSums, known: MirrorFacts) -> AccountSummary:
        money = self.money[row.number]
        clicks, visitors, orders, completed, credited, accrued, forecast = sums.totals()
        told = known.balances.get(row.number)
        self.worth.add(money.currency, Decimal(accrued), Decimal(forecast), int(orders))
        self.steps.append(
            FunnelStep(
                label=row.name,
                clicks=int(clicks),
                visitors=int(visitors),
                orders=int(orders),
                completed=int(completed),
                accrued_orders=int(credited),
                accrued={money.currency: Decimal(accrued)},
                forecast={money.currency: Decimal(forecast)},
                paid=money.done,
            )
        )
        return AccountSummary(
            name=row.name,
            host=row.host,
            currency=money.currency,
            timezone=row.timezone,
            first_seen=row.first_seen,
            last_synced=row.last_synced,
            clicks=int(clicks),
            visitors=int(visitors),
            orders=int(orders),
            completed=int(completed),
            accrued=Decimal(accrued),
            forecast=Decimal(forecast),
            taken_back=total(
                one.credited - one.left for one in known.taken_back.get(row.number, ())
            ),
            paid=money.done.get(money.currency, _ZERO),
            balance=told.balance if told else None,
            min_payout=told.min_payout if told else None,
            is_due=told is not None and told.balance > 0 and told.balance >= told.min_payout,
            waiting=money.waits(money.currency),
            unreadable=known.unreadable_counts.get(row.number, 0),
        )

    def _funnels(self, summaries: Sequence[AccountSummary]) -> tuple[Funnel, ...]:
        orders = sum(one.orders for one in summaries)
        unjoined = amounts_added(self.unjoined_accrued)
        unjoined = {currency: amount for currency, amount in unjoined.items() if amount}
        by_visitor = [
            label_funnel(
                by,
                sums,
                self.worth,
                most=_MOST_STEPS,
                orders=orders,
                unjoined_orders=self.unjoined_orders,
                unjoined_accrued=unjoined,
            )
            for by, sums in (("sub_id", self.sub_ids), ("referrer", self.referrers))
        ]
        by_account = funnel_of("account", self.steps, self.worth, most=_MOST_STEPS, orders=orders)
        return (by_account, *by_visitor) if summaries else ()

    def _hours(self) -> Hours | None:
        if not any(self.click_hours) and not any(self.order_hours):
            return None
        return Hours(clicks=_by_weekday(self.click_hours), orders=_by_weekday(self.order_hours))

    def _owed(
        self, summaries: Sequence[AccountSummary], rows: Sequence[AccountRow]
    ) -> tuple[Owed, ...]:
        waiting = amounts_added(
            {one.original_currency: one.original_amount}
            for row in rows
            for one in self.money[row.number].waiting
        )
        told = [one for one in summaries if one.balance is not None]
        currencies = sorted({one.currency for one in told} | set(waiting))
        return tuple(
            Owed(
                currency=currency,
                balance=total(one.balance or _ZERO for one in told if one.currency == currency),
                waiting=waiting.get(currency, _ZERO),
                due=total(
                    one.balance or _ZERO for one in told if one.currency == currency and one.is_due
                ),
                accounts=sum(one.currency == currency for one in told),
            )
            for currency in currencies
        )


def _by_weekday(hours: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(hours[24 * day : 24 * day + 24]) for day in range(7))


def _currency_label(code: str, system: str | None) -> str:
    """Return what a currency is called: with its payment system where the site names it."""
    code, system = unescape(code), unescape(system or "")
    if system in code:
        return code or "—"
    return system if code in system else f"{system} {code}"
