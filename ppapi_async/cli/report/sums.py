"""Clicks and orders added up: by day and hour, direction, sub-id and referrer. Pure, and exact.

The rows of an account come sorted by visitor and time, so that what a visitor did is known without
keeping millions of rows: an order belongs to the last click before it, or else to the first one
after it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal, localcontext
from typing import TypeAlias, TypeVar
from urllib.parse import parse_qsl

from attrs import define, field

from ppapi_async.cli.report.data import NO_REFERRER, NO_SUB_ID
from ppapi_async.mirror.types import unescape
from ppapi_async.protocol.fields import EXACT

__all__ = [
    "ACCRUED",
    "COMPLETED",
    "FRESH",
    "GONE",
    "IN_RANGE",
    "LOST",
    "OTHER_DIRECTION",
    "QUARTERS",
    "AccountSums",
    "LabelSums",
    "LateSums",
    "VisitorRow",
    "ZoneDays",
    "added",
    "host_of",
    "reference_parameters",
    "sub_ids_of",
    "total",
]

COMPLETED, ACCRUED, LOST, GONE, FRESH = 1, 2, 4, 8, 16
"""Bits of an order: carried out, credited, cancelled for good; listed no more; and changed since
the balance was read."""
IN_RANGE = 1
"""The bit of a click that is within the report; others are there for orders to be joined to."""

VisitorRow: TypeAlias = tuple[str, str, int, str, str, str | None, str | None, str | None, int, int]
"""A click or an order: user_hash, time in UTC as SQLite has it, 0 for a click and 1 for an order;
then referrer, query_string and three times None of a click, or partner_reward, currency_code_give,
psys_give, currency_code_get, psys_get of an order; its bits, and its id."""
_Direction: TypeAlias = tuple[str, str | None, str | None, str | None]
"""Code and payment system given, and those got."""
_Parts: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values of what may be sub-ids."""
_Sums: TypeAlias = list[int | Decimal]
"""Clicks, visitors, orders, completed ones, accrued ones, accrued, forecast."""
KeyT = TypeVar("KeyT")
_NO_PART = ("\0", "")
_NO_PARTS: _Parts = (_NO_PART,)
"""What stands for a click without sub-ids."""
_ZERO = Decimal()
QUARTERS = {f"{minute:02}": str(minute // 15) for minute in range(60)}
"""Which quarter of its hour a minute is in, both as texts."""
OTHER_DIRECTION: _Direction = ("…", None, "…", None)
_MOST_DIRECTIONS = 2_000
_LATE_SHOWN = 5
_MOST_APART = 50_000
"""Different query strings of an account, and hosts, that are kept apart at once."""
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
        self.known: dict[str, tuple[int, int] | None] = {}
        """What `place` returns, by the quarter of an hour: an instant's first 14 characters and
        `QUARTERS` of its minute. None where that does not say it."""

    def place(self, time: str) -> tuple[int, int]:
        """Return the day, as an ordinal, and the hour of the week, from 0 on Monday's midnight.

        Args:
            time: an instant in UTC, as `2026-11-28 17:00:00.000000`.
        """
        # Zones differ from UTC by whole quarters of an hour, and have since 1972.
        key = time[:14] + QUARTERS[time[14:16]]
        if key not in self.known:
            start = datetime.fromisoformat(f"{time[:14]}{15 * int(key[14]):02}:00+00:00")
            first = self._local(start)
            last = self._local(start + timedelta(minutes=14, seconds=59, microseconds=999_999))
            self.known[key] = first if first == last else None
        return self.known[key] or self._local(datetime.fromisoformat(f"{time}+00:00"))

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


@functools.lru_cache(maxsize=10_000)
def host_of(referrer: str) -> str:
    """Return the host of the page that a visitor came from, `NO_REFERRER` if it was none.

    Args:
        referrer: the page's address, or its host with what may stand beside that.

    >>> host_of("https://user@www.Forum.example:8080/topic?page=2")
    'forum.example'
    """
    found = _HOST.match(unescape(referrer).strip()[:_LONGEST])
    return (found[1].lower() if found else "") or NO_REFERRER


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

    def _make_room(self) -> None:
        for label in [one for one, counts in self.counts.items() if not counts[2]]:
            for place, count in enumerate(self.counts.pop(label)):
                self.left_out[place] += count
            self.labels_left_out += 1
        self.limit = max(self.limit, 2 * len(self.counts))


@define(eq=False)
class LateSums:
    """Orders that were carried out before an instant, and whose rewards were not credited."""

    since: str
    """Those from then on: an instant as in a `VisitorRow`."""
    before: str
    first: list[tuple[str, int, Decimal]] = field(factory=list)
    """Time, id and reward of the oldest ones."""
    count: int = 0
    rewards: Decimal = _ZERO

    def add(self, time: str, row_id: int, reward: Decimal) -> None:
        """Take an order, if it is one of them; with `EXACT` as the context."""
        if self.since <= time < self.before and reward > 0:
            self.count += 1
            self.rewards += reward
            self.first = sorted([*self.first, (time, row_id, reward)])[:_LATE_SHOWN]


@define(eq=False)
class AccountSums:
    """What the clicks and orders of one account add up to."""

    calendar: ZoneDays
    currency: str
    sub_ids: LabelSums
    """Over all accounts; so are the referrers."""
    referrers: LabelSums
    late: LateSums
    gone: Decimal = _ZERO
    """What orders had been credited that are gone; they count nowhere else."""
    fresh: Decimal = _ZERO
    """What had perhaps not been credited when the balance was read, gone ones too."""
    days: dict[int, _Sums] = field(factory=dict)
    """By the day's ordinal; visitors are not told."""
    click_hours: list[int] = field(factory=lambda: [0] * 168)
    order_hours: list[int] = field(factory=lambda: [0] * 168)
    directions: dict[_Direction, _Sums] = field(factory=dict)
    """With `OTHER_DIRECTION` for those beyond a few thousand, which no honest site has."""
    visitors: int = 0
    unjoined: _Sums = field(factory=_empty)
    """Orders of visitors of whom there is no click."""
    _by_query: dict[str, _Sums] = field(factory=dict)
    _by_parts: dict[_Parts, _Sums] = field(factory=dict)
    _parts: dict[int, _Parts] = field(factory=dict)
    """By the identity of their sums."""
    _by_host: dict[str, _Sums] = field(factory=dict)
    _by_address: dict[str, _Sums] = field(factory=dict)
    """The same, by hosts as they are written in referrers, with ports and the like."""
    _came_by: dict[frozenset[int], int] = field(factory=dict)
    """How many visitors came by several sets of sub-ids, by the identities of their sums."""
    # The visitor whose rows come just now.
    _who: str = ""
    _first: tuple[_Sums, _Sums] | None = None
    """The sums of the sub-ids and the host of the first click within the report."""
    _last: tuple[_Sums, _Sums] | None = None
    """Those of the last click."""
    _seen: set[int] = field(factory=set)
    """The sums of sub-ids that the visitor came by, by identity, if there were several."""
    _seen_hosts: set[int] = field(factory=set)
    """The same of hosts."""
    _pending: list[tuple[int, Decimal]] = field(factory=list)
    """Orders before the first click: bits and reward."""

    def add(self, rows: Iterable[VisitorRow]) -> None:  # noqa: C901, PLR0912, PLR0915 - see below
        """Add rows, which come sorted by visitor and time, clicks first."""
        # Millions of rows go through here. So what nearly all of them need is done in this loop,
        # in local names, and what few need, in methods.
        known, place, quarters = self.calendar.known, self.calendar.place, QUARTERS
        days, directions, pending = self.days, self.directions, self._pending
        seen, seen_hosts = self._seen, self._seen_hosts
        by_query, by_address = self._by_query, self._by_address
        click_hours, order_hours = self.click_hours, self.order_hours
        current, first, last = self._who, self._first, self._last
        late, is_full = self.late, self._is_full()
        with localcontext(EXACT):
            for who, time, kind, one, two, three, four, five, bits, row_id in rows:
                if who != current:
                    if pending:
                        self._leave_unjoined()
                    if seen or seen_hosts or is_full:
                        is_full = self._end_visitor()
                    current, first, last = who, None, None
                if bits >= GONE:
                    self._add_odd(bits, Decimal(one))
                    if bits & GONE:
                        continue
                    bits &= COMPLETED | ACCRUED | LOST  # noqa: PLW2901 - what is left of them
                day, hour = known.get(time[:14] + quarters[time[14:16]]) or place(time)
                if kind:
                    direction = two, three, four, five
                    way = directions.get(direction) or self._new_direction(direction)
                    sums = days.get(day) or _new(days, day)
                    order_hours[hour] += 1
                    reward = Decimal(one)
                    if bits == COMPLETED:
                        late.add(time, row_id, reward)
                    if last is None:
                        pending.append((bits, reward))
                        _add_order(bits, reward, (sums, way))
                    else:
                        _add_order(bits, reward, (sums, way, *last))
                    continue
                parts = one.split("/", 3)
                address = parts[2] if len(parts) > 2 and not parts[1] else one
                click = (
                    by_query.get(two) or self._sums_of_query(two),
                    by_address.get(address) or self._sums_of_address(address),
                )
                if bits & IN_RANGE:
                    (days.get(day) or _new(days, day))[0] += 1
                    click_hours[hour] += 1
                    click[0][0] += 1
                    click[1][0] += 1
                    if not who:
                        continue
                    if first is None:
                        first = click
                        self.visitors += 1
                        click[0][1] += 1
                        click[1][1] += 1
                    elif click[0] is not first[0] or click[1] is not first[1]:
                        self._note_again(first, click)
                if who:
                    last = click
                    if pending:
                        for order, reward in pending:
                            _add_order(order, reward, click)
                        pending.clear()
        self._who, self._first, self._last = current, first, last

    def _new_direction(self, direction: _Direction) -> _Sums:
        if len(self.directions) >= _MOST_DIRECTIONS:
            direction = OTHER_DIRECTION
        return self.directions.get(direction) or _new(self.directions, direction)

    def _add_odd(self, bits: int, reward: Decimal) -> None:
        if bits & GONE and bits & ACCRUED:
            self.gone += reward
        if bits & FRESH and bits & ACCRUED:
            self.fresh += reward

    def _sums_of_query(self, query: str) -> _Sums:
        parts = sub_ids_of(unescape(query))
        found = self._by_parts.get(parts) or _new(self._by_parts, parts)
        self._parts[id(found)] = parts
        self._by_query[query] = found
        return found

    def _sums_of_address(self, address: str) -> _Sums:
        host = host_of(address)
        found = self._by_host.get(host) or _new(self._by_host, host)
        self._by_address[address] = found
        return found

    def _note_again(self, first: tuple[_Sums, _Sums], click: tuple[_Sums, _Sums]) -> None:
        """Count a visitor who has come before by what he comes by for the first time."""
        for seen, one, sums in zip((self._seen, self._seen_hosts), first, click, strict=True):
            if sums is not one:
                seen.add(id(one))
                if id(sums) not in seen:
                    sums[1] += 1
                    seen.add(id(sums))

    def _leave_unjoined(self) -> None:
        """Count the orders of a visitor who did not click."""
        unjoined = (self.unjoined,)
        for bits, reward in self._pending:
            _add_order(bits, reward, unjoined)
        self._pending.clear()

    def _end_visitor(self) -> bool:
        """Note by what a visitor came, and hand over if memory is short; return that it is not."""
        if self._seen:
            came_by = frozenset(self._seen)
            self._came_by[came_by] = self._came_by.get(came_by, 0) + 1
        self._seen.clear()
        self._seen_hosts.clear()
        if self._is_full():
            self._hand_over()
        return False

    def _is_full(self) -> bool:
        return len(self._by_query) > _MOST_APART or len(self._by_address) > _MOST_APART

    def finish(self) -> None:
        """Hand over what is known of sub-ids and referrers; no more rows come."""
        with localcontext(EXACT):
            self._leave_unjoined()
            self._end_visitor()
            self._hand_over()

    def _hand_over(self) -> None:
        """Move what is known of sub-ids and referrers to the sums over all accounts."""
        by_part: dict[tuple[str, str], _Sums] = {}
        for parts, sums in self._by_parts.items():
            for part in parts or _NO_PARTS:
                _add_sums(by_part.get(part) or _new(by_part, part), sums)
        clicks = sum(int(sums[0]) for sums in self._by_parts.values())
        own = reference_parameters({one: int(sums[0]) for one, sums in by_part.items()}, clicks)
        for parts, sums in self._by_parts.items() if own else ():
            if parts and own.issuperset(parts):
                _add_sums(by_part.get(_NO_PART) or _new(by_part, _NO_PART), sums)
        self._count_visitors_once(by_part, own)
        for part, sums in by_part.items():
            if part not in own:
                label = NO_SUB_ID if part is _NO_PART else f"{part[0]}={part[1]}"
                self.sub_ids.add(label, sums, self.currency)
        for host, sums in self._by_host.items():
            self.referrers.add(host, sums, self.currency)
        for known in (self._by_query, self._by_parts, self._parts, self._came_by):
            known.clear()
        self._by_host.clear()
        self._by_address.clear()

    def _count_visitors_once(
        self, by_part: dict[tuple[str, str], _Sums], own: frozenset[tuple[str, str]]
    ) -> None:
        """Correct the visitors of parts, who were counted with each set of sub-ids."""
        for several, visitors in self._came_by.items():
            seen: set[tuple[str, str]] = set()
            for one in several:
                for part in [part for part in self._parts[one] if part not in own] or _NO_PARTS:
                    if part in seen:
                        by_part[part][1] -= visitors
                    seen.add(part)

    def totals(self) -> _Sums:
        """Return the sums over all days; visitors are counted once."""
        total = added(self.days.values())
        total[1] = self.visitors
        return total


def _new(sums: dict[KeyT, _Sums], key: KeyT) -> _Sums:
    sums[key] = _empty()
    return sums[key]


def _add_order(bits: int, reward: Decimal, to: Iterable[_Sums]) -> None:
    is_completed, is_accrued = bits & COMPLETED, bits & ACCRUED
    for sums in to:
        sums[2] += 1
        if is_completed:
            sums[3] += 1
        if is_accrued:
            sums[4] += 1
            sums[5] += reward
        elif not bits & LOST:
            sums[6] += reward


def _add_sums(to: _Sums, sums: _Sums) -> None:
    to[0] += sums[0]
    to[1] += sums[1]
    if sums[2]:
        for place in range(2, 7):
            to[place] += sums[place]


def added(several: Iterable[_Sums]) -> _Sums:
    """Return the sums of sums, exactly."""
    total = _empty()
    with localcontext(EXACT):
        for sums in several:
            _add_sums(total, sums)
    return total


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the sum of amounts, exactly."""
    with localcontext(EXACT):
        return sum(amounts, _ZERO)
