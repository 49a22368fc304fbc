"""What a report needs of the mirror's tables, in plain values: alike from SQLite and PostgreSQL.

Instants come as SQLite has them, texts of a fixed width in UTC that sort, and amounts as texts of
their digits. The SQL is plain, for millions of rows go through it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import cast

from attrs import define, field, frozen

from ppapi_async.cli.report.data import Exhibit, PayoutLine
from ppapi_async.cli.report.findings import SHOWN, TakenBack, UnreadableFact
from ppapi_async.cli.report.sums import FRESH, GONE, LateSums, VisitorRow
from ppapi_async.mirror.coverage import Proven
from ppapi_async.mirror.read_only import MirrorSnapshot, Values
from ppapi_async.mirror.rows import load
from ppapi_async.mirror.types import instant_of, instant_text, load_json, unescape
from ppapi_async.mirror.views import CANCELLED
from ppapi_async.models import Exchange
from ppapi_async.protocol.fields import EXACT

__all__ = ["AccountRow", "Balance", "Credited", "ReportReader"]

_CHANGES = 2_000
"""How many of an account's latest changes say how long rewards take here."""
_FRESH = "COALESCE(changed_at > ?, time > ?)"
"""Whether an order has changed since an instant."""
_NEW = timedelta(days=2)
"""Orders that have never changed and are older had been credited when they were read first."""
_LOST = ", ".join(f"'{status}'" for status in CANCELLED)
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_PROBLEM = 200
"""Characters of what cannot be read."""
_ARCHIVED_AFTER = 5 * 86_400.0
"""Seconds after its last edit that an order stays at the least where sites archive orders, which
leaves its reward as it was. One that vanished before was banned, hidden or deleted."""


@frozen(kw_only=True)
class AccountRow:
    """An account of the mirror."""

    number: int
    name: str
    host: str
    timezone: str
    first_seen: datetime
    last_synced: datetime | None


@frozen(kw_only=True)
class Balance:
    """What get_info told last."""

    balance: Decimal
    min_payout: Decimal
    read_at: datetime
    """When the site was asked last."""


@define(kw_only=True)
class Credited:
    """What orders of an account of before and after the report have been credited."""

    accrued: Decimal = Decimal()
    fresh: Decimal = Decimal()
    """What of it was perhaps not credited yet when the balance was read."""
    open: Decimal = Decimal()
    """What is not credited, of orders that are there."""


