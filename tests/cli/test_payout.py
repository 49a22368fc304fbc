"""`ppapi payout`: what is shown, asked, noted and sent; never two payouts, whatever fails."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ppapi_async import Account, Dialect, PayoutAttempt
from ppapi_async.cli.commands import payout
from ppapi_async.cli.exits import CommandFailed
from ppapi_async.cli.payouts import paying
from ppapi_async.cli.payouts.journal import AttemptBusyError, NotedOutcome, PayoutJournal
from ppapi_async.models import Info
from ppapi_async.payouts import UNSETTLED
from ppapi_async.sandbox import Fault, Sandbox
from tests.cli.sites import running, write_accounts
from tests.cli.terminal import Ran, Terminal, ppapi
from tests.leaks import assert_absent

WALLET = "TXabcdefgh"
KEY = "k3y" * 11 + "xy"
ATTEMPT = PayoutAttempt(11, WALLET, datetime(2026, 11, 28, 12, 0, tzinfo=UTC), 0.0)


def site_of(dialect: Dialect = Dialect.DELEGATING) -> Sandbox:
    """Return a site whose balance can be paid out."""
    site = Sandbox(dialect, rows=60, seed=3, api_key=KEY)
    site.books.partner.balance = "122.01"
    return site


@pytest.fixture(params=[*Dialect], ids=str)
def any_site(request: pytest.FixtureRequest, home: Path) -> Iterator[Sandbox]:
    """Serve a site of each dialect, with an accounts file for it as account `one`."""
    with running(site := site_of(request.param)):
        write_accounts(home / "config" / "ppapi" / "accounts.toml", {"one": site})
        yield site


@pytest.fixture
def site(home: Path) -> Iterator[Sandbox]:
    """Serve a site, with an accounts file for it as account `one`."""
    with running(site := site_of()):
        write_accounts(home / "config" / "ppapi" / "accounts.toml", {"one": site})
        yield site


def booked(site: Sandbox) -> list[str]:
    """Return the amounts of the payouts that were requested for our wallet."""
    found = site.books.payouts_in()
    return [one.original_amount for one in found if one.account == WALLET]


def pay(*more: str) -> Ran:
    """Request a payout without being asked, as another process would."""
    UNSETTLED.clear()
    return ppapi("payout", "one", "11", WALLET, "--yes", *more)


def outcomes() -> list[tuple[str, int | None]]:
    """Return what the journal says of each attempt."""
    ran = ppapi("payout", "list", "--json", "outcome,payout")
    return [(one["outcome"], one["payout"] and int(one["payout"])) for one in json.loads(ran.out)]


@pytest.mark.untraced
def test_a_payout_is_requested_once_on_every_dialect(any_site: Sandbox) -> None:
    """The whole balance goes to the wallet, and the journal has the payout's id."""
    balance = any_site.books.partner.balance
    ran = pay()
    assert ran.code == 0, ran.err
    assert booked(any_site) == [balance]
    (found,) = [one for one in any_site.books.payouts_in() if one.account == WALLET]
    assert f"payout {found.id} is requested" in ran.out
    assert outcomes() == [("requested", found.id)]
    assert_absent(any_site.api_key, ran.out, ran.err)


def test_the_methods_are_shown(site: Sandbox) -> None:
    """Without a method the command says which there are, and requests nothing."""
    ran = ppapi("payout", "one")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "id\ttitle\tcommission\tamount"
    assert ran.out.splitlines()[1].startswith("11\t")
    assert "balance" in ran.err
    ran = ppapi("payout", "one", "--json", "id")
    assert {"id": "11"} in json.loads(ran.out)
    assert ran.err == ""
    assert booked(site) == []


def test_what_would_happen_is_shown_and_nothing_sent(site: Sandbox) -> None:
    """In a script without --yes."""
    ran = ppapi("payout", "one", "11", WALLET)
    assert ran.code == 0
    assert WALLET in ran.out
    assert "nothing was requested; pass --yes to request it" in ran.err
    assert booked(site) == []
    assert outcomes() == []


