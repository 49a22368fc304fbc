"""What wants a hand: each finding when it is true, and none that is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ppapi_async.cli.report.data import (
    ALL_ACCOUNTS,
    Exhibit,
    Finding,
    FindingKind,
    PayoutLine,
    Range,
    Severity,
)
from ppapi_async.cli.report.findings import (
    AccountFacts,
    BalanceFacts,
    LateOrder,
    LateOrders,
    TakenBack,
    UnreadableFact,
    accrual_limit,
    behind,
    findings_of,
    graver_first,
    unfollowed,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TODAY = NOW.date()


def facts(**known: Any) -> AccountFacts:
    """Return the facts of an account that was synchronised an hour ago."""
    given: dict[str, Any] = {
        "name": "one",
        "currency": "USD",
        "now": NOW,
        "first_seen": NOW - 100 * DAY,
        "last_synced": NOW - HOUR,
        "seen_to": NOW - HOUR,
        "today": TODAY,
    }
    return AccountFacts(**(given | known))


def only(found: Sequence[Finding]) -> Finding:
    """Return the only finding."""
    [finding] = found
    return finding


def daily(count: int, first: int, last: int, step: int = 1) -> dict[date, int]:
    """Return so many a day, from so many days ago to so many days ago."""
    return {TODAY - ago * DAY: count for ago in range(first, last - 1, -step)}


def test_a_site_without_facts_has_no_findings() -> None:
    """A new account, of which nothing is known, is no reason to worry."""
    assert list(findings_of(facts())) == []
    assert list(findings_of(facts(first_seen=NOW, last_synced=None, seen_to=NOW))) == []


# Rewards taken back


def test_rewards_taken_back() -> None:
    """What is lost is what had been credited less what is left."""
    lost = [
        TakenBack(id=8, seen_at=NOW - HOUR, credited=Decimal("2.5"), left=Decimal("2.25")),
        TakenBack(id=7, seen_at=NOW - DAY, credited=Decimal("1.10"), left=Decimal(0)),
    ]
    finding = only(list(findings_of(facts(taken_back=lost))))
    assert (finding.kind, finding.severity) == (FindingKind.REWARDS_TAKEN_BACK, Severity.HIGH)
    assert (finding.count, finding.amount, finding.currency) == (2, Decimal("1.35"), "USD")
    assert finding.since == NOW - DAY
    assert finding.evidence[0] == Exhibit(
        resource="exchanges", id=7, at=NOW - DAY, before="1.10", after="0",
        amount=Decimal("1.10"), currency="USD",
    )  # fmt: skip
    huge = [TakenBack(id=7, seen_at=NOW, credited=Decimal("1e5000"), left=Decimal(0))]
    assert only(list(findings_of(facts(taken_back=huge)))).evidence[0].before == "1.000000E+5000"
    many = [TakenBack(id=n, seen_at=NOW, credited=Decimal(1), left=Decimal(0)) for n in range(9)]
    finding = only(list(findings_of(facts(taken_back=many))))
    assert (finding.count, len(finding.evidence)) == (9, 5)


# Who is behind


def synced(*ago: timedelta | None) -> list[AccountFacts]:
    """Return accounts that were caught up so long ago."""
    return [
        facts(name=f"a{n}", last_synced=None if one is None else NOW - one)
        for n, one in enumerate(ago)
    ]


def told(found: Sequence[Finding]) -> list[tuple[str, timedelta | None]]:
    """Return who is behind, and by how much."""
    assert {one.kind for one in found} <= {FindingKind.SITE_BEHIND}
    return [(one.account, one.lasting) for one in found]


def test_a_site_is_behind() -> None:
    """For more than a day; or by hours, where the others are not."""
    assert told(list(behind(synced(23 * HOUR)))) == []
    assert told(list(behind(synced(25 * HOUR)))) == [("a0", 25 * HOUR)]
    assert told(list(behind(synced(HOUR, HOUR, 7 * HOUR)))) == []
    assert told(list(behind(synced(HOUR, HOUR, 8 * HOUR)))) == [("a2", 8 * HOUR)]
    assert told(list(behind([]))) == []


def test_the_whole_mirror_is_behind() -> None:
    """One finding, and not one for each account; who is behind the others has its own."""
    assert told(list(behind(synced(*[40 * HOUR] * 50)))) == [(ALL_ACCOUNTS, 40 * HOUR)]
    found = told(list(behind(synced(40 * HOUR, 40 * HOUR, 90 * HOUR))))
    assert found == [(ALL_ACCOUNTS, 40 * HOUR), ("a2", 90 * HOUR)]


def test_an_account_that_was_never_caught_up() -> None:
    """It is behind when it has had a day for its first reading."""
    new = facts(name="new", last_synced=None, first_seen=NOW - 5 * HOUR)
    old = facts(name="old", last_synced=None, first_seen=NOW - 30 * HOUR)
    assert told(list(behind([*synced(HOUR, HOUR), new]))) == []
    assert told(list(behind([*synced(HOUR, HOUR), old]))) == [("old", 30 * HOUR)]
    assert told(list(behind([old]))) == [("old", 30 * HOUR)]
    assert told(list(behind([new]))) == []


# Sites that fall silent


def test_who_is_no_longer_in_the_accounts_file() -> None:
    """And is copied by nobody: a day is left to those who copy it from elsewhere."""
    accounts = synced(HOUR, 25 * HOUR, 25 * HOUR, 3 * HOUR)
    assert unfollowed(accounts, {"a0", "a1"}) == ["a2"]
    assert unfollowed(accounts, {"a0", "a1", "a2", "a3"}) == []
    new = facts(name="a0", first_seen=NOW - HOUR, last_synced=None)
    old = facts(name="a1", first_seen=NOW - 30 * HOUR, last_synced=None)
    assert unfollowed([new, old, facts(name="b")], {"b"}) == ["a1"]
    # The file of another copy says nothing about this one.
    assert unfollowed(accounts, {"b0", "b1"}) == []
    assert unfollowed([], {"a0"}) == []


def quiet(counts: dict[date, int], last: datetime, **known: Any) -> list[Finding]:
    """Return findings about an account whose last click was then."""
    given: dict[str, Any] = {"clicks": counts, "last_click": last, "last_day": last.date()}
    return list(findings_of(facts(**(given | known))))


def test_a_site_falls_silent() -> None:
    """Ten clicks a day came, and for two days none."""
    finding = only(quiet(daily(10, 40, 2), NOW - HOUR - 2 * DAY))
    assert (finding.kind, finding.severity) == (FindingKind.SITE_QUIET, Severity.MEDIUM)
    assert (finding.expected, finding.lasting) == (Decimal(20), 2 * DAY)
    assert finding.since == NOW - HOUR - 2 * DAY
    assert finding.evidence == (Exhibit(resource="links", at=NOW - HOUR - 2 * DAY),)


def test_orders_count_too() -> None:
    """The last event may be an order."""
    last = NOW - HOUR - 3 * DAY
    finding = only(
        quiet({}, last, last_click=None, orders=daily(5, 40, 3), last_order=last, clicks={})
    )
    assert finding.evidence[0].resource == "exchanges"


@pytest.mark.parametrize(
    ("counts", "days"),
    [
        pytest.param(daily(10, 40, 0), 0.5, id="half a day"),
        pytest.param(daily(100, 40, 0), 0.9, id="not a day yet, of a lively site"),
        pytest.param(daily(1, 40, 5), 5, id="too few to be sure"),
        pytest.param(daily(50, 5, 3), 3, id="a new account"),
        pytest.param({TODAY - 3 * DAY: 400}, 3, id="one burst"),
        pytest.param(daily(20, 40, 7, step=7), 7, id="one that comes once a week"),
        pytest.param({}, 30, id="nothing in the weeks before"),
    ],
)
def test_a_pause_is_no_silence(counts: dict[date, int], days: float) -> None:
    """Where little comes, or in bursts, or the pause is as usual, nothing is wrong."""
    assert quiet(counts, NOW - HOUR - days * DAY) == []


def test_weekends_are_pauses() -> None:
    """A site without clicks on two days of each week may be so on four; seven a day come else."""
    working = {day: count for day, count in daily(10, 40, 3).items() if day.weekday() < 5}
    last = max(working)
    then = datetime(last.year, last.month, last.day, 20, tzinfo=UTC)
    assert quiet(working, then, seen_to=then + 3.9 * DAY) == []
    assert only(quiet(working, then, seen_to=then + 4.1 * DAY)).expected == 29


# Clicks without orders


def without_orders(clicks: dict[date, int], orders: dict[date, int]) -> list[Finding]:
    """Return findings about an account with these clicks up to now, and orders."""
    last = max(orders, default=None)
    then = None if last is None else datetime(last.year, last.month, last.day, 9, tzinfo=UTC)
    return list(
        findings_of(
            facts(
                clicks=clicks, orders=orders, last_click=NOW - 2 * HOUR, last_day=TODAY,
                last_order=then, last_order_day=last,
            )
        )
    )  # fmt: skip


def test_clicks_bring_no_orders_any_more() -> None:
    """One in ten ordered; of the last two hundred, none."""
    finding = only(without_orders(daily(40, 40, 0), daily(4, 40, 5)))
    kind = FindingKind.CLICKS_WITHOUT_ORDERS
    assert (finding.kind, finding.severity) == (kind, Severity.HIGH)
    assert (finding.count, finding.expected) == (200, Decimal(20))
    assert finding.since == datetime(2026, 11, 23, 9, tzinfo=UTC)
    assert [one.resource for one in finding.evidence] == ["exchanges", "links"]


@pytest.mark.parametrize(
    ("clicks", "orders"),
    [
        pytest.param(daily(40, 40, 0), daily(4, 40, 0), id="orders come"),
        pytest.param(daily(40, 40, 0), daily(4, 40, 1), id="none today"),
        pytest.param(daily(40, 40, 0), daily(1, 40, 5), id="too few to be sure"),
        pytest.param(daily(40, 40, 0), {}, id="there never were any"),
        pytest.param(daily(40, 40, 0), daily(40, 40, 38), id="long ago"),
        pytest.param(daily(9, 5, 0) | daily(1, 40, 6), daily(3, 40, 6), id="few clicks before"),
        pytest.param(daily(40, 40, 0), daily(30, 40, 6, step=6), id="they come once a week"),
    ],
)
def test_clicks_may_bring_no_orders(clicks: dict[date, int], orders: dict[date, int]) -> None:
    """Where it is as usual, or too little is known."""
    assert without_orders(clicks, orders) == []


# Payouts


def waiting(number: int, ago: timedelta, amount: str = "10", currency: str = "USD") -> PayoutLine:
    """Return a payout that waits."""
    return PayoutLine(
        account="one", id=number, time=NOW - ago, status="0", amount=Decimal(amount),
        currency="USDT", original_amount=Decimal(amount), original_currency=currency,
    )  # fmt: skip


def test_a_payout_waits_for_long() -> None:
    """A week, where nobody knows how long they take."""
    finding = only(
        list(findings_of(facts(waiting=[waiting(3, 6 * DAY), waiting(2, 8 * DAY, "10.50")])))
    )
    assert (finding.kind, finding.severity) == (FindingKind.PAYOUT_WAITING, Severity.HIGH)
    assert (finding.count, finding.amount, finding.currency) == (1, Decimal("10.50"), "USD")
    assert (finding.lasting, finding.usual) == (8 * DAY - HOUR, None)
    assert finding.evidence == (
        Exhibit(resource="payouts", id=2, at=NOW - 8 * DAY, amount=Decimal("10.50"),
                currency="USD"),
    )  # fmt: skip


def test_a_payout_waits_for_longer_than_usual() -> None:
    """Nine in ten took four hours: a day and a half is long, and one day is allowed anywhere."""
    times = [HOUR] * 5 + [4 * HOUR] * 4 + [50 * HOUR]
    known = {"payout_times": times, "waiting": [waiting(1, 80 * HOUR), waiting(2, 70 * HOUR)]}
    finding = only(list(findings_of(facts(**known))))
    assert (finding.count, finding.usual) == (1, 4 * HOUR)
    known = {"payout_times": [HOUR] * 5, "waiting": [waiting(1, 24 * HOUR)]}
    assert list(findings_of(facts(**known))) == []
    known["payout_times"] = [10 * DAY] * 5
    assert (
        list(findings_of(facts(payout_times=[10 * DAY] * 5, waiting=[waiting(1, 9 * DAY)]))) == []
    )


def test_payouts_of_several_currencies_are_not_added_up() -> None:
    """Each has its own amount in the evidence."""
    both = [waiting(1, 9 * DAY), waiting(2, 9 * DAY, currency="EUR")]
    finding = only(list(findings_of(facts(waiting=both))))
    assert (finding.count, finding.amount, finding.currency) == (2, None, None)
    assert [one.currency for one in finding.evidence] == ["USD", "EUR"]


# Accruals


def test_accruals_lag() -> None:
    """Three orders at the least, for one or two may have a reason."""
    orders = [LateOrder(id=n, time=NOW - n * DAY, reward=Decimal("1.5")) for n in (40, 39, 38)]
    late = LateOrders(first=orders, count=3, rewards=Decimal("4.5"))
    finding = only(list(findings_of(facts(late=late))))
    assert (finding.kind, finding.severity) == (FindingKind.ACCRUALS_LAG, Severity.HIGH)
    assert (finding.count, finding.amount) == (3, Decimal("4.5"))
    assert (finding.since, finding.lasting) == (NOW - 40 * DAY, 40 * DAY - HOUR)
    assert (finding.usual, finding.evidence[0].id) == (None, 40)
    finding = only(list(findings_of(facts(late=late, accrual_times=[HOUR] * 10))))
    assert finding.usual == HOUR
    few = LateOrders(first=orders[:2], count=2, rewards=Decimal(3))
    assert list(findings_of(facts(late=few))) == []


def test_how_long_a_reward_may_wait() -> None:
    """Twice as long as nine in ten did, three days at the least; a month where nobody knows."""
    assert accrual_limit([]) == 30 * DAY
    assert accrual_limit([HOUR] * 9) == 30 * DAY
    assert accrual_limit([HOUR] * 10) == 3 * DAY
    assert accrual_limit([DAY] * 8 + [5 * DAY] * 2) == 10 * DAY


# The balance


def balance(amount: str, **known: Any) -> list[Finding]:
    """Return findings about a balance, where 100 was credited, 20 waits and 50 was paid."""
    given: dict[str, Any] = {
        "balance": Decimal(amount),
        "told_at": NOW,
        "accrued": Decimal(100),
        "waiting": Decimal(20),
        "paid": Decimal(50),
    }
    return list(findings_of(facts(balance=BalanceFacts(**(given | known)))))


def test_a_balance_does_not_add_up() -> None:
    """Thirty should be there: what is less has a reason among the orders that vanished."""
    gone = [Exhibit(resource="exchanges", id=n) for n in range(9)]
    finding = only(balance("25", gone=gone))
    assert (finding.kind, finding.severity) == (FindingKind.BALANCE_UNEXPLAINED, Severity.MEDIUM)
    assert (finding.amount, finding.expected) == (Decimal(25), Decimal(30))
    assert finding.evidence == (
        Exhibit(resource="info", at=NOW, amount=Decimal(25), currency="USD"), *gone[:4],
    )  # fmt: skip
    assert len(only(balance("30.5", gone=gone)).evidence) == 1


@pytest.mark.parametrize(
    ("amount", "known"),
    [
        pytest.param("30", {}, id="it adds up"),
        pytest.param("30.00000001", {}, id="the noise of floats"),
        pytest.param("30.01", {"accrued": Decimal("100.0149")}, id="rounded to two places"),
        pytest.param("30", {"accrued": Decimal("100.00000004")}, id="a whole number, and noise"),
        pytest.param("28", {"unsure_less": Decimal(2)}, id="credited when it had been read"),
        pytest.param("33", {"unsure_more": Decimal(3)}, id="credited, and not seen yet"),
        pytest.param(
            "123456789.12",
            {"accrued": Decimal("123456859.1234567891")},
            id="large amounts, and noise",
        ),
    ],
)
def test_a_balance_adds_up(amount: str, known: dict[str, Decimal]) -> None:
    """As nearly as floats and the moments of two answers allow."""
    assert balance(amount, **known) == []


# What the mirror does not know


def test_coverage_has_holes() -> None:
    """Each of them is shown."""
    hole = Range(start=NOW - 5 * DAY, end=NOW - 4 * DAY)
    finding = only(list(findings_of(facts(gaps=[("exchanges", hole)] * 7))))
    assert (finding.kind, finding.severity) == (FindingKind.COVERAGE_INCOMPLETE, Severity.LOW)
    assert (finding.count, finding.since, len(finding.evidence)) == (7, NOW - 5 * DAY, 5)
    assert finding.evidence[0] == Exhibit(
        resource="exchanges", at=NOW - 5 * DAY, until=NOW - 4 * DAY
    )


def test_rows_cannot_be_read() -> None:
    """How many, and what of the first ones."""
    row = UnreadableFact(resource="payouts", id=7, time=None, problem="time: 0000-00-00")
    finding = only(list(findings_of(facts(unreadable=[row], unreadable_count=12))))
    assert (finding.kind, finding.severity) == (FindingKind.ROWS_UNREADABLE, Severity.LOW)
    assert finding.count == 12
    assert finding.evidence == (Exhibit(resource="payouts", id=7, before="time: 0000-00-00"),)


def test_the_gravest_come_first() -> None:
    """By severity, then by kind, then those about most rows, then by account."""

    def finding(account: str, kind: FindingKind, severity: Severity, count: int = 0) -> Finding:
        return Finding(kind=kind, severity=severity, account=account, count=count)

    ordered = [
        finding("z", FindingKind.REWARDS_TAKEN_BACK, Severity.HIGH, 5),
        finding("a", FindingKind.REWARDS_TAKEN_BACK, Severity.HIGH, 1),
        finding("b", FindingKind.REWARDS_TAKEN_BACK, Severity.HIGH, 1),
        finding("a", FindingKind.PAYOUT_WAITING, Severity.HIGH, 9),
        finding("a", FindingKind.SITE_BEHIND, Severity.MEDIUM),
        finding("a", FindingKind.ROWS_UNREADABLE, Severity.LOW, 100),
    ]
    assert graver_first(reversed(ordered)) == ordered
