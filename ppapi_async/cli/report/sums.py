"""Clicks and orders added up: by day and hour, direction, sub-id and referrer. Pure, and exact.

The rows of an account come sorted by visitor and time, so that what a visitor did is known without
keeping millions of rows: an order belongs to the last click before it, or else to the first one
after it.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation, localcontext
from typing import TypeAlias
from urllib.parse import parse_qsl

from attrs import define, field

from ppapi_async.cli.report.data import NO_REFERRER, NO_SUB_ID

__all__ = [
    "ACCRUED",
    "COMPLETED",
    "EXACT",
    "IN_RANGE",
    "LOST",
    "AccountSums",
    "LabelSums",
    "VisitorRow",
    "ZoneDays",
    "added",
    "host_of",
    "reference_parameters",
    "sub_ids_of",
    "total",
]

EXACT = Context(prec=300_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation])
"""More digits than any amount has: no sum is ever rounded."""
COMPLETED, ACCRUED, LOST = 1, 2, 4
"""Bits of an order: carried out, credited, cancelled for good."""
IN_RANGE = 1
"""The bit of a click that is within the report; others are there for orders to be joined to."""

VisitorRow: TypeAlias = tuple[str, str, int, str, str, str | None, str, str | None, int, int]
"""A click or an order: user_hash, time in UTC as SQLite has it, 0 for a click and 1 for an order;
then referrer, query_string, "", "", "" of a click, or partner_reward, currency_code_give,
psys_give, currency_code_get, psys_get of an order; its bits and its id."""
_Parts: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values of what may be sub-ids."""
_Sums: TypeAlias = list[int | Decimal]
"""Clicks, visitors, orders, completed ones, accrued ones, accrued, forecast."""
_ZERO = Decimal()
_QUARTERS = {f"{minute:02}": str(minute // 15) for minute in range(60)}
_MOST_APART = 50_000
"""Different query strings of an account, and referrers, that are kept apart at once."""
_LONGEST = 500
"""Characters of a query or a host that are looked at; sites cut queries at 500 bytes."""
_HOST = re.compile(
    r"(?:(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^/?#@]*@)?(?:www\.)?([^/?#:]*)", re.IGNORECASE
)
_NOT_SUB_IDS = frozenset({
    "rid",  # whose visitor it is
    "cur_from", "cur_to",  # the direction that the page begins with
    "lang",
    # Each click has another one: of Google, Yandex, Facebook, Microsoft, TikTok.
    "gclid", "gbraid", "wbraid", "yclid", "ymclid", "ysclid", "fbclid", "msclkid", "ttclid",
    "_openstat", "_ga", "_gl",
})  # fmt: skip
"""Parameters that are the site's own, or another one in each click."""
_REFERENCES = frozenset({"ref", "refid", "ref_id", "partner", "partner_id", "pid", "aff", "aff_id"})
"""Parameters by which sites may know the partner: sub-ids only where they are not all the same."""
_NEARLY_ALL = 0.95
_ENOUGH = 50
"""Clicks from which on a number that is nearly the same in all of them is no sub-id."""


class ZoneDays:
    """Days and hours of a zone, for many instants."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._known: dict[str, tuple[int, int] | None] = {}

    def place(self, time: str) -> tuple[int, int]:
        """Return the day, as an ordinal, and the hour of the week, from 0 on Monday's midnight.

        Args:
            time: an instant in UTC, as `2026-11-28 17:00:00.000000`.
        """
        # Zones differ from UTC by whole quarters of an hour, and have since 1972.
        key = time[:14] + _QUARTERS[time[14:16]]
        try:
            found = self._known[key]
        except KeyError:
            start = datetime.fromisoformat(f"{time[:14]}{15 * int(key[14]):02}:00+00:00")
            first = self._local(start)
            last = self._local(start + timedelta(minutes=14, seconds=59, microseconds=999_999))
            found = self._known[key] = first if first == last else None
        if found is None:
            return self._local(datetime.fromisoformat(f"{time}+00:00"))
        return found

    def day(self, moment: datetime) -> date:
        """Return the day of an instant."""
        try:
            return moment.astimezone(self._zone).date()
        except OverflowError:  # before the year 1, or after 9999
            return moment.astimezone(UTC).date()

    def _local(self, moment: datetime) -> tuple[int, int]:
        try:
            local = moment.astimezone(self._zone)
        except OverflowError:
            local = moment
        return local.toordinal(), 24 * local.weekday() + local.hour


def host_of(referrer: str) -> str:
    """Return the host of the page that a visitor came from, `NO_REFERRER` if it was none.

    >>> host_of("https://user@www.Forum.example:8080/topic?page=2")
    'forum.example'
    """
    found = _HOST.match(referrer.strip()[:_LONGEST])
    host = found[1].lower() if found else ""
    return host or NO_REFERRER


@functools.lru_cache(maxsize=10_000)
def sub_ids_of(query: str) -> tuple[tuple[str, str], ...]:
    """Return names and values of a query string that may be sub-ids, decoded.

    >>> sub_ids_of("?rid=17&sub=a%20b&utm_source=tg")
    (('sub', 'a b'), ('utm_source', 'tg'))
    """
    found = dict(parse_qsl(query[:_LONGEST].lstrip("?"), keep_blank_values=True))
    return tuple(one for one in found.items() if one[0].lower() not in _NOT_SUB_IDS)


def reference_parameters(
    clicks: Mapping[tuple[str, str], int], total: int
) -> frozenset[tuple[str, str]]:
    """Return the parameters by which the site knows the partner, which tell nothing of visitors.

    Those are what is nearly the same in all clicks and has a name such as `ref`, or is a number.

    Args:
        clicks: how many clicks have a name and value.
        total: how many clicks there are.
    """
    names: dict[str, int] = {}
    for (name, _), count in clicks.items():
        names[name] = names.get(name, 0) + count
    return frozenset(
        one
        for one, count in clicks.items()
        if count >= _NEARLY_ALL * (names[one[0]] if one[0].lower() in _REFERENCES else total)
        and (one[0].lower() in _REFERENCES or (one[1].isdecimal() and total >= _ENOUGH))
    )


def _empty() -> _Sums:
    return [0, 0, 0, 0, 0, _ZERO, _ZERO]


@define(eq=False)
class LabelSums:
    """Clicks and orders by a label, over all accounts; amounts by currency."""

    limit: int = 100_000
    """Labels that are kept apart; of more, those without orders so far count as the rest."""
    counts: dict[str, list[int]] = field(factory=dict)
    """Clicks, visitors, orders, completed ones, accrued ones."""
    amounts: dict[str, dict[str, list[Decimal]]] = field(factory=dict)
    """Accrued and forecast, by label and currency."""
    left_out: list[int] = field(factory=lambda: [0, 0, 0, 0, 0])
    """Counts of labels that are kept no more."""
    labels_left_out: int = 0

    def add(self, label: str, sums: _Sums, currency: str) -> None:
        """Add what an account has of a label; with `EXACT` as the context."""
        counts = self.counts.get(label)
        if counts is None:
            if len(self.counts) >= self.limit:
                self._make_room()
            counts = self.counts[label] = [0, 0, 0, 0, 0]
        for place in range(5):
            counts[place] += sums[place]  # type: ignore[assignment] # these are counts
        if sums[2]:
            amounts = self.amounts.setdefault(label, {}).setdefault(currency, [_ZERO, _ZERO])
            amounts[0] += sums[5]
            amounts[1] += sums[6]

    def add_visitors(self, label: str, visitors: int) -> None:
        """Add visitors to a label that is known."""
        counts = self.counts.get(label)
        if counts is not None:
            counts[1] += visitors

    def _make_room(self) -> None:
        for label in [one for one, counts in self.counts.items() if not counts[2]]:
            for place, count in enumerate(self.counts.pop(label)):
                self.left_out[place] += count
            self.labels_left_out += 1
        self.limit = max(self.limit, 2 * len(self.counts))


@define(eq=False)
class AccountSums:
    """What the clicks and orders of one account add up to."""

    calendar: ZoneDays
    currency: str
    sub_ids: LabelSums
    """Over all accounts; so are the referrers."""
    referrers: LabelSums
    days: dict[int, _Sums] = field(factory=dict)
    """By the day's ordinal; visitors are not told."""
    click_hours: list[int] = field(factory=lambda: [0] * 168)
    order_hours: list[int] = field(factory=lambda: [0] * 168)
    directions: dict[tuple[str, str | None, str, str | None], _Sums] = field(factory=dict)
    """By code and payment system given, and those got."""
    visitors: int = 0
    unjoined: _Sums = field(factory=_empty)
    """Orders of visitors of whom there is no click."""
    _by_query: dict[str, _Sums] = field(factory=dict)
    _by_parts: dict[_Parts, _Sums] = field(factory=dict)
    _by_host: dict[str, _Sums] = field(factory=dict)
    _by_referrer: dict[str, _Sums] = field(factory=dict)
    _came_by: dict[frozenset[_Parts], int] = field(factory=dict)
    """How many visitors came by several sets of sub-ids, by which."""
    # The visitor whose rows come just now.
    _who: str = ""
    _seen: dict[int, _Parts] = field(factory=dict)
    """Sub-ids that the visitor came by, by the identity of their sums; so are the hosts."""
    _seen_hosts: set[int] = field(factory=set)
    _last: tuple[_Sums, _Sums] | None = None
    """The sums of the sub-ids and the host of the last click."""
    _pending: list[tuple[int, Decimal]] = field(factory=list)
    """Orders before the first click: bits and reward."""

    def add(self, rows: Iterable[VisitorRow]) -> None:
        """Add rows, which come sorted by visitor and time, clicks first."""
        place, days, directions = self.calendar.place, self.days, self.directions
        with localcontext(EXACT):
            for who, time, kind, first, second, third, fourth, fifth, bits, _ in rows:
                if who != self._who:
                    self._end_visitor()
                    self._who = who
                if kind == 0:
                    self._add_click(time, first, second, bits)
                    continue
                day, hour = place(time)
                sums = days.get(day)
                if sums is None:
                    sums = days[day] = _empty()
                direction = second, third, fourth, fifth
                on_way = directions.get(direction)
                if on_way is None:
                    on_way = directions[direction] = _empty()
                reward = Decimal(first)
                self.order_hours[hour] += 1
                if self._last is not None:
                    _add_order(bits, reward, (sums, on_way, *self._last))
                else:
                    _add_order(bits, reward, (sums, on_way))
                    self._pending.append((bits, reward))

    def _add_click(self, time: str, referrer: str, query: str, bits: int) -> None:
        by_parts, by_host = self._by_query.get(query), self._by_referrer.get(referrer)
        if by_parts is None:
            by_parts = self._by_parts.setdefault(sub_ids_of(query), _empty())
            self._by_query[query] = by_parts
        if by_host is None:
            by_host = self._by_host.setdefault(host_of(referrer), _empty())
            self._by_referrer[referrer] = by_host
        if bits & IN_RANGE:
            day, hour = self.calendar.place(time)
            sums = self.days.get(day)
            if sums is None:
                sums = self.days[day] = _empty()
            sums[0] += 1
            by_parts[0] += 1
            by_host[0] += 1
            self.click_hours[hour] += 1
            if self._who and id(by_parts) not in self._seen:
                by_parts[1] += 1
                self.visitors += not self._seen
                self._seen[id(by_parts)] = sub_ids_of(query)
            if self._who and id(by_host) not in self._seen_hosts:
                by_host[1] += 1
                self._seen_hosts.add(id(by_host))
        if self._who:
            self._last = by_parts, by_host
            if self._pending:
                for order, reward in self._pending:
                    _add_order(order, reward, self._last)
                self._pending = []

    def _end_visitor(self) -> None:
        for bits, reward in self._pending:
            _add_order(bits, reward, (self.unjoined,))
        if len(self._seen) > 1:
            came_by = frozenset(self._seen.values())
            self._came_by[came_by] = self._came_by.get(came_by, 0) + 1
        self._last, self._pending = None, []
        self._seen, self._seen_hosts = {}, set()
        if len(self._by_query) > _MOST_APART or len(self._by_referrer) > _MOST_APART:
            self._hand_over()

    def finish(self) -> None:
        """Hand over what is known of sub-ids and referrers; no more rows come."""
        with localcontext(EXACT):
            self._end_visitor()
            self._hand_over()

    def _hand_over(self) -> None:
        clicks: dict[tuple[str, str], int] = {}
        for parts, sums in self._by_parts.items():
            for part in parts:
                clicks[part] = clicks.get(part, 0) + int(sums[0])
        total = sum(int(sums[0]) for sums in self._by_parts.values())
        own = reference_parameters(clicks, total)

        def labels(parts: _Parts) -> list[str]:
            found = [f"{name}={value}" for name, value in parts if (name, value) not in own]
            return found or [NO_SUB_ID]

        for parts, sums in self._by_parts.items():
            for label in labels(parts):
                self.sub_ids.add(label, sums, self.currency)
        for several, visitors in self._came_by.items():
            times = Counter(label for parts in several for label in labels(parts))
            for label, count in times.items():  # they were counted once for each of these
                self.sub_ids.add_visitors(label, -visitors * (count - 1))
        for host, sums in self._by_host.items():
            self.referrers.add(host, sums, self.currency)
        self._by_query, self._by_parts, self._came_by = {}, {}, {}
        self._by_referrer, self._by_host = {}, {}

    def totals(self) -> _Sums:
        """Return the sums over all days; visitors are counted once."""
        total = added(self.days.values())
        total[1] = self.visitors
        return total


def _add_order(bits: int, reward: Decimal, to: Iterable[_Sums]) -> None:
    for sums in to:
        sums[2] += 1
        if bits & COMPLETED:
            sums[3] += 1
        if bits & ACCRUED:
            sums[4] += 1
            sums[5] += reward
        elif not bits & LOST:
            sums[6] += reward


def added(several: Iterable[_Sums]) -> _Sums:
    """Return the sums of sums, exactly."""
    total = _empty()
    with localcontext(EXACT):
        for sums in several:
            for place, value in enumerate(sums):
                total[place] += value
    return total


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the sum of amounts, exactly."""
    with localcontext(EXACT):
        return sum(amounts, _ZERO)
