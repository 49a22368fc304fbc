"""Reports made up: of any number of accounts, calm or in trouble, with texts as bad as you like."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ppapi_async.cli.report.data import (
    AccountSummary,
    Coverage,
    DaySum,
    Direction,
    Exhibit,
    Finding,
    FindingKind,
    Funnel,
    FunnelStep,
    Hours,
    Owed,
    PayoutLine,
    Range,
    ReportData,
    Severity,
)

__all__ = ["END", "empty", "made_up"]

END = datetime(2026, 11, 28, 11, 30, tzinfo=UTC)
_CURRENCIES = ("USD", "USD", "USD", "RUB", "EUR", "USDT", "BTC", "UAH")
_SCALE: dict[str, Decimal | int] = {"RUB": 90, "UAH": 40, "BTC": Decimal("0.00001")}
_SEVERITIES = {
    FindingKind.REWARDS_TAKEN_BACK: Severity.HIGH,
    FindingKind.PAYOUT_WAITING: Severity.HIGH,
    FindingKind.ACCRUALS_LAG: Severity.HIGH,
    FindingKind.SITE_BEHIND: Severity.MEDIUM,
    FindingKind.SITE_QUIET: Severity.MEDIUM,
    FindingKind.CLICKS_WITHOUT_ORDERS: Severity.MEDIUM,
    FindingKind.BALANCE_UNEXPLAINED: Severity.MEDIUM,
    FindingKind.COVERAGE_INCOMPLETE: Severity.LOW,
    FindingKind.ROWS_UNREADABLE: Severity.LOW,
}
_SYSTEMS = ("Tether TRC20 USDT", "Bitcoin BTC", "Sberbank RUB", "Monobank UAH", "Cash USD")


def empty() -> ReportData:
    """Return the report of a mirror without accounts."""
    return ReportData(made_at=END, start=END - timedelta(days=90), end=END, zone="Europe/Moscow")


def made_up(
    accounts: int = 3,
    *,
    days: int = 90,
    seed: int = 1,
    trouble: bool = True,
    text: Callable[[str], str] = str,
) -> ReportData:
    """Return a report.

    Args:
        accounts: how many.
        days: how long it is.
        seed: what it is made up from.
        trouble: whether there are findings, and times that are not proven.
        text: turns each text that sites or visitors have chosen into another.
    """
    return _Maker(accounts, days, random.Random(seed), text).report(trouble)


class _Maker:
    def __init__(
        self, accounts: int, days: int, chance: random.Random, text: Callable[[str], str]
    ) -> None:
        self.chance, self.text, self.days = chance, text, days
        self.start = END - timedelta(days=days)
        names = [f"site-{number:02}" for number in range(accounts)]
        self.currencies = {
            text(name): f"¤ {text(name)}"
            if number % 5 == 3
            else text(_CURRENCIES[number % len(_CURRENCIES)])
            for number, name in enumerate(names)
        }
        self.plain = {
            text(name): _CURRENCIES[number % len(_CURRENCIES)] for number, name in enumerate(names)
        }
        self.sums = [day for name in self.currencies for day in self._days(name)]

    def report(self, trouble: bool) -> ReportData:
        summaries = tuple(self._summary(name) for name in self.currencies)
        findings = tuple(self._findings(summaries)) if trouble else ()
        return ReportData(
            made_at=END,
            start=self.start,
            end=END,
            zone="Europe/Moscow",
            accounts=summaries,
            findings=findings,
            more_findings=1_234 if len(summaries) > 50 and trouble else 0,
            days=tuple(sorted(self.sums, key=lambda one: (one.day, one.account))),
            funnels=tuple(self._funnels(summaries)),
            directions=tuple(self._directions()),
            more_directions=17,
            hours=self._hours(),
            payouts=tuple(self._payouts(summaries)),
            more_payouts=1_234 if len(summaries) > 50 else 0,
            owed=tuple(self._owed(summaries)),
            coverage=tuple(self._coverage(summaries, trouble)),
        )

    def _money(self, name: str, most: float) -> Decimal:
        scale = Decimal(_SCALE.get(self.plain[name], 1))
        return (Decimal(round(self.chance.uniform(0, most) * 1e4)) / 10_000 * scale).normalize()

    def _days(self, name: str) -> list[DaySum]:
        size, sums = self.chance.uniform(0.2, 3), []
        for number in range(self.days):
            day = (self.start + timedelta(days=number + 1)).date()
            clicks = round(self.chance.uniform(20, 90) * size * (0.6 if day.weekday() > 4 else 1))
            orders = round(clicks * self.chance.uniform(0.02, 0.2))
            completed = round(orders * self.chance.uniform(0.5, 1))
            if self.chance.random() < 0.05:
                continue
            sums.append(
                DaySum(
                    day=day,
                    account=name,
                    clicks=clicks,
                    orders=orders,
                    completed=completed,
                    accrued=self._money(name, 4.0 * completed) if completed else Decimal(),
                    forecast=self._money(name, 1.5 * orders),
                )
            )
        return sums

    def _summary(self, name: str) -> AccountSummary:
        own = [one for one in self.sums if one.account == name]
        accrued = sum((one.accrued for one in own), Decimal())
        balance = accrued / 4
        return AccountSummary(
            name=name,
            host=self.text(f"{name}.example"),
            currency=self.currencies[name],
            timezone="Europe/Moscow",
            first_seen=self.start,
            last_synced=END - timedelta(minutes=self.chance.randrange(60)),
            clicks=sum(one.clicks for one in own),
            visitors=sum(one.clicks for one in own) * 3 // 4,
            orders=sum(one.orders for one in own),
            completed=sum(one.completed for one in own),
            accrued=accrued,
            forecast=sum((one.forecast for one in own), Decimal()),
            taken_back=self._money(name, 60) if self.chance.random() < 0.3 else Decimal(),
            paid=Decimal() if self.currencies[name].startswith("¤") else accrued * 3 / 4,
            balance=balance if self.chance.random() < 0.95 else None,
            min_payout=Decimal(50),
            is_due=balance > 150,
            waiting=self._money(name, 400) if self.chance.random() < 0.2 else Decimal(),
        )

    def _findings(self, summaries: Sequence[AccountSummary]) -> list[Finding]:
        found: list[Finding] = []
        for kind, severity in _SEVERITIES.items():
            for one in summaries[:: max(1, len(_SEVERITIES) - len(found) // 3)][:12]:
                count = self.chance.randrange(1, 30)
                since = END - timedelta(days=self.chance.randrange(2, 40), hours=5)
                has_amount = severity == Severity.HIGH or kind == FindingKind.BALANCE_UNEXPLAINED
                amount = self._money(one.name, 500) if has_amount else None
                expected = None
                if kind == FindingKind.BALANCE_UNEXPLAINED:
                    expected = self._money(one.name, 500)
                elif kind == FindingKind.CLICKS_WITHOUT_ORDERS:
                    expected = Decimal(12)
                found.append(
                    Finding(
                        kind=kind,
                        severity=severity,
                        account=one.name,
                        count=count,
                        since=since,
                        amount=amount,
                        currency=one.currency if has_amount else None,
                        expected=expected,
                        lasting=END - since if kind != FindingKind.REWARDS_TAKEN_BACK else None,
                        usual=timedelta(hours=30) if kind == FindingKind.PAYOUT_WAITING else None,
                        evidence=tuple(self._evidence(kind, one, count, since)),
                    )
                )
        return found

    def _evidence(
        self, kind: FindingKind, one: AccountSummary, count: int, since: datetime
    ) -> list[Exhibit]:
        if kind == FindingKind.COVERAGE_INCOMPLETE:
            return [Exhibit(resource="links", at=since, until=since + timedelta(days=1))]
        if kind in {FindingKind.SITE_BEHIND, FindingKind.SITE_QUIET}:
            return []
        return [
            Exhibit(
                resource="payouts" if kind == FindingKind.PAYOUT_WAITING else "exchanges",
                id=184_000 + number,
                at=since + timedelta(hours=number),
                before=self.text("credited"),
                after=self.text("not credited"),
                amount=self._money(one.name, 40),
                currency=one.currency,
            )
            for number in range(min(count, 10))
        ]

    def _step(self, label: str, clicks: int, amounts: dict[str, Decimal]) -> FunnelStep:
        orders = round(clicks * self.chance.uniform(0.02, 0.2))
        return FunnelStep(
            label=label,
            clicks=clicks,
            visitors=clicks * 3 // 4,
            orders=orders,
            completed=orders * 3 // 4,
            accrued_orders=orders * 2 // 3,
            accrued=amounts,
            forecast={name: amount / 5 for name, amount in amounts.items()},
        )

    def _some_amounts(self) -> dict[str, Decimal]:
        names = self.chance.sample(list(self.currencies), min(len(self.currencies), 6))
        return {self.currencies[name]: self._money(name, 800) for name in names}

    def _funnels(self, summaries: Sequence[AccountSummary]) -> list[Funnel]:
        by_account = [
            FunnelStep(
                label=one.name,
                clicks=one.clicks,
                visitors=one.visitors,
                orders=one.orders,
                completed=one.completed,
                accrued_orders=one.completed * 9 // 10,
                accrued={one.currency: one.accrued},
                forecast={one.currency: one.forecast},
                paid={one.currency: one.paid},
            )
            for one in sorted(summaries, key=lambda one: -one.accrued)[:50]
        ]
        orders = sum(one.orders for one in summaries)
        funnels = [Funnel(by="account", steps=tuple(by_account), orders=orders)]
        if len(summaries) > 50:
            rest = self._step("", 40_000, self._some_amounts())
            funnels = [
                Funnel(
                    by="account",
                    steps=tuple(by_account),
                    more=len(summaries) - 50,
                    rest=rest,
                    orders=orders,
                )
            ]
        words = ("telegram-post", "banner top", "обзор бирж", "summer2026", "", "a" * 60, "mailing")
        sub_ids = [
            self._step(
                self.text(f"{word}-{number}" if word else ""),
                round(9_000 / (number + 1)),
                self._some_amounts(),
            )
            for number, word in enumerate(words * 4)
        ]
        hosts = ("bestchange.example/usdt-to-cash", "t.me/s/exchange", "forum.example/t/123?page=4")
        referrers = [
            self._step(self.text(f"https://{host}"), 5_000 - 900 * number, self._some_amounts())
            for number, host in enumerate(hosts)
        ]
        rest = self._step("", 3_000, self._some_amounts())
        return [
            *funnels,
            Funnel(
                by="sub_id",
                steps=tuple(sub_ids),
                more=1_234,
                rest=rest,
                unjoined_orders=orders // 20,
                unjoined_accrued=self._some_amounts(),
                orders=orders,
            ),
            Funnel(by="referrer", steps=tuple(referrers), orders=orders),
        ]

    def _directions(self) -> list[Direction]:
        pairs = [(give, get) for give in _SYSTEMS for get in _SYSTEMS if give != get]
        return [
            Direction(
                give=self.text(give),
                get=self.text(get),
                orders=900 // (number + 1),
                completed=700 // (number + 1),
                accrued=self._some_amounts(),
                forecast={},
            )
            for number, (give, get) in enumerate(pairs)
        ]

    def _hours(self) -> Hours:
        def cells(size: float) -> tuple[tuple[int, ...], ...]:
            return tuple(
                tuple(
                    round(
                        max(0, 14 - abs(15 - hour))
                        * self.chance.uniform(0.7, 1.3)
                        * size
                        * (0.5 if day > 4 else 1)
                    )
                    for hour in range(24)
                )
                for day in range(7)
            )

        return Hours(clicks=cells(14), orders=cells(0.8))

    def _payouts(self, summaries: Sequence[AccountSummary]) -> list[PayoutLine]:
        lines = []
        for number in range(min(60, len(summaries) * 5)):
            one = summaries[number % len(summaries)]
            amount = self._money(one.name, 900)
            lines.append(
                PayoutLine(
                    account=one.name,
                    id=8_000 + number,
                    time=END - timedelta(hours=31 * number),
                    status="0" if number < 3 else "123"[number % 7 // 3],
                    amount=amount / 2,
                    currency=self.text("USDT"),
                    original_amount=amount,
                    original_currency=one.currency,
                    is_gone=number % 11 == 10,
                )
            )
        return lines

    def _owed(self, summaries: Sequence[AccountSummary]) -> list[Owed]:
        owed = []
        for currency in sorted(set(self.currencies.values())):
            own = [one for one in summaries if one.currency == currency]
            owed.append(
                Owed(
                    currency=currency,
                    balance=sum((one.balance or Decimal() for one in own), Decimal()),
                    waiting=sum((one.waiting for one in own), Decimal()),
                    due=sum((one.balance or Decimal() for one in own if one.is_due), Decimal()),
                    accounts=len(own),
                )
            )
        return owed

    def _coverage(self, summaries: Sequence[AccountSummary], trouble: bool) -> list[Coverage]:
        lines = []
        for one in summaries:
            for resource in ("links", "exchanges", "payouts"):
                if not trouble or self.chance.random() < 0.7:
                    ranges: tuple[Range, ...] = (Range(start=self.start, end=END, proven_at=END),)
                    fraction = 1.0
                else:
                    gap = self.start + timedelta(days=self.chance.randrange(1, self.days - 1))
                    ranges = (
                        Range(start=self.start, end=gap, proven_at=END),
                        Range(start=gap, end=gap + timedelta(days=2)),
                        Range(start=gap + timedelta(days=2), end=END, proven_at=END),
                    )
                    fraction = 1 - 2 / self.days
                lines.append(
                    Coverage(account=one.name, resource=resource, ranges=ranges, fraction=fraction)
                )
        return lines