def test_a_method_may_be_named_by_its_title(site: Sandbox) -> None:
    """In any case of letters."""
    (title,) = [one.title for one in site.books.methods if one.id == 11]
    ran = ppapi("payout", "one", title.upper(), WALLET)
    assert f"method    11 ({title})" in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("onne 11 TX", 2, "there is no account 'onne'; did you mean 'one'?"),
        ("one 11", 2, "say the wallet to pay to, too"),
        ("one 99 TX", 2, "method '99' is not offered now; there are: 11 ("),
        ("one 11 TX --at-least much", 2, "'much' is no amount"),
        ("one 11 TX --at-least nan", 2, "'nan' is no amount"),
        ("one 11 TX --yes --at-least 100000", 1, "is below --at-least 100,000.00"),
        ("one 11 TX --yes --at-most 0.01", 1, "is above --at-most 0.01"),
        ("settle --forget", 2, "say of which account"),
        ("", 2, "Usage: ppapi payout"),
    ],
)
def test_what_cannot_be_says_what_to_do(
    site: Sandbox, arguments: str, code: int, said: str
) -> None:
    """Nothing is sent then."""
    ran = ppapi("payout", *arguments.split())
    assert ran.code == code
    assert said in ran.out + ran.err
    assert not [seen for seen in site.requests if seen.method == "add_payout"]


@pytest.mark.parametrize(
    ("balance", "said"), [("0", "the balance is 0.00"), ("0.5", "is below the site's least, 10.00")]
)
def test_a_balance_that_cannot_be_paid_out(balance: str, said: str) -> None:
    """The site is not even asked."""
    with pytest.raises(CommandFailed, match="nothing was requested") as failed:
        payout._check(Info(balance=Decimal(balance), min_payout=Decimal(10), items=()), None, None)
    assert said in str(failed.value)


def test_a_refusal_is_told_and_settled(site: Sandbox) -> None:
    """The site's own words come, exit code 1; another one may be tried."""
    site.faults.add(Fault.API_ERROR, method="add_payout", text="Error! Invalid wallet account")
    ran = pay()
    assert (ran.code, booked(site)) == (1, [])
    assert "the site refuses" in ran.err
    assert outcomes() == [("refused", None)]
    assert pay().code == 0
    assert len(booked(site)) == 1


def test_a_refused_key_is_an_exit_code_of_its_own(site: Sandbox, home: Path) -> None:
    """As for all commands."""
    path = home / "config" / "ppapi" / "accounts.toml"
    path.write_text(path.read_text().replace(KEY, "another-key-of-nobody-at-all-12345"))
    with running(classic := site_of(Dialect.CLASSIC)):
        path.write_text(path.read_text().replace(site.url, classic.url))
        ran = pay()
    assert ran.code == 5
    assert_absent("another-key-of-nobody-at-all-12345", ran.out, ran.err)


def test_an_answer_that_is_lost_is_looked_for(site: Sandbox) -> None:
    """The payout was booked: it is found, and that is success."""
    site.faults.add(Fault.CLOSED, method="add_payout", after=True)
    ran = pay()
    assert ran.code == 0, ran.err
    assert "it was requested" in ran.out
    assert len(booked(site)) == 1
    assert outcomes()[0][0] == "requested"


