"""Requesting a payout, once, and finding out what became of it.

A site has no idempotency key, and knows no payout but that of the whole balance. So whether a
second request would pay twice depends on what became of the first: as long as that is not known,
the next request of the account is refused.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

from attrs import define, field

from ppapi_async.account import Account
from ppapi_async.errors import (
    ApiError,
    DecodeError,
    MethodNotSupportedError,
    PayoutNotSent,
    PayoutOutcomeUnknown,
    PPAPIError,
    TransportError,
)
from ppapi_async.models import Payout, PayoutAttempt, PayoutReceipt, PayoutSearch, SearchOutcome
from ppapi_async.protocol import decode_receipt
from ppapi_async.transport.callbacks import call
from ppapi_async.transport.client import Transport

__all__ = [
    "UNSETTLED",
    "OnAttempt",
    "Unsettled",
    "judge",
    "request_payout",
    "search_begin",
]

OnAttempt: TypeAlias = Callable[[PayoutAttempt], object]
"""Is told of an attempt before it is sent; may be `async def`."""
_CLOCK_SKEW = timedelta(minutes=10)  # between this machine and a site
_WRONG_ZONE = timedelta(hours=26)
"""How far a wrong time zone may shift a payout's time."""
_LONGEST_SKEW = 1e9  # seconds; more is no clock


@define(eq=False)
class _PayoutEntry:
    """A call of add_payout that has not come to an end that is known."""

    key: bytes
    attempt: PayoutAttempt | None = None
    """None until the request may have been sent."""
    under_way: bool = True


@define(eq=False)
class Unsettled:
    """The payouts of a process that are under way, or of which it is not known what became.

    Sessions, loops and threads of a process share one, `UNSETTLED`: the one thing in this library
    that belongs to the process. An account is known in it by its host and its key, so that another
    name, path or scheme makes no other account of it; only a hash is kept, of a salt that no other
    process has. It does not outlive the process: a program that may be ended stores its attempts
    (`on_attempt`).
    """

    _lock: threading.Lock = field(factory=threading.Lock, repr=False)
    _salt: bytes = field(factory=lambda: os.urandom(16), repr=False)
    _entries: list[_PayoutEntry] = field(factory=list, repr=False)

    def begin(
        self, account: Account, *, even_if_unsettled: bool
    ) -> _PayoutEntry | PayoutAttempt | None:
        """Enter a payout; where another one stands in its way, return that one's attempt."""
        key = self._key(account)
        with self._lock:
            others = [entry for entry in self._entries if entry.key == key]
            if others and not even_if_unsettled:
                return next((one.attempt for one in others if one.attempt is not None), None)
            entry = _PayoutEntry(key)
            self._entries.append(entry)
            return entry

    def end(self, entry: _PayoutEntry, *, known: bool) -> None:
        """Note that a call has ended, and whether it is known what became of its payout."""
        with self._lock:
            entry.under_way = False
            if (known or entry.attempt is None) and entry in self._entries:
                self._entries.remove(entry)

    def settle(self, account: Account, attempt: PayoutAttempt) -> bool:
        """Forget an attempt, which is not under way; return whether it was unsettled."""
        key = self._key(account)
        with self._lock:
            for entry in self._entries:
                if entry.key == key and not entry.under_way and _is_same(entry.attempt, attempt):
                    self._entries.remove(entry)
                    return True
        return False

    def of(self, account: Account) -> tuple[PayoutAttempt, ...]:
        """Return the attempts of an account that have ended and are unsettled, oldest first."""
        if not self._entries:  # as nearly always: a status of a thousand accounts asks for each
            return ()
        key = self._key(account)
        with self._lock:
            mine = [one for one in self._entries if one.key == key and not one.under_way]
        return tuple(one.attempt for one in mine if one.attempt is not None)

    def clear(self) -> None:
        """Forget everything; for tests, each of which is a process of its own, as it were."""
        with self._lock:
            self._entries.clear()

    def _key(self, account: Account) -> bytes:
        text = f"{account.host}\n{account.api_key.reveal().casefold()}"  # servers ignore case
        return hashlib.blake2b(text.encode(), key=self._salt, digest_size=16).digest()


UNSETTLED = Unsettled()


def _is_same(one: PayoutAttempt | None, other: PayoutAttempt) -> bool:
    if one is None or one.sent_at != other.sent_at:
        return False
    return (one.method_id, one.account) == (other.method_id, other.account)


async def request_payout(
    transport: Transport,
    method_id: int,
    account: str,
    *,
    least: Decimal | None = None,
    most: Decimal | None = None,
    on_attempt: OnAttempt | None = None,
    even_if_unsettled: bool = False,
) -> PayoutReceipt:
    """Send one request and say what it came to; see `Session.add_payout`."""
    entry = UNSETTLED.begin(transport.account, even_if_unsettled=even_if_unsettled)
    if not isinstance(entry, _PayoutEntry):
        raise _unsettled(transport, entry)
    known = False
    try:
        if transport.closed:
            raise _not_sent(transport, "the session is closed", "closed")
        await _look(transport, least, most)
        result = await _send(transport, method_id, account, entry, on_attempt)
        known = isinstance(result, PayoutReceipt | ApiError | PayoutNotSent)
    finally:
        UNSETTLED.end(entry, known=known)
    if isinstance(result, PayoutReceipt):
        return result
    if known:
        raise result
    raise PayoutOutcomeUnknown(
        f"the payout may have been requested: {result.message}; do not repeat it, ask"
        " find_payout(error.attempt)",
        account=transport.account.name,
        method="add_payout",
        attempt=entry.attempt,
    ) from result


