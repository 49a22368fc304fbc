"""`ppapi info`: balances of all accounts, what can be paid out, totals by currency, failures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from ppapi_async import Account, Dialect
from ppapi_async.cli.asking.balances import AccountBalance, row_of, totals
from ppapi_async.models import Info, PayoutMethod
from ppapi_async.sandbox import Fault, Sandbox
from tests.cli.sites import accounts_text, running, write_accounts
from tests.cli.terminal import bare, ppapi
from tests.leaks import assert_absent

WRONG = "w7ong" * 7
DEAD = "dE4d9" * 7


@pytest.fixture
def sites(home: Path) -> Iterator[dict[str, Sandbox]]:
    """Serve a site of each dialect, one that is poor, one that refuses the key and a dead one."""
    found = {str(one): Sandbox(one, rows=60, seed=4) for one in Dialect}
    for site in found.values():
        site.books.partner.balance = "122.01"
    found["site 10"] = Sandbox(rows=0)
    found["site 10"].books.partner.balance = "3.5"
    found["site 9"] = Sandbox(rows=0)
    found["site 9"].books.partner.balance = "0"
    refusing = Sandbox(rows=0)
    with running(*found.values(), refusing):
        path = write_accounts(home / "config" / "ppapi" / "accounts.toml", found)
        more = accounts_text({"revoked": refusing}).replace(refusing.api_key, WRONG)
        dead = f'[[accounts]]\nname = "dead"\nurl = "http://127.0.0.1:9"\napi_key = "{DEAD}"\n'
        path.write_text(path.read_text() + more + dead)
        yield found


def test_all_accounts_are_shown(sites: dict[str, Sandbox]) -> None:
    """By name as people sort; failures are marked, and told below with what to do."""
    ran = ppapi("info", "--json", "name,balance,currency,minimum,due,missing,methods,state")
    rows = {row.pop("name"): row for row in json.loads(ran.out)}
    assert ran.code == 1
    assert list(rows) == [
        "classic", "clone", "dead", "delegating", "revoked", "site 9", "site 10", "user-api",
    ]  # fmt: skip
    for dialect in Dialect:
        assert rows[dialect] == {
            "balance": "122.01",
            "currency": "USD",
            "minimum": "10",
            "due": True,
            "missing": "0",
            "methods": rows[dialect]["methods"],
            "state": "ok",
        }
        assert rows[dialect]["methods"] > 0
    assert (rows["site 10"]["due"], rows["site 10"]["missing"]) == (False, "6.5")
    assert rows["site 10"]["currency"] is None
    assert rows["dead"]["state"] == "no answer"
    assert rows["dead"]["balance"] is None
    assert rows["revoked"]["state"] == "key refused"
    assert "dead: get_info: cannot connect" in ran.err
    assert "revoked: get_info: the API refused" in ran.err
    assert "check the key" in ran.err
    assert "a closer look: ppapi doctor dead revoked" in ran.err
    assert_absent((WRONG, DEAD, *(one.api_key for one in sites.values())), ran.out, ran.err)


def test_at_most_two_requests_for_an_account(sites: dict[str, Sandbox]) -> None:
    """One for the balance, one for the currency."""
    assert ppapi("info", *sites).code == 0
    for name in ("classic", "clone", "delegating", "user-api"):
        seen = [one.method for one in sites[name].requests]
        assert [one for one in seen if one] == ["get_info", "get_payouts"]


def test_it_fits_a_terminal_of_80_columns(sites: dict[str, Sandbox]) -> None:
    """Nothing wraps; an unknown currency is ¤, and the totals stand below."""
    ran = ppapi("info", "classic", "site 10", "site 9", "--methods", terminal=True)
    lines = bare(ran.out).splitlines()
    assert max(map(len, lines)) <= 80
    (line,) = [line for line in lines if line.strip().startswith("site 10 ") and "¤" in line]
    assert line.split()[2:] == ["3.50", "¤", "10.00", "lacks", "6.50", "2", "ok"]
    assert any("nothing there" in line for line in lines)
    assert any("Tether" in line for line in lines)
    assert "total 122.01 USD of 1 account, of which 122.01 can be paid out now" in ran.err
    assert "in no total: 2 accounts whose currency is not known" in ran.err


def test_it_is_plain_in_a_pipe(sites: dict[str, Sandbox]) -> None:
    """A line for each account, with tabs; methods are in it."""
    ran = ppapi("info", "classic", "--methods")
    head, line = ran.out.splitlines()
    row = dict(zip(head.split("\t"), line.split("\t"), strict=True))
    assert (row["name"], row["balance"], row["due"]) == ("classic", "122.01", "true")
    assert "Tether" in row["payout_methods"]
    assert "\x1b" not in ran.out + ran.err


def test_all_keys_refused_is_exit_5(sites: dict[str, Sandbox]) -> None:
    """So that a script knows."""
    assert ppapi("info", "revoked").code == 5
    assert ppapi("info", "revoked", "classic").code == 5  # nothing else has failed
    assert ppapi("info", "revoked", "dead").code == 1


def test_an_account_that_is_mistyped_is_suggested(sites: dict[str, Sandbox]) -> None:
    """And nothing is asked."""
    ran = ppapi("info", "clasic")
    assert ran.code == 2
    assert "there is no account 'clasic'; did you mean 'classic'?" in ran.err


def test_payouts_that_cannot_be_read_leave_the_currency_open(home: Path) -> None:
    """The balance comes all the same."""
    site = Sandbox(Dialect.DELEGATING, rows=60)
    site.faults.add(Fault.HTML_404, method="get_payouts", times=None)
    with running(site):
        write_accounts(home / "config" / "ppapi" / "accounts.toml", {"one": site})
        ran = ppapi("info", "--json", "currency,state")
    assert (ran.code, json.loads(ran.out)) == (0, [{"currency": None, "state": "ok"}])


def test_amounts_of_one_currency_are_added_exactly() -> None:
    """And never those of two."""

    def balance(name: str, amount: str, currency: str | None) -> AccountBalance:
        account = Account("https://site.example", "k" * 32, name=name)
        info = Info(balance=Decimal(amount), min_payout=Decimal(10), items=(METHOD,))
        return AccountBalance(account, None, info, currency)

    found = [
        balance("a", "1000000000000000000000000000000", "USD"),
        balance("b", "0.000000000001", "USD"),
        balance("c", "20", "EUR\x1b[2J"),
        balance("d", "5", None),
    ]
    large = f"1{',000' * 10}"
    assert totals(found) == [
        "total 20.00 EUR\\x1b[2J of 1 account, of which 20.00 can be paid out now",
        f"total {large}.000000000001 USD of 2 accounts, of which {large}.00 can be paid out now",
        "in no total: 1 account whose currency is not known",
    ]


def test_an_account_that_fails_lacks_nothing_that_is_known() -> None:
    """Its row has no amounts."""
    found = AccountBalance(Account("https://site.example", "k" * 32, name="a"))
    assert found.missing is None
    assert not found.is_due
    assert "balance" not in row_of(found)


METHOD = PayoutMethod(id=1, title="\x1b]0;x\x07", commission=Decimal(1), amount=Decimal(2))


@pytest.mark.parametrize(
    ("balance", "items", "said"),
    [
        ("10", (METHOD,), "yes"),
        ("10", (), "no way to pay"),
        ("9.99", (METHOD,), "lacks 0.01"),
        ("0", (METHOD,), "nothing there"),
        ("-3", (), "nothing there"),
    ],
)
def test_what_can_be_paid_out(balance: str, items: tuple[PayoutMethod, ...], said: str) -> None:
    """A balance from the least on, if there is a way."""
    info = Info(balance=Decimal(balance), min_payout=Decimal(10), items=items)
    account = Account("https://site.example", "k" * 32, name="a")
    row = row_of(AccountBalance(account, None, info))
    assert row["payout"] == said
    assert row["due"] == (said == "yes")
