"""The payout example: once when it is due, whatever kills it; and the command line."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import (
    Iterator,
    Sequence,
)
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI

from examples import fastapi_service, payout_when_due
from ppapi_async import (
    Account,
    Fleet,
    Hooks,
    PayoutAttempt,
)
from ppapi_async.accounts_file import load_accounts
from ppapi_async.sandbox import Books, Fault, Partner, Sandbox
from tests.examples.test_examples import EXAMPLES, KEY, ON_POSIX
from tests.leaks import assert_absent

WALLET = "TXabcdefgh"

if TYPE_CHECKING:
    from aiogram import Bot


def due(*, balance: str = "50", blacklist: Sequence[str] = ()) -> Sandbox:
    """Return a site that owes some money."""
    partner = Partner(api_key=KEY, balance=balance)
    return Sandbox(books=Books(partner=partner, blacklist=blacklist))


async def _at_once(_: float) -> None:
    """Sleep no longer than others need."""
    await asyncio.sleep(0)


async def pay(site: Sandbox, journal: Path, *others: Sandbox, **options: Any) -> int:
    """Run the program on some sites, and return the exit code."""
    options = {"really": True, "at_least": 0, "method": 11, "wallet": WALLET, **options}
    ways = {"one": (options.pop("method"), options.pop("wallet"))}
    accounts = [Account(site.url, KEY, name="one")]
    accounts += [Account(other.url, KEY, name=other.url) for other in others]
    book = payout_when_due.Journal(str(journal))
    try:
        fleet = Fleet(accounts, hooks=Hooks(sleep=_at_once))
        return await payout_when_due.run(fleet, ways, book, **options)
    finally:
        book.close()


def requests_for_payouts(site: Sandbox) -> list[dict[str, str]]:
    """Return what was sent to add_payout."""
    return [seen.form for seen in site.requests if seen.method == "add_payout"]


async def test_a_payout_is_requested_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the method and the wallet that were said; the next run finds nothing due."""
    async with due() as site:
        assert await pay(site, tmp_path / "journal") == 0
        assert await pay(site, tmp_path / "journal") == 0
        sent = [(form["method_id"], form["account"]) for form in requests_for_payouts(site)]
        assert sent == [("11", WALLET)]
    assert capsys.readouterr().out == "one: payout 1 is requested\none: the balance 0 is below 10\n"


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ({"really": False}, 0, f"would request 50 by 11 (Tether TRC20 USDT) to {WALLET}; "),
        ({"at_least": 51}, 0, "the balance 50 is below 51"),
        ({"method": 22}, 1, "method 22 is not offered now, only ['11 (Teth"),
    ],
)
async def test_nothing_is_sent(
    options: dict[str, Any],
    code: int,
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a dry run, below the least that is wanted, by a method whose reserve is too small."""
    async with due() as site:
        assert await pay(site, tmp_path / "journal", **options) == code
        assert requests_for_payouts(site) == []
        assert len(site.books.payouts) == 0
    assert capsys.readouterr().out.startswith(f"one: {text}")


@pytest.mark.parametrize(
    ("fault", "method", "code"),
    [(Fault.HTML_502, "get_info", 1), (Fault.API_DISABLED, "get_info", 3)],
)
async def test_a_site_that_does_not_tell_its_balance(
    fault: Fault, method: str, code: int, tmp_path: Path
) -> None:
    """Nothing is sent: run it again, or look after the key."""
    async with due() as site:
        site.faults.add(fault, method=method, times=None)
        assert await pay(site, tmp_path / "journal") == code
        assert requests_for_payouts(site) == []


async def test_the_gravest_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two accounts one refuses; the other is due, and nobody has said how to pay it."""
    async with due() as site, due() as other:
        site.faults.add(Fault.API_DISABLED, times=None)
        assert await pay(site, tmp_path / "journal", other) == 3
        assert requests_for_payouts(other) == []
    assert "50 is due; choose with --pay: ['11 (Teth" in capsys.readouterr().out


async def test_a_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, the site's reason, and no note: nothing was ordered."""
    async with due(blacklist=[WALLET]) as site:
        assert await pay(site, tmp_path / "journal") == 3
        assert await pay(site, tmp_path / "journal", wallet="TXother") == 0
    assert "blacklist" in capsys.readouterr().out


async def test_what_was_certainly_not_sent(tmp_path: Path) -> None:
    """The look at the balance before the request fails: exit code 1, and no note."""
    async with due() as site:
        site.faults.add(Fault.HTML_502, method="get_info", skip=1, times=2)
        assert await pay(site, tmp_path / "journal") == 1
        assert await pay(site, tmp_path / "journal") == 0
        assert len(requests_for_payouts(site)) == 1


async def test_a_lost_answer_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The payout was booked, and is found at once."""
    async with due() as site:
        site.faults.add(Fault.CLOSED, method="add_payout", after=True)
        assert await pay(site, tmp_path / "journal") == 0
        assert len(requests_for_payouts(site)) == len(site.books.payouts) == 1
        assert await pay(site, tmp_path / "journal") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("UTC is payout 1")
    assert second == "one: the balance 0 is below 10"


async def test_a_lost_request_is_not_repeated_for_an_hour(tmp_path: Path) -> None:
    """Code 4 as long as a slow server may still book it; then the note goes, then it is paid."""
    journal = tmp_path / "journal"
    async with due() as site:
        site.faults.add(Fault.CLOSED, method="add_payout")
        assert [await pay(site, journal) for _ in range(3)] == [4, 4, 4]
        assert len(requests_for_payouts(site)) == 1
        earlier = PayoutAttempt(11, WALLET, datetime.now(UTC) - timedelta(hours=2), 0.0)
        with fastapi_service.opened(journal) as connection:
            connection.execute("UPDATE unsettled SET attempt = ?", (earlier.to_json(),))
        assert [await pay(site, journal) for _ in range(3)] == [1, 0, 0]
        assert len(requests_for_payouts(site)) == 2
        assert len(site.books.payouts) == 1


async def test_a_note_stands_while_the_payouts_cannot_be_read(tmp_path: Path) -> None:
    """Who does not answer get_payouts either is asked by the next run, which finds it."""
    async with due() as site:
        site.faults.add(Fault.RESET, method="add_payout", after=True)
        fault = site.faults.add(Fault.HTML_502, method="get_payouts", times=None)
        assert await pay(site, tmp_path / "journal") == 4
        site.faults.remove(fault)
        assert await pay(site, tmp_path / "journal") == 0
        assert len(requests_for_payouts(site)) == 1


async def test_ended_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that is cancelled while the request is under way leaves a note for the next one."""
    async with due() as site:
        site.faults.add(Fault.HANG, method="add_payout", after=True)
        paying = asyncio.create_task(pay(site, tmp_path / "journal"))
        while not requests_for_payouts(site):
            await site.arrived(site.requests_count + 1)
        paying.cancel()
        await asyncio.wait([paying])
        assert paying.cancelled()
        site.books.request_payout(11, WALLET, int(datetime.now(UTC).timestamp()))
        site.faults.clear()
        assert await pay(site, tmp_path / "journal") == 0
        assert len(requests_for_payouts(site)) == 1
    assert capsys.readouterr().out.endswith("UTC is payout 1\n")


@contextmanager
def served(site: Sandbox) -> Iterator[Sandbox]:
    """Run a site in a thread, for programs that have a loop of their own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(site.start(), loop).result()
        yield site
        asyncio.run_coroutine_threadsafe(site.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_promise_3_a_note_of_an_earlier_journal_still_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Journals had another table: what is unsettled in it is looked for, and not paid again."""
    monkeypatch.setenv("ONE_KEY", KEY)
    accounts, journal = tmp_path / "accounts.toml", tmp_path / "journal"
    arguments = ["--accounts", str(accounts), "--journal", str(journal), "--really"]
    arguments += ["--pay", "one", "11", WALLET]
    sent = datetime.now(UTC) - timedelta(minutes=1)
    with fastapi_service.opened(journal) as connection:
        connection.execute("CREATE TABLE attempts (account PRIMARY KEY, method, wallet, sent)")
        note = ("one", 11, WALLET, sent.isoformat())
        connection.execute("INSERT INTO attempts VALUES (?, ?, ?, ?)", note)
    with served(due()) as site:
        accounts.write_text(
            f'[[accounts]]\nurl = "{site.url}"\nname = "one"\nkey_env = "ONE_KEY"\n'
        )
        accounts.chmod(0o600)
        for _ in range(2):
            assert payout_when_due.main(arguments) == payout_when_due.UNKNOWN
        assert requests_for_payouts(site) == []
        assert payout_when_due.main([*arguments, "--forget", "one"]) == 0
        assert len(requests_for_payouts(site)) == 1


def test_the_program_is_dry_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line, with a file of accounts and the key in the environment."""
    monkeypatch.setenv("ONE_KEY", KEY)
    accounts, journal = tmp_path / "accounts.toml", tmp_path / "journal"
    arguments = ["--accounts", str(accounts), "--journal", str(journal)]
    arguments += ["--pay", "one", "11", WALLET]
    with served(due()) as site:
        accounts.write_text(
            f'[[accounts]]\nurl = "{site.url}"\nname = "one"\nkey_env = "ONE_KEY"\n'
        )
        accounts.chmod(0o600)
        assert payout_when_due.main(arguments) == 0
        assert requests_for_payouts(site) == []
        with fastapi_service.opened(journal) as connection:
            earlier = PayoutAttempt(11, "TXwrong", datetime(2026, 1, 1, tzinfo=UTC))
            note = ("one", earlier.to_json())
            connection.execute("INSERT INTO unsettled VALUES (?, ?)", note)
        assert payout_when_due.main([*arguments, "--really", "--forget", "one"]) == 0
        assert len(requests_for_payouts(site)) == 1
    out = capsys.readouterr().out
    assert "would request 50" in out
    assert out.endswith("one: payout 1 is requested\n")
    assert_absent(KEY, out)


KILLED_BEFORE_SENDING = """
import os, signal, sys
from examples import payout_when_due
note = payout_when_due.Journal.note
def killed(journal, account, attempt):
    note(journal, account, attempt)
    os.kill(os.getpid(), signal.SIGKILL)
payout_when_due.Journal.note = killed
sys.exit(payout_when_due.main(sys.argv[1:]))
"""


KILLED_BY_US = """
import sys
from examples import payout_when_due
sys.exit(payout_when_due.main(sys.argv[1:]))
"""


@ON_POSIX
@pytest.mark.parametrize("is_sent", [False, True], ids=["noted", "sent"])
def test_promise_3_a_killed_program_pays_once(
    is_sent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between note and request, or between request and answer: the note stands.

    The next run looks for the payout: it finds the one that was booked, and sends nothing while
    the one that was not may still be. Only an hour later it is sent, once.
    """
    monkeypatch.setenv("ONE_KEY", KEY)
    journal = tmp_path / "journal"
    with served(due()) as site:
        file = tmp_path / "accounts.toml"
        file.write_text(f'[[accounts]]\nurl = "{site.url}"\nname = "one"\nkey_env = "ONE_KEY"\n')
        file.chmod(0o600)
        arguments = ["--accounts", str(file), "--journal", str(journal), "--really"]
        arguments += ["--pay", "one", "11", WALLET]
        if is_sent:
            site.faults.add(Fault.HANG, method="add_payout", after=True)
        code = KILLED_BY_US if is_sent else KILLED_BEFORE_SENDING
        with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=EXAMPLES.parent) as run:
            while is_sent and not len(site.books.payouts) and run.poll() is None:
                time.sleep(0)  # until the site has booked it
            if is_sent:
                run.kill()
        assert run.returncode == -signal.SIGKILL
        site.faults.clear()
        assert len(requests_for_payouts(site)) == len(site.books.payouts) == is_sent
        assert payout_when_due.main(arguments) == (0 if is_sent else 4)
        with fastapi_service.opened(journal) as connection:
            assert connection.execute("SELECT count(*) FROM unsettled").fetchone() == (not is_sent,)
            earlier = PayoutAttempt(11, WALLET, datetime.now(UTC) - timedelta(hours=2), 0.0)
            connection.execute("UPDATE unsettled SET attempt = ?", (earlier.to_json(),))
        assert [payout_when_due.main(arguments) for _ in range(3)] == (
            [0, 0, 0] if is_sent else [1, 0, 0]
        )
        assert len(requests_for_payouts(site)) == len(site.books.payouts) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--pay", "three", "11", WALLET], "there is no account called three"),
        (["--pay", "two", "TRC20", WALLET], "invalid literal for int()"),
        (["--pay", "two", "11", " "], "a wallet is empty"),
        (["--accounts", "nowhere.toml"], "there is no such file of accounts"),
    ],
)
def test_wrong_arguments(
    arguments: list[str],
    text: str,
    sample: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, with the reason."""
    journal = str(sample.with_name("journal"))
    with pytest.raises(SystemExit) as caught:
        payout_when_due.main(["--accounts", str(sample), "--journal", journal, *arguments])
    assert caught.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.usefixtures("_aiogram")
def test_the_bot_starts(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the token and the chat of the environment, and not without."""
    from examples import telegram_bot

    started: list[tuple[Fleet, Bot, int]] = []

    async def serve(fleet: Fleet, bot: Bot, chat: int) -> None:
        started.append((fleet, bot, chat))

    monkeypatch.setattr(telegram_bot, "serve", serve)
    monkeypatch.setattr("sys.argv", ["bot", "--accounts", str(sample), "--state", f"{sample}.db"])
    monkeypatch.delenv("TELEGRAM_TOKEN", raising=False)
    with pytest.raises(SystemExit, match="TELEGRAM_TOKEN"):
        telegram_bot.main()
    monkeypatch.setenv("TELEGRAM_TOKEN", "1:TOKEN")
    monkeypatch.setenv("TELEGRAM_CHAT", "-100")
    telegram_bot.main()
    [(fleet, bot, chat)] = started
    assert (repr(fleet), bot.token, chat) == ("<Fleet of 2 accounts, closed>", "1:TOKEN", -100)


def test_the_service_starts(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a port of this machine only."""
    started: list[tuple[FastAPI, dict[str, Any]]] = []

    def serve(app: FastAPI, **options: Any) -> None:
        started.append((app, options))

    monkeypatch.setattr("uvicorn.run", serve)
    options = ["--accounts", str(sample), "--data", str(sample.parent), "--since", "2026-01-31"]
    monkeypatch.setattr("sys.argv", ["service", *options])
    fastapi_service.main()
    [(app, options_of_uvicorn)] = started
    assert {"/health", "/ready", "/accounts", "/rewards"} <= app.openapi()["paths"].keys()
    assert options_of_uvicorn == {"port": 8000}


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the sample, with keys in the environment."""
    monkeypatch.setenv("ONE_KEY", KEY)
    monkeypatch.setenv("TWO_KEY", KEY[::-1])
    path = tmp_path / "accounts.toml"
    path.write_bytes((EXAMPLES / "accounts.toml").read_bytes())
    path.chmod(0o600)
    return path


def test_the_sample_of_accounts(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loads as it stands; of the accounts in comments only the password manager is missing."""
    assert [account.name for account in load_accounts(sample)] == ["one.example", "two"]
    monkeypatch.setenv("PATH", str(sample.parent))
    lines = sample.read_text().splitlines()
    uncommented = [re.sub(r"^# (\[|\w+ = )", r"\1", line) for line in lines]
    sample.write_text("\n".join(uncommented))
    (sample.parent / "three.key").write_text("k")
    (sample.parent / "three.key").chmod(0o600)
    with pytest.raises(ValueError, match="key_command: 'pass' cannot be started") as caught:
        load_accounts(sample)
    assert len(str(caught.value).splitlines()) == 1
