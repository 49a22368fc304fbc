"""What a report gathers from a mirror of sandboxes, compared with the sandboxes' books."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import pytest
from attrs import define, field

from ppapi_async import Account, Dialect
from ppapi_async.cli.report.data import (
    ALL_ACCOUNTS,
    NO_REFERRER,
    FindingKind,
    FunnelStep,
    ReportData,
)
from ppapi_async.cli.report.gather import gather
from ppapi_async.mirror import Mirror, ReadOnlyMirror
from ppapi_async.sandbox import BookedPayout, Books, Click, Order, Sandbox
from tests.mirror.clock import NOW, Clock
from tests.mirror.test_mirror import following
from tests.postgres import Postgres

pytestmark = [pytest.mark.either_database, pytest.mark.one_worker]

DAY = 86_400
KOLKATA = ZoneInfo("Asia/Kolkata")  # five hours and a half ahead
START, END = NOW - 45 * DAY, NOW + 600


@define
class Told:
    """What there is of one thing, by the books."""

    clicks: int = 0
    visitors: set[tuple[str, str]] = field(factory=set)
    orders: int = 0
    completed: int = 0
    accrued_orders: int = 0
    accrued: Decimal = Decimal()
    forecast: Decimal = Decimal()

    def take_click(self, account: str, click: Click) -> None:
        """Count a click."""
        self.clicks += 1
        self.visitors.add((account, click.user_hash))

    def take_order(self, order: Order, *, knows_status: bool) -> None:
        """Count an order; only 2.7 sites tell that one is cancelled."""
        self.orders += 1
        self.completed += order.success
        self.accrued_orders += order.accrued
        if order.accrued:
            self.accrued += Decimal(order.reward)
        elif not (knows_status and order.status in ("cancel", "delete")):
            self.forecast += Decimal(order.reward)


def moment(at: int) -> datetime:
    """Return an instant."""
    return datetime.fromtimestamp(at, UTC)


@define
class Site:
    """A sandbox of a dialect, and its account."""

    name: str
    dialect: Dialect
    books: Books

    @property
    def is_new(self) -> bool:
        """Whether it is one of 2.7, which tells statuses, and whose orders' times move."""
        return self.dialect is Dialect.DELEGATING

    def orders(self) -> Iterator[tuple[Order, int]]:
        """Yield orders of the report, and the time that they have at the site."""
        for order in self.books.orders:
            at = order.edited if self.is_new else order.created
            if START <= at < END:
                yield order, at

    def clicks(self) -> list[Click]:
        """Return the clicks of the report."""
        return [one for one in self.books.clicks if START <= one.created < END]

    def click_of(self, order: Order, at: int) -> Click | None:
        """Return the click that an order belongs to."""
        mine = [one for one in self.books.clicks if one.user_hash == order.user_hash]
        mine.sort(key=lambda one: (one.created, one.id))
        before = [one for one in mine if one.created <= at]
        return before[-1] if before else mine[0] if mine else None


SITES = (
    Site("one", Dialect.CLASSIC, Books.generate(1, 150, NOW - 90 * DAY, NOW)),
    Site("two", Dialect.DELEGATING, Books.generate(2, 150, NOW - 90 * DAY, NOW)),
)


