"""Sums of clicks and orders: by hand, and against adding row by row."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.cli.report import sums as module
from ppapi_async.cli.report.data import NO_REFERRER, NO_SUB_ID
from ppapi_async.cli.report.sums import (
    ACCRUED,
    COMPLETED,
    FRESH,
    GONE,
    IN_RANGE,
    LOST,
    AccountSums,
    LabelSums,
    LateSums,
    VisitorRow,
    ZoneDays,
    host_of,
    reference_parameters,
    sub_ids_of,
    total,
)

DONE = COMPLETED | ACCRUED


def click(
    who: str, minute: int, query: str = "", referrer: str = "", bits: int = IN_RANGE
) -> VisitorRow:
    """Return a click, so many minutes after midnight of a Saturday."""
    return who, at(minute), 0, referrer, query, None, None, None, bits, 0


def order(who: str, minute: int, reward: str, bits: int = DONE) -> VisitorRow:
    """Return an order from BTC to USDT."""
    return who, at(minute), 1, reward, "BTC", None, "USDT", None, bits, 0


def at(minute: int) -> str:
    """Return an instant as the mirror has it."""
    time = datetime(2026, 11, 28) + timedelta(minutes=minute)  # noqa: DTZ001 - as a text
    return f"{time.isoformat(' ')}.000000"


def empty(zone: str = "UTC") -> AccountSums:
    """Return the sums of an account without rows; what is older than half an hour is late."""
    late = LateSums(since=at(0), before=at(30))
    return AccountSums(ZoneDays(ZoneInfo(zone)), "USD", LabelSums(), LabelSums(), late)


def sums_of(*rows: VisitorRow, zone: str = "UTC") -> AccountSums:
    """Add rows up, which are sorted as the database does."""
    sums = empty(zone)
    sums.add(sorted(rows, key=lambda row: row[:3]))
    sums.finish()
    return sums


def labels(sums: LabelSums) -> dict[str, tuple[Any, ...]]:
    """Return counts, accrued and forecast of each label."""
    return {
        label: (*counts, *sums.amounts.get(label, {}).get("USD", ()))
        for label, counts in sums.counts.items()
    }


def test_an_order_belongs_to_the_last_click_before_it() -> None:
    """Or else to the first one after it; a click of the same second is before it."""
    sums = sums_of(
        click("a", 0, "sub=first", "https://one.example/x"),
        click("a", 10, "sub=second", "https://two.example/"),
        order("a", 5, "1"),
        order("a", 10, "10"),
        order("b", 1, "100"),
        order("b", 2, "200", 0),
        click("b", 3, "sub=late"),
        click("b", 4, "sub=later"),
    )
    assert labels(sums.sub_ids) == {
        "sub=first": (1, 1, 1, 1, 1, 1, 0),
        "sub=second": (1, 1, 1, 1, 1, 10, 0),
        "sub=late": (1, 1, 2, 1, 1, 100, 200),
        "sub=later": (1, 1, 0, 0, 0),
    }
    assert labels(sums.referrers)["two.example"] == (1, 1, 1, 1, 1, 10, 0)
    assert labels(sums.referrers)[NO_REFERRER] == (2, 1, 2, 1, 1, 100, 200)
    assert sums.unjoined[2] == 0
    assert sums.visitors == 2


def test_orders_without_a_click_are_told() -> None:
    """Of unknown visitors, too, whose clicks belong to nobody."""
    sums = sums_of(
        click("", 0, "sub=x"), click("", 0, "sub=x", bits=0), click("e", 3, "sub=x"),
        order("", 1, "1"), order("c", 1, "2.5"), order("d", 2, "4", LOST),
    )  # fmt: skip
    assert sums.unjoined == [0, 0, 3, 2, 2, Decimal("3.5"), 0]
    assert labels(sums.sub_ids) == {"sub=x": (2, 1, 0, 0, 0)}
    assert sums.totals() == [2, 1, 3, 2, 2, Decimal("3.5"), 0]


def test_orders_that_are_gone() -> None:
    """They count nowhere but in what the balance is made of."""
    sums = sums_of(
        click("a", 0), order("a", 1, "1", DONE | GONE), order("a", 2, "2", GONE),
        order("a", 3, "4", DONE | GONE | FRESH), order("a", 4, "8", DONE | FRESH),
        order("a", 5, "16", FRESH), order("a", 6, "32"),
    )  # fmt: skip
    assert (sums.gone, sums.fresh) == (Decimal(5), Decimal(12))
    assert sums.totals() == [1, 1, 3, 2, 2, 40, 16]


def test_late_orders() -> None:
    """Carried out, not credited, with something to credit, and within the time."""
    late = sums_of(
        *(order("a", 20 - n, "1.5", COMPLETED) for n in range(7)),
        order("a", 30, "1", COMPLETED), order("a", -1, "1", COMPLETED), order("a", 1, "1", DONE),
        order("a", 1, "0", COMPLETED), order("a", 1, "1", COMPLETED | LOST), order("a", 1, "1", 0),
        order("a", 1, "1", COMPLETED | GONE), order("b", 2, "3", COMPLETED | FRESH),
    ).late  # fmt: skip
    assert (late.count, late.rewards) == (8, Decimal("13.5"))
    assert [(time, reward) for time, _, reward in late.first] == [
        (at(2), 3), *((at(n), Decimal("1.5")) for n in (14, 15, 16, 17)),
    ]  # fmt: skip


def test_rows_come_in_pieces() -> None:
    """A visitor's may be in two of them."""
    sums = empty()
    for row in (order("a", 0, "1"), click("a", 1, "sub=x"), order("a", 2, "2"), order("b", 0, "4")):
        sums.add([row])
    sums.finish()
    assert labels(sums.sub_ids) == {"sub=x": (1, 1, 2, 2, 2, 3, 0)}
    assert sums.unjoined[5] == 4


