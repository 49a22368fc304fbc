"""What a report makes of rows put into the tables by hand, in both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, insert, update

from ppapi_async import Exchange
from ppapi_async.cli.report.data import Exhibit, Finding, FindingKind, Range, ReportData
from ppapi_async.cli.report.gather import gather
from ppapi_async.mirror import ReadOnlyMirror
from ppapi_async.mirror.rows import dump
from ppapi_async.mirror.schema import accounts, changes, coverage, positions, unreadable
from ppapi_async.mirror.store import MirrorStore
from tests.mirror.tables import (
    connected,
    put_account,
    put_balance,
    put_exchange,
    put_link,
    put_payout,
)

pytestmark = pytest.mark.either_database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
START = NOW - 30 * DAY
DONE: dict[str, Any] = {"accrued": True, "exchange_success": True}


@pytest.fixture
async def url(mirror_url: str) -> str:
    """Give the url of an empty mirror, in both databases."""
    await (await MirrorStore.open(mirror_url)).aclose()
    return mirror_url


def put_synced(connection: Connection, number: int = 1, name: str = "one") -> None:
    """Put in an account that was caught up a minute ago."""
    put_account(connection, number, name)
    known = update(accounts).where(accounts.c.account == number)
    connection.execute(known.values(last_synced=NOW - MINUTE))


def put_change(
    connection: Connection,
    revision: int,
    row_id: int,
    before: tuple[str, bool] | None,
    after: tuple[str, bool] | None,
    *,
    fields: tuple[str, ...] = ("accrued",),
    resource: str = "exchanges",
    seen_at: datetime = NOW - DAY,
) -> None:
    """Put in a change of an order, from a reward that was credited or not to another."""

    def row(state: tuple[str, bool] | None) -> str | None:
        if state is None:
            return None
        reward, accrued = state
        one = Decimal(1)
        return dump(Exchange(row_id, NOW - 2 * DAY, one, one, True, accrued, Decimal(reward)))

    values = {
        "revision": revision, "tx": 0, "account": 1, "resource": resource, "id": row_id,
        "kind": "gone" if after is None else "changed", "seen_at": seen_at,
        "fields": list(fields), "before": row(before), "after": row(after),
    }  # fmt: skip
    connection.execute(insert(changes), [values])


def put_proven(
    connection: Connection, resource: str, *ranges: tuple[datetime | None, datetime]
) -> None:
    """Put in which times of a resource are proven, as just now."""
    for start, end in ranges:
        row = {"account": 1, "resource": resource, "start": start, "end": end}
        connection.execute(insert(coverage), [row | {"proven_at": NOW - MINUTE}])


async def report_of(url: str, **options: Any) -> ReportData:
    """Return the report of thirty days."""
    asked: dict[str, Any] = {"start": START, "end": NOW, "zone": ZoneInfo("UTC"), "now": NOW}
    async with ReadOnlyMirror(url) as mirror:
        return await gather(mirror, **(asked | options))


async def findings_of(url: str, **options: Any) -> dict[FindingKind, Finding]:
    """Return the findings of the report, of which there is one of a kind."""
    found = (await report_of(url, **options)).findings
    assert len({one.kind for one in found}) == len(found)
    return {one.kind: one for one in found}


async def test_an_empty_mirror(url: str) -> None:
    """It has nothing to tell."""
    report = await report_of(url)
    assert report.is_empty
    assert (report.findings, report.days, report.funnels, report.hours) == ((), (), (), None)
    assert (report.owed, report.coverage, report.payouts) == ((), (), ())
    assert (report.made_at, report.start, report.end, report.zone) == (NOW, START, NOW, "UTC")


async def test_an_account_without_rows(url: str) -> None:
    """Nothing is known of its currency, which has a name of its own then."""
    with connected(url) as connection:
        put_account(connection, 1, "one")
    report = await report_of(url)
    [account] = report.accounts
    assert (account.currency, account.balance, account.last_synced) == ("¤ one", None, None)
    assert account.is_due is False
    assert report.owed == ()
    assert {one.ranges for one in report.coverage} == {(Range(start=START, end=NOW),)}
    assert {one.fraction for one in report.coverage} == {0.0}


async def test_currencies_are_those_of_the_newest_payouts(url: str) -> None:
    """They are never added up; payouts that wait come first, whenever they were requested."""
    with connected(url) as connection:
        put_synced(connection)
        put_synced(connection, 2, "two")
        put_synced(connection, 3, "new")
        put_payout(
            connection, 1, "10", time=NOW - 20 * DAY, status="1", original_currency_code="RUB"
        )
        put_payout(connection, 2, "20.50", time=NOW - 10 * DAY, status="1")
        put_payout(connection, 3, "1", time=NOW - 5 * DAY, status="2", original_currency_code="")
        put_payout(connection, 4, "30", time=NOW - 90 * DAY, status="0")
        put_payout(connection, 5, "40", time=NOW - 91 * DAY, status="0", gone_at=NOW)
        put_payout(connection, 6, "50", time=NOW - 92 * DAY, status="1")
        put_payout(connection, 1, "7", account=2, time=NOW - 2 * DAY, status="1", gone_at=NOW)
        put_payout(connection, 2, "8", account=2, time=NOW - 1 * DAY, status="0",
                   original_currency_code="EUR")  # fmt: skip
        put_exchange(connection, 1, "1.5", time=NOW - DAY, **DONE)
        put_exchange(connection, 1, "2.5", account=2, time=NOW - DAY, **DONE)
        put_exchange(connection, 1, "4", account=3, time=NOW - DAY, **DONE)
        put_balance(connection, 1, "12", "10")
    report = await report_of(url)
    found: dict[str, tuple[object, ...]] = {
        one.name: (one.currency, one.paid, one.waiting, one.is_due) for one in report.accounts
    }
    assert found == {
        "one": ("USD", Decimal("20.50"), 30, True),
        "two": ("EUR", 0, 8, False),
        "new": ("¤ new", 0, 0, False),
    }
    lines = [(one.account, one.id, one.status) for one in report.payouts]
    assert lines == [
        ("two", 2, "0"), ("one", 4, "0"), ("two", 1, "1"), ("one", 3, "2"), ("one", 2, "1"),
        ("one", 1, "1"),
    ]  # fmt: skip
    assert report.payouts[2].is_gone
    owed: list[tuple[object, ...]] = [
        (one.currency, one.balance, one.waiting, one.due, one.accounts) for one in report.owed
    ]
    assert owed == [("EUR", 0, 8, 0, 0), ("USD", 12, 30, 12, 1)]
    [direction] = report.directions
    assert direction.accrued == {
        "USD": Decimal("1.5"), "EUR": Decimal("2.5"), "¤ new": Decimal(4),
    }  # fmt: skip
    steps = {one.label: (one.accrued, one.paid) for one in report.funnels[0].steps}
    assert steps["one"] == ({"USD": Decimal("1.5")}, {"RUB": 10, "USD": Decimal("20.50")})


async def test_long_lists_are_cut(url: str) -> None:
    """And it is said how much was left out."""
    with connected(url) as connection:
        put_synced(connection)
        for number in range(203):
            put_payout(connection, number, "1", time=NOW - (number + 1) * MINUTE, status="1")
        for number in range(60):
            hash_ = f"{number:032}"
            put_link(connection, number, NOW - DAY, query_string=f"s={number}", user_hash=hash_)
            put_exchange(connection, number, str(number), time=NOW - DAY + MINUTE, user_hash=hash_,
                         currency_code_give=f"C{number}", **DONE)  # fmt: skip
    report = await report_of(url)
    assert (len(report.payouts), report.more_payouts) == (200, 3)
    assert (len(report.directions), report.more_directions) == (50, 10)
    funnel = report.funnels[1]
    assert (len(funnel.steps), funnel.more) == (50, 10)
    assert funnel.steps[0].label == "s=59"
    assert funnel.rest is not None
    assert (funnel.rest.orders, funnel.rest.accrued) == (10, {"USD": Decimal(sum(range(10)))})


async def test_rewards_that_were_taken_back(url: str) -> None:
    """What had been credited and is not now; archived orders keep theirs."""
    with connected(url) as connection:
        put_synced(connection)
        gone = {"gone_at": NOW - HOUR, **DONE}
        put_exchange(connection, 1, "5", time=NOW - 2 * DAY)  # not credited any more
        put_exchange(connection, 2, "2", time=NOW - 2 * DAY, **DONE)  # lowered from 3.5, then 3
        put_exchange(connection, 3, "9", time=NOW - 2 * DAY, **DONE)  # was taken, and is back
        put_exchange(connection, 4, "1.25", time=NOW - 2 * DAY, **gone)  # too early for an archive
        put_exchange(connection, 5, "70", time=NOW - 20 * DAY, **gone)  # archived
        put_exchange(connection, 6, "80", time=NOW - 2 * DAY)  # before the report
        put_exchange(connection, 7, "90", time=NOW - 2 * DAY, **DONE)  # raised
        put_change(connection, 1, 1, ("5", True), ("5", False))
        reward = ("partner_reward",)
        put_change(connection, 2, 2, ("3.5", True), ("3", True), fields=reward)
        put_change(connection, 3, 2, ("3", True), ("2", True), fields=reward, seen_at=NOW - HOUR)
        put_change(connection, 4, 3, ("9", True), ("9", False))
        put_change(connection, 5, 3, ("9", False), ("9", True))
        put_change(connection, 6, 4, ("1.25", True), None, fields=())
        put_change(connection, 7, 5, ("70", True), None, fields=())
        put_change(connection, 8, 6, ("80", True), ("80", False), seen_at=START - DAY)
        put_change(connection, 9, 7, ("1", True), ("90", True), fields=reward)
        put_change(connection, 10, 7, ("1", True), ("90", True), fields=("status",))
    report = await report_of(url)
    [finding] = [one for one in report.findings if one.kind is FindingKind.REWARDS_TAKEN_BACK]
    assert (finding.count, finding.amount) == (3, Decimal("7.75"))
    rows = [(one.id, one.before, one.after, one.amount, one.at) for one in finding.evidence]
    assert rows == [
        (1, "5", "0", 5, NOW - DAY), (4, "1.25", "0", Decimal("1.25"), NOW - DAY),
        (2, "3.5", "2", Decimal("1.5"), NOW - HOUR),
    ]  # fmt: skip
    assert report.accounts[0].taken_back == Decimal("7.75")


async def test_payouts_that_wait_for_longer_than_usual(url: str) -> None:
    """As measured by those that were seen to become done."""
    with connected(url) as connection:
        put_synced(connection)
        for number in range(1, 7):
            put_payout(connection, number, "10", time=NOW - 40 * DAY, status="1")
            put_change(connection, number, number, ("0", False), ("0", False), resource="payouts",
                       fields=("status",), seen_at=NOW - 40 * DAY + 2 * HOUR)  # fmt: skip
        put_payout(connection, 7, "33.10", time=NOW - 3 * DAY)
        put_payout(connection, 8, "5", time=NOW - HOUR)
    finding = (await findings_of(url))[FindingKind.PAYOUT_WAITING]
    assert (finding.count, finding.amount, finding.usual) == (1, Decimal("33.10"), 2 * HOUR)
    assert finding.evidence[0].id == 7


@pytest.mark.parametrize("is_known", [True, False])
async def test_orders_that_wait_for_their_rewards(url: str, *, is_known: bool) -> None:
    """Longer than rewards usually take here; a month where that is not known."""
    with connected(url) as connection:
        put_synced(connection)
        for number in range(1, 13):
            put_exchange(connection, number, "1", time=NOW - 50 * DAY, **DONE)
            if is_known:
                put_change(connection, number, number, ("1", False), ("1", True),
                           seen_at=NOW - 50 * DAY + HOUR)  # fmt: skip
        done = {"exchange_success": True}
        put_exchange(connection, 99, "2.5", time=NOW - 45 * DAY, **done)  # before the report
        for number in (20, 21, 22, 30, 31):
            put_exchange(connection, number, "2.5", time=NOW - 10 * DAY, **done)
        put_exchange(connection, 23, "2.5", time=NOW - DAY, **done)  # not long
        put_exchange(connection, 24, "2.5", time=NOW - 10 * DAY)  # not carried out
        put_exchange(connection, 25, "0", time=NOW - 10 * DAY, **done)  # nothing to credit
        put_exchange(connection, 26, "9", time=NOW - 10 * DAY, gone_at=NOW, **done)
    found = await findings_of(url)
    if not is_known:
        assert found == {}
        return
    finding = found[FindingKind.ACCRUALS_LAG]
    assert (finding.count, finding.amount, finding.usual) == (6, Decimal(15), HOUR)
    assert [one.id for one in finding.evidence] == [99, 20, 21, 22, 30]


def put_books(connection: Connection, balance: str) -> None:
    """Put in an account of which all is known: 10 credited, 4 paid, 1 waiting."""
    put_synced(connection)
    put_exchange(connection, 1, "6", time=NOW - 60 * DAY, **DONE)
    put_exchange(connection, 2, "2.5", time=NOW - 9 * DAY, **DONE)
    put_exchange(connection, 3, "1.5", time=NOW - 9 * DAY, gone_at=NOW - DAY, **DONE)
    put_payout(connection, 1, "4", time=NOW - 50 * DAY, status="1")
    put_payout(connection, 2, "1", time=NOW - 5 * DAY)
    put_payout(connection, 3, "100", time=NOW - 5 * DAY, status="3")
    put_balance(connection, 1000, balance)
    place = {"account": 1, "resource": "info", "version": 1, "updated_at": NOW - 2 * MINUTE}
    connection.execute(insert(positions), [place])
    for resource in ("exchanges", "payouts"):
        put_proven(connection, resource, (None, NOW - DAY), (NOW - DAY, NOW - MINUTE))


async def test_a_balance_that_does_not_add_up(url: str) -> None:
    """Five should be there; orders that vanished may be the reason."""
    with connected(url) as connection:
        put_books(connection, "3.5")
    finding = (await findings_of(url))[FindingKind.BALANCE_UNEXPLAINED]
    assert (finding.amount, finding.expected) == (Decimal("3.5"), Decimal(5))
    assert (finding.currency, finding.since) == ("USD", NOW - 2 * MINUTE)
    assert [(one.resource, one.id, one.amount) for one in finding.evidence] == [
        ("info", None, Decimal("3.5")), ("exchanges", 3, Decimal("1.5")),
    ]  # fmt: skip


@pytest.mark.untraced
async def test_a_balance_that_adds_up(url: str) -> None:
    """Whatever part of it the report is about."""
    with connected(url) as connection:
        put_books(connection, "5")
    assert await findings_of(url) == {}
    assert await findings_of(url, start=None) == {}
    assert await findings_of(url, end=NOW - 20 * DAY, start=NOW - 70 * DAY) == {}


UNSURE = {
    "an order that is open": "7",
    "one of before that is open": "7",
    "credited since": "5",
    "one of before, credited since": "5",
    "a payout requested since": "5",
    "a basket": "3",
    "two currencies": "3",
    "a hole": "3",
    "not from the beginning": "3",
    "not read since": "3",
    "unreadable": "3",
    "no coverage": "3",
}
"""What is not sure, and a balance that is odd without it: five should be there."""


@pytest.mark.parametrize("what", UNSURE)
async def test_a_balance_that_may_add_up(url: str, what: str) -> None:
    """What is not sure is no finding: it may be credited, or was since, or is not known."""
    with connected(url) as connection:
        put_books(connection, UNSURE[what])
        if what == "an order that is open":
            put_exchange(connection, 9, "2", time=NOW - 4 * DAY)
        elif what == "one of before that is open":
            put_exchange(connection, 9, "2", time=NOW - 40 * DAY)
        elif "credited since" in what:
            ago = 40 * DAY if "before" in what else 9 * DAY
            put_exchange(connection, 9, "2", time=NOW - ago, changed_at=NOW, **DONE)
            connection.execute(update(accounts).values(last_synced=NOW))
        elif what == "a payout requested since":
            put_payout(connection, 9, "3", time=NOW, status="0")
        elif what == "a basket":
            put_payout(connection, 9, "2", time=NOW - DAY, gone_at=NOW)
        elif what == "two currencies":
            put_payout(connection, 9, "0.1", time=NOW - 60 * DAY, original_currency_code="EUR",
                       status="1")  # fmt: skip
        elif what == "unreadable":
            put_unreadable(connection, "x", resource="exchanges", row_id=4)
        elif what == "not read since":
            connection.execute(update(coverage).values(proven_at=NOW - 3 * MINUTE))
        elif what == "no coverage":
            connection.execute(coverage.delete())
        else:
            first = coverage.c.start.is_(None)
            later = NOW - 100 * DAY if what == "not from the beginning" else None
            end = NOW - 2 * DAY if what == "a hole" else NOW - DAY
            moved = update(coverage).where(first, coverage.c.resource == "payouts")
            connection.execute(moved.values(start=later, end=end))
    assert FindingKind.BALANCE_UNEXPLAINED not in await findings_of(url)


async def test_times_that_are_not_proven(url: str) -> None:
    """Holes are findings; what is not read yet is none."""
    with connected(url) as connection:
        put_synced(connection)
        put_proven(connection, "links", (START - DAY, START + DAY), (START + 2 * DAY, NOW - HOUR))
        put_proven(connection, "exchanges", (START + DAY, NOW - HOUR))
        put_proven(connection, "payouts", (None, NOW - HOUR))
    report = await report_of(url)
    finding = {one.kind: one for one in report.findings}[FindingKind.COVERAGE_INCOMPLETE]
    assert finding.evidence == (
        Exhibit(resource="links", at=START + DAY, until=START + 2 * DAY),
        Exhibit(resource="exchanges", at=START, until=START + DAY),
    )
    links, exchanges, payouts = report.coverage
    assert [one.proven_at is not None for one in links.ranges] == [True, False, True, False]
    assert [one.start for one in exchanges.ranges] == [START, START + DAY, NOW - HOUR]
    assert payouts.fraction == pytest.approx(1 - 1 / 720)


def put_unreadable(
    connection: Connection, digest: str, *, resource: str = "links", row_id: int | None = None,
    time: datetime | None = None,
) -> None:  # fmt: skip
    """Put in a row that cannot be read."""
    row = {
        "account": 1, "resource": resource, "digest": digest, "id": row_id, "time": time,
        "problems": [["time", "0000-00-00"], ["id", "x"]] if digest != "odd" else [],
        "first_seen": NOW - DAY, "last_seen": NOW - HOUR,
    }  # fmt: skip
    connection.execute(insert(unreadable), [row])


async def test_rows_that_cannot_be_read(url: str) -> None:
    """Those of the report's time, and of none that is known."""
    with connected(url) as connection:
        put_synced(connection)
        put_unreadable(connection, "a", row_id=7)
        put_unreadable(connection, "odd", time=NOW - DAY)
        put_unreadable(connection, "other", time=START - DAY)
        for number in range(6):
            put_unreadable(connection, f"z{number}")
    report = await report_of(url)
    [finding] = report.findings
    assert (finding.kind, finding.count) == (FindingKind.ROWS_UNREADABLE, 8)
    assert len(finding.evidence) == 5
    assert finding.evidence[0] == Exhibit(resource="links", id=7, before="time: 0000-00-00")
    assert finding.evidence[1] == Exhibit(resource="links", at=NOW - DAY, before="")
    assert report.accounts[0].unreadable == 8


