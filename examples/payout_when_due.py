"""Request the payouts that are due. Without --really it only says which these are.

    pip install ppapi-async
    export ONE_KEY=…
    python payout_when_due.py --pay one.example 11 TXabc… --at-least 100
    python payout_when_due.py --pay one.example 11 TXabc… --at-least 100 --really

--pay, once for each account that is to be paid, takes its name, the id of one of its methods and
the wallet to pay to. Of a due account without it, the methods are told.

What is about to be sent is noted in the journal by `on_attempt`, before it is sent, and struck out
once it is known what became of it. While a note stands nothing is sent for its account: the next
run looks for the payout, and takes one that is absent for never carried out only after an hour. So
it may be ended at any moment, killed as well.

Exit codes, the highest of what happened: 0 nothing to worry about; 1 run it again: a site did not
answer, or certainly nothing was sent; 2 wrong arguments or files; 3 a site refused; 4 it is not
known yet whether a payout was requested; 130 it was ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ppapi_async import (
    ApiError,
    Fleet,
    Info,
    PayoutAttempt,
    PayoutNotSent,
    PayoutOutcomeUnknown,
    PPAPIError,
    SearchOutcome,
    Session,
    load_accounts,
)

PATIENCE = timedelta(hours=1)
WELL, AGAIN, REFUSED, UNKNOWN = 0, 1, 3, 4
Way = tuple[int, str]  # the id of a method, and a wallet
Told = tuple[int, str]  # an exit code, and what happened


class BusyError(Exception):
    """Another process has noted an attempt of the account."""


class Journal:
    """The attempts of which it is not known what became, at most one of each account."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)  # each change on disk
        table = "unsettled (account PRIMARY KEY, attempt)"
        try:
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            self._take_over()
        except (sqlite3.Error, ValueError, TypeError):
            self._connection.close()
            raise

    def _take_over(self) -> None:
        """Take over what an earlier version of this program has noted in a table of its own."""
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'attempts'"
        if self._connection.execute(sql).fetchone() is None:
            return
        sql = "INSERT OR IGNORE INTO unsettled VALUES (?, ?)"
        self._connection.execute("BEGIN IMMEDIATE")  # all or nothing, and one process only
        with self._connection:
            for account, method, wallet, sent in self._connection.execute("SELECT * FROM attempts"):
                attempt = PayoutAttempt(method, wallet, datetime.fromisoformat(sent))
                self._connection.execute(sql, (account, attempt.to_json()))
            self._connection.execute("DELETE FROM attempts")

    def note(self, account: str, attempt: PayoutAttempt) -> None:
        """Note an attempt; BusyError if there is one already, perhaps of another process."""
        sql = "INSERT OR IGNORE INTO unsettled VALUES (?, ?)"
        if self._connection.execute(sql, (account, attempt.to_json())).rowcount != 1:
            raise BusyError

    def noted(self, account: str) -> PayoutAttempt | None:
        """Return the attempt of an account."""
        sql = "SELECT attempt FROM unsettled WHERE account = ?"
        row = self._connection.execute(sql, (account,)).fetchone()
        return row and PayoutAttempt.from_json(row[0])

    def strike(self, account: str) -> None:
        """Strike the attempt of an account out."""
        self._connection.execute("DELETE FROM unsettled WHERE account = ?", (account,))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


async def request(session: Session, way: Way, least: Decimal, journal: Journal) -> Told:
    """Request a payout, once."""
    name, noted = session.account.name, False

    def note(attempt: PayoutAttempt) -> None:
        nonlocal noted
        journal.note(name, attempt)  # if it cannot be noted, it is not sent
        noted = True

    try:
        receipt = await session.add_payout(*way, at_least=least, on_attempt=note)
        result = WELL, f"payout {receipt.payout_id} is requested"
    except BusyError:
        return UNKNOWN, "another process is requesting a payout"
    except ApiError as error:  # PayoutRejected, a wrong key and the like
        result = REFUSED, error.message
    except PayoutNotSent as error:
        result = AGAIN, error.message
    except PayoutOutcomeUnknown as unknown:  # never repeat it
        if unknown.attempt is None:
            raise
        return await settle(session, unknown.attempt, journal)
    if noted:  # not reached if this is cancelled or killed: the note stands
        journal.strike(name)
    return result