@define(eq=False)
class ReportReader:
    """Reads a snapshot for a report about `[start, end)`."""

    _snapshot: MirrorSnapshot
    asked_start: datetime | None
    """None: from the beginning."""
    end: datetime
    _chosen: frozenset[int]
    """The numbers of the accounts."""
    _words: _Words = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._words = _Words(self._snapshot.is_sqlite)

    @property
    def start(self) -> datetime:
        """From when on."""
        return self.asked_start or _BEGINNING

    async def _read(
        self, sql: str, parameters: Iterable[object] = ()
    ) -> AsyncIterator[tuple[object, ...]]:
        """Yield the rows of a statement whose first column is the account, of those chosen."""
        async for piece in self._snapshot.read(sql, tuple(parameters)):
            for row in piece:
                if row[0] in self._chosen:
                    yield row

    def _fresh(self, read_at: datetime) -> tuple[object, object]:
        return self._words.parameter(read_at), self._words.parameter(read_at - _NEW)

    def _bounds(self) -> tuple[object, object]:
        return self._words.parameter(self.start), self._words.parameter(self.end)

    async def accounts(self) -> list[AccountRow]:
        """Return the accounts, by name."""
        time = self._words.time
        sql = (
            f"SELECT account, name, host, timezone, {time('first_seen')}, {time('last_synced')}"  # noqa: S608
            " FROM accounts"
        )
        found = [
            AccountRow(
                number=cast("int", number),
                name=unescape(cast("str", name)),
                host=unescape(cast("str", host)),
                timezone=unescape(cast("str", zone)),
                first_seen=instant_of(cast("str", first_seen)),
                last_synced=_instant(last_synced),
            )
            async for number, name, host, zone, first_seen, last_synced in self._read(sql)
        ]
        return sorted(found, key=lambda one: one.name)

    async def balances(self) -> dict[int, Balance]:
        """Return what each account has, as told last, by its number."""
        words = self._words
        sql = (
            f"SELECT b.account, {words.amount('b.balance')}, {words.amount('b.min_payout')},"  # noqa: S608
            f" {words.time('b.seen_at')}, {words.time('p.updated_at')} FROM balances b"
            " LEFT JOIN positions p ON p.account = b.account AND p.resource = 'info'"
            " WHERE b.revision IN (SELECT MAX(revision) FROM balances GROUP BY account)"
        )
        return {
            cast("int", number): Balance(
                balance=Decimal(cast("str", balance)),
                min_payout=Decimal(cast("str", least)),
                read_at=instant_of(cast("str", asked or seen)),
            )
            async for number, balance, least, seen, asked in self._read(sql)
        }

    async def payouts(
        self, name_of: dict[int, str]
    ) -> AsyncIterator[tuple[int, PayoutLine, datetime]]:
        """Yield all payouts, newest first, with the account's number and when they changed last."""
        words = self._words
        sql = (
            f"SELECT account, id, {words.time('time')}, status, {words.amount('pay_amount')},"  # noqa: S608
            f" pay_currency_code, {words.amount('original_amount')}, original_currency_code,"
            f" gone_at IS NOT NULL, {words.time('COALESCE(changed_at, time)')}"
            " FROM payouts ORDER BY time DESC, account, id DESC"
        )
        async for row in self._read(sql):
            number = cast("int", row[0])
            texts = cast("tuple[str, ...]", row)
            yield (
                number,
                PayoutLine(
                    account=name_of[number],
                    id=cast("int", row[1]),
                    time=instant_of(texts[2]),
                    status=texts[3],
                    amount=Decimal(texts[4]),
                    currency=unescape(texts[5]),
                    original_amount=Decimal(texts[6]),
                    original_currency=unescape(texts[7]),
                    is_gone=bool(row[8]),
                ),
                instant_of(texts[9]),
            )

    async def payout_times(self) -> AsyncIterator[tuple[int, float]]:
        """Yield how many seconds payouts took, as far as they were seen to become done."""
        sql = (
            f"SELECT c.account, {self._words.time('c.seen_at')}, {self._words.time('p.time')}"  # noqa: S608
            " FROM changes c JOIN payouts p ON p.account = c.account AND p.id = c.id"
            " WHERE c.resource = 'payouts' AND c.kind = 'changed' AND p.status = '1'"
            f" AND {self._words.text('c.fields')} LIKE '%\"status\"%'"
        )
        async for number, seen, time in self._read(sql):
            yield cast("int", number), _between(time, seen)

    async def accrual_times(self, number: int, since: datetime) -> list[float]:
        """Return how many seconds orders of an account took to be credited, of late.

        As far as that was seen since then, and of so many changes. `time` is when the order was
        carried out where a change of status moves it, and when it was placed elsewhere; what is
        late is measured by the same.
        """
        sql = (
            f"SELECT c.account, {self._words.time('c.seen_at')}, {self._words.time('e.time')}"  # noqa: S608
            " FROM (SELECT account, id, kind, seen_at, fields FROM changes"
            " WHERE account = ? AND resource = 'exchanges' AND seen_at >= ?"
            f" ORDER BY revision DESC LIMIT {_CHANGES}) AS c"
            " JOIN exchanges e ON e.account = c.account AND e.id = c.id"
            " WHERE c.kind = 'changed' AND e.accrued"
            f" AND {self._words.text('c.fields')} LIKE '%\"accrued\"%'"
        )
        rows = self._read(sql, [number, self._words.parameter(since)])
        return [_between(time, seen) async for _, seen, time in rows]

    async def taken_back(self) -> dict[int, list[TakenBack]]:
        """Return orders that had been credited more than they are now, by the account's number.

        As far as that was seen within the report. An order that is gone counts if it vanished too
        early to be archived.
        """
        words = self._words
        sql = (
            f"SELECT c.account, c.id, {words.time('c.seen_at')}, c.before,"  # noqa: S608
            f" {words.flag('e.accrued')}, {words.amount('e.partner_reward')},"
            f" {words.time('e.gone_at')}, {words.time('e.time')}"
            " FROM changes c JOIN exchanges e ON e.account = c.account AND e.id = c.id"
            " WHERE c.resource = 'exchanges' AND c.kind IN ('changed', 'gone')"
            # First what is known without looking into rows: nearly all that is credited stays so.
            f" AND c.seen_at >= ? AND c.seen_at < ? AND (c.kind = 'gone'"
            f" OR {words.text('c.fields')} LIKE '%\"partner_reward\"%'"
            f" OR (NOT e.accrued AND {words.text('c.fields')} LIKE '%\"accrued\"%'))"
            f" AND {words.is_true('c.before', 'accrued')}"
            " ORDER BY c.account, c.id, c.revision"
        )
        found: dict[int, dict[int, TakenBack]] = {}
        async for row in self._read(sql, self._bounds()):
            number, row_id = cast("int", row[0]), cast("int", row[1])
            credited = load(cast("str", row[3]), Exchange).partner_reward
            left = Decimal(cast("str", row[5])) if row[4] else Decimal()
            if row[6] is not None and _between(row[7], row[6]) < _ARCHIVED_AFTER:
                left = Decimal()
            of_account = found.setdefault(number, {})
            if row_id in of_account:
                credited = max(credited, of_account[row_id].credited)
            seen_at = instant_of(cast("str", row[2]))
            of_account[row_id] = TakenBack(id=row_id, seen_at=seen_at, credited=credited, left=left)
        return {
            number: [one for one in orders.values() if one.left < one.credited]
            for number, orders in found.items()
        }

    async def coverage(self) -> dict[tuple[int, str], list[Proven]]:
        """Return which times are proven, by account and resource, in order."""
        time = self._words.time
        quoted = f"{time(chr(34) + 'start' + chr(34))}, {time(chr(34) + 'end' + chr(34))}"
        sql = (
            f"SELECT account, resource, {quoted}, {time('proven_at')} FROM coverage"  # noqa: S608
            ' ORDER BY account, resource, "end"'
        )
        found: dict[tuple[int, str], list[Proven]] = {}
        async for number, resource, start, end, proven_at in self._read(sql):
            proven = Proven(
                _instant(start), instant_of(cast("str", end)), instant_of(cast("str", proven_at))
            )
            found.setdefault((cast("int", number), cast("str", resource)), []).append(proven)
        return found

    async def unreadable(self) -> AsyncIterator[tuple[int, UnreadableFact]]:
        """Yield the rows of the report's time, or of none that is known, that cannot be read."""
        words = self._words
        sql = (
            f"SELECT account, resource, id, {words.time('time')}, {words.text('problems')}"  # noqa: S608
            " FROM unreadable WHERE time IS NULL OR (time >= ? AND time < ?)"
            " ORDER BY account, last_seen DESC, digest"
        )
        async for number, resource, row_id, time, problems in self._read(sql, self._bounds()):
            yield (
                cast("int", number),
                UnreadableFact(
                    resource=cast("str", resource),
                    id=cast("int | None", row_id),
                    time=_instant(time),
                    problem=_problem(cast("str", problems)),
                ),
            )

    async def limits(self, table: str, before: datetime) -> AsyncIterator[tuple[int, str, str]]:
        """Yield when the first and the last row of each account in a table is."""
        within = f"FROM {table} r WHERE r.account = a.account AND time < ?"
        first, last = (
            self._words.time(f"(SELECT {limit}(time) {within})") for limit in ("MIN", "MAX")
        )
        sql = f"SELECT account, {first}, {last} FROM accounts a"  # noqa: S608
        bound = self._words.parameter(before)
        async for number, earliest, latest in self._read(sql, [bound, bound]):
            if latest is not None:
                yield cast("int", number), cast("str", earliest), cast("str", latest)

    async def counts(
        self, table: str, start: datetime, end: datetime
    ) -> AsyncIterator[tuple[int, str, int]]:
        """Yield how many rows there are of each account and hour, by UTC."""
        hour = f"SUBSTR({self._words.time('time')}, 1, 13)"
        sql = (
            f"SELECT account, {hour} AS hour, COUNT(*) FROM {table}"  # noqa: S608
            f" WHERE time >= ? AND time < ? GROUP BY account, {hour}"
        )
        bounds = [self._words.parameter(start), self._words.parameter(end)]
        async for number, found, count in self._read(sql, bounds):
            yield cast("int", number), f"{found}:00:00.000000", cast("int", count)

    async def visitor_rows(
        self, number: int, read_at: datetime, add: Callable[[list[VisitorRow]], object]
    ) -> None:
        """Hand over clicks and orders of an account, by visitor and time, clicks first.

        Clicks of before the report come too, of visitors who ordered within it: an order may belong
        to one.

        Args:
            number: of the account.
            read_at: when its balance was read.
            add: takes them, piece by piece.
        """
        words = self._words
        start, end = self._bounds()
        # In SQLite `+` keeps it from an index by which each order would be looked up by itself.
        visitor = "+user_hash" if self._snapshot.is_sqlite else "user_hash"
        sql = (
            f"SELECT {visitor}, {words.time('time')}, 0, referrer, query_string,"  # noqa: S608
            f" NULL, NULL, NULL, {words.flag('time >= ?')}, id"
            " FROM links WHERE account = ? AND time < ? AND (time >= ? OR (user_hash <> ''"
            " AND user_hash IN (SELECT user_hash FROM exchanges"
            " WHERE account = ? AND time >= ? AND time < ? AND gone_at IS NULL)))"
            f" UNION ALL SELECT {visitor}, {words.time('time')}, 1,"
            f" {words.amount('partner_reward')}, currency_code_give, psys_give, currency_code_get,"
            f" psys_get, {words.flag('exchange_success')} + 2 * {words.flag('accrued')}"
            f" + 4 * {words.flag(f'''COALESCE(status, '') IN ({_LOST})''')}"
            f" + {GONE} * {words.flag('gone_at IS NOT NULL')} + {FRESH} * {words.flag(_FRESH)}, id"
            " FROM exchanges WHERE account = ? AND time >= ? AND time < ?"
            " ORDER BY 1, 2, 3, 10"
        )
        fresh = self._fresh(read_at)
        clicks = start, number, end, start, number, start, end
        parameters = (*clicks, *fresh, number, start, end)
        await self._snapshot.fold(sql, parameters, cast("Callable[[list[Values]], object]", add))

    async def late_orders(self, number: int, late: LateSums) -> None:
        """Take in late orders of an account from before the report."""
        words, start = self._words, self.start
        until = min(instant_of(late.before), start)
        sql = (
            f"SELECT account, {words.time('time')}, id, {words.amount('partner_reward')}"  # noqa: S608
            " FROM exchanges WHERE account = ? AND time >= ? AND time < ? AND exchange_success"
            " AND NOT accrued AND gone_at IS NULL"
            f" AND COALESCE(status, '') NOT IN ({_LOST})"
        )
        bounds = [number, words.parameter(instant_of(late.since)), words.parameter(until)]
        async for _, time, row_id, reward in self._read(sql, bounds):
            with localcontext(EXACT):
                late.add(cast("str", time), cast("int", row_id), Decimal(cast("str", reward)))

    async def credited(self, number: int, read_at: datetime) -> Credited:
        """Return what orders of an account of before and after the report have been credited.

        Args:
            number: of the account.
            read_at: when its balance was read.
        """
        words, found = self._words, Credited()
        start, end = self._bounds()
        orders = (
            f"SELECT {words.amount('partner_reward')}, {words.flag('accrued')},"  # noqa: S608
            f" {words.flag(_FRESH)}, {words.flag('gone_at IS NULL')}"
            " FROM exchanges WHERE account = ? AND time"
        )

        def add(rows: list[Values]) -> None:
            with localcontext(EXACT):
                for reward, is_accrued, is_fresh, is_there in rows:
                    amount = Decimal(cast("str", reward))
                    if is_accrued:
                        found.accrued += amount
                        if is_fresh:
                            found.fresh += amount
                    elif is_there:
                        found.open += amount

        fresh = self._fresh(read_at)
        parameters = (*fresh, number, start, *fresh, number, end)
        await self._snapshot.fold(f"{orders} < ? UNION ALL {orders} >= ?", parameters, add)
        return found

    async def gone(self, number: int, currency: str) -> tuple[Exhibit, ...]:
        """Return the orders that vanished last of those that had been credited."""
        words = self._words
        sql = (
            f"SELECT account, id, {words.time('time')}, {words.amount('partner_reward')}"  # noqa: S608
            " FROM exchanges WHERE account = ? AND accrued AND gone_at IS NOT NULL"
            f" ORDER BY gone_at DESC, id LIMIT {SHOWN}"
        )
        return tuple(
            [
                Exhibit(
                    resource="exchanges",
                    id=cast("int", row_id),
                    at=instant_of(cast("str", time)),
                    amount=Decimal(cast("str", reward)),
                    currency=currency,
                )
                async for _, row_id, time, reward in self._read(sql, [number])
            ]
        )