@pytest.mark.untraced
async def test_what_came_before_the_report_says_what_is_usual(url: str) -> None:
    """A report about a day tells that nothing has come for a week."""
    with connected(url) as connection:
        put_synced(connection)
        for number in range(300):
            put_link(connection, number, NOW - 7 * DAY - number * 2 * HOUR)
            if number % 3 == 0:
                put_exchange(connection, number, "0", time=NOW - 7 * DAY - number * 2 * HOUR)
    found = await findings_of(url, start=NOW - DAY)
    finding = found[FindingKind.SITE_QUIET]
    assert finding.since == NOW - 7 * DAY
    assert finding.expected == 108  # 400 on 26 days, from 28 January on, for seven days
    assert await findings_of(url, start=NOW - 20 * DAY) == found
    # What the report does not reach to, it does not miss.
    assert await findings_of(url, start=NOW - 20 * DAY, end=NOW - 7 * DAY) == {}


@pytest.mark.untraced
async def test_orders_that_stay_away(url: str) -> None:
    """Clicks come as before."""
    with connected(url) as connection:
        put_synced(connection)
        for number in range(480):
            put_link(connection, number, NOW - number * HOUR)
            if number % 6 == 0 and number > 200:
                put_exchange(connection, number, "1", time=NOW - number * HOUR)
    finding = (await findings_of(url))[FindingKind.CLICKS_WITHOUT_ORDERS]
    assert finding.since == NOW - 204 * HOUR
    assert finding.count == 7 * 24 + 12  # whole days after 21 February's, and half of today


