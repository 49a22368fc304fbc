"""What is known of accounts beside their clicks and orders, and what findings are made of."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from attrs import define, evolve, field

from ppapi_async.cli.report.data import Coverage, PayoutLine, Range
from ppapi_async.cli.report.findings import (
    SHOWN,
    AccountFacts,
    BalanceFacts,
    LateOrder,
    LateOrders,
    TakenBack,
    UnreadableFact,
    accrual_limit,
)
from ppapi_async.cli.report.proofs import coarse, gaps_of, proven_share, ranges_of
from ppapi_async.cli.report.reading import AccountRow, Balance, ReportReader
from ppapi_async.cli.report.sums import AccountSums, LateSums, ZoneDays, total
from ppapi_async.mirror.coverage import Proven
from ppapi_async.mirror.types import instant_of, instant_text

__all__ = ["AccountMoney", "MirrorFacts"]

_HISTORY = timedelta(days=180)
"""How far back what is usual is looked for."""
_LATE_HISTORY = timedelta(days=365)
_USUAL = timedelta(days=30)
"""What is kept, by day, before the last click or order: a report may be of many years."""
_MOST_RANGES = 200
"""Of the coverage of a list: more than a page can show."""
_LISTS = ("links", "exchanges", "payouts")
_ZERO = Decimal()


@define(eq=False)
class AccountMoney:
    """The payouts of an account."""

    currency: str = ""
    """Of the newest one that has any."""
    currencies: set[str] = field(factory=set)
    done: dict[str, Decimal] = field(factory=dict)
    """In the time of the report, by currency."""
    ever_done: Decimal = _ZERO
    waiting: list[PayoutLine] = field(factory=list)
    vanished: Decimal = _ZERO
    """Those that wait and are listed no more: they are in the operator's basket."""
    changed: list[tuple[datetime, Decimal]] = field(factory=list)
    """When each was seen to change last, and its amount."""

    def waits(self, currency: str) -> Decimal:
        """Return what waits in a currency."""
        return total(
            one.original_amount for one in self.waiting if one.original_currency == currency
        )


