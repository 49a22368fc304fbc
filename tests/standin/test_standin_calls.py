"""Single calls to a server of version 2.7 that was made from the notes on the wire alone."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ppapi_async import (
    Account,
    Hooks,
    PayoutRejected,
    PayoutStatus,
    Session,
)
from tests.sites.raw import instantly
from tests.sites.standin import NINES, ZERO_DATE, StandIn
from tests.sites.standin.server import Method, User

NOW = 1_780_000_000


def session_on(site: StandIn) -> Session:
    """Return a session with the site's own zone."""
    account = Account(site.url, site.key, timezone=site.timezone)
    hooks = Hooks(sleep=instantly, chance=lambda: 0.5, clock=lambda: float(NOW))
    return Session(account, hooks=hooks)


async def test_texts_amounts_and_times_come_as_they_were_stored() -> None:
    """From a site three hours ahead; what the server loses of a text is lost, and no more."""
    async with StandIn(timezone="Europe/Moscow") as site, session_on(site) as session:
        site.tables.click(
            at=NOW - 5,
            ip="203.0.113.7",
            referrer='https://t.me/x?a=1&b="2"',
            query_string="utm_source=select&sub=it's%20ok&c=concat&d=SHELL_EXEC&e=&amp;f",
        )
        order = site.tables.order(
            at=NOW - 9,
            status="auto",
            currency_code_give="A&B",
            psys_give="Tether 'TRC20'",
            amount_give="0.000000000001",
            amount_get="117350,8",
            partner_reward="-0",
            user_ip="203.0.113.9",
        )
        site.tables.clock = lambda: NOW - 7.0
        site.tables.confirm(order)
        site.tables.set_status(order, "my-12")
        (link,) = await session.get_links(NOW - 5, NOW - 4)
        (row,) = await session.get_exchanges(ip="203.0.113.9", status_history=True)
    assert link.time == datetime.fromtimestamp(NOW - 5, UTC)
    assert link.referrer == 'https://t.me/x?a=1&b="2"'
    assert link.query == {
        "utm_source": "select",
        "sub": "it's ok",
        "c": "concat",
        "d": "shell_exec",  # its capitals are lost
        "e": "",
        "f": "",
    }
    assert row.time == datetime.fromtimestamp(NOW - 7, UTC)
    assert (row.currency_code_give, row.psys_give) == ("A&B", "Tether 'TRC20'")
    assert (row.amount_give, row.amount_get) == (Decimal("1e-12"), Decimal("117350.8"))
    assert row.partner_reward == 0
    assert (row.status, row.exchange_success) == ("my-12", False)
    assert [step.status for step in row.statuses or ()] == ["auto", "new", ""]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Moscow", "America/New_York"])
async def test_odd_dates_hide_no_rows(zone: str) -> None:
    """What no datetime holds is the earliest or the latest one; `date` keeps the text."""
    async with StandIn(timezone=zone) as site, session_on(site) as session:
        walls = (ZERO_DATE, NINES, site.tables.wall(NOW - 60))
        site.tables.insert("payouts", [{"time": wall} for wall in walls])
        site.tables.insert("exchanges", [{"created": wall, "edited": wall} for wall in walls])
        payouts = await session.get_payouts()
        exchanges = await session.get_exchanges()
        some = await session.get_payouts(NOW - 3_600)
    assert {row.id for row in payouts} == {row.id for row in exchanges} == {1, 2, 3}
    assert 3 in {row.id for row in some}
    assert {row.id: row.time.year for row in payouts} | {3: 0} == {1: 1, 2: 9999, 3: 0}
    assert {row.date[:5] for row in payouts if row.id != 3} == {"-0001", "9999-"}


METHODS = (
    Method(id=11, title="Tether", currency="USDTTRC20", commission="2"),
    Method(id=22, title="Bitcoin", currency="BTC", reserve="1"),
)


async def test_a_payout_is_booked_once_and_found_again() -> None:
    """What get_info lists can be paid, the receipt is in get_payouts, and the balance is 0."""
    site = StandIn(methods=METHODS, user=User(balance="122.01"), clock=lambda: float(NOW))
    async with site, session_on(site) as session:
        info = await session.get_info()
        assert [(one.id, one.amount) for one in info.items] == [(11, Decimal("119.5698"))]
        receipt = await session.add_payout(11, "TXabcdefgh", at_least=100)
        (payout,) = await session.get_payouts()
        after = await session.get_info()
        with pytest.raises(PayoutRejected, match="not enough money"):
            await session.add_payout(11, "TXabcdefgh")
    assert receipt.payout_id == payout.id == 1
    assert (payout.status, payout.account) == (PayoutStatus.WAITING, "TXabcdefgh")
    assert after.balance == 0
    assert not after.items
    assert [asked.method for asked in site.asked].count("add_payout") == 2


@pytest.mark.parametrize(
    ("method_id", "account", "balance", "reason"),
    [
        (9, "TXabcdefgh", "50", "method"),
        (11, "x", "50", "account"),
        (11, "TXblack", "50", "blacklist"),
        (11, "TXabcdefgh", "9.99", "balance"),
        (22, "TXabcdefgh", "50", "currency"),
    ],
)
async def test_refusals_have_their_reasons(
    method_id: int, account: str, balance: str, reason: str
) -> None:
    """Each text of the server's is understood."""
    site = StandIn(methods=METHODS, user=User(balance=balance), blacklist=frozenset({"TXblack"}))
    async with site, session_on(site) as session:
        with pytest.raises(PayoutRejected) as caught:
            await session.add_payout(method_id, account)
    assert reason in str(caught.value.reason).lower()
    assert site.tables.ids("payouts") == set()