def test_clicks_of_before_are_joined_and_not_counted() -> None:
    """The click is older than the report, its order is not."""
    sums = sums_of(click("a", 0, "sub=old", bits=0), order("a", 1, "1"), click("a", 2, "sub=new"))
    assert labels(sums.sub_ids) == {
        "sub=old": (0, 0, 1, 1, 1, 1, 0), "sub=new": (1, 1, 0, 0, 0),
    }  # fmt: skip
    assert sums.totals()[:2] == [1, 1]
    assert sum(sums.click_hours) == 1


def test_visitors_are_counted_once_in_each_label() -> None:
    """However often they come, and by whatever else they come as well."""
    sums = sums_of(
        click("a", 0, "s=1&t=x", "https://one.example/1"),
        click("a", 1, "s=1&t=x", "https://one.example/2"),
        click("a", 2, "s=2&t=x", "https://two.example/"),
        click("a", 3, "s=1&t=x", "https://one.example/1"),
        click("a", 4, ""), click("a", 5, "rid=17"),
        click("b", 0, "s=1&t=x"),
    )  # fmt: skip
    assert labels(sums.sub_ids) == {
        "s=1": (4, 2, 0, 0, 0), "s=2": (1, 1, 0, 0, 0), "t=x": (5, 2, 0, 0, 0),
        NO_SUB_ID: (2, 1, 0, 0, 0),
    }  # fmt: skip
    assert labels(sums.referrers)["one.example"][:2] == (3, 1)
    assert sums.visitors == 2


def test_days_hours_and_directions() -> None:
    """By the zone; an order that is cancelled is no forecast."""
    sums = sums_of(
        click("a", 0), order("a", 30, "0.1"), order("a", 90, "5", 0),
        order("a", 60 * 23, "7", LOST), zone="Asia/Kolkata",
    )  # fmt: skip
    # 00:00 is 5:30 on Saturday, and 23:00 is 4:30 on Sunday.
    saturday, sunday = date(2026, 11, 28).toordinal(), date(2026, 11, 29).toordinal()
    assert sums.days == {
        saturday: [1, 0, 2, 1, 1, Decimal("0.1"), 5], sunday: [0, 0, 1, 0, 0, 0, 0],
    }  # fmt: skip
    hours = {place: count for place, count in enumerate(sums.order_hours) if count}
    assert hours == {5 * 24 + 6: 1, 5 * 24 + 7: 1, 6 * 24 + 4: 1}
    assert sums.click_hours[5 * 24 + 5] == 1
    assert sums.directions == {("BTC", None, "USDT", None): [0, 0, 3, 1, 1, Decimal("0.1"), 5]}


