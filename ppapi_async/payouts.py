"""Requesting a payout, once, and finding out what became of it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ppapi_async.codec import info_steps, receipt_steps
from ppapi_async.errors import (
    ApiError,
    PayoutNotSent,
    PayoutOutcomeUnknown,
    PPAPIError,
    TransportError,
)
from ppapi_async.models import (
    Info,
    Payout,
    PayoutAttempt,
    PayoutReceipt,
    PayoutSearch,
    SearchOutcome,
)
from ppapi_async.transport import Transport

__all__ = ["WRONG_ZONE", "check_balance", "judge", "read_info", "request_payout"]

_CLOCK_SKEW = timedelta(minutes=10)  # between this machine and a site
WRONG_ZONE = timedelta(hours=26)
"""How far a wrong time zone may shift a payout's time."""


async def read_info(line: Transport) -> Info:
    """Ask get_info, and remember the dialect that its answer shows."""
    steps = functools.partial(info_steps, reader=line.reader("get_info"))
    info, dialect = await line.read("get_info", {}, steps)
    line.learn(dialect)
    return info


async def check_balance(line: Transport, least: Decimal | None, most: Decimal | None) -> None:
    """Look at the balance before anything is sent.

    Raises:
        PayoutNotSent: it lies outside the limits, or could not be read.
        ApiError: the site refuses even to tell it.
    """
    why: str | None = None
    try:
        balance = (await read_info(line)).balance
    except ApiError:
        raise
    except PPAPIError as error:
        why = f"the balance could not be read: {error.message}"
    else:
        if least is not None and balance < least:
            why = f"the balance {balance} is below at_least {least}"
        if most is not None and balance > most:
            why = f"the balance {balance} is above at_most {most}"
    if why is not None:
        raise _not_sent(line, why)


def _not_sent(line: Transport, why: str) -> PayoutNotSent:
    return PayoutNotSent(
        f"no payout was requested: {why}", account=line.account.name, method="add_payout"
    )


async def request_payout(line: Transport, method_id: int, account: str) -> PayoutReceipt:
    """Send one request and say what it came to; see `Session.add_payout`."""
    steps = functools.partial(receipt_steps, reader=line.reader("add_payout"))
    sent_at = datetime.fromtimestamp(line.hooks.clock(), UTC)
    attempt = PayoutAttempt(method_id, account, sent_at)
    params: dict[str, str | int] = {"method_id": method_id, "account": account}
    result = await line.once("add_payout", params, steps)
    if isinstance(result, PayoutReceipt):
        return result
    if isinstance(result, ApiError):
        raise result
    if isinstance(result, TransportError) and not result.sent:
        raise _not_sent(line, result.message)
    raise PayoutOutcomeUnknown(
        f"the payout may have been requested: {result.message}; do not repeat it, ask"
        " find_payout(error.attempt)",
        account=line.account.name,
        method="add_payout",
        attempt=attempt,
    ) from result


def judge(attempt: PayoutAttempt, payouts: Iterable[Payout]) -> PayoutSearch:
    """Tell which of the payouts an attempt became; see `Session.find_payout`."""
    near = tuple(
        payout
        for payout in payouts
        if payout.method_id == attempt.method_id and _same(payout.account, attempt.account)
    )
    first, last = attempt.sent_at - _CLOCK_SKEW, attempt.sent_at + _CLOCK_SKEW
    fitting = tuple(payout for payout in near if first <= payout.time <= last)
    if len(fitting) == 1:
        return PayoutSearch(SearchOutcome.FOUND, fitting)
    if near:
        return PayoutSearch(SearchOutcome.AMBIGUOUS, fitting or near)
    return PayoutSearch(SearchOutcome.ABSENT)


def _same(one: str, other: str) -> bool:
    """Tell whether two spellings name one wallet; sites drop or add white space."""
    return "".join(one.split()) == "".join(other.split())
