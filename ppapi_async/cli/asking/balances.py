"""What accounts have: asked of all sites at once, as rows of a table and totals by currency."""

from __future__ import annotations

import asyncio
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from attrs import frozen

from ppapi_async.account import Account, Dialect
from ppapi_async.cli.failures import state_of, words_of
from ppapi_async.cli.output import Cell, Column, is_terminal, number_text, plain, show
from ppapi_async.cli.progress import progress_of
from ppapi_async.errors import PPAPIError
from ppapi_async.fleet.fleet import Fleet
from ppapi_async.models import Info, PayoutMethod
from ppapi_async.protocol.fields import EXACT
from ppapi_async.session import Session
from ppapi_async.transport.retry import Retry

__all__ = ["UNKNOWN", "AccountBalance", "ask", "row_of", "show_methods", "totals"]

UNKNOWN = "¤"
"""The sign of a currency that is not known."""
_AT_ONCE = 100
_TIMEOUT = 45.0
"""Seconds. Sites look countries up for up to half a minute."""
_RETRY = Retry(attempts=2)
"""Somebody waits at the screen."""
_CURRENCY = re.compile(r"[^\W_][\w.-]{0,15}")
"""What may be a code of a currency; sites make codes of their own."""


@frozen
class AccountBalance:
    """What an account has answered."""

    account: Account
    dialect: Dialect | None = None
    info: Info | None = None
    """None where it failed."""
    currency: str | None = None
    """None where it is not known."""
    error: PPAPIError | None = None

    @property
    def name(self) -> str:
        """The account's name."""
        return self.account.name

    @property
    def missing(self) -> Decimal | None:
        """How much the balance lacks to be paid out; None where nothing is known."""
        if self.info is None:
            return None
        return max(Decimal(), EXACT.subtract(self.info.min_payout, self.info.balance))

    @property
    def is_due(self) -> bool:
        """Whether all of the balance can be paid out now."""
        info = self.info
        return info is not None and info.balance > 0 and not self.missing and bool(info.items)


async def ask(accounts: Sequence[Account]) -> list[AccountBalance]:
    """Ask accounts what they have; a failure is a value. They come by name, as people sort."""
    slots = asyncio.Semaphore(_AT_ONCE)
    ordered = sorted(accounts, key=lambda account: _as_sorted(account.name))

    with progress_of(len(ordered)) as progress:
        async with Fleet(ordered, concurrency=_AT_ONCE, timeout=_TIMEOUT, retry=_RETRY) as fleet:

            async def ask_one(account: Account) -> AccountBalance:
                async with slots:
                    found = await _ask(account, fleet.session(account.name))
                progress.end(account.name, has_failed=found.error is not None)
                return found

            return list(await asyncio.gather(*map(ask_one, ordered)))


def _as_sorted(name: str) -> list[tuple[bool, int, str]]:
    """Return what names are sorted by: `site9` comes before `site10`."""
    parts = re.findall(r"\d+|\D+", name.casefold())
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


async def _ask(account: Account, session: Session) -> AccountBalance:
    try:
        info = await session.get_info()
    except PPAPIError as error:
        return AccountBalance(account, session.dialect, error=error)
    return AccountBalance(account, session.dialect, info, await _currency(session))


async def _currency(session: Session) -> str | None:
    """Return the currency of the latest payout, in which balances are; None if there is none."""
    try:
        data = await session.call("get_payouts")
    except PPAPIError:
        return None
    items = data.get("items") if isinstance(data, Mapping) else data
    if isinstance(items, Mapping):
        items = list(items.values())
    rows = [row for row in items if isinstance(row, Mapping)] if isinstance(items, list) else []
    latest = max(rows, key=_time_of, default={})
    code = latest.get("original_currency_code")
    return code.strip() if isinstance(code, str) and _CURRENCY.fullmatch(code.strip()) else None


def _time_of(row: Mapping[str, object]) -> int:
    try:
        return int(str(row.get("time")))
    except ValueError:
        return 0


# --- what is shown


def row_of(balance: AccountBalance, *, unknown: str | None = None) -> Mapping[str, Cell]:
    """Return a row of the table; `unknown` stands for a currency that is not known."""
    info = balance.info
    row: dict[str, Cell] = {
        "name": balance.name,
        "host": balance.account.host,
        "dialect": balance.dialect,
        "state": state_of(balance.error),
        "problem": None if balance.error is None else words_of(balance.error),
    }
    if info is not None:
        row |= {
            "balance": info.balance,
            "currency": balance.currency or unknown,
            "minimum": info.min_payout,
            "due": balance.is_due,
            "missing": balance.missing,
            "payout": _payout_words(balance, info),
            "methods": len(info.items),
            "payout_methods": [_method_text(one) for one in info.items],
        }
    return row


def _payout_words(balance: AccountBalance, info: Info) -> str:
    if balance.is_due:
        return "yes"
    if info.balance <= 0:
        return "nothing there"
    if balance.missing:
        return f"lacks {number_text(balance.missing)}"
    return "no way to pay"


def _method_text(method: PayoutMethod) -> str:
    return (
        f"{method.id} {method.title} ({number_text(method.commission)} %):"
        f" {number_text(method.amount)}"
    )


def show_methods(columns: Sequence[Column], balances: Iterable[AccountBalance]) -> None:
    """Print a row for each payout method, where a person looks at it."""
    if is_terminal():
        show(
            columns,
            [
                {
                    "name": one.name,
                    "id": str(method.id),
                    "title": method.title,
                    "commission": method.commission,
                    "amount": method.amount,
                }
                for one in balances
                if one.info is not None
                for method in one.info.items
            ],
        )


def totals(balances: Sequence[AccountBalance]) -> list[str]:
    """Return a line for each currency: the total, and how much of it can be paid out now."""
    known: dict[str, list[AccountBalance]] = defaultdict(list)
    unknown = 0
    for one in balances:
        if one.info is not None and one.currency is not None:
            known[one.currency].append(one)
        elif one.info is not None:
            unknown += 1
    lines = []
    for code, found in sorted(known.items()):
        whole, due = _sum(found), _sum(one for one in found if one.is_due)
        lines.append(
            f"total {number_text(whole)} {plain(code)} of {_accounts(len(found))},"
            f" of which {number_text(due)} can be paid out now"
        )
    if unknown:
        lines.append(f"in no total: {_accounts(unknown)} whose currency is not known")
    return lines


def _sum(balances: Iterable[AccountBalance]) -> Decimal:
    amounts = (one.info.balance for one in balances if one.info is not None)
    return functools.reduce(EXACT.add, amounts, Decimal())


def _accounts(count: int) -> str:
    return f"{count:,} account{'' if count == 1 else 's'}"