def test_a_site_that_names_ever_new_currencies(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond all reason is one direction."""
    monkeypatch.setattr(module, "_MOST_DIRECTIONS", 2)
    rows = [("a", at(n), 1, "1", f"C{n}", None, "X", None, DONE, n) for n in (0, 1, 2, 3, 1)]
    sums = sums_of(*rows)
    assert [(way[0], counts[2]) for way, counts in sums.directions.items()] == [
        ("C0", 1), ("C1", 2), ("…", 2),
    ]  # fmt: skip


def test_sums_are_exact() -> None:
    """Where floats, and decimal contexts of few digits, are not."""
    rewards = ["100000000000000000000000.000000000001", "-0.000000000001", "0.1", "0.2"]
    sums = sums_of(click("a", 0), *(order("a", 1 + n, one) for n, one in enumerate(rewards)))
    assert str(sums.totals()[5]) == "100000000000000000000000.300000000000"
    assert str(total(map(Decimal, rewards))) == "100000000000000000000000.300000000000"


@pytest.mark.parametrize(
    ("time", "zone", "day", "hour"),
    [
        ("2026-11-28 17:00:00.000000", "UTC", "2026-11-28", 17),
        ("2026-11-28 21:00:00.000000", "Europe/Moscow", "2026-11-29", 0),
        ("2026-11-28 18:14:59.999999", "Asia/Kathmandu", "2026-11-28", 23),  # 5:45 ahead
        ("2026-11-28 18:15:00.000000", "Asia/Kathmandu", "2026-11-29", 0),
        ("2026-10-25 00:59:00.000000", "Europe/Berlin", "2026-10-25", 2),  # the hour comes twice
        ("2026-10-25 01:59:00.000000", "Europe/Berlin", "2026-10-25", 2),
        ("2026-10-25 02:00:00.000000", "Europe/Berlin", "2026-10-25", 3),
        ("2026-03-29 00:59:00.000000", "Europe/Berlin", "2026-03-29", 1),  # and one is skipped
        ("2026-03-29 01:00:00.000000", "Europe/Berlin", "2026-03-29", 3),
        ("2026-04-04 15:30:00.000000", "Australia/Lord_Howe", "2026-04-05", 2),  # by half an hour
        ("1936-06-30 23:40:28.000000", "Europe/Amsterdam", "1936-07-01", 1),  # by 1:19:32
        ("1936-06-30 22:40:27.000000", "Europe/Amsterdam", "1936-06-30", 23),
        ("1936-06-30 22:40:28.000000", "Europe/Amsterdam", "1936-07-01", 0),
        ("0001-01-01 00:00:00.000000", "America/New_York", "0001-01-01", 0),  # nothing is before
        ("9999-12-31 23:59:59.000000", "Asia/Tokyo", "9999-12-31", 23),
    ],
)
def test_days_of_zones(time: str, zone: str, day: str, hour: int) -> None:
    """With quarters of an hour, daylight saving, old zones, and at the ends of the calendar."""
    days = ZoneDays(ZoneInfo(zone))
    expected = date.fromisoformat(day)
    for _ in range(2):  # the second time from memory
        found, of_week = days.place(time)
        assert date.fromordinal(found) == expected
        assert of_week == 24 * expected.weekday() + hour
    assert days.day(datetime.fromisoformat(f"{time}+00:00")) == expected


@pytest.mark.parametrize(
    ("referrer", "host"),
    [
        ("", NO_REFERRER),
        ("  ", NO_REFERRER),
        ("https://t.me/crypto_club?post=7", "t.me"),
        ("https://www.Forum.Example.net", "forum.example.net"),
        ("http://user:password@example.org:8080/", "example.org"),
        ("https://example.org?page=2", "example.org"),
        ("https://example.org#top", "example.org"),
        ("//example.org/x", "example.org"),
        ("android-app://com.google.android.gm/", "com.google.android.gm"),
        ("example.org/path", "example.org"),
        ("example.org:8080/path", "example.org"),
        ("https:///nothing", NO_REFERRER),
        ("<script>alert(1)</script>", "<script>alert(1)<"),
        ("https://" + "x" * 3_000, "x" * 492),
    ],
)
def test_hosts_of_referrers(referrer: str, host: str) -> None:
    """Whatever a visitor sends."""
    assert host_of(referrer) == host


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ()),
        ("rid=17", ()),
        ("?rid=17&sub=it's ok", (("sub", "it's ok"),)),  # as the vendor's servers send it
        ("cur_from=BTC&cur_to=USDT&utm_source=a%20b", (("utm_source", "a b"),)),
        ("utm_source=%D0%BE%D0%B1%D0%B7%D0%BE%D1%80", (("utm_source", "обзор"),)),
        ("sub=1&sub=2", (("sub", "2"),)),  # as PHP takes it
        ("flag&empty=", (("flag", ""), ("empty", ""))),
        ("sub=a+b&GCLID=x&yclid=1", (("sub", "a b"),)),
    ],
)
def test_sub_ids_of_queries(query: str, found: tuple[tuple[str, str], ...]) -> None:
    """All parameters but the site's own and those that no two clicks share."""
    assert sub_ids_of(query) == found


def test_parameters_that_name_the_partner_are_no_sub_ids() -> None:
    """A reference that is nearly always the same, or a number that nearly all clicks have."""
    ref, r, page = ("ref", "me"), ("r", "17"), ("page", "home")
    assert reference_parameters({ref: 99, ("ref", "you"): 1, page: 100}, 100) == {ref}
    assert reference_parameters({ref: 9, ("ref", "you"): 1}, 10) == frozenset()
    assert reference_parameters({r: 100, ("sub", "5"): 90}, 100) == {r}
    assert reference_parameters({r: 40}, 40) == frozenset()  # too few to tell
    sums = sums_of(*(click(f"{n}", n, "ref=me&sub=x" if n else "ref=me") for n in range(3)))
    assert labels(sums.sub_ids) == {"sub=x": (2, 2, 0, 0, 0), NO_SUB_ID: (1, 1, 0, 0, 0)}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Query strings are handed over before there are too many, between two visitors."""
    monkeypatch.setattr(module, "_MOST_APART", 2)
    sub_ids = LabelSums(limit=3)
    sums = empty()
    sums.sub_ids = sub_ids
    sums.add([click("a", n, f"s={n}") for n in range(4)] + [order("a", 4, "1")])
    sums.add([click("b", n, f"s={n}") for n in range(4)])
    sums.add([click("c", n, f"t={n}") for n in range(4)])
    sums.finish()
    counts = Counter({label: one[0] for label, one in sub_ids.counts.items()})
    assert counts["s=3"] == 2
    assert sub_ids.counts["s=3"][1:3] == [2, 1]
    assert sum(counts.values()) + sub_ids.left_out[0] == 12
    assert len(sub_ids.counts) <= 4
    assert sub_ids.labels_left_out > 0


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b", "c"]),
        st.integers(0, 3_000),
        st.sampled_from(["sub=1", "sub=2&x=y", "", "ref=4"]),
        st.one_of(st.none(), st.decimals(-5, 100, places=12)),
        st.sampled_from([0, COMPLETED, DONE, LOST, COMPLETED | LOST]),
    ),
    max_size=40,
)


@given(ROWS, st.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns"]))
def test_all_sums_agree(rows: list[Any], zone: str) -> None:
    """Over days, directions and hosts, whatever comes."""
    made = [
        click(who, minute, query, bits=bits & IN_RANGE)
        if reward is None
        else order(who, minute, format(reward, "f"), bits)
        for who, minute, query, reward, bits in rows
    ]
    sums = sums_of(*made, zone=zone)
    rewards = [(Decimal(row[3]), row[8]) for row in made if row[2]]
    accrued = sum(reward for reward, bits in rewards if bits & ACCRUED)
    forecast = sum(reward for reward, bits in rewards if not bits & (ACCRUED | LOST))
    assert sums.totals()[2:] == [
        len(rewards),
        sum(bits & COMPLETED for _, bits in rewards),
        sum(bool(bits & ACCRUED) for _, bits in rewards),
        accrued,
        forecast,
    ]
    ways = list(sums.directions.values())
    assert sum(way[5] for way in ways) == accrued
    hosts = labels(sums.referrers)
    assert sum(row[2] for row in hosts.values()) + sums.unjoined[2] == len(rewards)
    by_host = sum(row[5] for row in hosts.values() if len(row) > 5)
    assert by_host + sums.unjoined[5] == accrued
    assert sum(sums.order_hours) == len(rewards)
    assert sum(sums.click_hours) == sums.totals()[0] == sum(row[0] for row in hosts.values())
    people = {row[0] for row in made if not row[2] and row[8] and row[0]}
    assert sums.visitors == len(people)