@define(eq=False)
class MirrorFacts:
    """What is known of all accounts, by their numbers."""

    reader: ReportReader
    money: Mapping[int, AccountMoney]
    calendar: ZoneDays
    now: datetime
    balances: dict[int, Balance] = field(factory=dict)
    taken_back: dict[int, list[TakenBack]] = field(factory=dict)
    unreadable: dict[int, list[UnreadableFact]] = field(factory=dict)
    """The first ones."""
    unreadable_counts: dict[int, int] = field(factory=dict)
    _waits: dict[int, list[timedelta]] = field(factory=dict)
    """How long rewards take."""
    _proven: dict[tuple[int, str], list[Proven]] = field(factory=dict)
    _payout_times: dict[int, array[float]] = field(factory=dict)
    _limits: dict[str, dict[int, tuple[str, str]]] = field(factory=dict)
    """When the first and the last row is, by table."""
    _earlier: dict[str, dict[int, dict[date, int]]] = field(factory=dict)
    """How many there were before the report, by day."""

    @classmethod
    async def read(
        cls,
        reader: ReportReader,
        money: Mapping[int, AccountMoney],
        calendar: ZoneDays,
        *,
        now: datetime,
    ) -> MirrorFacts:
        """Read what does not need to be read account by account."""
        facts = cls(reader, money, calendar, now)
        facts.balances = await reader.balances()
        facts.taken_back = await reader.taken_back()
        facts._proven = await reader.coverage()
        async for number, row in reader.unreadable():
            facts.unreadable_counts[number] = facts.unreadable_counts.get(number, 0) + 1
            shown = facts.unreadable.setdefault(number, [])
            if len(shown) < SHOWN:
                shown.append(row)
        async for number, seconds in reader.payout_times():
            facts._payout_times.setdefault(number, array("d")).append(seconds)
        for table in _LISTS:
            facts._limits[table] = {
                number: (first, last)
                async for number, first, last in reader.limits(table, reader.end)
            }
        for table in ("links", "exchanges"):
            earlier = facts._earlier[table] = {}
            since = min(reader.end, now) - _HISTORY
            if since < reader.start:
                async for number, hour, count in reader.counts(table, since, reader.start):
                    day = date.fromordinal(calendar.place(hour)[0])
                    days = earlier.setdefault(number, {})
                    days[day] = days.get(day, 0) + count
        return facts

    def caught_up(self, row: AccountRow) -> datetime | None:
        """Return when everything of an account was caught up last; None: never.

        The mirror notes it, at a follow once a minute at the most. All lists may be proven further
        than that; what is proven counts if it is later than the account is known, for until then
        its first reading is under way.
        """
        lists = [self._proven.get((row.number, one)) for one in _LISTS]
        ends = [max(one.end for one in proven) for proven in lists if proven]
        read_to = min((*ends, self.now)) if ends else row.first_seen
        if read_to <= row.first_seen:
            return row.last_synced
        return max(read_to, row.last_synced or read_to)

    def seen_to(self, row: AccountRow) -> datetime:
        """Return up to when the mirror knows an account, as far as the report goes."""
        return min(self.reader.end, self.now, row.last_synced or self.now)

    def read_at(self, row: AccountRow) -> datetime:
        """Return when the balance of an account was read."""
        told = self.balances.get(row.number)
        return told.read_at if told else self.now

    async def late(self, row: AccountRow) -> LateSums:
        """Return what adds up the late orders of an account, by what is late here."""
        seen_to = self.seen_to(row)
        times = await self.reader.accrual_times(row.number, self.now - _HISTORY)
        self._waits[row.number] = waits = _durations(times)
        return LateSums(
            since=instant_text(seen_to - _LATE_HISTORY),
            before=instant_text(seen_to - accrual_limit(waits)),
        )

    async def of(self, row: AccountRow, sums: AccountSums) -> AccountFacts:
        """Return what findings of an account are made of."""
        number, currency = row.number, self.money[row.number].currency
        seen_to = self.seen_to(row)
        await self.reader.late_orders(number, sums.late)
        last_click, click_day = self._last_of("links", number)
        last_order, order_day = self._last_of("exchanges", number)
        lasts = [day for day in (click_day, order_day) if day is not None]
        oldest = min(lasts) - min(_USUAL, min(lasts) - date.min) if lasts else date.min
        return AccountFacts(
            name=row.name,
            currency=currency,
            now=self.now,
            first_seen=row.first_seen,
            last_synced=row.last_synced,
            seen_to=seen_to,
            today=self.calendar.day(seen_to),
            clicks=_since(oldest, self._days("links", number, sums, 0)),
            orders=_since(oldest, self._days("exchanges", number, sums, 2)),
            last_click=last_click,
            last_order=last_order,
            last_order_day=order_day,
            last_day=max(lasts, default=None),
            taken_back=self.taken_back.get(number, ()),
            waiting=self.money[number].waiting,
            payout_times=_durations(self._payout_times.get(number, ())),
            late=LateOrders(
                first=[
                    LateOrder(id=row_id, time=instant_of(time), reward=reward)
                    for time, row_id, reward in sums.late.first
                ],
                count=sums.late.count,
                rewards=sums.late.rewards,
            ),
            accrual_times=self._waits.get(number, ()),
            balance=await self._balance(number, currency, sums),
            gaps=[
                (resource, gap)
                for resource in _LISTS
                for gap in gaps_of(self._ranges(row.number, resource))
            ],
            unreadable=self.unreadable.get(number, ()),
            unreadable_count=self.unreadable_counts.get(number, 0),
        )

    def coverage(self, row: AccountRow) -> Iterator[Coverage]:
        """Yield which times of the report are proven."""
        rows = [self._limits[one].get(row.number) for one in _LISTS]
        first = min((row.first_seen, *(instant_of(one[0]) for one in rows if one)))
        for resource in _LISTS:
            ranges = self._ranges(row.number, resource)
            yield Coverage(
                account=row.name,
                resource=resource,
                ranges=tuple(coarse(ranges, _MOST_RANGES)),
                fraction=proven_share(ranges, first),
                missing=sum(one.proven_at is None for one in ranges),
            )

    def _ranges(self, number: int, resource: str) -> list[Range]:
        proven = self._proven.get((number, resource), [])
        return ranges_of(proven, self.reader.asked_start, self.reader.end)

    def first_row(self) -> datetime | None:
        """Return when the first click or order of the report's time is, of all accounts."""
        limits = (*self._limits["links"].values(), *self._limits["exchanges"].values())
        return min((instant_of(first) for first, _ in limits), default=None)

    def _last_of(self, table: str, number: int) -> tuple[datetime | None, date | None]:
        if number not in self._limits[table]:
            return None, None
        _, time = self._limits[table][number]
        return instant_of(time), date.fromordinal(self.calendar.place(time)[0])

    def _days(self, table: str, number: int, sums: AccountSums, place: int) -> dict[date, int]:
        """Return how many came on each day, those before the report too."""
        found = dict(self._earlier[table].get(number, {}))
        for ordinal, day in sums.days.items():
            one = date.fromordinal(ordinal)
            found[one] = found.get(one, 0) + int(day[place])
        return found

    async def _balance(self, number: int, currency: str, sums: AccountSums) -> BalanceFacts | None:
        """Return what the balance should be made of; None where that is not known completely.

        All orders and payouts must have been read since the balance was, from the beginning on,
        none of them unreadable, and payouts must be of one currency.
        """
        told, money = self.balances.get(number), self.money[number]
        if told is None or len(money.currencies) > 1 or number in self.unreadable_counts:
            return None
        for resource in ("exchanges", "payouts"):
            proven = self._proven.get((number, resource), [])
            ranges = ranges_of(proven, None, max((one.end for one in proven), default=told.read_at))
            is_whole = all(one.proven_at for one in ranges)
            if not is_whole or max(one.proven_at for one in proven) < told.read_at:
                return None
        credited = await self.reader.credited(number, told.read_at)
        unsure = total(amount for at, amount in money.changed if at > told.read_at)
        in_report, fresh = sums.totals(), total((credited.fresh, sums.fresh))
        facts = BalanceFacts(
            balance=told.balance,
            told_at=told.read_at,
            accrued=total((credited.accrued, Decimal(in_report[5]), sums.gone)),
            waiting=money.waits(currency),
            paid=money.ever_done,
            unsure_less=total((fresh, unsure, money.vanished)),
            # The mirror looks at old orders seldom: what it knows as open may be credited since.
            unsure_more=total((fresh, unsure, credited.open, Decimal(in_report[6]))),
        )
        if facts.balance >= total((facts.accrued, -facts.waiting, -facts.paid)):
            return facts
        return evolve(facts, gone=await self.reader.gone(number, currency))


def _since(first: date, days: Mapping[date, int]) -> dict[date, int]:
    return {day: count for day, count in days.items() if day >= first}


def _durations(seconds: Sequence[float]) -> list[timedelta]:
    return [timedelta(seconds=one) for one in seconds]