async def _send(
    transport: Transport,
    method_id: int,
    account: str,
    entry: _PayoutEntry,
    on_attempt: OnAttempt | None,
) -> PayoutReceipt | PPAPIError:
    """Send the request; the entry has an attempt from when it may have been sent."""
    reader = transport.reader("add_payout")

    async def before() -> None:
        sent_at = datetime.fromtimestamp(transport.hooks.clock(), UTC)
        attempt = PayoutAttempt(method_id, account, sent_at, transport.clock_ahead)
        if on_attempt is not None:
            await call(on_attempt, attempt)
        entry.attempt = attempt

    params: dict[str, str | int] = {"method_id": method_id, "account": account}
    decode = functools.partial(decode_receipt, reader=reader)
    result = await transport.pay("add_payout", params, decode, before)
    if isinstance(result, TransportError) and not result.sent:
        return _not_sent(transport, result.message, "closed" if transport.closed else "connection")
    return result


async def _look(transport: Transport, least: Decimal | None, most: Decimal | None) -> None:
    """Find the place of the API by a read, if it is not known, and look at the balance.

    Raises:
        PayoutNotSent: the place is not found, or the balance lies outside the limits.
        ApiError: the site refuses even to tell it.
    """
    is_guarded = least is not None or most is not None
    if transport.knows_place and not is_guarded:
        return
    try:
        balance = (await transport.get_info()).balance
    except MethodNotSupportedError:
        if is_guarded or not transport.knows_place:
            raise
        return  # the API is there; that it does not tell the balance does not matter
    except ApiError:
        raise
    except PPAPIError as error:
        if isinstance(error, DecodeError) and not is_guarded:
            return
        why, reason = _why_not(transport, error)
    else:
        shown, reason = transport.reader("add_payout").clip(str(balance)), "guard"
        if least is not None and balance < least:
            why = f"the balance {shown} is below at_least {least}"
        elif most is not None and balance > most:
            why = f"the balance {shown} is above at_most {most}"
        else:
            return
    raise _not_sent(transport, why, reason)


def _why_not(transport: Transport, error: PPAPIError) -> tuple[str, str]:
    """Return what to say of a read that failed before a payout, and the reason it is."""
    if isinstance(error, TransportError):
        return error.message, "closed" if transport.closed else "connection"
    if transport.knows_place:
        return f"the balance could not be read: {error.message}", "guard"
    return f"the API was not found: {error.message}", "place"


def _not_sent(
    transport: Transport, why: str, reason: str, attempt: PayoutAttempt | None = None
) -> PayoutNotSent:
    return PayoutNotSent(
        f"no payout was requested: {why}",
        account=transport.account.name,
        method="add_payout",
        reason=reason,
        attempt=attempt,
    )


def _unsettled(transport: Transport, attempt: PayoutAttempt | None) -> PayoutNotSent:
    if attempt is None:
        why = "another one of this account is under way; wait for what becomes of it"
    else:
        why = (
            f"it is not known what became of the one of {attempt.sent_at:%Y-%m-%d %H:%M} UTC; ask"
            " find_payout(error.attempt), or settle_payout if you know"
        )
    return _not_sent(transport, why, "unsettled", attempt)


def search_begin(attempt: PayoutAttempt) -> datetime | None:
    """Return from when on payouts may be an attempt's, by the clocks of both sides.

    Where they were not compared there is no saying how wrong this machine's was.
    """
    sent = _by_the_sites_clock(attempt)
    if sent is None:
        return None
    try:
        return min(sent, attempt.sent_at) - _WRONG_ZONE - _CLOCK_SKEW
    except OverflowError:
        return None


def judge(
    attempt: PayoutAttempt, payouts: Iterable[Payout], *, compared: bool = False
) -> PayoutSearch:
    """Tell which of the payouts since `search_begin` an attempt became; see `find_payout`.

    `compared` tells whether the clocks were compared at the search, for attempts that do not say.
    """
    wallet = "".join(attempt.account.split())  # sites drop or add white space
    near = tuple(
        payout
        for payout in payouts
        if payout.method_id == attempt.method_id and "".join(payout.account.split()) == wallet
    )
    sent = _by_the_sites_clock(attempt)
    expected = sent or attempt.sent_at
    fitting = tuple(one for one in near if abs(one.time - expected) <= _CLOCK_SKEW)
    if len(fitting) == 1:
        return PayoutSearch(SearchOutcome.FOUND, fitting)
    if sent is not None:  # else this machine's clock may have said anything
        allowed = _WRONG_ZONE + _CLOCK_SKEW
        first, last = min(sent, attempt.sent_at), max(sent, attempt.sent_at)
        near = tuple(n for n in near if n.time - last <= allowed and first - n.time <= allowed)
    if near or not (compared or sent is not None):
        return PayoutSearch(SearchOutcome.AMBIGUOUS, fitting or near)
    return PayoutSearch(SearchOutcome.ABSENT)


def _by_the_sites_clock(attempt: PayoutAttempt) -> datetime | None:
    """Return when an attempt was sent, None where the clocks were not compared."""
    if attempt.clock_ahead is None or abs(attempt.clock_ahead) > _LONGEST_SKEW:
        return None
    try:
        return attempt.sent_at + timedelta(seconds=attempt.clock_ahead)
    except OverflowError:
        return None
