"""The views tell what the tables hold, to programs that know nothing of this library."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from ppapi_async.mirror.store import MirrorStore
from tests.mirror.tables import (
    NOON,
    asked,
    connected,
    put_account,
    put_balance,
    put_exchange,
    put_link,
    put_payout,
)


@pytest.fixture
async def opened(mirror_url: str) -> AsyncIterator[Connection]:
    """Give a connection to a mirror's database with the account "one" and the empty one "two"."""
    await (await MirrorStore.open(mirror_url)).aclose()
    with connected(mirror_url) as connection:
        put_account(connection, 1, "one")
        put_account(connection, 2, "two")
        yield connection


def amount(connection: Connection, digits: str) -> Decimal | float:
    """Return an amount as a view tells it: exactly, or as the float that SQLite has for it."""
    return float(digits) if connection.dialect.name == "sqlite" else Decimal(digits)


def test_rewards_are_added_up_by_day_and_account(opened: Connection) -> None:
    """Of what is there: credited, and still to come; what is gone stands by itself."""
    first, last = NOON.replace(hour=0, minute=0), NOON.replace(hour=23, minute=59, second=59)
    done = {"accrued": True, "exchange_success": True}
    put_exchange(opened, 1, "0.1", time=first, status="success", **done)
    put_exchange(opened, 2, "0.2", time=last, **done)
    put_exchange(opened, 3, "5", status="new")
    put_exchange(opened, 4, "7", status="cancel")
    put_exchange(opened, 5, "7", status="delete", exchange_success=True)
    put_exchange(opened, 6, "0.000000000001")
    put_exchange(opened, 7, "11", gone_at=NOON, **done)
    put_exchange(opened, 8, "13", gone_at=NOON)
    put_exchange(opened, 9, "17", time=last + timedelta(seconds=1), **done)
    put_exchange(opened, 1, "19", account=2, accrued=True)
    rows = asked(opened, "SELECT * FROM rewards_by_day ORDER BY account, day")
    zero, is_text = amount(opened, "0"), opened.dialect.name == "sqlite"
    january, february = date(2026, 1, 31), date(2026, 2, 1)

    def row(account: str, day: date, *counts: int, **amounts: str) -> dict[str, object]:
        found: dict[str, object] = {"account": account, "day": str(day) if is_text else day}
        found |= {"gone": 0, "accrued": zero, "forecast": zero, "gone_accrued": zero}
        found |= dict(zip(("exchanges", "completed", "gone"), counts, strict=False))
        return found | {name: amount(opened, digits) for name, digits in amounts.items()}

    assert rows == [
        row("one", january, 6, 3, 2, accrued="0.3", forecast="5.000000000001", gone_accrued="11"),
        row("one", february, 1, 1, accrued="17"),
        row("two", january, 1, 0, accrued="19"),
    ]


def test_a_day_is_one_of_utc_whatever_the_zone_of_who_asks(opened: Connection) -> None:
    """PostgreSQL shows instants in the zone of the connection."""
    if opened.dialect.name == "postgresql":
        opened.execute(text("SET TIME ZONE 'Pacific/Kiritimati'"))
    put_exchange(opened, 1, "1", time=datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC))
    put_exchange(opened, 2, "1", time=datetime.min.replace(tzinfo=UTC))
    days = [str(row["day"]) for row in asked(opened, "SELECT day FROM rewards_by_day ORDER BY day")]
    assert days == ["0001-01-01", "2026-01-31"]


def test_visitors_are_followed_from_their_clicks_to_their_orders(opened: Connection) -> None:
    """With the sub-ids of the first and last click; gone clicks count, gone orders do not."""
    hour = timedelta(hours=1)
    put_link(opened, 3, NOON, user_hash="a", query_string="sub=2", referrer="two")
    put_link(opened, 2, NOON, user_hash="a", query_string="sub=1", referrer="one", gone_at=NOON)
    put_link(opened, 1, NOON + hour, user_hash="a", query_string="sub=3")
    put_link(opened, 4, NOON, user_hash="no order")
    put_link(opened, 5, NOON, query_string="nobody")
    put_link(opened, 1, NOON, account=2, user_hash="a", query_string="another site")
    put_exchange(opened, 1, "0.1", user_hash="a", accrued=True, exchange_success=True)
    put_exchange(opened, 2, "0.2", user_hash="a", time=NOON + hour, accrued=True)
    put_exchange(opened, 3, "4", user_hash="a", time=NOON + hour)
    put_exchange(opened, 4, "9", user_hash="a", time=NOON - hour, accrued=True, gone_at=NOON)
    put_exchange(opened, 5, "9", user_hash="no click")
    put_exchange(opened, 6, "9")
    rows = asked(opened, "SELECT * FROM clicks_to_orders ORDER BY account, user_hash")
    assert [
        (row["account"], row["user_hash"], row["clicks"], row["exchanges"]) for row in rows
    ] == [
        ("one", "a", 3, 3),
        ("one", "no click", 0, 1),
        ("one", "no order", 1, 0),
        ("two", "a", 1, 0),
    ]
    is_text = opened.dialect.name == "sqlite"

    def told(instant: datetime) -> datetime | str:
        return f"{instant:%Y-%m-%d %H:%M:%S.%f}" if is_text else instant

    assert rows[0] == {
        "account": "one",
        "user_hash": "a",
        "clicks": 3,
        "first_click": told(NOON),
        "last_click": told(NOON + hour),
        "first_query_string": "sub=1",
        "last_query_string": "sub=3",
        "first_referrer": "one",
        "exchanges": 3,
        "completed": 1,
        "first_exchange": told(NOON),
        "accrued": amount(opened, "0.3"),
        "forecast": amount(opened, "4"),
    }
    assert rows[1]["first_query_string"] is None
    assert rows[1]["forecast"] == 9