async def settle(session: Session, attempt: PayoutAttempt, journal: Journal) -> Told:
    """Find out what became of an attempt."""
    what = f"the payout tried at {attempt.sent_at:%Y-%m-%d %H:%M} UTC"
    try:
        search = await session.find_payout(attempt)
    except PPAPIError as error:
        return UNKNOWN, f"{what} cannot be looked for: {error.message}"
    if search.outcome is SearchOutcome.FOUND:
        journal.strike(session.account.name)
        return WELL, f"{what} is payout {search.payouts[0].id}"
    if search.outcome is SearchOutcome.ABSENT and datetime.now(UTC) - attempt.sent_at > PATIENCE:
        journal.strike(session.account.name)
        return AGAIN, f"{what} was never requested"
    return UNKNOWN, f"{what} is {search.outcome}; look at the site, then --forget it, or wait"


async def pay(
    session: Session, info: Info, way: Way | None, journal: Journal, *, at_least: int, really: bool
) -> Told:
    """Request the payout of an account if it is due."""
    methods = {method.id: f"{method.id} ({method.title})" for method in info.items}
    least = max(info.min_payout, Decimal(at_least))
    if info.balance <= 0 or info.balance < least:
        return WELL, f"the balance {info.balance:f} is below {least:f}"
    if way is None:
        return WELL, f"{info.balance:f} is due; choose with --pay: {[*methods.values()]}"
    if way[0] not in methods:
        return AGAIN, f"method {way[0]} is not offered now, only {[*methods.values()]}"
    if not really:
        what = f"{info.balance:f} by {methods[way[0]]} to {way[1]}"
        return WELL, f"would request {what}; pass --really to do so"
    return await request(session, way, least, journal)


async def run(
    fleet: Fleet, ways: Mapping[str, Way], journal: Journal, *, at_least: int = 0, really: bool
) -> int:
    """Go through the accounts, and return the highest exit code."""
    if task := asyncio.current_task():
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    highest = WELL
    async with fleet:
        for name, info in (await fleet.get_info()).items():
            session = fleet.session(name)
            if attempt := journal.noted(name):
                result = await settle(session, attempt, journal)
            elif isinstance(info, PPAPIError):
                result = REFUSED if isinstance(info, ApiError) else AGAIN, info.message
            else:
                way = ways.get(name)
                result = await pay(session, info, way, journal, at_least=at_least, really=really)
            print(f"{name}: {result[1]}", flush=True)
            highest = max(highest, result[0])
    return highest


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    parser = argparse.ArgumentParser(description="Request the payouts that are due.")
    add = parser.add_argument
    add("--accounts", default="accounts.toml", help="default: %(default)s")
    add("--journal", default="payouts.sqlite", help="default: %(default)s")
    add("--pay", nargs=3, action="append", default=[], metavar=("ACCOUNT", "METHOD", "WALLET"))
    add("--at-least", type=int, default=0, help="leave smaller balances, whatever a site pays")
    add("--really", action="store_true", help="request the payouts, which else is only said")
    add("--forget", action="append", default=[], metavar="ACCOUNT", help="you know what became")
    options = parser.parse_args(argv)
    try:
        accounts = load_accounts(options.accounts)
        ways = {name: (int(method), wallet) for name, method, wallet in options.pay}
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if strange := ways.keys() - {account.name for account in accounts}:
        parser.error(f"--pay: there is no account called {', '.join(strange)}")
    if not all(wallet.strip() for _, wallet in ways.values()):
        parser.error("--pay: a wallet is empty")
    try:
        journal = Journal(options.journal)
    except (sqlite3.Error, ValueError, TypeError) as error:
        parser.error(f"--journal: {error}")
    with contextlib.closing(journal):
        for name in options.forget:
            journal.strike(name)
        try:
            fleet, at_least = Fleet(accounts), options.at_least
            return asyncio.run(run(fleet, ways, journal, at_least=at_least, really=options.really))
        except (KeyboardInterrupt, asyncio.CancelledError):
            return 130


if __name__ == "__main__":
    sys.exit(main())
