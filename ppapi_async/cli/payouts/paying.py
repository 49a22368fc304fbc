"""Requests one payout and settles what is unknown, with the journal at hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from attrs import frozen

from ppapi_async.account import Account
from ppapi_async.cli.exits import Exit, exit_of
from ppapi_async.cli.failures import for_users
from ppapi_async.cli.output import note, number_text, plain, time_text
from ppapi_async.cli.payouts.journal import (
    AttemptBusyError,
    NotedAttempt,
    NotedOutcome,
    PayoutJournal,
)
from ppapi_async.errors import ApiError, PayoutNotSent, PayoutOutcomeUnknown, PPAPIError
from ppapi_async.models import Info, PayoutAttempt, SearchOutcome
from ppapi_async.session import Session

__all__ = ["PATIENCE", "PayoutEnd", "in_the_way", "look", "request", "settle_all"]

PATIENCE = timedelta(hours=1)
"""How long after it was sent a payout that is absent is believed never to have been booked."""

QUIET_SECONDS = 5.0
"""How long a site may take before it is said that it is waited for."""


@frozen
class PayoutEnd:
    """What a payout came to."""

    exit: Exit
    text: str
    """For the user: what happened and what to do."""


@contextlib.contextmanager
def _waiting(account: Account, what: str) -> Iterator[None]:
    """Say what is waited for, where that takes its time: a site that hangs is tried for minutes."""
    text = f"waiting for {account.host} to {what} …"
    telling = asyncio.get_running_loop().call_later(QUIET_SECONDS, note, text)
    try:
        yield
    finally:
        telling.cancel()


async def look(account: Account) -> Info:
    """Return the balance and the ways to be paid that there are now."""
    async with Session(account) as session:
        with _waiting(account, "tell the balance"):
            return await session.get_info()


async def request(
    account: Account,
    method_id: int,
    wallet: str,
    balance: Decimal,
    most: Decimal | None,
    journal: PayoutJournal,
) -> PayoutEnd:
    """Request a payout of the whole balance, once.

    Args:
        account: of whom.
        method_id: by which method.
        wallet: where to.
        balance: what it is now; send nothing if it is lower then.
        most: send nothing if it is higher; None: no limit.
        journal: where the attempt is written down before it is sent.

    Raises:
        CommandFailed: it cannot be written down: nothing was sent.
    """
    number: int | None = None

    def write_down(attempt: PayoutAttempt) -> None:
        nonlocal number
        number = journal.note(account, attempt, f"{balance:f}")

    def settled(outcome: NotedOutcome, payout_id: int | None = None) -> None:
        if number is not None:
            journal.settle(number, outcome, payout_id)

    async with Session(account) as session:
        try:
            with _waiting(account, "answer the request for the payout"):
                receipt = await session.add_payout(
                    method_id, wallet, at_least=balance, at_most=most, on_attempt=write_down
                )
        except AttemptBusyError:
            return in_the_way(account)
        except PayoutNotSent as error:
            settled(NotedOutcome.NOT_SENT)
            return PayoutEnd(Exit.FAILED, for_users(error.message))
        except ApiError as error:  # PayoutRejected, a wrong key and the like
            settled(NotedOutcome.REFUSED)
            return PayoutEnd(exit_of([error]), f"the site refuses: {error.message}")
        except PayoutOutcomeUnknown as error:
            if number is None:
                raise
            noted = next(one for one in journal.unsettled(account) if one.id == number)
            end = await _settle(session, noted, journal)
            return PayoutEnd(end.exit, f"{error.message.partition(';')[0]}\n{end.text}")
        # Not reached where this was cancelled or killed: then the note stands.
        settled(NotedOutcome.REQUESTED, receipt.payout_id)
    text = f"; the site says: {plain(receipt.text)}" if receipt.text else ""
    return PayoutEnd(Exit.DONE, f"payout {receipt.payout_id} is requested{text}")


def in_the_way(account: Account) -> PayoutEnd:
    """Return why nothing is requested as long as an earlier one is unknown."""
    name = plain(account.name)
    return PayoutEnd(
        Exit.PAYOUT_UNKNOWN,
        "nothing was requested: it is not known what became of an earlier payout of this account;"
        f" 'ppapi payout settle {name}' finds out",
    )


async def settle_all(
    accounts: Sequence[Account],
    found: Mapping[str, Sequence[NotedAttempt]],
    journal: PayoutJournal,
) -> list[PayoutEnd]:
    """Find out what became of attempts.

    Args:
        accounts: whose they are.
        found: the attempts, by the names of the accounts.
        journal: where what is known is written down.

    Raises:
        CommandFailed: it cannot be written down.
    """
    ends: list[PayoutEnd] = []
    for account in accounts:
        async with Session(account) as session:
            for noted in found[account.name]:
                end = await _settle(session, noted, journal)
                ends.append(PayoutEnd(end.exit, f"{plain(account.name)}: {end.text}"))
    return ends


async def _settle(session: Session, noted: NotedAttempt, journal: PayoutJournal) -> PayoutEnd:
    """Find out what became of an attempt, and write it down if that is known."""
    attempt = noted.attempt
    what = (
        f"the payout of {plain(noted.balance)} tried at {time_text(attempt.sent_at)} UTC,"
        f" by method {attempt.method_id} to {plain(attempt.account)},"
    )
    again = f"'ppapi payout settle {plain(session.account.name)}'"
    try:
        with _waiting(session.account, "tell which payouts it has"):
            search = await session.find_payout(attempt)
    except PPAPIError as error:
        return PayoutEnd(
            Exit.PAYOUT_UNKNOWN,
            f"{what} cannot be looked for: {for_users(error.message)}; {again} later",
        )
    match search.outcome:
        case SearchOutcome.FOUND:
            found = search.payouts[0]
            journal.settle(noted.id, NotedOutcome.REQUESTED, found.id)
            amount = f"{number_text(found.pay_amount)} {plain(found.pay_currency_code)}"
            return PayoutEnd(Exit.DONE, f"{what} is payout {found.id}, {amount}: it was requested")
        case SearchOutcome.ABSENT if datetime.now(UTC) - attempt.sent_at > PATIENCE:
            journal.settle(noted.id, NotedOutcome.ABSENT)
            return PayoutEnd(Exit.DONE, f"{what} was never requested: the site has none")
        case SearchOutcome.ABSENT:
            after = time_text(attempt.sent_at + PATIENCE)
            return PayoutEnd(
                Exit.PAYOUT_UNKNOWN,
                f"{what} is not at the site so far, which may still book it; {again} after {after}"
                " UTC",
            )
        case SearchOutcome.AMBIGUOUS:
            near = ", ".join(f"{one.id} of {time_text(one.time)}" for one in search.payouts[:5])
            return PayoutEnd(
                Exit.PAYOUT_UNKNOWN,
                f"{what} may be one of these: {near or 'none is listed'}; look at the site's page,"
                f" and once you know 'ppapi payout settle --forget {plain(session.account.name)}'",
            )