async def report_of(url: str, **options: object) -> ReportData:
    """Mirror the sites, and gather a report."""
    clock = Clock()
    sandboxes = [Sandbox(one.dialect, books=one.books, clock=clock) for one in SITES]
    async with sandboxes[0] as first, sandboxes[1] as second:
        accounts = [
            Account(box.url, box.api_key, name=one.name)
            for one, box in zip(SITES, (first, second), strict=True)
        ]
        async with Mirror(url, accounts, hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
    clock.advance(600)
    asked: dict[str, object] = {"start": moment(START), "end": moment(END), "zone": KOLKATA}
    async with ReadOnlyMirror(url) as reading:
        return await gather(reading, now=moment(NOW + 600), **(asked | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reports() -> dict[str, ReportData]:
    """Give the reports that were made for this module, by the kind of database."""
    return {}


@pytest.fixture(params=["sqlite", "postgres"])
def report(
    request: pytest.FixtureRequest,
    reports: dict[str, ReportData],
    tmp_path: Path,
) -> ReportData:
    """Give the report of both sites, which is made once from each kind of database.

    Were the kinds those of a fixture of the module, pytest would put the tests in another order.
    """
    kind: str = request.param
    if kind not in reports and kind == "sqlite":
        reports[kind] = asyncio.run(report_of(f"sqlite:///{tmp_path / 'mirror.db'}"))
    elif kind not in reports:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.lend()
        reports[kind] = asyncio.run(report_of(url))
        server.take_back(url)
    return reports[kind]


def day_of(at: int) -> date:
    """Return the day in India, by hand: five hours and a half ahead, all the year."""
    return (moment(at) + timedelta(hours=5, minutes=30)).date()


def shown(step: FunnelStep) -> tuple[object, ...]:
    """Return the numbers of a step."""
    return (
        step.clicks, step.visitors, step.orders, step.completed, step.accrued_orders,
        step.accrued.get("USD", Decimal()), step.forecast.get("USD", Decimal()),
    )  # fmt: skip


def told(one: Told) -> tuple[object, ...]:
    """Return the same of the books."""
    return (
        one.clicks, len(one.visitors), one.orders, one.completed, one.accrued_orders,
        one.accrued, one.forecast,
    )  # fmt: skip


def test_days_are_those_of_the_books(report: ReportData) -> None:
    """Each day and account, by a zone with half an hour; days without anything are left out."""
    expected: dict[tuple[date, str], Told] = defaultdict(Told)
    for site in SITES:
        for click in site.clicks():
            expected[day_of(click.created), site.name].take_click(site.name, click)
        for order, at in site.orders():
            expected[day_of(at), site.name].take_order(order, knows_status=site.is_new)
    assert [(one.day, one.account) for one in report.days] == sorted(expected)
    for one in report.days:
        books = expected[one.day, one.account]
        assert (one.clicks, one.orders, one.completed) == (
            books.clicks, books.orders, books.completed,
        )  # fmt: skip
        assert (one.accrued, one.forecast) == (books.accrued, books.forecast)


def test_accounts_are_those_of_the_books(report: ReportData) -> None:
    """Sums of each, its balance as the site has it, and what was paid."""
    assert [one.name for one in report.accounts] == ["one", "two"]
    for site, found in zip(SITES, report.accounts, strict=True):
        expected = Told()
        for click in site.clicks():
            expected.take_click(site.name, click)
        for order, _ in site.orders():
            expected.take_order(order, knows_status=site.is_new)
        assert (
            found.clicks, found.visitors, found.orders, found.completed,
            found.accrued, found.forecast,
        ) == (
            expected.clicks, len(expected.visitors), expected.orders, expected.completed,
            expected.accrued, expected.forecast,
        )  # fmt: skip
        paid = [
            Decimal(one.original_amount)
            for one in site.books.payouts
            if one.status == 1 and START <= one.created < END
        ]
        assert (found.currency, found.paid) == ("USD", sum(paid))
        assert found.waiting == 0
        assert found.balance == Decimal(site.books.partner.balance)
        assert found.min_payout == Decimal(site.books.min_payout)
        assert found.is_due is (found.balance >= found.min_payout)
    [owed] = report.owed
    assert owed.balance == sum(Decimal(one.books.partner.balance) for one in SITES)
    assert (owed.currency, owed.accounts) == ("USD", 2)


@pytest.mark.parametrize("by", ["sub_id", "referrer"])
def test_funnels_are_those_of_the_books(report: ReportData, by: str) -> None:
    """Orders belong to the last click before them, or else to the first one after."""

    def labels(click: Click) -> list[str]:
        if by == "referrer":
            return [urlsplit(click.referrer).hostname or NO_REFERRER]
        pairs = [unquote(one) for one in click.query_string.split("&")]
        # The server lower-cases words that it disguises, and nobody can tell how they were.
        return [one.replace("Script", "script") for one in pairs if not one.startswith("rid=")]

    expected: dict[str, Told] = defaultdict(Told)
    unjoined = Told()
    for site in SITES:
        for click in site.clicks():
            for label in labels(click):
                expected[label].take_click(site.name, click)
        for order, at in site.orders():
            found = site.click_of(order, at)
            for sums in [expected[one] for one in labels(found)] if found else [unjoined]:
                sums.take_order(order, knows_status=site.is_new)
    [funnel] = [one for one in report.funnels if one.by == by]
    for step in funnel.steps:
        assert shown(step) == told(expected[step.label]), step.label
    assert len(funnel.steps) + funnel.more == len(expected)
    left_out = expected.keys() - {one.label for one in funnel.steps}
    assert len(left_out) == (56 if by == "sub_id" else 0)
    if funnel.rest is not None:
        assert funnel.rest.orders == sum(expected[one].orders for one in left_out)
        assert funnel.rest.clicks == sum(expected[one].clicks for one in left_out)
        accrued = sum(expected[one].accrued for one in left_out)
        assert sum(funnel.rest.accrued.values()) == accrued
    assert (funnel.unjoined_orders, funnel.unjoined_accrued) == (
        unjoined.orders, {"USD": unjoined.accrued},
    )  # fmt: skip
    assert unjoined.orders > 10
    earned = [step.accrued.get("USD", Decimal()) for step in funnel.steps]
    assert earned == sorted(earned, reverse=True)


def test_directions_and_hours_are_those_of_the_books(report: ReportData) -> None:
    """Both count each order once; payment systems stand beside currencies where they are told."""
    ways: Counter[tuple[str, str]] = Counter()
    hours: Counter[tuple[int, int]] = Counter()
    for site in SITES:
        for order, at in site.orders():
            two = [order.currency_give, order.currency_get]
            if site.is_new:
                systems = (order.psys_give, order.psys_get)
                two = [
                    f"{system} {code}".strip() for system, code in zip(systems, two, strict=True)
                ]
            ways[two[0] or "—", two[1] or "—"] += 1
            local = moment(at) + timedelta(hours=5, minutes=30)
            hours[local.weekday(), local.hour] += 1
    assert {(one.give, one.get): one.orders for one in report.directions} == ways
    counts = [one.orders for one in report.directions]
    assert counts == sorted(counts, reverse=True)
    assert report.hours is not None
    assert report.hours.orders == tuple(
        tuple(hours[day, hour] for hour in range(24)) for day in range(7)
    )


def test_payouts_are_those_of_the_books(report: ReportData) -> None:
    """Newest first."""
    expected = [
        (one.created, site.name, one.id, str(one.status), Decimal(one.pay_amount))
        for site in SITES
        for one in site.books.payouts
        if START <= one.created < END
    ]
    found = [
        (int(one.time.timestamp()), one.account, one.id, one.status, one.amount)
        for one in report.payouts
    ]
    assert sorted(found) == sorted(expected)
    assert [one[0] for one in found] == sorted((one[0] for one in expected), reverse=True)
    assert report.more_payouts == 0


def test_a_healthy_site_has_no_findings(report: ReportData) -> None:
    """All is proven, the balance adds up, and nothing cries wolf."""
    assert report.findings == ()
    assert {(one.account, one.resource) for one in report.coverage} == {
        (site.name, resource) for site in SITES for resource in ("links", "exchanges", "payouts")
    }
    for one in report.coverage:
        assert one.fraction > 0.999
        assert one.ranges[0].start == moment(START)
        assert one.ranges[-1].end == moment(END)


def test_sums_agree_in_all_ways(report: ReportData) -> None:
    """Over days, accounts, directions and funnels alike."""
    accrued = sum(one.accrued for one in report.accounts)
    orders = sum(one.orders for one in report.accounts)
    assert sum(one.accrued for one in report.days) == accrued
    assert sum(one.accrued["USD"] for one in report.directions) == accrued
    by_account, _, by_referrer = report.funnels
    assert sum(one.accrued["USD"] for one in by_account.steps) == accrued
    joined = sum(one.accrued.get("USD", Decimal()) for one in by_referrer.steps)
    assert joined + by_referrer.unjoined_accrued["USD"] == accrued
    assert sum(one.orders for one in by_referrer.steps) + by_referrer.unjoined_orders == orders
    assert {one.orders for one in report.funnels} == {orders}


async def test_a_report_of_one_account_from_the_beginning(mirror_url: str) -> None:
    """Only what is asked for; what nobody has is a KeyError."""
    report = await report_of(mirror_url, accounts=["two"], start=None)
    [account] = report.accounts
    books = SITES[1].books
    assert (account.name, account.orders, account.clicks) == (
        "two", len(books.orders), len(books.clicks),
    )  # fmt: skip
    assert account.accrued == sum(Decimal(one.reward) for one in books.orders if one.accrued)
    assert {one.account for one in report.days} == {"two"}
    assert min(one.fraction for one in report.coverage) > 0.999
    async with ReadOnlyMirror(mirror_url) as reading:
        with pytest.raises(KeyError, match="three"):
            await gather(
                reading, end=moment(END), zone=KOLKATA, accounts=["three"], now=moment(END)
            )


async def test_a_report_while_the_mirror_is_written(mirror_url: str) -> None:
    """Neither waits for the other, and what a report tells is of one moment."""
    clock = Clock()
    async with Sandbox(Dialect.DELEGATING, books=SITES[1].books, clock=clock, cap=50) as sandbox:
        account = Account(sandbox.url, sandbox.api_key, name="two")
        async with Mirror(mirror_url, [account], hooks=clock.hooks(), page_size=50) as mirror:
            reports: list[ReportData] = []

            async def watch() -> None:
                async with ReadOnlyMirror(mirror_url) as reading:
                    while not (reports and reports[-1].accounts[0].last_synced):
                        report = await gather(
                            reading, start=None, end=moment(END), zone=KOLKATA, now=moment(END)
                        )
                        reports.extend([report] if report.accounts else [])

            watching = asyncio.create_task(watch())
            assert (await mirror.sync()).ok
            await asyncio.wait_for(watching, 60)
    orders = [one.accounts[0].orders for one in reports]
    assert orders == sorted(orders)
    assert orders[-1] == len(SITES[1].books.orders)
    for report in reports:
        assert sum(one.orders for one in report.days) == sum(one.orders for one in report.accounts)


async def test_what_operators_do_is_found(mirror_url: str) -> None:
    """Rewards that they take back, orders that vanish, payouts that they let wait."""
    clock = Clock()
    books = Books.generate(3, 150, NOW - 90 * DAY, NOW)
    old = next(one for one in books.orders if not one.accrued and one.edited < NOW - 40 * DAY)
    books.set_by_hand(old.id, accrued=True, reward="500")
    async with Sandbox(Dialect.DELEGATING, books=books, clock=clock) as sandbox:
        account = Account(sandbox.url, sandbox.api_key, name="one")
        async with Mirror(mirror_url, [account], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            credited = [one for one in books.orders if one.accrued and one.edited > NOW - 20 * DAY]
            taken, lowered, back, hidden = sorted(credited, key=lambda one: -one.edited)[:4]
            assert hidden.edited > NOW - 4 * DAY
            clock.advance(3_600)
            books.set_by_hand(taken.id, accrued=False, reward=taken.reward)
            books.set_by_hand(lowered.id, accrued=True, reward="0.01")
            books.set_by_hand(back.id, accrued=False, reward=back.reward)
            books.hidden_orders.add(hidden.id)
            assert (await mirror.sync()).ok
            books.set_by_hand(back.id, accrued=True, reward=back.reward)
            waits = books.request_payout(11, "TX" + "1" * 32, int(clock.time))
            assert isinstance(waits, BookedPayout)
            for days in (1, 2, 6):  # what is older than five days may have been archived
                clock.advance(days * DAY)
                assert (await mirror.sync()).ok
        now = moment(int(clock.time))
        async with ReadOnlyMirror(mirror_url) as reading:
            report = await gather(reading, start=moment(START), end=now, zone=KOLKATA, now=now)
    found = {one.kind: one for one in report.findings}
    lost = found[FindingKind.REWARDS_TAKEN_BACK]
    amounts = {one.id: one.amount for one in lost.evidence}
    assert amounts == {
        taken.id: Decimal(taken.reward),
        lowered.id: Decimal(lowered.reward) - Decimal("0.01"),
        hidden.id: Decimal(hidden.reward),
    }
    assert lost.amount == sum(Decimal(one.reward) for one in (taken, lowered, hidden)) - Decimal(
        "0.01"
    )
    waiting = found[FindingKind.PAYOUT_WAITING]
    assert (waiting.amount, waiting.lasting) == (Decimal(waits.original_amount), 9 * timedelta(1))
    [account_told] = report.accounts
    assert account_told.waiting == Decimal(waits.original_amount)
    assert account_told.balance == Decimal(books.partner.balance)
    assert FindingKind.BALANCE_UNEXPLAINED not in found


async def test_a_mirror_that_is_followed_is_not_behind(mirror_url: str) -> None:
    """Nobody calls `sync` any more, and all is as it was just now."""
    clock = Clock()
    async with Sandbox(Dialect.CLASSIC, books=SITES[0].books, clock=clock) as sandbox:
        account = Account(sandbox.url, sandbox.api_key, name="one")
        async with Mirror(mirror_url, [account], hooks=clock.hooks()) as mirror:
            assert (await mirror.sync()).ok
            async with (
                asyncio.timeout(20),
                following(mirror, clock),
                ReadOnlyMirror(mirror_url) as reading,
            ):
                while True:
                    now = moment(int(clock.time))
                    report = await gather(reading, end=now, zone=KOLKATA, now=now)
                    [found] = report.accounts
                    if found.last_synced is not None and found.last_synced > moment(NOW + 120):
                        break
    assert FindingKind.SITE_BEHIND not in {one.kind for one in report.findings}


async def test_sums_of_a_long_report_are_of_weeks_or_months(mirror_url: str) -> None:
    """As many as a chart can show, and what they add up to is exact all the same."""
    whole = await report_of(mirror_url)
    assert whole.grain == "day"
    async with ReadOnlyMirror(mirror_url) as reading:
        for days, grain, key in ((400, "week", "%G-%V"), (2_000, "month", "%Y-%m")):
            start, now = moment(NOW - days * DAY), moment(NOW + 600)
            found = await gather(reading, start=start, end=now, zone=KOLKATA, now=now)
            assert found.grain == grain
            told = {(f"{one.day:{key}}", one.account): one for one in found.days}
            assert len(told) == len(found.days) <= 2 * 15
            credited: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
            clicks: Counter[tuple[str, str]] = Counter()
            for site in SITES:
                for order in site.books.orders:
                    at = order.edited if site.is_new else order.created
                    reward = Decimal(order.reward) if order.accrued else Decimal()
                    credited[f"{day_of(at):{key}}", site.name] += reward
                for click in site.books.clicks:
                    clicks[f"{day_of(click.created):{key}}", site.name] += 1
            assert {at: one.clicks for at, one in told.items() if one.clicks} == clicks
            assert {at: one.accrued for at, one in told.items() if one.accrued} == {
                at: reward for at, reward in credited.items() if reward
            }


async def test_an_account_that_nobody_follows_is_no_finding(mirror_url: str) -> None:
    """It is named; what the accounts file has is behind, after days without a sync."""
    await report_of(mirror_url)
    end = moment(NOW + 9 * DAY)
    async with ReadOnlyMirror(mirror_url) as reading:
        unknown = await gather(reading, end=end, zone=KOLKATA, now=end)
        known = await gather(reading, end=end, zone=KOLKATA, now=end, followed={"one"})
    assert unknown.unfollowed == ()
    assert {one.account for one in unknown.findings} & {"two", ALL_ACCOUNTS}
    assert known.unfollowed == ("two",)
    assert {one.account for one in known.findings} == {"one"}
    assert [one.name for one in known.accounts] == ["one", "two"]
    assert known.days == unknown.days