@frozen
class _Words:
    """What the two databases call things."""

    is_sqlite: bool

    def time(self, column: str) -> str:
        """Return SQL for an instant as a text."""
        if self.is_sqlite:
            return column
        return f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"

    def amount(self, column: str) -> str:
        """Return SQL for an amount as a text."""
        return column if self.is_sqlite else f"CAST({column} AS text)"

    def text(self, column: str) -> str:
        """Return SQL for JSON as a text."""
        return column if self.is_sqlite else f"CAST({column} AS text)"

    def flag(self, condition: str) -> str:
        """Return SQL for 0 or 1."""
        return f"({condition})" if self.is_sqlite else f"CAST({condition} AS int)"

    def is_true(self, column: str, name: str) -> str:
        """Return SQL for whether a flag within JSON is set."""
        if self.is_sqlite:
            return f"json_extract({column}, '$.{name}')"
        return f"(CAST({column} AS json) ->> '{name}' = 'true')"

    def parameter(self, moment: datetime) -> object:
        """Return an instant as the driver takes it."""
        return instant_text(moment) if self.is_sqlite else moment.astimezone(UTC)


def _instant(text: object) -> datetime | None:
    return None if text is None else instant_of(cast("str", text))


def _between(earlier: object, later: object) -> float:
    """Return the seconds from one instant to another, 0 if it is none."""
    first, last = datetime.fromisoformat(str(earlier)), datetime.fromisoformat(str(later))
    return max(0.0, (last - first).total_seconds())


def _problem(problems: str) -> str:
    """Return the first of the problems of a row, as `path: value`."""
    found = load_json(problems)
    first = found[0] if isinstance(found, list) and found else ""
    text = ": ".join(map(str, first)) if isinstance(first, list) else str(first)
    return text[:_PROBLEM]