def test_as_long_as_it_is_unknown_no_other_one_is_sent(
    site: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a second run either; an hour later a payout that is absent was never requested."""
    site.faults.add(Fault.CLOSED, method="add_payout")
    assert (ran := pay()).code == 4
    assert "'ppapi payout settle one' after" in ran.err
    assert outcomes() == [("unknown", None)]
    assert (ran := pay()).code == 4
    assert "it is not known what became of an earlier payout" in ran.err
    assert len([seen for seen in site.requests if seen.method == "add_payout"]) == 1
    assert ppapi("payout", "settle").code == 4
    monkeypatch.setattr(paying, "PATIENCE", timedelta(0))
    assert (ran := ppapi("payout", "settle", "one")).code == 0
    assert "was never requested" in ran.out
    assert outcomes() == [("absent", None)]
    assert pay().code == 0
    assert len(booked(site)) == 1


def test_another_name_makes_no_other_account(site: Sandbox, home: Path) -> None:
    """An account that was renamed has its unknown payout still."""
    site.faults.add(Fault.CLOSED, method="add_payout")
    assert pay().code == 4
    write_accounts(home / "config" / "ppapi" / "accounts.toml", {"renamed": site})
    UNSETTLED.clear()
    assert ppapi("payout", "renamed", "11", WALLET, "--yes").code == 4
    assert len([seen for seen in site.requests if seen.method == "add_payout"]) == 1


def test_what_the_user_knows_is_struck_out(site: Sandbox) -> None:
    """After a look at the site's page."""
    site.faults.add(Fault.CLOSED, method="add_payout")
    assert pay().code == 4
    assert ppapi("payout", "settle", "--forget", "one").code == 1  # nobody answers
    assert outcomes() == [("unknown", None)]
    ran = ppapi("payout", "settle", "--forget", "--yes", "one")
    assert "another may be requested" in ran.out
    assert outcomes() == [("forgotten", None)]
    assert "nothing to forget" in ppapi("payout", "settle", "--forget", "--yes", "one").out
    assert "nothing to settle" in ppapi("payout", "settle").out


def test_payouts_that_cannot_be_looked_for_stay_unknown(site: Sandbox, home: Path) -> None:
    """The site is down, or the accounts file has the account no more."""
    site.faults.add(Fault.CLOSED, method="add_payout")
    site.faults.add(Fault.API_ERROR, method="get_payouts", times=None)
    assert pay().code == 4
    ran = ppapi("payout", "settle")
    assert ran.code == 4
    assert "cannot be looked for" in ran.err
    with running(other := site_of(Dialect.CLASSIC)):
        write_accounts(home / "config" / "ppapi" / "accounts.toml", {"other": other})
        ran = ppapi("payout", "settle")
    assert ran.code == 4
    assert "the accounts file has no such account" in ran.err


def test_two_that_fit_are_the_users_to_judge(site: Sandbox, home: Path) -> None:
    """The command says which these are."""
    assert pay().code == 0
    site.books.partner.balance = "50"
    assert pay().code == 0
    with PayoutJournal(home / "data" / "ppapi" / "payouts.db") as journal:
        account = site.account("one")
        journal.note(account, PayoutAttempt(11, WALLET, datetime.now(UTC), 0.0), "50")
    ran = ppapi("payout", "settle")
    assert ran.code == 4
    assert "may be one of these" in ran.err
    assert "--forget one" in ran.err


@pytest.mark.parametrize("name", [":memory:", "file:payouts.db?mode=memory"])
def test_a_journal_is_a_file_whatever_its_name(
    site: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """SQLite has names that mean no file; a crash would leave nothing of the attempt there."""
    monkeypatch.chdir(tmp_path)
    with PayoutJournal(Path(name)) as journal:
        journal.note(site.account("one"), ATTEMPT, "12.5")
    with PayoutJournal(Path(name)) as journal:
        (noted,) = journal.all()
    assert noted.outcome is None
    assert (tmp_path / name).stat().st_size


def test_without_a_journal_nothing_is_sent(site: Sandbox, tmp_path: Path) -> None:
    """What cannot be written down is not sent."""
    bad = tmp_path / "journal"
    bad.write_text("this is no database, but a text of some length" * 20)
    ran = pay("--journal", str(bad))
    assert ran.code == 1
    assert "without it no payout is requested" in ran.err
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    assert "by a later version" in pay("--journal", str(newer)).err
    assert booked(site) == []
    assert not [seen for seen in site.requests if seen.method == "add_payout"]


def test_a_journal_that_cannot_be_says_what_to_do(site: Sandbox, tmp_path: Path) -> None:
    """A text, a folder, and a path that a file is in the way of: another one is to be passed."""
    (text := tmp_path / "text").write_text("buy milk")
    (folder := tmp_path / "folder").mkdir()
    for path, said in (
        (text, "file is not a database"),
        (folder, "Is a directory"),
        (text / "x", f"{text} is no folder"),
    ):
        ran = pay("--journal", str(path))
        assert ran.code == 1
        assert f"{path} cannot be used: {said}" in ran.err
        assert "pass another path" in ran.err
    assert text.read_text() == "buy milk"
    assert not [seen for seen in site.requests if seen.method == "add_payout"]


def test_a_site_that_takes_its_time_is_named(
    site: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sits before a silent terminal; what answers at once says nothing more."""
    assert "waiting" not in ppapi("payout", "one").err
    monkeypatch.setattr(paying, "QUIET_SECONDS", 0.0)
    assert f"waiting for {site.account('one').host} to tell the balance" in (
        ppapi("payout", "one").err
    )
    site.faults.add(Fault.CLOSED, method="add_payout", after=True)
    ran = pay()
    host = site.account("one").host
    assert f"waiting for {host} to answer the request for the payout" in ran.err
    assert f"waiting for {host} to tell which payouts it has" in ran.err
    assert len(booked(site)) == 1


def test_one_attempt_of_an_account_at_a_time(tmp_path: Path) -> None:
    """Another process, or this one under another name of the account, is kept out."""
    one = Account("https://site.example", KEY, name="one")
    same = Account("https://site.example", KEY, name="two")
    other = Account("https://site.example", "another-key-of-no-one", name="three")
    path = tmp_path / "new" / "payouts.db"
    with PayoutJournal(path) as journal, PayoutJournal(path) as second:
        number = journal.note(one, ATTEMPT, "12.5")
        for account in (one, same):
            with pytest.raises(AttemptBusyError):
                second.note(account, ATTEMPT, "12.5")
        second.note(other, ATTEMPT, "1")
        (noted,) = second.unsettled(same)
        assert (noted.attempt, noted.balance, noted.outcome) == (ATTEMPT, "12.5", None)
        journal.settle(number, NotedOutcome.REQUESTED, 7)
        assert second.unsettled(one) == []
        assert second.note(one, ATTEMPT, "3")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert_absent(KEY, path.read_bytes().decode("latin-1"))


def test_what_is_typed_decides(site: Sandbox) -> None:
    """Only the name of the account is a yes."""
    for typed, code in (("yes", 1), ("", 1), ("one ", 0)):
        ran = ppapi("payout", "one", "11", WALLET, input=f"{typed}\n", terminal=True)
        assert ran.code == code, ran.err
    assert len(booked(site)) == 1
    methods = ppapi("payout", "one", terminal=True).out
    assert "you would get" in methods or "method" in methods


def test_what_was_interrupted_may_have_been_requested(
    site: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is exit code 4 where something was sent, and 130 where nothing was."""
    asked = paying.request

    async def interrupted(*arguments: object) -> paying.PayoutEnd:
        if is_sent:
            *_, journal = arguments
            assert isinstance(journal, PayoutJournal)
            journal.note(site.account("one"), ATTEMPT, "1")
        raise KeyboardInterrupt

    monkeypatch.setattr(paying, "request", interrupted)
    is_sent = False
    assert pay().code == 130
    is_sent = True
    assert (ran := pay()).code == 4
    assert "'ppapi payout settle one' finds out" in ran.err
    monkeypatch.setattr(paying, "request", asked)
    assert pay().code == 4


def test_another_that_is_sent_meanwhile_is_in_the_way(
    site: Sandbox, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is seen at the last moment, when this one is to be written down."""
    with PayoutJournal(home / "data" / "ppapi" / "payouts.db") as journal:
        monkeypatch.setattr(PayoutJournal, "unsettled", lambda *_: [])
        journal.note(site.account("one"), ATTEMPT, "122.01")
        ran = pay()
    assert ran.code == 4
    assert "an earlier payout of this account" in ran.err
    assert booked(site) == []


def test_a_balance_that_was_paid_out_meanwhile_is_not_sent(
    site: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was shown is what is sent, or nothing is."""
    check = payout._check

    def paid_out(*arguments: object) -> None:
        check(*arguments)  # type: ignore[arg-type]
        site.books.partner.balance = "20"

    monkeypatch.setattr(payout, "_check", paid_out)
    ran = pay()
    assert ran.code == 1
    assert "no payout was requested: the balance 20 is below at_least 122.01" in ran.err
    assert outcomes() == []


@pytest.mark.untraced
def test_on_a_terminal_the_name_is_to_be_typed(site: Sandbox) -> None:
    """Anything else requests nothing; Ctrl-C at the question neither."""
    for typed, code in (("yes\n", 1), (None, 130), ("one\n", 0)):
        with Terminal("payout", "one", "11", WALLET) as terminal:
            shown = terminal.wait_for("Type one to request it")
            assert WALLET in shown
            assert booked(site) == []
            if typed is None:
                assert terminal.interrupt() == code, terminal.text
                continue
            terminal.type(typed)
            assert terminal.end() == code, terminal.text
    assert len(booked(site)) == 1


@pytest.mark.untraced
def test_killed_or_interrupted_while_it_is_sent(site: Sandbox) -> None:
    """The next run finds what became of it, and sends no other."""
    site.faults.add(Fault.HANG, method="add_payout", after=True, times=None)
    with Terminal("payout", "one", "11", WALLET, "--yes") as terminal:
        _await_payout(site, 1)
        terminal.type("\x03")
        assert terminal.end() == 4
        assert "may have been requested" in terminal.text
    assert pay().code == 4
    assert (ran := ppapi("payout", "settle")).code == 0
    assert "it was requested" in ran.out
    site.books.partner.balance = "75"
    with Terminal("payout", "one", "11", WALLET, "--yes"):
        _await_payout(site, 2)  # and it is killed
    assert outcomes()[-1] == ("unknown", None)
    assert pay().code == 4
    assert len(booked(site)) == 2


def _await_payout(site: Sandbox, count: int) -> None:
    import time

    until = time.monotonic() + 30
    while len(booked(site)) < count:
        assert time.monotonic() < until
        time.sleep(0.01)