def balance_of(connection: Connection, account: str) -> dict[str, object]:
    """Return what the view tells of an account's balance."""
    found = asked(connection, f"SELECT * FROM payout_balance WHERE account = '{account}'")
    assert len(found) == 1
    return found[0]


def test_the_last_click_of_a_second_is_the_one_with_the_greatest_id(opened: Connection) -> None:
    """And it is the account's own: the same visitor may click later, at another site."""
    put_link(opened, 2, NOON, user_hash="a", query_string="sub=2", referrer="two")
    put_link(opened, 3, NOON, user_hash="a", query_string="sub=3", referrer="three")
    later = NOON + timedelta(hours=1)
    put_link(opened, 9, later, account=2, user_hash="a", query_string="sub=9")
    rows = asked(opened, "SELECT * FROM clicks_to_orders ORDER BY account")
    names = ("first_query_string", "last_query_string", "first_referrer")
    assert [rows[0][name] for name in names] == ["sub=2", "sub=3", "two"]
    assert rows[1]["last_query_string"] == "sub=9"


def test_what_waits_was_not_paid_last(opened: Connection) -> None:
    """`last_paid` is of what has been paid, also where something later waits."""
    later = NOON + timedelta(days=1)
    put_payout(opened, 1, "5", status="1")
    put_payout(opened, 2, "5", time=later)
    last = balance_of(opened, "one")["last_paid"]
    assert str(last)[:10] == f"{NOON:%Y-%m-%d}"


def test_balances_are_set_against_rewards_and_payouts(opened: Connection) -> None:
    """What is left of the rewards is the latest balance; else the view says by how much not."""
    put_balance(opened, 1, "999")
    put_balance(opened, 2, "10.3")
    put_exchange(opened, 1, "60.1", accrued=True)
    put_exchange(opened, 2, "50.2", accrued=True, gone_at=NOON)
    put_exchange(opened, 3, "1000")
    put_payout(opened, 1, "50", status="1")
    put_payout(opened, 2, "30", status="1", time=NOON - timedelta(days=1), gone_at=NOON)
    put_payout(opened, 3, "20")
    put_payout(opened, 4, "20", gone_at=NOON)
    put_payout(opened, 5, "20", status="2")
    put_payout(opened, 6, "20", status="3")
    found = balance_of(opened, "one")
    assert str(found.pop("seen_at")).startswith("2026-01-31 12:00:00")
    assert str(found.pop("last_paid")).startswith("2026-01-31 12:00:00")
    assert found == {
        "account": "one",
        "balance": amount(opened, "10.3"),
        "min_payout": 10,
        "is_due": True,
        "currency": "USD",
        "accrued": amount(opened, "110.3"),
        "waiting_payouts": 1,
        "waiting": 20,
        "paid_payouts": 2,
        "paid": 80,
        "unexplained": 0,
    }
    put_balance(opened, 3, "10.2", "10.3")
    put_payout(opened, 7, "0", original_currency_code="EUR")
    found = balance_of(opened, "one")
    assert (found["is_due"], found["currency"]) == (False, None)
    assert found["unexplained"] == amount(opened, "-0.1")


def test_an_account_that_was_not_read_has_no_balance(opened: Connection) -> None:
    """It stands in the view all the same."""
    found = {name: value for name, value in balance_of(opened, "two").items() if value}
    assert found == {"account": "two"}
    put_balance(opened, 1, "0", "0")
    assert not balance_of(opened, "one")["is_due"]


@pytest.mark.parametrize("view", ["rewards_by_day", "clicks_to_orders", "payout_balance"])
async def test_a_view_of_four_times_as_much_takes_about_four_times_as_long(
    tmp_path: Path, view: str
) -> None:
    """In steps of SQLite's machine: sixteen times as long, and nobody could use it."""
    path = tmp_path / "mirror.db"
    await (await MirrorStore.open(f"sqlite:///{path}")).aclose()
    steps = []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO accounts (account, name, host, timezone, first_seen)"
            " VALUES (1, 'one', '', 'UTC', '')"
        )
        for begin, end in ((0, 500), (500, 2000)):
            ids = [(number,) for number in range(begin, end)]
            connection.executemany(_CLICK, ids)
            connection.executemany(_ORDER, ids)
            taken: list[None] = []
            connection.set_progress_handler(functools.partial(taken.append, None), 100)
            connection.execute(f"SELECT * FROM {view}").fetchall()
            steps.append(len(taken))
    assert steps[1] < 6 * steps[0]


_CLICK = """
INSERT INTO links (account, id, time, date, browser, referrer, user_hash, query_string, first_seen,
                   last_seen)
VALUES (1, ?1, '2026-01-31 12:00:00.000000', '', '', '', 'visitor ' || ?1, '', '', '')
"""
_ORDER = """
INSERT INTO exchanges (account, id, time, amount_give, amount_get, exchange_success, accrued,
                       partner_reward, date, currency_code_give, currency_code_get, user_hash,
                       first_seen, last_seen)
VALUES (1, ?1, '2026-01-31 12:00:00.000000', '1', '1', 1, 1, '1', '', '', '', 'visitor ' || ?1, '',
        '')
"""