async def test_who_is_behind(url: str) -> None:
    """By the present, whatever the report is about."""
    with connected(url) as connection:
        put_synced(connection)
        put_synced(connection, 2, "two")
        put_synced(connection, 3, "three")
        late = update(accounts).where(accounts.c.account == 3)
        connection.execute(late.values(last_synced=NOW - 7 * HOUR))
    found = await findings_of(url, end=NOW - 20 * DAY)
    finding = found[FindingKind.SITE_BEHIND]
    assert (finding.account, finding.lasting) == ("three", 7 * HOUR)


async def test_who_is_behind_without_a_sync(url: str) -> None:
    """A `follow` does not note when it caught up: what is proven says it."""
    seen = {"proven_at": NOW}
    with connected(url) as connection:
        for number, name in enumerate(("new", "good", "late", "begun"), 1):
            put_account(connection, number, name)
            since = NOW - (HOUR if name == "new" else 3 * DAY)
            known = update(accounts).where(accounts.c.account == number)
            connection.execute(known.values(first_seen=since))
        ends = {2: (NOW, NOW - MINUTE), 3: (NOW - 30 * HOUR, NOW), 4: (NOW - 300 * DAY, NOW)}
        for number, (exchanges, payouts) in ends.items():
            for resource, end in (("exchanges", exchanges), ("payouts", payouts)):
                row = {"account": number, "resource": resource, "start": None, "end": end}
                connection.execute(insert(coverage), [row | seen])
    report = await report_of(url)
    told = {one.name: one.last_synced for one in report.accounts}
    assert told == {
        "begun": None, "good": NOW - MINUTE, "late": NOW - 30 * HOUR, "new": None,
    }  # fmt: skip
    behind = {
        one.account: one.lasting for one in report.findings if one.kind is FindingKind.SITE_BEHIND
    }
    assert behind == {"late": 30 * HOUR, "begun": 3 * DAY}


@pytest.mark.untraced
async def test_odd_texts_come_as_they_were(url: str) -> None:
    """Characters that databases do not take, and hostile ones, are told as they are."""
    with connected(url) as connection:
        put_synced(connection, 1, "o\0ne")
        visitor = {"user_hash": "v"}
        put_link(connection, 1, NOW - DAY, referrer="https://a\0b.example/", query_string="s=␛x",
                 **visitor)  # fmt: skip
        put_exchange(connection, 1, "1", time=NOW - HOUR, currency_code_give="<b>\0",
                     psys_give="<i>", **visitor)  # fmt: skip
    report = await report_of(url)
    assert report.accounts[0].name == "o\0ne"
    assert report.accounts[0].currency == "¤ o\0ne"
    _, by_sub_id, by_referrer = report.funnels
    assert by_sub_id.steps[0].label == "s=␛x"
    assert by_referrer.steps[0].label == "a\0b.example"
    assert report.directions[0].give == "<i> <b>\0"
    [only] = (await report_of(url, accounts=["o\0ne"])).accounts
    assert only.name == "o\0ne"
