"""Changes of rows as lines for people."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from enum import Enum

from ppapi_async.cli.output import number_text, plain, time_text
from ppapi_async.models import Exchange, Info, Link, Payout
from ppapi_async.watching.changes import Change, ChangeKind
from ppapi_async.watching.resources import Record

__all__ = ["change_line", "change_text"]

_LONGEST = 100
"""Characters of a text of a site's."""
_MOVES = ("time", "date")
"""Fields that say no more than that there was a change."""
_SAID = {
    ChangeKind.NEW: "",
    ChangeKind.CHANGED: " has changed to",
    ChangeKind.GONE: " is listed no more, it was",
    ChangeKind.RETURNED: " is listed again",
}


def change_line(change: Change[Record], at: datetime, zone: tzinfo | None = None) -> str:
    """Return when a change was seen, at which account, and what has changed.

    Args:
        change: what has happened.
        at: when it was seen.
        zone: that its time is shown in; None: UTC.
    """
    local = at.astimezone(zone or UTC)
    offset = local.isoformat()[-6:]  # several accounts may have several zones
    return f"{time_text(local)} {offset}  {plain(change.account)}  {change_text(change)}"


def change_text(change: Change[Record]) -> str:
    """Return what has changed, in one line.

    >>> info = Info(balance=Decimal(3), min_payout=Decimal(10))
    >>> change_text(Change(ChangeKind.NEW, info))
    'balance 3.00'
    """
    record = change.record
    if change.kind is ChangeKind.CHANGED and change.previous is not None:
        before = change.previous
        pairs = [
            f"{name} {_text(getattr(before, name, None))} → {_text(getattr(record, name, None))}"
            for name in change.fields
            if name not in _MOVES
        ]
        return f"{_name(record)}: {', '.join(pairs) or 'edited'}"
    if isinstance(record, Info):
        return f"balance {number_text(record.balance)}"
    return f"{_name(record)}{_SAID[change.kind]}: {_facts(record)}"


def _name(record: Record) -> str:
    match record:
        case Info():
            return "account"
        case Exchange():
            return f"order {record.id}"
        case Payout():
            return f"payout {record.id}"
        case Link():
            return f"click {record.id}"


def _facts(row: Exchange | Payout | Link) -> str:
    match row:
        case Exchange():
            status = f", {plain(row.status)}" if row.status else ""
            state = "accrued" if row.accrued else "not accrued"
            return (
                f"{number_text(row.amount_give)} {plain(row.currency_code_give)} →"
                f" {number_text(row.amount_get)} {plain(row.currency_code_get)}{status},"
                f" reward {number_text(row.partner_reward)} {state}"
            )
        case Payout():
            return (
                f"{number_text(row.pay_amount)} {plain(row.pay_currency_code)} to"
                f" {_text(row.account)}, {_text(row.status)}"
            )
        case Link():
            source = f" from {_text(row.referrer)}" if row.referrer else ""
            return f"{_text(row.query_string) if row.query_string else 'no query'}{source}"


def _text(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case Decimal() | int():
            return number_text(value)
        case datetime():
            return time_text(value)
        case Enum():
            return value.name.lower().replace("_", " ")
        case str():
            text = plain(value)
            return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        case tuple():
            return f"{len(value):,} of them"
        case _:
            return "…"
